"""Random crops for training: anything at any zoom, turned and recoloured (`wild`), or close to the picture (`mild`)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ..pictures.data import Pictures, stack

_GREY = np.full((3, 3), 1 / 3)


@dataclass(frozen=True, kw_only=True)
class Wild:
    """How far a wild crop may go; shares are of the crops."""

    recoloured: float = 0.5
    grey: float = 0.05
    quarter_turns: bool = True
    smallest: float = 1.0  # side of the square that is cut, in sides of the crop; its largest is the picture's


def colour_change(rng: np.random.Generator, grey: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """A random (3, 3) matrix and (3,) offset on RGB in [0, 1]: hue, channel order, saturation, contrast, brightness."""
    if rng.random() < grey:
        matrix = _GREY
    else:
        angle = rng.uniform(-np.pi, np.pi) * rng.random()
        along, across = np.cos(angle), np.sin(angle) / np.sqrt(3)
        turn = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        hue = along * np.eye(3) + (1 - along) * _GREY + across * turn
        saturation = rng.uniform(0.3, 1.4)
        matrix = (saturation * np.eye(3) + (1 - saturation) * _GREY) @ hue
        if rng.random() < 0.3:
            matrix = matrix[rng.permutation(3)]
    contrast = rng.uniform(0.6, 1.2)
    offset = (1 - contrast) * 0.5 + rng.uniform(-0.15, 0.15) + rng.normal(0, 0.02, 3)
    return contrast * matrix, offset


def recolour(picture: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> the same with a colour change, clipped."""
    changed = picture.astype(np.float32) @ matrix.T.astype(np.float32) + 255 * offset.astype(np.float32)
    return np.clip(changed + 0.5, 0, 255).astype(np.uint8)


def _square(picture: np.ndarray, size: int, smallest: float, rng: np.random.Generator) -> np.ndarray:
    """A random square of at least `smallest` sides of `size`, resized to `size`."""
    height, width = picture.shape[:2]
    short = min(height, width)
    side = int(rng.integers(min(short, round(smallest * size)), short + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    square = picture[top : top + side, left : left + side]
    if side == size:
        return square
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def wild(picture: np.ndarray, size: int, rng: np.random.Generator, choices: Wild) -> np.ndarray:
    """(H, W, 3) uint8 -> a square of `size` at a random zoom, mirrored, turned by quarters, often recoloured."""
    crop = _square(picture, size, choices.smallest, rng)
    if choices.quarter_turns:
        crop = np.rot90(crop, int(rng.integers(4)))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < choices.recoloured:
        crop = recolour(crop, *colour_change(rng, choices.grey))
    return crop


def mild(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square of `size` at a random zoom, perhaps mirrored, a little brighter or darker: what its class allows."""
    crop = _square(picture, size, 1.0, rng)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    contrast = rng.uniform(0.9, 1.1)
    return recolour(crop, contrast * np.eye(3), np.full(3, (1 - contrast) * 0.5 + rng.uniform(-0.05, 0.05)))


def own_chances(rng: np.random.Generator, b: int, rows: slice) -> list[np.random.Generator]:
    """Random numbers of its own for each of `rows` of a batch of b: the same ones however a batch is shared."""
    return [np.random.default_rng(seed) for seed in rng.integers(2**63, size=b)[rows]]


def uniform(rngs: list[np.random.Generator], count: int) -> Tensor:
    """(b, 2, count) in [0, 1), of each picture's own random numbers."""
    return torch.from_numpy(np.stack([rng.random((2, count), dtype=np.float32) for rng in rngs]))


def wild_batch(sources: list[Pictures], rngs: list[np.random.Generator], size: int, choices: Wild) -> np.ndarray:
    """(b, 3, size, size) uint8: a crop for every one of `rngs`, from any source, then from any of its pictures."""
    crops = []
    for rng in rngs:
        pictures = sources[int(rng.integers(len(sources)))]
        crops.append(wild(pictures.arrays[int(rng.integers(len(pictures)))], size, rng, choices))
    return stack(crops)
