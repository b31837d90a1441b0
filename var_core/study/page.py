"""The page of the study: its text is page.md, and every number in it comes from the CSV files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .laws import FIGURES, Points, SizeLaw, compute_law, joint_law, read_points, size_law
from .members import TITLES
from .scaling import APART, EQUAL, rows
from .training import COOLED
from .trunk import TOP_P, WIDTH

_PAPER = {"L_last": 0.23, "L_all": 0.20, "Err_last": 0.016, "Err_all": 0.010}  # exponents of its laws in N
Values = dict[str, object]

SHEET = "sheet.jpg"
_SHEET = f"""
![Unselected pictures of every member](study/{SHEET})

*Unselected, seeds 0 to 11, each member with its own best guidance; a column is a class, true pictures of it on top.*
"""


def number(value: float, digits: int = 3) -> str:
    """Plainly, with so many digits that count, thousands whole; a dash for what is none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.{digits}g}"


def table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def between(pair: np.ndarray) -> str:
    return f"{number(float(pair[0]))} to {number(float(pair[1]))}"


def runs_values(csv: Path) -> Values:
    found = rows(csv / "runs.csv")
    minutes, ends = sum(float(row["minutes"]) for row in found), {row["run"]: row for row in found}
    flop = sum(float(row["flop"]) * _own_share(run) for run, row in ends.items())
    return {"hours": number(minutes / 60, 2), "runs": len(ends), "flop": f"{flop:.1e}".replace("e+", "e")}


def _own_share(run: str) -> float:
    """Of a run's FLOP that are its own: a fall of the rate goes on from a level run."""
    return COOLED if run.startswith("scaling/") and not run.endswith("/level") else 1.0


def scaling_values(csv: Path) -> Values:
    points = read_points(csv)
    laws = {figure: size_law(points, figure) for figure in FIGURES}
    out = laws["L_all"].left_out
    return {
        **_grid(points), **_compute(points), **_joint(points), "laws": _laws(laws),
        "raw_correlation": f"{laws['L_all'].raw.correlation:.3f}", "by_law": number(out.by_power, 4),
        "by_line": number(out.by_line, 4), "measured": number(out.measured, 4),
        "law_miss": number(abs(out.by_power - out.measured), 2),
        "line_miss": number(abs(out.by_line - out.measured), 2),
    }  # fmt: skip


def _grid(points: Points) -> Values:
    lines, names = [], [*points.begun, EQUAL]
    for depth in sorted(set(points.depth.tolist())):
        own = {points.at[i]: i for i in np.flatnonzero(points.depth == depth)}
        losses = [number(points.values["L_all"][own[name]], 4) if name in own else "" for name in names]
        lines.append([str(depth), f"{points.n[next(iter(own.values()))] / 1e6:.2f} M", *losses])
    empty = any("" in line for line in lines)
    one = "one seed, so that what another would change is not known"
    return {
        "missing": "Where there is no figure, that size was not trained that far.\n\n" if empty else "",
        "sizes": len(lines), "width": WIDTH, "equal": EQUAL, "apart": f"{APART:.0%}", "points": len(points.at),
        "seeds": one if points.seeds == 1 else f"{points.seeds} seeds",
        "seen": number(points.seen[points.where(EQUAL)][0]), "flagged": int((np.abs(points.apart) > APART).sum()),
        "largest_gap": f"{points.apart[int(np.abs(points.apart).argmax())]:+.1%}",
        "grid": table(["depth", "N", *(f"{name} FLOP" for name in points.begun), EQUAL], lines),
    }  # fmt: skip


def _laws(laws: dict[str, SizeLaw]) -> str:
    lines = []
    for figure, law in laws.items():
        spans = ["", ""] if law.intervals is None else [f" ({between(law.intervals[:, i])})" for i in range(2)]
        lines.append([
            figure, number(law.power.limit) + spans[0], number(law.power.exponent) + spans[1],
            f"{law.reducible.correlation:.4f}", f"{number(law.raw.exponent)}, {law.raw.correlation:.4f}",
            f"{_PAPER[figure]:g}",
        ])  # fmt: skip
    head = ["", "limit", "exponent above it", "correlation above it", "raw: exponent, correlation", "paper's exponent"]
    return table(head, lines)


def _compute(points: Points) -> Values:
    law = compute_law(points)
    lines = [
        [name, f"{one.n / 1e6:.2f} M" + ("" if one.inside else " (at the edge)"), number(one.loss, 4)]
        for name, one in zip(points.budgets, law.valleys, strict=True)
    ]
    growth = "Fewer than two budgets have their best size inside the range, so that no growth can be told."
    if math.isfinite(law.growth):
        growth = f"The best size grows as C^{number(law.growth, 2)} ({between(law.interval)}); language models were "
        growth += "found near C^0.5."
    if law.frontier is not None:
        falls = number(law.frontier.limit), number(law.frontier.exponent, 2)
        growth += f" The losses of the best sizes fall towards {falls[0]} as C^-{falls[1]}."
    return {"valleys": table(["FLOP", "best N", "loss there"], lines), "growth": growth}


def _joint(points: Points) -> Values:
    found = joint_law(points)
    law = found.law
    parts = [
        number(law.limit),
        f"{number(law.a)} N^-{number(law.alpha, 2)}",
        f"{number(law.b)} D^-{number(law.beta, 2)}",
    ]
    return {"joint": " + ".join(parts), "joint_miss": number(found.error, 2)}


def scales_values(csv: Path) -> Values:
    who = {row["who"]: row for row in rows(csv / "scales.csv")}
    var, following = who["var"], who["next"]
    sides = [key.removeprefix("nats ") for key in var if key.startswith("nats ")]
    lines, paid = [], []
    for side in sides:
        a, b = (float(row[f"nats {side}"]) for row in (var, following))
        paid.append(int(side) ** 2 * (a - b))
        lines.append([f"{side}×{side}", number(a, 4), number(b, 4), f"{a - b:+.3f}"])
    bits = [float(row["bits"]) for row in (var, following)]
    most = sides[int(np.argmax(np.abs(paid)))]
    return {
        "costs": "costs" if bits[0] > bits[1] else "saves", "difference": number(abs(bits[0] - bits[1])),
        "var_bits": number(bits[0], 4), "next_bits": number(bits[1], 4), "most": f"{most}×{most}",
        "nats": table(["scale", TITLES["var"], TITLES["next"], "difference, nats a token"], lines),
    }  # fmt: skip


def peers_values(csv: Path) -> Values:
    members, figures = ({row["name"]: row for row in rows(csv / f"{name}.csv")} for name in ("members", "table"))
    seconds = {row["name"]: float(row["seconds"]) for row in rows(csv / "speed.csv")}
    floor = {row["alphabet"]: float(row["frechet"]) for row in rows(csv / "alphabets.csv")}
    lines = []
    for name, row in figures.items():
        about, low, high = members[name], float(row["frechet_low"]), float(row["frechet_high"])
        lines.append([
            TITLES[name], f"{float(about['flop']):.2e}", f"{float(about['parameters']) / 1e6:.2f} M",
            f"{number(float(row['frechet']))} ({number(low)} to {number(high)})", number(floor[about["alphabet"]]),
            number(float(row["kernel"])), f"{float(row['accuracy']):.0%}", f"{float(row['memorised']):.1%}",
            number(float(about["bits"]), 4) if about["bits"] else "-", number(seconds[name], 2),
            "yes" if int(about["anywhere"]) else "no", f"{float(row['guidance']):g}",
        ])  # fmt: skip
    head = [
        "", "training FLOP", "weights", "Frechet (95 %)", "its alphabet's", "kernel", "class right", "memorised",
        "bits a picture", "seconds", "holds pixels anywhere", "guidance",
    ]  # fmt: skip
    one = next(iter(figures.values()))
    flop = np.median([float(members[name]["flop"]) for name in figures])
    return {
        "members": len(figures), "flop": f"{flop:.0e}".replace("e+", "e"), "top_p": TOP_P, "samples": one["samples"],
        "table": table(head, lines), "verdict": _verdict(figures, seconds),
        "sheet": _SHEET if (csv / SHEET).exists() else "",
    }  # fmt: skip


def _verdict(figures: dict[str, dict[str, str]], seconds: dict[str, float]) -> str:
    """What VAR wins and loses, as far as the intervals are apart."""
    own, groups = figures["var"], {"wins": [], "loses": [], "alike": []}
    others = [name for name in figures if name != "var"]
    for name in others:
        verdict = "alike"
        if float(own["frechet_high"]) < float(figures[name]["frechet_low"]):
            verdict = "wins"
        if float(own["frechet_low"]) > float(figures[name]["frechet_high"]):
            verdict = "loses"
        groups[verdict].append(TITLES[name])
    words = {
        "wins": "VAR's pictures are nearer to the true ones than those of",
        "loses": "VAR's are further off than those of",
        "alike": "No difference can be told from",
    }  # fmt: skip
    said = [f"{words[kind]}: {'; '.join(names)}." for kind, names in groups.items() if names]
    times = [f"{TITLES[name]} {number(seconds[name] / seconds['var'], 2)}" for name in others]
    return " ".join([*said, f"Time for a picture, in times VAR's: {'; '.join(times)}."])


def editing_values(csv: Path) -> Values:
    found = rows(csv / "editing.csv")
    families, methods = (list(dict.fromkeys(row[key] for row in found)) for key in ("family", "method"))
    cells = {(row["method"], row["family"]): float(row["frechet"]) for row in found}
    lines = [[m, *(number(cells[m, f]) if (m, f) in cells else "" for f in families)] for m in methods]
    drawn = [method for method in methods if method != "telea"]
    means = {m: np.mean([cells[m, f] for f in families if (m, f) in cells]) for m in drawn}
    return {
        "pictures": found[0]["pictures"], "families": len(families), "first": min(means, key=lambda m: means[m]),
        "table": table(["", *families], lines),
    }  # fmt: skip


_PARTS: dict[str, tuple[tuple[str, ...], Callable[[Path], Values]]] = {
    "runs": (("runs",), runs_values),
    "scaling": (("scaling", "pictures"), scaling_values),
    "scales": (("scales", "members"), scales_values),
    "peers": (("members", "table", "speed", "alphabets"), peers_values),
    "editing": (("editing",), editing_values),
}


def page(csv: Path) -> str:
    """The whole text; parts whose tables are not there yet are left out. ValueError where there are none."""
    first, *parts = Path(__file__).with_name("page.md").read_text(encoding="utf-8").split("<!-- ")
    texts = dict(part.split(" -->\n", 1) for part in parts)
    written = [first]
    for name, (tables, values) in _PARTS.items():
        if all((csv / f"{each}.csv").exists() for each in tables):
            written.append(texts[name].format(**values(csv)))
    if len(written) == 1:
        raise ValueError(f"there are no tables at {csv}: run python -m var_core.study scaling and peers first")
    return "\n".join(written)
