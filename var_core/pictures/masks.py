"""Random holes in pictures, as people paint them: for training an infilling model."""

from __future__ import annotations

import math

import cv2
import numpy as np

HOLES = ("strokes", "box", "half", "border", "outpaint")


def random_hole(side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) bool, True = to be drawn, of a random family and size: between a hundredth of the area and
    nearly all of it."""
    family = str(rng.choice(HOLES, p=(0.35, 0.3, 0.15, 0.1, 0.1)))
    hole = np.zeros((side, side), dtype=np.uint8)
    if family == "strokes":
        _strokes(hole, rng)
    elif family == "box":
        _box(hole, rng)
    elif family == "half":
        hole[:, : int(rng.uniform(0.15, 0.85) * side)] = 1
        hole = np.rot90(hole, int(rng.integers(4)))
    elif family == "border":
        inner = int(rng.uniform(0.5, 0.95) * side)
        top, left = (side - inner) // 2, (side - inner) // 2
        hole[:] = 1
        hole[top : top + inner, left : left + inner] = 0
    else:  # a known rectangle anywhere
        height, width = (int(rng.uniform(0.3, 0.9) * side) for _ in range(2))
        top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
        hole[:] = 1
        hole[top : top + height, left : left + width] = 0
    return np.ascontiguousarray(hole).astype(bool) if hole.any() else random_hole(side, rng)


def _box(hole: np.ndarray, rng: np.random.Generator) -> None:
    """One or two boxes or ellipses, partly outside the picture at times."""
    side = len(hole)
    for _ in range(int(rng.integers(1, 3))):
        height, width = (int(math.exp(rng.uniform(math.log(0.08), math.log(0.75))) * side) for _ in range(2))
        y, x = (int(rng.integers(side)) for _ in range(2))
        if rng.random() < 0.5:
            hole[max(0, y - height // 2) : y + height // 2 + 1, max(0, x - width // 2) : x + width // 2 + 1] = 1
        else:
            cv2.ellipse(hole, (x, y), (width // 2 + 1, height // 2 + 1), float(rng.uniform(0, 180)), 0, 360, 1, -1)


def _strokes(hole: np.ndarray, rng: np.random.Generator) -> None:
    """Bent brush strokes until a goal of the area is covered."""
    side, goal = len(hole), rng.uniform(0.02, 0.45)
    for _ in range(12):
        x, y = rng.uniform(0, side, 2)
        angle, width = rng.uniform(0, 2 * math.pi), int(rng.uniform(0.05, 0.22) * side)
        for _ in range(int(rng.integers(1, 5))):
            angle += rng.normal(0, 0.6)
            length = rng.uniform(0.1, 0.35) * side
            new_x, new_y = x + length * math.cos(angle), y + length * math.sin(angle)
            cv2.line(hole, (int(x), int(y)), (int(new_x), int(new_y)), 1, max(width, 2))
            x, y = new_x, new_y
        if hole.mean() >= goal:
            return
