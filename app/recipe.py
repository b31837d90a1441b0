"""The recipe inside a saved picture -> the page's controls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from var_core.files.images import read_private


@dataclass(frozen=True)
class Rule:
    """What a value must be to be taken over; anything else in a file is ignored."""

    kinds: tuple[type, ...]
    low: float = 0
    high: float = 2**32
    words: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        if not isinstance(value, self.kinds) or (isinstance(value, bool) and bool not in self.kinds):
            return False
        if isinstance(value, str):
            return value in self.words if self.words else len(value) < 100
        return isinstance(value, bool) or self.low <= value <= self.high


RULES = {
    "task": Rule((str,), words=("generate", "inpaint", "edit", "outpaint", "vary")),
    "label": Rule((str, int)),
    "seed": Rule((int,), high=2**32 - 1),
    "guidance": Rule((int, float), 0, 10),
    "top_k": Rule((int,)),
    "top_p": Rule((int, float), 0, 1),
    "random_scales": Rule((int,), 0, 20),
    "smooth": Rule((bool,)),
    "start_scale": Rule((int,), 0, 20),
    "method": Rule((str,), words=("evidence", "requantize", "official")),
    "context": Rule((int, float), 1, 4),
    "feather": Rule((int,), 0, 512),
    "color_match": Rule((bool,)),
    "model": Rule((str,)),
}


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The known, well-formed entries of a picture's recipe; empty where there is none."""
    try:
        found = json.loads(read_private(path) or b"null")
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    settings = found.get("settings")
    given = (settings if isinstance(settings, dict) else {}) | {"model": found.get("model"), "seed": found.get("seed")}
    recipe = {name: given[name] for name, rule in RULES.items() if name in given and rule.allows(given[name])}
    if Rule((int,), 0, 7).allows(found.get("candidate")):  # as many candidates as it takes to see this one again
        recipe["candidates"] = min(count for count in (1, 2, 4, 8) if count > found["candidate"])
    sides = given.get("outpaint")
    if isinstance(sides, list) and len(sides) == 4 and all(Rule((int,), 0, 16_384).allows(side) for side in sides):
        recipe["outpaint"] = tuple(sides)
    return recipe
