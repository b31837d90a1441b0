"""The study's figures, as PNG and SVG. matplotlib is for development only (requirements-dev.txt)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from .laws import ComputeLaw, Points, SizeLaw
from .members import TITLES
from .scaling import EQUAL, rows

_COLOURS = ("#31688e", "#d1495b", "#3a9d5d", "#e6a117", "#7b4fa3", "#6b6b6b")


def _plots() -> Any:
    """pyplot without a screen. ValueError where matplotlib is not installed."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError as error:
        raise ValueError("figures need matplotlib: pip install -r requirements-dev.txt") from error
    matplotlib.use("Agg")
    matplotlib.rcParams.update({
        "svg.hashsalt": "study", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False,
        "figure.constrained_layout.use": True,
    })  # fmt: skip
    return importlib.import_module("matplotlib.pyplot")


def _save(figure: Any, out: Path, name: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{name}.png", dpi=150)
    figure.savefig(out / f"{name}.svg", metadata={"Date": None})
    _plots().close(figure)


def _sizes(axes: Any, n: np.ndarray) -> None:
    """The measured sizes as ticks of a logarithmic axis."""
    axes.set(xscale="log", xlabel="N, weights of block matrices and head")
    axes.set_xticks(n, [f"{value / 1e6:.2g} M" for value in n])
    axes.minorticks_off()


def _round_ticks(axis: Any, low: float, high: float) -> None:
    """1, 2, 5, 10 ... on a logarithmic axis, in plain numbers."""
    steps = [digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 3, 5, 7)]
    ticks = [step for step in steps if low / 1.5 <= step <= high * 1.5]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def size_figure(points: Points, laws: dict[str, SizeLaw], out: Path) -> None:
    """Losses against N with the law and the raw line; beside it what is left above the limit."""
    figure, (left, right) = _plots().subplots(1, 2, figsize=(9, 3.6))
    where = points.where(EQUAL)
    n = points.n[where]
    fine = np.geomspace(n.min() / 1.2, n.max() * 1.6, 100)
    for name, colour in zip(("L_last", "L_all"), _COLOURS, strict=False):
        law, values = laws[name], points.values[name][where]
        left.plot(n, values, "o", color=colour, label=f"{name.replace('_', ' ')}, measured")
        left.plot(fine, law.power.at(fine), color=colour, label="law with a limit")
        left.plot(fine, law.raw.at(fine), color=colour, ls=":", label="line on raw losses")
        right.plot(n, values - law.power.limit, "o", color=colour)
        said = f"{name.replace('_', ' ')}, exponent {law.reducible.exponent:.2f}"
        right.plot(fine, law.reducible.at(fine), color=colour, label=said)
    left.set(ylabel="validation loss, nats a token")
    right.set(yscale="log", ylabel="loss above the fitted limit")
    above = points.values["L_all"][where] - laws["L_all"].power.limit
    _round_ticks(right.yaxis, float(above.min()), float(above.max()))
    for axes in (left, right):
        _sizes(axes, n)
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    _save(figure, out, "size")


def compute_figure(points: Points, law: ComputeLaw, out: Path) -> None:
    """Losses against FLOP for every size, and the parabolas of equal FLOP."""
    figure, (left, right) = _plots().subplots(1, 2, figsize=(9, 3.6))
    loss = points.values["L_all"]
    for depth, colour in zip(sorted(set(points.depth)), _COLOURS, strict=False):
        own = np.flatnonzero(points.depth == depth)
        own = own[np.argsort(points.flop[own])]
        left.plot(points.flop[own], loss[own], "o-", ms=4, color=colour, label=f"depth {depth}")
    if law.frontier is not None:
        fine = np.geomspace(law.flop.min() / 1.3, law.flop.max() * 1.3, 60)
        left.plot(fine, law.frontier.at(fine), "k--", lw=1, label="best size at each budget")
    left.set(xscale="log", xlabel="training FLOP", ylabel="validation loss, nats a token")
    left.set_xticks([float(name) for name in points.begun], points.begun)
    left.minorticks_off()
    left.legend(fontsize=8)
    for name, found, colour in zip(points.budgets, law.valleys, _COLOURS, strict=False):
        where = points.where(name)
        x, y = np.log(points.n[where]), loss[where]
        across = np.linspace(x.min(), x.max(), 60)
        right.plot(np.exp(x), y, "o", ms=4, color=colour, label=f"{name} FLOP")
        right.plot(np.exp(across), np.polyval(np.polyfit(x, y, 2), across), color=colour, lw=1)
        right.plot(found.n, found.loss, "v" if found.inside else "x", color=colour, ms=8)
    _sizes(right, np.unique(points.n))
    right.set(ylabel="validation loss, nats a token")
    right.legend(fontsize=8)
    _save(figure, out, "compute")


def scales_figure(sides: list[str], var: list[float], following: list[float], out: Path) -> None:
    """Nats a token of every scale, drawn at once and one after another."""
    figure, axes = _plots().subplots(figsize=(6, 3.4))
    x = np.arange(len(sides))
    axes.bar(x - 0.2, var, 0.4, color=_COLOURS[0], label=TITLES["var"])
    axes.bar(x + 0.2, following, 0.4, color=_COLOURS[1], label=TITLES["next"])
    axes.set_xticks(x, [f"{side}×{side}" for side in sides])
    axes.set(ylabel="validation loss, nats a token")
    axes.legend(fontsize=8)
    _save(figure, out, "scales")


def peers_figure(csv: Path, out: Path) -> None:
    """Frechet distance against seconds a picture."""
    figure, axes = _plots().subplots(figsize=(6, 3.8))
    seconds = {row["name"]: float(row["seconds"]) for row in rows(csv / "speed.csv")}
    shown = [row for row in rows(csv / "table.csv") if row["name"] in seconds]
    for row, colour in zip(shown, _COLOURS, strict=False):
        x, y = seconds[row["name"]], float(row["frechet"])
        low, high = (abs(y - float(row[f"frechet_{end}"])) for end in ("low", "high"))
        axes.errorbar(x, y, [[low], [high]], fmt="o", color=colour)
        axes.annotate(TITLES[row["name"]], (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8, color=colour)
    axes.set(xscale="log", xlabel="seconds a picture, batch 1", ylabel="Frechet distance (lower is better)")
    axes.margins(x=0.3)
    _round_ticks(axes.xaxis, min(seconds.values()), max(seconds.values()))
    _save(figure, out, "peers")


def editing_figure(csv: Path, out: Path) -> None:
    """Frechet distance of completed pictures, by family of masks and method."""
    found = rows(csv / "editing.csv")
    families = list(dict.fromkeys(row["family"] for row in found))
    methods = list(dict.fromkeys(row["method"] for row in found))
    figure, axes = _plots().subplots(figsize=(8, 3.6))
    width = 0.8 / len(methods)
    for i, (method, colour) in enumerate(zip(methods, _COLOURS, strict=False)):
        values = {row["family"]: float(row["frechet"]) for row in found if row["method"] == method}
        place = np.arange(len(families)) + (i - (len(methods) - 1) / 2) * width
        axes.bar(place, [values.get(family, 0.0) for family in families], width, color=colour, label=method)
    axes.set_xticks(np.arange(len(families)), families)
    axes.set(ylabel="Frechet distance (lower is better)")
    axes.legend(fontsize=8, ncols=3)
    _save(figure, out, "editing")
