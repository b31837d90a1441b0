"""Are samples what they are meant to be, do they look like the data, and are they new?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..engine import Engine
from ..files.images import save_png
from ..measures.judge import Judge, accuracy, look
from ..measures.metrics import bootstrap, frechet, interval, kernel_distance
from ..pictures.data import Pictures
from ..request import requested

_BATCH = 8


def draw(engine: Engine, class_name: str, count: int, seed: int, **settings) -> list[np.ndarray]:
    """`count` uncurated pictures of one class, (H, W, 3) uint8, at the model's own settings unless others are given."""
    pictures: list[np.ndarray] = []
    while len(pictures) < count:
        some = min(_BATCH, count - len(pictures))
        asked = requested(label=class_name, seed=seed + len(pictures), candidates=some, **settings)
        result = engine.draw(*asked)
        pictures += [np.asarray(image) for image in result.images]
    return pictures


def generate(engine: Engine, judge: Judge, train: Pictures, val: Pictures, out: Path | None, **settings) -> dict:
    """One sample for every validation picture, of its class.

    Class accuracy beside that on the real pictures; Frechet and kernel distances on the judge's features
    between halves (samples against real, and real against real: equal numbers, the mean of five splits);
    memorisation: the share of samples nearer to a training picture than nineteen in twenty real validation
    pictures are. `out`: a picture of samples beside their nearest training pictures.
    """
    labels = val.labels
    made: list[np.ndarray] = [np.empty(0)] * len(labels)
    for label in tqdm(np.unique(labels), desc="classes", leave=False):
        places = np.flatnonzero(labels == label)
        drawn = draw(engine, val.class_names[label], len(places), 1000, **settings)
        for place, picture in zip(places, drawn, strict=True):
            made[place] = picture
    side = engine.resolution
    real = [val.centre(i, side) for i in range(len(val))]
    made_features, logits = look(judge, made)
    real_features, _ = look(judge, real)
    right = logits.argmax(1) == labels
    known = accuracy(judge, val)
    halves: dict[str, list[float]] = {"frechet": [], "frechet_real": [], "kernel": [], "kernel_real": []}
    for split in range(5):
        order = np.random.default_rng(split).permutation(len(labels))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        for name, distance in (("frechet", frechet), ("kernel", kernel_distance)):
            halves[name].append(distance(made_features[first], real_features[second]))
            halves[f"{name}_real"].append(distance(real_features[first], real_features[second]))
    train_features = look(judge, [train.centre(i, judge.side) for i in range(len(train))])[0]
    distances = {name: _nearest(f, train_features) for name, f in (("made", made_features), ("real", real_features))}
    near = np.percentile(distances["real"][0], 5)
    if out is not None:
        _neighbours(made, train, distances["made"][1], side, out)
    figures = {name: round(float(np.mean(values)), 4) for name, values in halves.items()}
    kinds = np.array([val.kind(i) for i in range(len(val))])
    return {
        "samples": len(made),
        "accuracy": round(float(right.mean()), 3),
        "accuracy_interval": interval(bootstrap(len(right), lambda index: float(right[index].mean()))),
        "accuracy_real": round(known["accuracy"], 3),
        "accuracy_ratio": round(float(right.mean()) / known["accuracy"], 3),
        "by_kind": {
            kind: {"made": round(float(right[kinds == kind].mean()), 3), "real": round(known[f"accuracy {kind}"], 3)}
            for kind in sorted(set(kinds.tolist()))
        },
        **figures,
        "frechet_ratio": round(figures["frechet"] / max(figures["frechet_real"], 1e-9), 2),
        "memorised": round(float((distances["made"][0] < near).mean()), 3),
        "memorised_expected": 0.05,
    }


def _nearest(queries: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to, and index of, the nearest key of each query."""
    squares = np.square(queries).sum(1)[:, None] + np.square(keys).sum(1) - 2 * queries @ keys.T
    index = squares.argmin(1)
    return np.sqrt(squares[np.arange(len(queries)), index].clip(0)), index


def _neighbours(made: list[np.ndarray], train: Pictures, index: np.ndarray, side: int, out: Path) -> None:
    """24 samples, each above its nearest training picture."""
    chosen = np.random.default_rng(0).permutation(len(made))[:24]
    rows = []
    for at in range(0, len(chosen), 12):
        part = chosen[at : at + 12]
        rows += [np.concatenate([made[i] for i in part], axis=1)]
        rows += [np.concatenate([train.centre(int(index[i]), side) for i in part], axis=1)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    save_png(Image.fromarray(np.concatenate(rows)), out)
