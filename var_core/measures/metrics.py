"""Distances and scores, on numpy arrays alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np


def psnr(made: np.ndarray, real: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures; 99 where they are equal."""
    error = np.square(made.astype(np.float64) - real.astype(np.float64)).mean()
    return 99.0 if error == 0 else 10 * math.log10(255**2 / error)


def ssim(made: np.ndarray, real: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) on luma: 11 x 11 Gaussian, sigma 1.5, uint8 pictures (H, W, 3)."""
    x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (made, real))

    def blur(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float((top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of Gaussians fitted to features (n, d) and (m, d) (Heusel et al. 2017). It grows as
    n shrinks: compare equal numbers only."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al. 2018); about zero,
    and as often negative, for two draws of one distribution."""
    n, m, d = len(a), len(b), a.shape[1]

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / d + 1) ** 3

    aa, bb = kernel(a, a), kernel(b, b)
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * kernel(a, b).mean())


def border_jumps(picture: np.ndarray, mask: np.ndarray) -> tuple[float, int]:
    """Sum of absolute differences between neighbours on the two sides of a mask's border, and their number.

    picture (H, W, 3) uint8, mask (H, W) bool.
    """
    values = picture.astype(np.float64).mean(2)
    total, count = 0.0, 0
    for axis in (0, 1):
        crossing = np.diff(mask.astype(np.int8), axis=axis) != 0
        total += float(np.abs(np.diff(values, axis=axis))[crossing].sum())
        count += int(crossing.sum())
    return total, count


def seam_score(made: list[np.ndarray], real: list[np.ndarray], masks: list[np.ndarray]) -> float:
    """Jump across the mask's border relative to the same border in the untouched pictures; 1 is perfect."""
    jumps = [border_jumps(picture, mask)[0] for picture, mask in zip(made, masks, strict=True)]
    usual = [border_jumps(picture, mask)[0] for picture, mask in zip(real, masks, strict=True)]
    return sum(jumps) / max(sum(usual), 1e-9)


def bootstrap(n: int, figure: Callable[[np.ndarray], float], rounds: int = 200, seed: int = 0) -> np.ndarray:
    """(rounds,) values that `figure` of range(n) might have had: half-samples without replacement, moved so that their
    mean is the whole's value (McCarthy 1969). Half of n spreads about the whole as the whole does about the truth;
    drawing with replacement would count a picture against itself and bias distances of distributions upward. Equal
    seeds draw equal halves, so that methods on the same pictures can be compared in pairs."""
    rng = np.random.default_rng(seed)
    draws = np.array([figure(rng.permutation(n)[: n // 2]) for _ in range(rounds)])
    return draws + (figure(np.arange(n)) - draws.mean())


def interval(values: np.ndarray) -> list[float]:
    """The middle 95 % of bootstrap values."""
    return [round(float(v), 4) for v in np.percentile(values, [2.5, 97.5])]
