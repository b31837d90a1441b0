"""Infilling of ordinary photographs at the model's resolution: ours against Telea and PatchMatch on the same crops."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from ..engine import Engine
from ..files.images import open_image
from ..measures.judge import principal_axes
from ..measures.lite import Lite, lite_features
from ..measures.metrics import bootstrap, frechet, interval
from ..pictures.data import picture_files
from ..request import requested
from .edits import mask_for

FAMILIES = ("box", "strokes", "half", "border")
ZOOMS = (1, 2, 4)  # sides of the windows, in sides of the model's square
_GREY = 50  # grey crops that must stay grey
Fill = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # picture (H, W, 3) uint8, hole (H, W) bool, seed


def photo_crops(place: Path, size: int, each: int) -> list[np.ndarray]:
    """`each` random windows of every zoom from every photograph, (size, size, 3) uint8, the same ones every time."""
    crops = []
    for number, (_, read) in enumerate(picture_files(place)):
        photo, rng = np.asarray(open_image(read()).image), np.random.default_rng(number)
        for zoom in ZOOMS:
            side = min(zoom * size, *photo.shape[:2])
            for _ in range(each):
                top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
                window = Image.fromarray(photo[top : top + side, left : left + side])
                crops.append(np.asarray(window.resize((size, size), Image.Resampling.LANCZOS)))
    if not crops:
        raise ValueError(f"{place} holds no photographs")
    return crops


def ours(engine: Engine) -> Fill:
    def fill(picture: np.ndarray, hole: np.ndarray, seed: int) -> np.ndarray:
        mask = Image.fromarray(hole.astype(np.uint8) * 255)
        edit, chance = requested(task="inpaint", image=Image.fromarray(picture), mask=mask, seed=seed, context=8.0)
        return np.asarray(engine.draw(edit, chance).image(0))

    return fill


def telea(picture: np.ndarray, hole: np.ndarray, seed: int) -> np.ndarray:
    return cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)


def patchmatch() -> Fill:
    """ValueError where pypatchmatch is not installed."""
    try:
        library = importlib.import_module("patchmatch").patch_match
    except (ImportError, AttributeError) as error:
        raise ValueError("this needs pypatchmatch: pip install -r requirements-dev.txt") from error

    def fill(picture: np.ndarray, hole: np.ndarray, seed: int) -> np.ndarray:
        library.set_random_seed(seed)
        made = library.inpaint(np.ascontiguousarray(picture), hole, patch_size=3)
        return np.where(hole[..., None], made, picture)

    return fill


def chroma(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) distance from grey in CIELAB."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.hypot(lab[..., 1], lab[..., 2])


def infill(engine: Engine, place: Path, each: int = 2, families: tuple[str, ...] = FAMILIES) -> dict:
    """Per family and method: Frechet distance of completed to true crops, mean distance of each completed crop to its
    own true one (both in 64 principal parts of lite2's features of the true crops), mean error inside the hole in
    grey levels; 95 % intervals over crops; what ours is of the others'. And what ours adds in colour to grey crops."""
    size, lite = engine.resolution, Lite(2)
    real = photo_crops(place, size, each)
    features = lite_features(lite, real)
    axes = principal_axes(features)
    truth = features @ axes
    fills: dict[str, Fill] = {"ours": ours(engine), "telea": telea, "patchmatch": patchmatch()}
    found: dict = {"crops": len(real), "families": {}}
    for family in families:
        rng = np.random.default_rng(200 + FAMILIES.index(family))
        holes = [mask_for(family, size, rng) for _ in real]
        of = {name: _figures(lite, axes, truth, real, holes, fill, f"{family} {name}") for name, fill in fills.items()}
        for other in ("telea", "patchmatch"):
            of["ours"] |= {f"{name}_of_{other}": _share(of, other, name) for name in ("frechet", "own_distance")}
        found["families"][family] = of
    return found | {"grey": _grey(fills["ours"], real, size)}


def _share(of: dict[str, dict], other: str, name: str) -> float:
    """What ours is of another method's."""
    return round(of["ours"][name] / max(of[other][name], 1e-9), 3)


def _figures(
    lite: Lite, axes: np.ndarray, truth: np.ndarray, real: list[np.ndarray], holes: list[np.ndarray], fill: Fill,
    words: str,
) -> dict:  # fmt: skip
    pairs = enumerate(tqdm(zip(real, holes, strict=True), desc=words, total=len(real), leave=False))
    made = [fill(picture, hole, n) for n, (picture, hole) in pairs]
    features = lite_features(lite, made) @ axes
    own = np.linalg.norm(features - truth, axis=1)
    errors = [np.abs(a.astype(float) - b)[hole].mean() for a, b, hole in zip(made, real, holes, strict=True)]
    draws = bootstrap(len(real), lambda index: frechet(features[index], truth[index]))
    return {
        "frechet": round(frechet(features, truth), 3), "frechet_interval": interval(draws),
        "own_distance": round(float(own.mean()), 3), "error": round(float(np.mean(errors)), 2),
    }  # fmt: skip


def _grey(fill: Fill, real: list[np.ndarray], size: int) -> dict:
    """Mean chroma inside the hole of grey crops, whose own is 0."""
    order = np.random.default_rng(7).permutation(len(real))[:_GREY]
    hole, added = mask_for("box", size, np.random.default_rng(0)), []
    for n, index in enumerate(order):
        grey = np.repeat(cv2.cvtColor(real[index], cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        added.append(chroma(fill(grey, hole, n))[hole].mean())
    return {"crops": len(added), "chroma": round(float(np.mean(added)), 2)}
