"""The judge sees what differs: distances grow with damage, classes that look different are told apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from shapes import folder

from var_core.measures.judge import accuracy, fit_judge, look, principal_frechet
from var_core.measures.lite import Lite, lite_features
from var_core.measures.metrics import frechet
from var_core.pictures.data import load_pictures


def test_the_folded_network_names_what_the_published_one_would() -> None:
    lite = Lite(0)
    maps = lite.maps(torch.zeros(1, 3, 128, 128))
    assert [tuple(part.shape[1:]) for part in maps] == [
        (16, 64, 64), (24, 32, 32), (40, 16, 16), (112, 8, 8), (320, 4, 4)
    ]  # fmt: skip
    assert lite.pooled(torch.zeros(1, 3, 128, 128)).shape == (1, 1280)
    assert not any(p.requires_grad for p in lite.parameters())


def test_damage_shows(tmp_path: Path) -> None:
    place = folder(tmp_path, ("disc", "box"), 80)
    pictures = load_pictures(place, "train", 32)
    judge = fit_judge(pictures, 32)
    real = [pictures.centre(i, 32) for i in range(len(pictures))]
    blurred = [cv2.GaussianBlur(picture, (7, 7), 2) for picture in real]
    faint = [cv2.GaussianBlur(picture, (3, 3), 0.5) for picture in real]
    truth = look(judge, real)[0]
    assert (
        frechet(truth, truth) < 1e-6 < frechet(look(judge, faint)[0], truth) < frechet(look(judge, blurred)[0], truth)
    )
    features = lite_features(judge.lite, real)
    assert (
        principal_frechet(features, features) < 1e-6 < principal_frechet(features, lite_features(judge.lite, blurred))
    )


def test_classes_are_told_apart(tmp_path: Path) -> None:
    place = folder(tmp_path, ("disc", "box"), 60)
    judge = fit_judge(load_pictures(place, "train", 32), 32)
    found = accuracy(judge, load_pictures(place, "val", 32))
    assert found["accuracy"] > 0.8 and set(found) == {"accuracy", "accuracy disc", "accuracy box"}
    assert np.isfinite(judge.weights).all() and judge.weights.shape == (1280, 2)
