"""Distances and scores agree with known values, and tell good from bad."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import scenery

from var_core.measures.metrics import bootstrap, frechet, interval, kernel_distance, psnr, seam_score, ssim


def test_known_values() -> None:
    picture = np.asarray(scenery(64, 64))
    assert psnr(picture, picture) == 99 and ssim(picture, picture) == pytest.approx(1)
    off = np.full((64, 64, 3), 100, dtype=np.uint8)
    assert psnr(off, off + 10) == pytest.approx(10 * math.log10(255**2 / 100))
    noisy = (picture.astype(int) + np.random.default_rng(0).integers(-40, 41, picture.shape)).clip(0, 255)
    assert psnr(noisy.astype(np.uint8), picture) < 30 and ssim(noisy.astype(np.uint8), picture) < 0.9


def test_frechet_is_the_closed_form_for_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40_000, 3)) * [1.0, 2.0, 0.5] + [0.0, 1.0, 0.0]
    b = rng.standard_normal((40_000, 3)) * [2.0, 2.0, 1.5] + [1.0, -1.0, 0.0]
    exact = 1 + 4 + (1 - 2) ** 2 + 0 + (0.5 - 1.5) ** 2
    assert frechet(a, b) == pytest.approx(exact, rel=0.03) and frechet(a, a) == pytest.approx(0, abs=1e-8)


def test_kernel_distance_is_unbiased() -> None:
    rng = np.random.default_rng(1)
    same = [kernel_distance(rng.standard_normal((60, 8)), rng.standard_normal((60, 8))) for _ in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / math.sqrt(60) and min(same) < 0
    assert kernel_distance(rng.standard_normal((60, 8)), rng.standard_normal((60, 8)) + 1) > 10 * np.std(same)


def test_seams() -> None:
    picture = np.asarray(scenery(64, 64))
    mask = np.zeros((64, 64), dtype=bool)
    mask[16:48, 16:48] = True
    pasted = picture.copy()
    pasted[mask] = (255, 0, 255)
    assert seam_score([picture], [picture], [mask]) == 1
    assert seam_score([pasted], [picture], [mask]) > 1.3


def test_a_bootstrap_interval_covers_the_mean() -> None:
    covered = 0
    for seed in range(100):
        values = np.random.default_rng(seed).standard_normal(80)
        low, high = interval(bootstrap(80, lambda index, values=values: float(values[index].mean())))
        covered += low <= 0 <= high
    assert 88 <= covered <= 100


def test_an_interval_of_a_distance_holds_its_value_and_is_not_drawn_to_copies() -> None:
    """Draws with replacement would put all of the interval above the value."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((100, 16)), rng.standard_normal((500, 16))
    for distance in (frechet, kernel_distance):
        low, high = interval(bootstrap(100, lambda index, distance=distance: distance(a[index], b)))
        assert low < distance(a, b) < high
