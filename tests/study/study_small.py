"""A tokenizer, pictures and tokens small enough to train on within a test."""

from __future__ import annotations

from pathlib import Path

import torch
from shapes import folder

from var_core.model.checkpoints import Model, save_model
from var_core.model.tokenizer import Tokenizer, tiny_config
from var_core.model.transformer import Transformer, TransformerConfig
from var_core.study.scaling import Grid, scaling
from var_core.study.tokens import Cache, make_tokens, open_tokens
from var_core.study.training import Deadline, Machine

SIDES = (1, 2, 3, 4)
KINDS = ("disc", "box")


def model_at(place: Path) -> Path:
    """A model file whose tokenizer has spread codes, so that tokens differ."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(tiny_config(SIDES, channels=8, vocab_size=32)).eval()
    with torch.no_grad():
        tokenizer.codebook.weight.mul_(0.1)
    config = TransformerConfig(sides=SIDES, depth=1, width=16, heads=1, mlp_width=16, classes=2, vocab_size=32)
    save_model(Model(tokenizer, Transformer(config), KINDS, "small", {}), place)
    return place


def tokens_at(place: Path, count: int = 24) -> Cache:
    data = folder(place / "data", KINDS, count)
    assert make_tokens(model_at(place / "small.safetensors"), [str(data)], place / "tokens", crops=2)
    return open_tokens(place / "tokens")


GRID = Grid(depths=(1, 2), budgets=(2e8, 5e8), rates=(2e-3, 6e-3), rate_budget=1e8, batch=4)


def run_scaling(cache: Cache, out: Path) -> Path:
    assert scaling(cache, out, Machine(torch.device("cpu")), Deadline(None), grid=GRID)
    return out
