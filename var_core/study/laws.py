"""What the rows of the runs say together: laws of size and compute with their intervals, the largest size foretold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .fits import Joint, LeftOut, Line, Power, Valley, bootstrap, joint, left_out, line, power, reducible, valley
from .scaling import EQUAL, rows

FIGURES = ("L_last", "L_all", "Err_last", "Err_all")
_NEEDED = 4  # points of which a law of three numbers says anything


@dataclass(frozen=True)
class Points:
    """Averaged weights; each figure the mean over seeds. `pictures` holds the losses of every measured picture, per
    point a list of seeds, for L_last and L_all."""

    depth: np.ndarray
    n: np.ndarray
    at: list[str]
    seen: np.ndarray  # pictures of training
    flop: np.ndarray
    values: dict[str, np.ndarray]
    apart: np.ndarray
    seeds: int
    pictures: dict[str, list[list[np.ndarray]]]

    def where(self, at: str) -> np.ndarray:
        """Places of one point of every size, small to large."""
        found = np.array([i for i, name in enumerate(self.at) if name == at], dtype=int)
        return found[np.argsort(self.n[found])]

    @property
    def begun(self) -> list[str]:
        """Budgets that some size has reached, small to large."""
        return sorted({name for name in self.at if name != EQUAL}, key=float)

    @property
    def budgets(self) -> list[str]:
        """Those that as many sizes have reached as a parabola needs to say anything."""
        return [name for name in self.begun if len(self.where(name)) >= _NEEDED]


def read_points(csv: Path) -> Points:
    """ValueError where there are too few sizes."""
    latest = {(r["depth"], r["at"], r["seed"]): r for r in rows(csv / "scaling.csv") if r["weights"] == "ema"}
    keys = sorted({key[:2] for key in latest}, key=lambda key: (int(key[0]), key[1]))
    groups = [[row for key, row in latest.items() if key[:2] == wanted] for wanted in keys]
    if sum(key[1] == EQUAL for key in keys) < _NEEDED:
        raise ValueError(f"laws need {_NEEDED} sizes at least: run python -m var_core.study scaling to its end")

    def mean(name: str) -> np.ndarray:
        return np.array([np.mean([float(row[name]) for row in group]) for group in groups])

    each = {(r["depth"], r["at"], r["seed"], r["figure"]): r for r in rows(csv / "pictures.csv")}
    pictures: dict[str, list[list[np.ndarray]]] = {"L_last": [], "L_all": []}
    for figure, lists in pictures.items():
        for depth, at in keys:
            own = [row for key, row in each.items() if (key[0], key[1], key[3]) == (depth, at, figure)]
            lists.append([np.array([float(v) for k, v in row.items() if k.isdigit()]) for row in own])
    return Points(
        np.array([int(key[0]) for key in keys]), mean("N"), [key[1] for key in keys], mean("pictures"), mean("flop"),
        {figure: mean(figure) for figure in (*FIGURES, "bits", "train_L_all")}, mean("apart"),
        max(len(group) for group in groups), pictures,
    )  # fmt: skip


@dataclass(frozen=True)
class SizeLaw:
    """One figure against N where all sizes have seen as much. `intervals`: 95 % of limit, exponent and the exponent of
    the raw line; none for errors, which are not kept picture by picture."""

    power: Power
    raw: Line
    reducible: Line
    left_out: LeftOut
    intervals: np.ndarray | None  # (2, 3)


def size_law(points: Points, figure: str) -> SizeLaw:
    where = points.where(EQUAL)
    n, values, intervals = points.n[where], points.values[figure][where], None

    def fitted(means: np.ndarray) -> np.ndarray:
        law = power(n, means)
        return np.array([law.limit, law.exponent, line(n, means).exponent])

    if figure in points.pictures:
        intervals = bootstrap([points.pictures[figure][i] for i in where], fitted)
    return SizeLaw(power(n, values), line(n, values), reducible(n, values), left_out(n, values), intervals)


@dataclass(frozen=True)
class ComputeLaw:
    """Over budgets: the bottom of each parabola of L_all in log N; over those whose bottom lies inside, the law of
    their losses in C (None with fewer than four, which three numbers would fit whatever they were), and that of their
    sizes, N_opt = k C^`growth`, with its `interval` (nan with fewer than two)."""

    flop: np.ndarray
    valleys: list[Valley]
    frontier: Power | None
    growth: float
    interval: np.ndarray


def compute_law(points: Points) -> ComputeLaw:
    groups = [points.where(name) for name in points.budgets]
    flop = np.array([float(name) for name in points.budgets])
    valleys = [valley(points.n[where], points.values["L_all"][where]) for where in groups]

    def growth(found: list[Valley]) -> float:
        inside = [i for i, one in enumerate(found) if one.inside]
        if len(inside) < 2:
            return float("nan")
        return float(np.polyfit(np.log(flop[inside]), np.log([found[i].n for i in inside]), 1)[0])

    flat = np.concatenate(groups)
    cuts = np.cumsum([len(where) for where in groups])[:-1]

    def drawn(means: np.ndarray) -> np.ndarray:
        parts = np.split(means, cuts)
        found = [valley(points.n[where], part) for where, part in zip(groups, parts, strict=True)]
        return np.array([growth(found)])

    draws = bootstrap([points.pictures["L_all"][i] for i in flat], drawn)[:, 0]
    bottoms = [(c, one.loss) for c, one in zip(flop, valleys, strict=True) if one.inside]
    frontier = power(*np.array(bottoms).T) if len(bottoms) >= _NEEDED else None
    return ComputeLaw(flop, valleys, frontier, growth(valleys), draws)


@dataclass(frozen=True)
class JointLaw:
    """In size and data over all points, and what it foretells of the largest size when that is left out."""

    law: Joint
    measured: np.ndarray
    foretold: np.ndarray

    @property
    def error(self) -> float:
        """Largest distance in nats."""
        return float(np.abs(self.measured - self.foretold).max())


def joint_law(points: Points) -> JointLaw:
    loss, largest = points.values["L_all"], points.depth == points.depth.max()
    few = joint(points.n[~largest], points.seen[~largest], loss[~largest])
    foretold = few.at(points.n[largest], points.seen[largest])
    return JointLaw(joint(points.n, points.seen, loss), loss[largest], foretold)
