"""Removal at photo resolution: ours with and without detail against Telea, Navier-Stokes and PatchMatch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from ..engine import Engine
from ..files.images import open_image, save_png
from ..measures.judge import principal_axes
from ..measures.lite import Lite, lite_features
from ..measures.metrics import bootstrap, frechet, interval, kernel_distance, seam_score
from ..pictures.sources import picture_files
from ..request import Box, requested
from .infill import patchmatch

FAMILIES = ("ellipse", "blob", "strokes", "border")
_LEAST, _MOST = 200, 800  # pixels of a window's side
_RESULTS = 24  # of a sheet
_TINT = np.array((255, 0, 100))
Made = tuple[np.ndarray, float]  # a window and the seconds it took


@dataclass(frozen=True)
class Case:
    """A window `box` of a photo, twice as large as what is masked in it: `mask` (side, side) bool."""

    photo: np.ndarray
    family: str
    box: Box
    mask: np.ndarray
    seed: int

    @property
    def window(self) -> np.ndarray:
        return np.ascontiguousarray(self.photo[self.box[1] : self.box[3], self.box[0] : self.box[2]])


def hole(family: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) bool: an ellipse, a blob or some strokes in the middle half, or a border at one side, a fifth to a
    third as wide."""
    mask, middle, reach = np.zeros((side, side), np.uint8), side / 2, side / 4
    if family == "ellipse":
        axes = int(reach), int(reach * rng.uniform(0.45, 1))
        cv2.ellipse(mask, (int(middle), int(middle)), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    elif family == "blob":
        angle = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        radius = np.ones_like(angle)
        for k in range(2, 6):
            radius += rng.normal(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 2 * math.pi))
        radius *= reach / radius.max()
        points = middle + radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1)
        cv2.fillPoly(mask, [points.astype(np.int32)], 1)
    elif family == "strokes":
        for _ in range(int(rng.integers(2, 4))):
            points = rng.integers(int(side * 0.26), int(side * 0.74), (int(rng.integers(2, 4)), 2)).astype(np.int32)
            cv2.polylines(mask, [points], False, 1, max(4, int(side * rng.uniform(0.04, 0.1))))
    else:
        mask[:, : int(side * rng.uniform(0.2, 0.35))] = 1
        mask = np.rot90(mask, int(rng.integers(4)))
    return np.ascontiguousarray(mask).astype(bool)


def cases(place: Path, count: int, seed: int) -> list[Case]:
    """Seeded cases, photos and families in turn. ValueError where no photo is large enough."""
    photos = [np.asarray(open_image(read()).image) for _, read in picture_files(place)]
    photos = [photo for photo in photos if min(photo.shape[:2]) >= _LEAST]
    if not photos:
        raise ValueError(f"{place} holds no photographs of {_LEAST} pixels or more")
    rng, order, found = np.random.default_rng(1000 + seed), [], []
    while len(order) < count:
        order += rng.permutation(len(photos)).tolist()
    for number, index in enumerate(order[:count]):
        photo, family = photos[index], FAMILIES[number % len(FAMILIES)]
        height, width = photo.shape[:2]
        side = min(int(math.exp(rng.uniform(math.log(_LEAST), math.log(_MOST)))), height, width)
        x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        found.append(Case(photo, family, (x, y, x + side, y + side), hole(family, side, rng), number))
    return found


def ours(engine: Engine, detail: bool) -> Callable[[Case], np.ndarray]:
    """The whole photo is given and what is masked in the window is painted; a border is added by outpainting to what
    is known of the window."""

    def fill(case: Case) -> np.ndarray:
        left, top, right, bottom = case.box
        if case.family == "border":
            known = np.nonzero(~case.mask.all(axis=0))[0], np.nonzero(~case.mask.all(axis=1))[0]
            (x, x_end), (y, y_end) = ((int(each[0]), int(each[-1]) + 1) for each in known)
            inner = Image.fromarray(case.window[y:y_end, x:x_end])
            side = len(case.mask)
            amounts = {"left": x, "top": y, "right": side - x_end, "bottom": side - y_end}
            asked = requested(task="outpaint", image=inner, seed=case.seed, detail=detail, **amounts)
            return np.asarray(engine.draw(*asked).image(0))
        mask = np.zeros(case.photo.shape[:2], np.uint8)
        mask[top:bottom, left:right] = case.mask * np.uint8(255)
        pictures = {"image": Image.fromarray(case.photo), "mask": Image.fromarray(mask)}
        result = engine.draw(*requested(task="inpaint", seed=case.seed, detail=detail, **pictures))
        return np.asarray(result.image(0).crop(case.box))

    return fill


def methods(engine: Engine) -> dict[str, Callable[[Case], np.ndarray]]:
    """By name; ValueError where PatchMatch is not installed."""
    peer = patchmatch()

    def classical(flag: int) -> Callable[[Case], np.ndarray]:
        return lambda case: cv2.inpaint(case.window, case.mask.astype(np.uint8), 3, flag)

    return {
        "ours": ours(engine, True), "without detail": ours(engine, False), "telea": classical(cv2.INPAINT_TELEA),
        "navier-stokes": classical(cv2.INPAINT_NS), "patchmatch": lambda case: peer(case.window, case.mask, case.seed),
    }  # fmt: skip


def sharpness(picture: np.ndarray, mask: np.ndarray) -> float:
    """The mean size of the Laplacian inside a mask, away from its border."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[inner if inner.any() else mask].mean())


def photo(engine: Engine, place: Path, count: int, seed: int, out: Path | None) -> dict:
    """Every method on the same cases: Frechet and kernel distance of all windows to the true ones, mean distance of
    each to its own true one (lite2 features of whole windows at full resolution, Frechet and own in the 64 directions
    in which the true ones vary most), median sharpness inside the mask against the true photo's, the seam, median
    seconds; 95 % intervals over half-samples, and in which share of them ours is nearer. `out`: a contact sheet."""
    fills, every, lite = methods(engine), cases(place, count, seed), Lite(2)
    real = [case.window for case in every]
    features = _features(lite, real)
    axes = principal_axes(features)
    found, draws, sheet = {}, {}, {}
    for name, fill in fills.items():
        made, seconds = [], []
        for case in tqdm(every, desc=name, leave=False):
            began = time.perf_counter()
            made.append(fill(case))
            seconds.append(time.perf_counter() - began)
        found[name], draws[name] = _figures(_features(lite, made), features, axes, made, every)
        found[name]["seconds"] = round(float(np.median(seconds)), 2)
        sheet[name] = made
    for name in found:
        if name != "ours":
            nearer = {each: float((draws["ours"][each] <= draws[name][each]).mean()) for each in ("frechet", "own")}
            found[name]["ours_nearer"] = {each: round(value, 3) for each, value in nearer.items()}
    if out is not None:
        save_png(contact_sheet(every, sheet), out)
    return {"cases": len(every), "seed": seed, "methods": found}


def _features(lite: Lite, pictures: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([lite_features(lite, [picture]) for picture in pictures])  # each at its own size


def _figures(
    features: np.ndarray, truth: np.ndarray, axes: np.ndarray, made: list[np.ndarray], every: list[Case]
) -> tuple[dict, dict[str, np.ndarray]]:
    """Values with intervals, and the half-samples' values."""
    a, b = features @ axes, truth @ axes
    own = np.linalg.norm(a - b, axis=1)
    ratio = np.array([
        sharpness(picture, case.mask) / max(sharpness(case.window, case.mask), 0.05)
        for picture, case in zip(made, every, strict=True)
    ])  # fmt: skip

    def seam(index: np.ndarray) -> float:
        some = [every[i] for i in index]
        return seam_score([made[i] for i in index], [case.window for case in some], [case.mask for case in some])

    figures: dict[str, Callable[[np.ndarray], float]] = {
        "frechet": lambda index: frechet(a[index], b[index]),
        "kernel": lambda index: kernel_distance(features[index], truth[index]),
        "own": lambda index: float(own[index].mean()),
        "sharpness": lambda index: float(np.median(ratio[index])),
    }
    draws = {name: bootstrap(len(every), figure) for name, figure in figures.items()}
    whole = np.arange(len(every))
    values: dict = {name: round(figure(whole), 4) for name, figure in figures.items()}
    values |= {f"{name}_interval": interval(draw) for name, draw in draws.items()}
    values["sharpness_spread"] = [round(float(v), 2) for v in np.percentile(ratio, [10, 90])]
    return values | {"seam": round(seam(whole), 3)}, draws


def photo_sheet(engine: Engine, place: Path, out: Path, seed: int = 0) -> dict:
    """Unselected results at 100 %, the first cases of a seed: the mask and what became of it, cut to a square around
    its middle."""
    every, side, gap, columns = cases(place, _RESULTS, seed), 288, 6, 4
    fill, rows = ours(engine, True), -(-_RESULTS // columns)
    page = Image.new("RGB", (columns * (2 * side + 3 * gap), rows * (side + gap)), "white")
    for number, case in enumerate(tqdm(every, desc="results", leave=False)):
        y, x = (
            int(np.clip(int(at.mean()) - side // 2, 0, max(len(case.mask) - side, 0))) for at in case.mask.nonzero()
        )
        across, down = number % columns * (2 * side + 3 * gap), number // columns * (side + gap)
        for picture in (_tinted(case), fill(case)):
            page.paste(Image.fromarray(picture[y : y + side, x : x + side]), (across, down))
            across += side + gap
    page.save(out, quality=88)
    return {"file": str(out), "results": len(every)}


def _tinted(case: Case) -> np.ndarray:
    return np.where(case.mask[..., None], case.window * 0.45 + _TINT * 0.55, case.window).astype(np.uint8)


def contact_sheet(every: list[Case], made: dict[str, list[np.ndarray]], most: int = 24, gap: int = 4) -> Image.Image:
    """The first cases at 100 %, one a row: the mask, the truth, every method."""
    some = every[:most]
    width = max(len(case.mask) for case in some) + gap
    page = Image.new("RGB", (width * (len(made) + 2), sum(len(case.mask) + 16 for case in some)), "white")
    pen, top = ImageDraw.Draw(page), 0
    for number, case in enumerate(some):
        row = {case.family: _tinted(case), "true": case.window} | {
            name: pictures[number] for name, pictures in made.items()
        }
        for column, (name, picture) in enumerate(row.items()):
            pen.text((column * width + 2, top + 1), name, fill=(60, 60, 60))
            page.paste(Image.fromarray(picture), (column * width, top + 14))
        top += len(case.mask) + 16
    return page
