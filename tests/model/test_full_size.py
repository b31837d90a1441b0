"""The official files at full size, every entry by its own name and shape, filled with noise.

Needs the list of official entries (VAR_PARITY_CASES or the folder beside the checkout); skipped, saying so, without.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from reference import CASES, derived_buffer

from var_core import Chance, Edit, Engine
from var_core.model.official import load_official

LIST = Path(os.environ.get("VAR_PARITY_CASES", CASES)).parent / "official_state_dicts.json"
pytestmark = pytest.mark.skipif(not LIST.exists(), reason="the list of official entries is not here")
SIDES_256, SIDES_512 = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16], [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]


def entries(name: str) -> dict:
    return json.loads(LIST.read_text())[name]


def write(path: Path, listed: dict, sides: list[int]) -> Path:
    """A `.pth` with these entries in their order; matrices hold small noise."""
    torch.manual_seed(0)
    state = {}
    for name in listed["order"]:
        if name in listed["parameters"]:
            shape = listed["parameters"][name]
            fan = max(1, torch.Size(shape[1:]).numel()) if len(shape) > 1 else 1
            state[name] = torch.randn(shape) / fan**0.5 if len(shape) > 1 else torch.ones(shape) * ("norm" in name)
        else:
            state[name] = derived_buffer(name, tuple(listed["buffers"][name]), sides)
    torch.save(state, path)
    return path


def at_depth(depth: int) -> dict:
    """The entries of var_d16 with another depth's numbers: width 64 * depth, that many heads and blocks."""
    listed = entries("var_d16.pth")
    grow = {1024: 64 * depth, 3072: 192 * depth, 4096: 256 * depth, 6144: 384 * depth, 2048: 128 * depth, 16: depth}
    sized: dict = {"order": [], "parameters": {}, "buffers": {}}
    for name in listed["order"]:
        kind = "parameters" if name in listed["parameters"] else "buffers"
        shape = listed[kind][name]
        if kind == "parameters":
            vocab = name in ("head.weight", "head.bias")
            shape = [n if vocab and i == 0 else grow.get(n, n) for i, n in enumerate(shape)]
        names = [name]
        if block := re.match(r"blocks\.(\d+)\.", name):
            if block[1] != "0":
                continue
            names = [name.replace("blocks.0.", f"blocks.{i}.", 1) for i in range(depth)]
        for each in names:
            sized["order"].append(each)
            sized[kind][each] = shape
    return sized


@pytest.mark.slow
def test_every_entry_of_d16_loads_and_a_picture_is_drawn(tmp_path: Path) -> None:
    tokenizer = write(tmp_path / "vae_ch160v4096z32.pth", entries("vae_ch160v4096z32.pth"), SIDES_256)
    transformer = write(tmp_path / "var_d16.pth", entries("var_d16.pth"), SIDES_256)
    model = load_official(tokenizer, transformer, "var-d16")
    assert model.transformer.config.depth == 16 and model.transformer.config.classes == 1000
    assert model.class_names[207] == "golden retriever"
    frames = list(Engine(model).run(Edit(label="golden retriever"), Chance(seed=0)))
    assert len(frames) == 10 and frames[-1].result is not None
    assert frames[-1].result.images[0].size == (256, 256)


def test_the_512_px_names_load(tmp_path: Path) -> None:
    tokenizer = write(tmp_path / "vae.pth", entries("vae_ch160v4096z32.pth"), SIDES_512)
    transformer = write(tmp_path / "var_d36.pth", entries("shared_adaln_512_depth2_example"), SIDES_512)
    model = load_official(tokenizer, transformer)
    config = model.transformer.config
    assert config.shared_modulation and config.depth == 2 and config.sides == tuple(SIDES_512)
    assert model.tokenizer.config.resolution == 512


@pytest.mark.slow
@pytest.mark.parametrize("depth", [20, 24, 30])
def test_larger_depths_fit_by_name_and_shape(depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes only: two billion weights are not written to disk, and are one number each in memory."""
    from var_core.model import official

    listed, small = at_depth(depth), entries("vae_ch160v4096z32.pth")
    state = {n: torch.zeros(1).expand(s) for n, s in listed["parameters"].items()}
    tokens = {n: torch.zeros(1).expand(s) for n, s in small["parameters"].items()}
    state["lvl_1L"] = derived_buffer("lvl_1L", (), SIDES_256)
    files = {"vae.pth": tokens, "var.pth": state}
    for name in files:
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**40)  # as large as it should be, and empty
    monkeypatch.setattr(official, "_read_pickle", lambda path: files[path.name])
    config = load_official(tmp_path / "vae.pth", tmp_path / "var.pth").transformer.config
    assert (config.depth, config.heads, config.width) == (depth, depth, 64 * depth)
