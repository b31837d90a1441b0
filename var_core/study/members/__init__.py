"""The members that are compared: VAR and its peers, each a model and its sampler on the same trunk."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from ...model.transformer import TransformerConfig
from ..tokens import Cache
from ..trunk import shape
from .flow import Flow
from .held import Held
from .masked import Masked
from .next_token import NextToken
from .raster import Raster
from .var import Var

_building = threading.Lock()  # torch's random numbers are everybody's
Member = Var | NextToken | Raster | Masked | Flow

TITLES = {
    "var": "VAR, ten scales",
    "next": "next token, VAR's order",
    "raster": "next token, raster order",
    "masked": "masked tokens, 12 steps",
    "flow": "flow matching, 50 steps",
    "five": "VAR, five scales",
}
_BUILDERS: dict[str, Callable[[TransformerConfig], Member]] = {
    "var": lambda config: Var(config, "ten"),
    "next": NextToken,
    "raster": Raster,
    "masked": Masked,
    "flow": Flow,
    "five": lambda config: Var(config, "five"),
}


def build(name: str, depth: int, cache: Cache, seed: int = 0) -> Member:
    """A member to train on the cached tokens, with the study's one shape; the same seed, the same weights. ValueError
    where the name is unknown."""
    if name not in _BUILDERS:
        raise ValueError(f'there is no member "{name}": use one of {", ".join(TITLES)}')
    words, classes = cache.words, len(cache.class_names)
    sides = words.ten.config.sides
    if name in ("raster", "masked", "flow"):
        sides = sides[-1:]
    if name == "five":
        sides = words.five.config.sides
    v, c = words.ten.config.vocab_size, words.ten.config.code_dim
    with _building, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _BUILDERS[name](shape(depth, sides, classes, c, c if name == "flow" else v))


__all__ = ["TITLES", "Held", "Member", "build"]
