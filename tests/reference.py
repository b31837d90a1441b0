"""The reference's small models: weights that anyone can regenerate, and the numbers that it printed for them."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

GOLDEN = Path(__file__).parent / "golden"
CASES = Path(os.environ.get("VAR_PARITY_CASES", Path(__file__).parents[2] / "shared" / "parity" / "cases"))


def fill_tensor(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """The weights that belong to an official entry: drawn from numpy's legacy generator, seeded by the name."""
    rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    noise = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    leaf = name.rsplit(".", 1)[-1]
    if "norm" in name:
        return 1 + 0.1 * noise if leaf == "weight" else 0.1 * noise
    if leaf == "scale_mul_1H11":
        return float(np.log(4.0)) + 0.2 * noise
    if name.endswith("quantize.embedding.weight"):
        return noise
    if leaf in ("bias", "q_bias", "v_bias"):
        return 0.05 * noise
    if leaf == "weight" and len(shape) >= 2:
        return noise / int(np.prod(shape[1:])) ** 0.5
    return 0.3 * noise


def derived_buffer(name: str, shape: tuple[int, ...], sides: list[int]) -> torch.Tensor:
    """Buffers that the official files store although they follow from the sides."""
    scale_of = torch.cat([torch.full((side * side,), k) for k, side in enumerate(sides)])
    if name == "lvl_1L":
        return scale_of[None]
    if name == "attn_bias_for_masking":
        allowed = scale_of[:, None] >= scale_of[None]
        return torch.where(allowed, 0.0, -torch.inf)[None, None]
    return torch.zeros(shape)


class Case:
    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"{name}.safetensors"
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata()
            self.arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self.config = json.loads(metadata["config"])
        self.seed, self.label = int(metadata["seed"]), int(metadata["label"])
        self.guidance = float(metadata["guidance"])
        self.shapes = json.loads((folder / f"{name}.json").read_text())
        self.sides = self.config["patch_nums"]

    def write_official(self, folder: Path) -> tuple[Path, Path]:
        """The case's two `.pth` files with the official names."""
        paths = []
        for part in ("tokenizer", "transformer"):
            entries = self.shapes[part]
            state = {n: fill_tensor(n, tuple(s), self.seed) for n, s in entries["parameters"].items()}
            state |= {n: derived_buffer(n, tuple(s), self.sides) for n, s in entries["buffers"].items()}
            paths.append(folder / f"{part}.pth")
            torch.save(state, paths[-1])
        return paths[0], paths[1]
