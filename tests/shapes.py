"""Pictures drawn by code, in folders of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def draw(kind: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (44, 40), tuple(int(v) for v in rng.integers(150, 256, 3)))
    x, y, r = (int(v) for v in rng.integers((12, 12, 6), (30, 28, 12)))
    pen = ImageDraw.Draw(image)
    colour = {"disc": (200, 40, 40), "box": (40, 60, 200), "ring": (30, 140, 60), "bar": (120, 60, 150)}[kind]
    if kind in ("disc", "ring"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour if kind == "disc" else None, outline=colour, width=3)
    else:
        pen.rectangle(
            (x - r, y - r // (3 if kind == "bar" else 1), x + r, y + r // (3 if kind == "bar" else 1)), colour
        )
    return image


def folder(path: Path, kinds: tuple[str, ...], count: int) -> Path:
    for i in range(count):
        kind = kinds[i % len(kinds)]
        place = path / ("val" if i % 10 < len(kinds) else "train") / kind
        place.mkdir(parents=True, exist_ok=True)
        draw(kind, i).save(place / f"{i}.png")
    return path
