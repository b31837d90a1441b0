"""What the tokenizer keeps, what the transformer predicts, and a sheet of samples to look at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..editing.preview import strip as join_strip
from ..engine import Engine
from ..files.images import save_png
from ..measures.likelihood import Likelihood, everything
from ..measures.reconstruction import RoundTrip, centres
from ..model.checkpoints import Model
from ..model.precision import fast_bfloat16
from ..pictures.data import Pictures
from ..pictures.masks import random_hole
from ..pictures.sources import picture_files
from ..request import Chance, Edit
from .infill import ZOOMS, photo_crops


def likelihood(model: Model, pictures: Pictures, count: int) -> dict:
    """Loss in nats and accuracy of the transformer on the tokens of at most `count` pictures, given the true class and
    all earlier scales: of whole pictures; and for a model with infill conditioning of what random holes hide, with what
    is known shown and withheld, and the share of the loss that showing it removes."""
    names = model.class_names
    missing = sorted(set(pictures.class_names) - set(names))
    if missing:
        raise ValueError(f'{model.name} does not know the class "{missing[0]}" of this data')
    sources, null = [(pictures.of(names), True)], model.transformer.config.null_label
    half = fast_bfloat16(model.tokenizer.device)
    sides = [str(side) for side in model.transformer.scales.sides]

    def scales(found: dict[str, float], word: str) -> dict[str, float]:
        return {side: round(found[f"{word} {side}"], 3) for side in sides}

    found = Likelihood(model.tokenizer, sources, null, everything, count, half)(model.transformer)
    figures = {
        "pictures": min(count, len(pictures)),
        "loss": round(found["loss"], 3),
        "chance": round(math.log(model.transformer.config.vocab_size), 3),
        "loss_per_scale": scales(found, "shown"),
        "accuracy_per_scale": scales(found, "accuracy"),
    }
    if model.transformer.known_embed is None:
        return figures
    found = Likelihood(model.tokenizer, sources, null, random_hole, count, half)(model.transformer)
    shown, withheld = scales(found, "shown"), scales(found, "withheld")
    return figures | {
        "holes": {
            "shown": round(found["loss"], 3), "withheld": round(found["withheld"], 3),
            "removed": round(1 - found["loss"] / found["withheld"], 3), "shown_per_scale": shown,
            "withheld_per_scale": withheld,
            "removed_per_scale": {side: round(1 - shown[side] / max(withheld[side], 1e-3), 3) for side in sides},
        }
    }  # fmt: skip


def reconstruct(models: list[Model], pictures: Pictures | None, photographs: Path, limit: int) -> dict:
    """What the first model's tokenizer keeps of at most `limit` pictures, centre squares or (without `pictures`)
    windows of photographs at three zooms; and the Frechet distance of the second's to the same, of which the first's
    is a `share`."""
    found = []
    for model in models:
        size = model.tokenizer.config.resolution
        if pictures is not None:
            trip = RoundTrip(*centres(pictures, size, limit))
        else:
            each = -(-limit // (len(ZOOMS) * max(1, sum(1 for _ in picture_files(photographs)))))
            crops = photo_crops(photographs, size, each)
            order = np.random.default_rng(0).permutation(len(crops))[:limit]
            trip = RoundTrip([crops[int(i)] for i in order])
        found.append(trip(model.tokenizer))
    first = found[0]
    if len(models) == 1:
        return first
    own, other = first["frechet"], found[1]["frechet"]
    named = {"model": models[1].name, "psnr": found[1]["psnr"], "frechet": other, "share": round(own / other, 3)}
    return first | {"against": named}


def strip(engine: Engine, label: str, seed: int, out: Path) -> dict:
    """Write the previews of one sample after every scale, in a row."""
    previews = engine.draw(Edit(label=label), Chance(seed=seed)).previews
    save_png(join_strip(previews), out)
    return {"file": str(out), "scales": len(previews)}


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
