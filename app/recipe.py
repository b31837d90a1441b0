"""The recipe inside a saved picture -> the page's controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from var_core import SETTINGS, TASKS, WITH_MASK, Engine, find_class, readable, settings_of_file
from var_core.files.recipe import read

from .canvas import layer_uri
from .engines import Engines
from .form import ADVANCED, AMOUNTS, RESTORED, STOPS

_CANDIDATES = (1, 2, 4, 8)  # that the page offers


def restored(path: str | Path, engines: Engines) -> tuple[dict[str, Any], str]:
    """What a picture's recipe sets of the controls in RESTORED, by name, and a notice; both empty where there is none.
    A class belongs to its model: without that model here, it is left out."""
    given = settings_of_file(path)
    if not given:
        return {}, ""
    said = readable(SETTINGS, given)
    values: dict[str, Any] = {name: _shown(name, said[name]) for name in ADVANCED if name in said}
    if said.get("seed") is not None:
        values["seed"] = str(said["seed"])
    if given.get("task") in TASKS:
        values["mode"] = given["task"]
    candidate = SETTINGS["candidates"]
    if candidate.allows(given.get("candidate", 0) + 1 if type(given.get("candidate")) is int else None):
        enough = [count for count in _CANDIDATES if count > given["candidate"]]
        values["candidates"] = enough[0] if enough else _CANDIDATES[-1]  # as many as it takes to see this one again
    if any(said.get(side) for side in AMOUNTS):
        values |= {"ratio": "by sides"} | {side: said.get(side, 0) for side in AMOUNTS}
    notice = "The settings that made this picture were restored from it."
    name = engines.name_of(given["model"]) if isinstance(given.get("model"), str) else None
    if name is None or engines.missing(name):
        return values, f"{notice} Its model is not here, so class and strength are yours to choose."
    engine = engines.get(name)
    values["model"] = name
    values["label"] = _class_of(given.get("label"), engine)
    if "start_scale" in said:
        kept = said["start_scale"] / len(engine.sides)
        values["strength"] = min(STOPS, key=lambda stop: abs(STOPS[stop] - kept))
    return {key: value for key, value in values.items() if key in RESTORED}, notice


def painted(path: str | Path, values: dict[str, Any]) -> str | None:
    """The mask that a picture was made with, as the page paints; None where its recipe has none. `values`: what was
    restored of it."""
    if values.get("mode") not in WITH_MASK:
        return None
    try:
        again = read(path)
    except ValueError:  # its settings stand, but not its tokens
        return None
    mask = Image.new("L", again.picture.size)
    for done in again.passes:
        if done.box is not None and done.alpha is not None:
            mask.paste(255, done.box[:2], done.alpha.point([0] * 255 + [255]))
    return layer_uri(mask)


def _shown(name: str, value: Any) -> Any:
    """As the control has it: text where it may be automatic, empty for that."""
    if SETTINGS[name].default is not None:
        return value
    return "" if value is None else str(value)


def class_value(index: int, names: tuple[str, ...]) -> str:
    """How the page and a request call a class: by its name, or by its number where two share the name."""
    return names[index] if names.count(names[index]) == 1 else str(index)


def _class_of(label: Any, engine: Engine) -> str:
    if not isinstance(label, int | str) or isinstance(label, bool):
        return ""
    try:
        return class_value(find_class(label, engine.class_names, engine.name), engine.class_names)
    except ValueError:
        return ""
