"""The page, its figures and the tables that it is made of, put where the repository keeps them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..train.run import Log
from .figures import compute_figure, editing_figure, peers_figure, scales_figure, size_figure
from .laws import FIGURES, compute_law, read_points, size_law
from .page import SHEET, page
from .scaling import rows

TABLES = (
    "runs", "rates", "scaling", "pictures", "scales", "peer-rates", "members", "guidance", "table", "alphabets",
    "speed", "editing",
)  # fmt: skip


def gather_runs(out: Path) -> None:
    """The logs of all training runs under `out` as one table, out/csv/runs.csv; where there are none, it stays."""
    found = [log for part in ("scaling", "peers") for log in sorted((out / part).rglob("log.csv"))]
    path = out / "csv" / "runs.csv"
    if found:
        path.unlink(missing_ok=True)
    for log in found:
        for row in rows(log):
            Log(path).write({"run": log.parent.relative_to(out).as_posix(), **row})


def report(csv: Path, docs: Path) -> list[Path]:
    """Copy the tables and the contact sheet to docs/study, draw the figures there and write docs/study.md; returns what
    was written."""
    text, out = page(csv), docs / "study"
    out.mkdir(parents=True, exist_ok=True)
    for name in (*(f"{name}.csv" for name in TABLES), SHEET):
        source, target = csv / name, out / name
        if source.exists() and source.resolve() != target.resolve():
            shutil.copyfile(source, target)
    _draw(out)
    (docs / "study.md").write_text(text, encoding="utf-8")
    return [docs / "study.md", *sorted(out.iterdir())]


def _draw(out: Path) -> None:
    if rows(out / "scaling.csv"):
        points = read_points(out)
        size_figure(points, {figure: size_law(points, figure) for figure in FIGURES}, out)
        compute_figure(points, compute_law(points), out)
    who = {row["who"]: row for row in rows(out / "scales.csv")}
    if {"var", "next"} <= who.keys():
        sides = [key.removeprefix("nats ") for key in who["var"] if key.startswith("nats ")]
        var, following = ([float(who[name][f"nats {side}"]) for side in sides] for name in ("var", "next"))
        scales_figure(sides, var, following, out)
    if rows(out / "table.csv") and rows(out / "speed.csv"):
        peers_figure(out, out)
    if rows(out / "editing.csv"):
        editing_figure(out, out)


def check(docs: Path) -> None:
    """ValueError with the first line of docs/study.md that is not what the tables in docs/study say."""
    written = (docs / "study.md").read_text(encoding="utf-8").splitlines()
    for number, (has, should) in enumerate(
        zip([*written, ""], [*page(docs / "study").splitlines(), ""], strict=False), 1
    ):
        if has != should:
            raise ValueError(f"line {number} of study.md is {has[:80]!r}, but the tables say {should[:80]!r}")
