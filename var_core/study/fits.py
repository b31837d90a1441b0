"""Laws through a few points: L = L_inf + (n / n0)^-alpha, lines in logarithms, a law in size and data together,
parabolas at equal FLOP, and how far each is to be trusted. Numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_EXPONENTS = np.geomspace(0.005, 3.0, 240)


@dataclass(frozen=True)
class Power:
    """L = limit + (n / scale)^-exponent."""

    limit: float
    scale: float
    exponent: float

    def at(self, n: float | np.ndarray) -> np.ndarray:
        return self.limit + (np.asarray(n, float) / self.scale) ** -self.exponent


@dataclass(frozen=True)
class Line:
    """log L = -exponent * log(n / scale), and the correlation of the logarithms."""

    scale: float
    exponent: float
    correlation: float

    def at(self, n: float | np.ndarray) -> np.ndarray:
        return (np.asarray(n, float) / self.scale) ** -self.exponent


@dataclass(frozen=True)
class Joint:
    """L = limit + a / N^alpha + b / D^beta (Hoffmann et al. 2022, approach 3), D in pictures."""

    limit: float
    a: float
    alpha: float
    b: float
    beta: float

    def at(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return self.limit + self.a * np.asarray(n, float) ** -self.alpha + self.b * np.asarray(d, float) ** -self.beta


@dataclass(frozen=True)
class Valley:
    """The bottom of a parabola in log N. `inside`: it opens upward and its bottom lies among the measured sizes."""

    n: float
    loss: float
    inside: bool


def power(n: np.ndarray, loss: np.ndarray) -> Power:
    """Least squares in L, with a limit and a factor of at least 0. For a given exponent the other two are linear."""

    def tried(exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = (n / n[0])[None] ** -exponents[:, None]  # (e, n)
        mean_x, mean_l = x.mean(1, keepdims=True), loss.mean()
        factor = ((x - mean_x) * (loss - mean_l)).sum(1) / np.square(x - mean_x).sum(1).clip(1e-300)
        limit = mean_l - factor * mean_x[:, 0]
        through = (x * loss).sum(1) / np.square(x).sum(1)
        below = limit < 0
        factor, limit = np.where(below, through, factor), np.where(below, 0.0, limit)
        error = np.square(limit[:, None] + factor[:, None] * x - loss).sum(1)
        return np.where(factor > 0, error, np.inf), limit, factor

    exponents = _EXPONENTS
    for _ in range(4):  # finer and finer about the best
        error, limit, factor = tried(exponents)
        best = int(error.argmin())
        if not np.isfinite(error[best]):  # it rises: nothing falls here
            return Power(float(loss.mean()), float(n[0]), 0.0)
        a, b = max(0, best - 1), min(len(exponents) - 1, best + 1)
        found = Power(float(limit[best]), float(n[0] * factor[best] ** (1 / exponents[best])), float(exponents[best]))
        exponents = np.linspace(exponents[a], exponents[b], 60)
    return found


def line(n: np.ndarray, loss: np.ndarray) -> Line:
    """Through the logarithms. Losses must be above 0."""
    x, y = np.log(n), np.log(loss)
    slope, cut = np.polyfit(x, y, 1)
    correlation = float(np.corrcoef(x, y)[0, 1]) if y.std() > 0 else 0.0
    scale = float(np.exp(-cut / slope)) if slope else float("nan")
    return Line(scale, float(-slope), correlation)


def reducible(n: np.ndarray, loss: np.ndarray) -> Line:
    """The line through L - L_inf, with the limit of `power`: its correlation is what the paper reports."""
    left = loss - power(n, loss).limit
    return line(n, left.clip(1e-9))


def joint(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> Joint:
    """Least squares in L over a grid of both exponents, refined; the other three are linear and at least 0."""
    alphas = betas = np.geomspace(0.02, 2.0, 40)
    n0, d0 = float(n[0]), float(d[0])
    n, d = n / n0, d / d0
    best = (np.inf, Joint(float(loss.mean()), 0.0, 1.0, 0.0, 1.0))
    for _ in range(4):
        for alpha in alphas:
            for beta in betas:
                design = np.stack((np.ones_like(n), n**-alpha, d**-beta), 1)
                found = _least(design, loss)
                error = float(np.square(design @ found - loss).sum())
                if error < best[0]:
                    best = error, Joint(float(found[0]), float(found[1]), float(alpha), float(found[2]), float(beta))
        middle = best[1]
        width = (alphas[1] / alphas[0]) ** 1.5
        alphas = np.geomspace(middle.alpha / width, middle.alpha * width, 9)
        betas = np.geomspace(middle.beta / width, middle.beta * width, 9)
    law = best[1]
    return Joint(law.limit, law.a * n0**law.alpha, law.alpha, law.b * d0**law.beta, law.beta)


def _least(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least squares with no coefficient below 0: what would be is left out, the most negative first."""
    kept = list(range(design.shape[1]))
    while kept:
        found = np.linalg.lstsq(design[:, kept], values, rcond=None)[0]
        if found.min() >= 0:
            break
        kept.pop(int(found.argmin()))
    out = np.zeros(design.shape[1])
    if kept:
        out[kept] = found
    return out


def valley(n: np.ndarray, loss: np.ndarray) -> Valley:
    """Of a parabola through losses of equal FLOP over log N; where it has no bottom, the least measured point."""
    x = np.log(n)
    square, slope, cut = np.polyfit(x, loss, 2)
    if square > 0 and x.min() <= -slope / (2 * square) <= x.max():
        bottom = -slope / (2 * square)
        return Valley(float(np.exp(bottom)), float(cut + slope * bottom + square * bottom**2), True)
    best = int(loss.argmin())
    return Valley(float(n[best]), float(loss[best]), False)


@dataclass(frozen=True)
class LeftOut:
    """What the smaller sizes foretell of the largest."""

    measured: float
    by_power: float
    by_line: float


def left_out(n: np.ndarray, loss: np.ndarray) -> LeftOut:
    order = np.argsort(n)
    few, last = order[:-1], order[-1]
    return LeftOut(
        float(loss[last]), float(power(n[few], loss[few]).at(n[last])), float(line(n[few], loss[few]).at(n[last]))
    )


def bootstrap(
    values: list[list[np.ndarray]], figure: Callable[[np.ndarray], np.ndarray], rounds: int = 200, seed: int = 0
) -> np.ndarray:
    """(2, f): the middle 95 % of what `figure` (points -> f numbers) might have been. `values` holds for every point
    and seed the losses of the same pictures (p,): a round draws pictures, the same for all points, and for each point
    one of its seeds."""
    rng, drawn = np.random.default_rng(seed), []
    pictures = len(values[0][0])
    for _ in range(rounds):
        index = rng.integers(pictures, size=pictures)
        means = np.array([seeds[int(rng.integers(len(seeds)))][index].mean() for seeds in values])
        drawn.append(figure(means))
    return np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
