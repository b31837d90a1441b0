"""Edits, measured: five families of masks, ours against the published rule and against OpenCV's inpainting."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from ..editing.compositing import match_surroundings
from ..engine import Engine
from ..files.images import save_png, to_pictures
from ..measures.judge import Judge, look
from ..measures.metrics import bootstrap, frechet, interval, kernel_distance, seam_score
from ..pictures.data import Pictures
from ..request import Chance, Edit, Result, requested

FAMILIES = ("box", "strokes", "half", "border", "outpaint")
METHODS = ("evidence", "official", "telea", "navier-stokes")


def mask_for(family: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) bool, True = repaint: a centre box of a quarter of the area; free strokes over 10-30 %; one half;
    a border of a quarter of the area on all sides, or of half of it (outpainting by 15 or by 41 % a side's length)."""
    mask = np.zeros((side, side), dtype=np.uint8)
    if family == "box":
        mask[side // 4 : side - side // 4, side // 4 : side - side // 4] = 1
    elif family == "half":
        half = np.zeros_like(mask)
        half[:, side // 2 :] = 1
        mask = np.rot90(half, int(rng.integers(4))).copy()
    elif family in ("border", "outpaint"):
        inner = round(side * math.sqrt(0.75 if family == "border" else 0.5) / 2)
        mask[:] = 1
        mask[side // 2 - inner : side // 2 + inner, side // 2 - inner : side // 2 + inner] = 0
    elif family == "strokes":
        goal = rng.uniform(0.10, 0.25)
        while mask.mean() < goal:
            points = rng.integers(0, side, size=(2, 2)).astype(int)
            cv2.line(mask, points[0].tolist(), points[1].tolist(), 1, int(rng.integers(side // 16, side // 9)))
        if mask.mean() > 0.30:
            return mask_for(family, side, rng)
    else:
        raise ValueError(f'unknown mask family "{family}": use {", ".join(FAMILIES)}')
    return mask.astype(bool)


def complete(
    engine: Engine, picture: np.ndarray, mask: np.ndarray, method: str, seed: int, **settings: Any
) -> tuple[np.ndarray, Result | None]:
    """The picture with its masked part made anew: (H, W, 3) uint8, and the engine's result for its methods."""
    if method in ("telea", "navier-stokes"):
        flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
        return cv2.inpaint(picture, mask.astype(np.uint8) * 255, 3, flag), None
    edit, chance = requested(
        task="inpaint", image=Image.fromarray(picture), mask=Image.fromarray(mask.astype(np.uint8) * 255), seed=seed,
        method=method, context=8.0, **settings,
    )  # fmt: skip
    result = engine.draw(edit, chance)
    return np.asarray(result.image(0)), result


def _before_paste(engine: Engine, result: Result, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the model drew in the whole square, and the same matched to the surroundings, (H, W, 3) uint8."""
    drawn = to_pictures(engine.redraw(result.passes[-1].of(0)))[0]
    if not result.edit.color_match:
        return np.asarray(drawn), np.asarray(drawn)
    return np.asarray(drawn), np.asarray(match_surroundings(drawn, result.picture, Image.fromarray(mask)))


def edit(
    engine: Engine,
    judge: Judge,
    val: Pictures,
    count: int,
    families: tuple[str, ...] = FAMILIES,
    **settings: Any,
) -> dict:
    """Every family and method on the same `count` pictures, masks and seeds.

    Frechet and kernel distances of completed pictures to all true validation pictures (`true` is the level of the
    same pictures untouched), the seam score of a paste without a fade (with one, no border is left to measure: all
    that counts would be how soft the model draws), and for the engine's methods the known pixels' error before the
    paste in dB. 95 % intervals over pictures (`bootstrap`); `ours_better` is the share of paired draws in which ours is
    nearer to the truth than the other method. Class edits are counted on six times as many pictures, as far as there
    are. `settings` (evidence, fill, color_match) are those of our own method's requests.
    """
    side = engine.resolution
    rates = np.random.default_rng(5).permutation(len(val))[: 6 * count]  # a share of hits needs more than a distance
    order = rates[:count]
    real = [val.centre(int(i), side) for i in order]
    truth = look(judge, [val.centre(i, side) for i in range(len(val))])[0]
    measured = {}
    for family in families:
        rng = np.random.default_rng(100 + FAMILIES.index(family))
        masks = [mask_for(family, side, rng) for _ in order]
        found, draws = {}, {}
        for method in METHODS:
            own = settings if method == METHODS[0] else {"color_match": False}  # as published
            made, hard, known = _completed(engine, real, masks, method, f"{family} {method}", **own)
            found[method], draws[method] = _figures(look(judge, made)[0], truth, hard, real, masks)
            if known:
                found[method]["known_psnr"] = round(float(np.mean(known)), 2)
                found[method]["known_psnr_interval"] = _mean_interval(np.array(known))
        for method in METHODS[1:]:
            ours = draws[METHODS[0]]
            found[method]["ours_better"] = {
                name: round(float((ours[name] < other).mean()), 3) for name, other in draws[method].items()
            }
        untouched = look(judge, real)[0]
        measured[family] = {
            "true": {
                "frechet": round(frechet(untouched, truth), 3), "kernel": round(kernel_distance(untouched, truth), 4)
            },
            **found,
        }  # fmt: skip
    return {
        "pictures": count,
        "families": measured,
        "class_edit": class_edit(engine, judge, val, rates, **settings),
    }


def _completed(
    engine: Engine, real: list[np.ndarray], masks: list[np.ndarray], method: str, title: str, **settings: Any
) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:
    """Every picture completed, the same pasted without a fade, and for the engine's methods the known pixels' error
    before the paste in dB."""
    made, hard, known = [], [], []
    pairs = zip(real, masks, strict=True)
    for n, (picture, mask) in enumerate(tqdm(pairs, desc=title, total=len(real), leave=False)):
        done, result = complete(engine, picture, mask, method, n, **settings)
        made.append(done)
        if result is not None:
            drawn, matched = _before_paste(engine, result, mask)
            error = np.square(drawn.astype(float) - picture)[~mask].mean()
            known.append(-10 * math.log10(max(error, 1e-9) / 255**2))
            done = np.where(mask[..., None], matched, picture)
        hard.append(done)
    return made, hard, known


def _mean_interval(values: np.ndarray) -> list[float]:
    return interval(bootstrap(len(values), lambda index: float(values[index].mean())))


def _figures(
    features: np.ndarray, truth: np.ndarray, made: list[np.ndarray], real: list[np.ndarray], masks: list[np.ndarray]
) -> tuple[dict, dict[str, np.ndarray]]:
    """Values with intervals, and the bootstrap draws; the seam's draws are distances from 1 in ratio."""

    def seam(index: np.ndarray) -> float:
        return seam_score([made[i] for i in index], [real[i] for i in index], [masks[i] for i in index])

    n, every = len(made), np.arange(len(made))
    draws = {
        "frechet": bootstrap(n, lambda index: frechet(features[index], truth)),
        "kernel": bootstrap(n, lambda index: kernel_distance(features[index], truth)),
        "seam": bootstrap(n, seam),
    }
    values = {"frechet": frechet(features, truth), "kernel": kernel_distance(features, truth), "seam": seam(every)}
    figures: dict = {name: round(value, 4) for name, value in values.items()}
    figures |= {f"{name}_interval": interval(draw) for name, draw in draws.items()}
    return figures, draws | {"seam": np.abs(np.log(draws["seam"].clip(1e-6)))}


def class_edit(engine: Engine, judge: Judge, val: Pictures, order: np.ndarray, **settings: Any) -> dict:
    """A box of half the area becomes another class of the same kind; how often the probe names that class in the
    edited crop, beside how often it names the right one in the same crops of untouched pictures."""
    side, rng = engine.resolution, np.random.default_rng(9)
    inner = round(side * math.sqrt(0.5) / 2)
    box = slice(side // 2 - inner, side // 2 + inner)
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[box, box] = 255
    crops, untouched, wanted = [], [], []
    for n, index in enumerate(tqdm(order, desc="class edits", leave=False)):
        own = val.class_names[val.labels[index]]
        others = [name for name in val.class_names if name != own and name.split("-")[0] == val.kind(index)]
        target = str(rng.choice(others or [name for name in val.class_names if name != own]))
        picture = val.centre(int(index), side)
        asked = requested(
            task="edit", image=Image.fromarray(picture), mask=Image.fromarray(mask), label=target, seed=n,
            context=8.0, **settings,
        )  # fmt: skip
        crops.append(np.asarray(engine.draw(*asked).image(0))[box, box])
        untouched.append(picture[box, box])
        wanted.append(val.class_names.index(target))
    named = look(judge, crops)[1].argmax(1) == np.array(wanted)
    real = look(judge, untouched)[1].argmax(1) == val.labels[order]
    return {
        "pictures": len(order),
        "named": round(float(named.mean()), 3),
        "named_interval": _mean_interval(named),
        "real": round(float(real.mean()), 3),
        "real_interval": _mean_interval(real),
    }


def order(engine: Engine, judge: Judge, val: Pictures, count: int, candidates: int = 4) -> dict:
    """Whether a candidate's scores say which one is good: distance to the true picture in the judge's features,
    centre boxes, of the first candidate and of the likeliest, relative to the mean of all; below 1 is better than
    chance."""
    side, found = engine.resolution, {"first": [], "likelihood": []}
    mask = Image.fromarray(mask_for("box", side, np.random.default_rng(0)).astype(np.uint8) * 255)
    chosen = np.random.default_rng(5).permutation(len(val))[:count]
    for n, index in enumerate(tqdm(chosen, desc="candidates", leave=False)):
        picture = val.centre(int(index), side)
        asked = Edit(task="inpaint", image=Image.fromarray(picture), mask=mask, context=8.0)
        result = engine.draw(asked, Chance(seed=n, candidates=candidates))
        features = look(judge, [picture, *(np.asarray(image) for image in result.images)])[0]
        distances = np.linalg.norm(features[1:] - features[0], axis=1)
        best = {"first": 0, "likelihood": np.argmax(result.likelihood)}
        for name, i in best.items():
            found[name].append(distances[int(i)] / distances.mean())
    out: dict = {"pictures": count, "candidates": candidates}
    for name, values in found.items():
        out |= {name: round(float(np.mean(values)), 3), f"{name}_interval": _mean_interval(np.array(values))}
    return out


def sheet(engine: Engine, out: Path) -> dict:
    """24 unselected edits of the model's own pictures, seeds 0 to 23: source with the mask tinted, and the result."""
    side, names, cells = engine.resolution, engine.class_names, []
    tasks = ("box", "strokes", "border", "class")
    for n in range(24):
        task, name = tasks[n % 4], names[n * len(names) // 24]
        source = np.asarray(_only(engine, label=name, seed=n))
        mask = mask_for("box" if task == "class" else task, side, np.random.default_rng(n))
        common = {"image": Image.fromarray(source), "mask": Image.fromarray(mask.astype(np.uint8) * 255), "seed": n}
        if task == "class":
            target = names[(names.index(name) + 1) % len(names)]
            made, text = _only(engine, task="edit", label=target, **common), f"{name} > {target}"
        else:
            made = _only(engine, task="inpaint", **common)
            text = f"{name}, {'outpaint' if task == 'border' else 'inpaint'}"
        tinted = np.where(mask[..., None], (source * 0.45 + np.array((255, 70, 120)) * 0.55).astype(np.uint8), source)
        cells.append((np.concatenate((tinted, np.asarray(made)), axis=1), text))
    width, height = 2 * side + 12, side + 22
    page = Image.new("RGB", (4 * width, 6 * height), "white")
    pen = ImageDraw.Draw(page)
    for n, (cell, text) in enumerate(cells):
        x, y = n % 4 * width, n // 4 * height
        page.paste(Image.fromarray(cell), (x, y))
        pen.text((x + 2, y + side + 3), text.replace("watercolour", "w."), fill=(60, 60, 60))
    save_png(page, out)
    return {"file": str(out), "edits": len(cells)}


def _only(engine: Engine, **settings: Any) -> Image.Image:
    return engine.draw(*requested(**settings)).image(0)
