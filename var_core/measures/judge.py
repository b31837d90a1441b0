"""What judges pictures of one data set: lite2's features in the directions in which real pictures vary most, and a
linear probe on them that names classes. Nothing here was a training loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pictures.data import Pictures
from .lite import Lite, lite_features
from .metrics import frechet

PARTS = 64  # directions: with fewer pictures than dimensions the whole covariance says little
_MOST = 4000  # pictures that it is fitted to
_RIDGE = 0.1  # of the features' mean variance


@dataclass(frozen=True)
class Judge:
    """`axes` (1280, parts) and a probe's `weights` (1280, classes), both on features less their `mean`."""

    lite: Lite
    mean: np.ndarray
    axes: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    class_names: tuple[str, ...]
    side: int


def principal_axes(features: np.ndarray, parts: int = PARTS) -> np.ndarray:
    """(n, d) -> (d, parts): the directions of the largest variance, fewer where there are fewer features."""
    return np.linalg.svd(features - features.mean(0), full_matrices=False)[2][:parts].T


def principal_frechet(real: np.ndarray, made: np.ndarray, parts: int = PARTS) -> float:
    """Frechet distance of features (n, d) in the principal parts of the real ones. Compare equal numbers only."""
    axes = principal_axes(real, parts)
    return frechet(made @ axes, real @ axes)


def fit_judge(pictures: Pictures, side: int, limit: int = _MOST) -> Judge:
    """A judge fitted to the centre squares of at most `limit` pictures, each class counting the same."""
    order = np.sort(np.random.default_rng(0).permutation(len(pictures))[:limit])
    lite, labels = Lite(2), pictures.labels[order]
    features = lite_features(lite, [pictures.centre(int(i), side) for i in order])
    mean, classes = features.mean(0), len(pictures.class_names)
    weight = 1 / np.bincount(labels, minlength=classes)[labels]
    centred, target = features - mean, np.eye(classes)[labels]
    share = (weight[:, None] * target).sum(0) / weight.sum()
    left = (centred * weight[:, None]).T @ centred / weight.sum()
    left += _RIDGE * np.trace(left) / len(left) * np.eye(len(left))
    right = (centred * weight[:, None]).T @ (target - share) / weight.sum()
    return Judge(lite, mean, principal_axes(features), np.linalg.solve(left, right), share, pictures.class_names, side)


def look(judge: Judge, pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Square uint8 pictures (H, W, 3) of one size -> features (n, parts) and scores (n, classes)."""
    features = lite_features(judge.lite, pictures) - judge.mean
    return features @ judge.axes, features @ judge.weights + judge.bias


def accuracy(judge: Judge, pictures: Pictures) -> dict[str, float]:
    """Share of pictures (centre squares) named right: over all, and by the first word of the class."""
    right = look(judge, [pictures.centre(i, judge.side) for i in range(len(pictures))])[1].argmax(1) == pictures.labels
    kinds = np.array([pictures.kind(i) for i in range(len(pictures))])
    figures = {"accuracy": float(right.mean())}
    return figures | {f"accuracy {kind}": float(right[kinds == kind].mean()) for kind in sorted(set(kinds.tolist()))}
