"""What the tokenizer keeps, what the transformer predicts, and a sheet of samples to look at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..engine import Engine
from ..files.images import save_png
from ..measures.likelihood import token_cache, validate
from ..model.registry import open_model
from ..pictures.data import Pictures
from ..request import Chance, Edit


def likelihood(model_name: str, pictures: Pictures) -> dict:
    """Loss and accuracy of the transformer given the true class and all earlier scales."""
    model = open_model(model_name)
    names = model.class_names
    missing = sorted(set(pictures.class_names) - set(names))
    if missing:
        raise ValueError(f'{model.name} does not know the class "{missing[0]}" of this data')
    labels = np.array([names.index(pictures.class_names[label]) for label in pictures.labels])
    known = Pictures(pictures.arrays, labels, names, pictures.names)
    cache = token_cache(model.tokenizer, known, 1, None, model.tokenizer.device)
    figures = validate(model.transformer, model.tokenizer, known, cache)
    sides = [str(side) for side in model.transformer.scales.sides]
    return {
        "pictures": len(pictures),
        "loss": round(figures["loss"], 3),
        "chance": round(math.log(model.transformer.config.vocab_size), 3),
        "loss_per_scale": {side: round(figures[f"loss {side}"], 3) for side in sides},
        "accuracy_per_scale": {side: round(figures[f"accuracy {side}"], 3) for side in sides},
    }


def samples(model_name: str, rows: int, out: Path) -> dict:
    """Write a captioned sheet: `rows` samples of every class, ten cells a line."""
    engine = Engine.load(model_name)
    cells = []
    for name in engine.class_names:
        for seed in range(rows):
            result = engine.draw(Edit(label=name), Chance(seed=seed))
            cells.append((name if rows == 1 else f"{name} {seed}", result.image(0)))
    side, caption, columns = engine.resolution, 15, 10
    lines = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (side + 4), lines * (side + caption + 4)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (text, picture) in enumerate(cells):
        x, y = i % columns * (side + 4), i // columns * (side + caption + 4)
        sheet.paste(picture, (x, y))
        pen.text((x + 2, y + side + 1), text.replace("watercolour", "w."), fill=(60, 60, 60))
    save_png(sheet, out)
    return {"file": str(out), "samples": len(cells)}
