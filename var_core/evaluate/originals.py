"""Class edits and outpainting on whole originals of a model's own classes: sharpness and the wanted class, with and
without detail."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..engine import Engine
from ..files.images import open_image
from ..measures.judge import Judge
from ..measures.lite import lite_features
from ..pictures.sources import picture_files
from ..request import requested
from .photo import sharpness

_SHARE = 0.25  # of a picture's width that outpainting has to give back


def originals(place: Path, names: tuple[str, ...], count: int) -> list[tuple[str, np.ndarray]]:
    """(class, centre square at full size) of validation pictures of these classes, the same ones every time."""
    found = []
    for name, read in picture_files(place):
        *above, own, _ = ("", *name.split("/"))
        if own in names and "val" in above:
            found.append((own, read()))
    if not found:
        raise ValueError(f"{place} holds no val/<class>/<picture> of the model's classes")
    chosen = np.random.default_rng(5).permutation(len(found))[:count]
    return [(found[i][0], _square(open_image(found[i][1]).image)) for i in chosen]


def _square(picture: Image.Image) -> np.ndarray:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return np.asarray(picture.crop((left, top, left + side, top + side)))


def photo_edits(engine: Engine, judge: Judge, place: Path, count: int) -> dict:
    """Median sharpness in what is drawn against the true picture at the same place, and how often a box of half the
    area that becomes another class of the same kind is named as that class: at the size of the pictures from which the
    judge has learned, and as large as it is. Larger ones the judge knows less well, real ones too (209 real pictures:
    92 % right at 128 px, 87 % at full size)."""
    pictures = originals(place, engine.class_names, count)
    return {
        "pictures": len(pictures),
        **{
            words: _measured(engine, judge, pictures, on) for words, on in (("detail", True), ("without detail", False))
        },
    }


def _measured(engine: Engine, judge: Judge, pictures: list[tuple[str, np.ndarray]], detail: bool) -> dict:
    rng, ratios = np.random.default_rng(9), {"class_edit": [], "outpaint": []}
    named: dict[str, list[bool]] = {"named": [], "named_large": []}
    for number, (own, picture) in enumerate(tqdm(pictures, desc="originals", leave=False)):
        side = len(picture)
        kind = [name for name in engine.class_names if name.split("-")[0] == own.split("-")[0] and name != own]
        wanted = str(rng.choice(kind or list(engine.class_names)))
        inner, usual = round(side * math.sqrt(0.5) / 2), {"seed": number, "detail": detail}
        mask, box = np.zeros((side, side), np.uint8), slice(side // 2 - inner, side // 2 + inner)
        mask[box, box] = 255
        pair = {"image": Image.fromarray(picture), "mask": Image.fromarray(mask)}
        made = np.asarray(engine.draw(*requested(task="edit", label=wanted, **pair, **usual)).image(0))
        size = (judge.side, judge.side)
        small = np.asarray(Image.fromarray(made[box, box]).resize(size, Image.Resampling.LANCZOS))
        for words, seen in (("named", small), ("named_large", made[box, box])):
            scores = (lite_features(judge.lite, [seen]) - judge.mean) @ judge.weights + judge.bias
            named[words].append(judge.class_names[int(scores.argmax())] == wanted)
        ratios["class_edit"].append(_ratio(made, picture, mask > 0))
        known = round(side * (1 - _SHARE))
        asked = requested(task="outpaint", image=Image.fromarray(picture[:, :known]), right=side - known, **usual)
        beyond = np.broadcast_to(np.arange(side) >= known, (side, side))
        ratios["outpaint"].append(_ratio(np.asarray(engine.draw(*asked).image(0)), picture, beyond))
    values = {f"{task}_sharpness": round(float(np.median(found)), 3) for task, found in ratios.items()}
    return {words: round(float(np.mean(right)), 3) for words, right in named.items()} | values


def _ratio(made: np.ndarray, real: np.ndarray, mask: np.ndarray) -> float:
    return sharpness(made, mask) / max(sharpness(real, mask), 0.05)
