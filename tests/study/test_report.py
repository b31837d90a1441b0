"""The page says what the tables say, on tables drawn by code; and where the repository has a page, so does it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from var_core.study.__main__ import main
from var_core.study.figures import peers_figure
from var_core.study.laws import compute_law, joint_law, read_points, size_law
from var_core.study.members import TITLES
from var_core.study.page import number, page
from var_core.study.report import check, report
from var_core.study.scaling import BUDGETS, DEPTHS, EQUAL, budget_name
from var_core.train.run import Log

DOCS = Path(__file__).parents[2] / "assets" / "docs"
LIMIT, ALPHA, BETA = 4.5, 0.5, 0.45


def law(n: float, d: float) -> float:
    return LIMIT + 1.3 * (n / 5e5) ** -ALPHA + 1.1 * (d / 5e3) ** -BETA


def tables(csv: Path) -> Path:
    """What a whole study would leave, from a known law."""
    rng = np.random.default_rng(0)
    own = rng.normal(0, 0.4, 64)
    own -= own.mean()
    for depth in DEPTHS:
        n = 6912 * depth**3 + 24 * depth * 4096
        for name in (*(budget_name(flop) for flop in BUDGETS), EQUAL):
            seen = 4e4 if name == EQUAL else float(name) / (3 * 2 * 680 * n)
            flop = seen * 3 * 2 * 680 * n
            shifts = {"L_last": 0.4, "L_all": 0.0}
            values = {f: law(n, seen) + shift + own + rng.normal(0, 0.02, 64) for f, shift in shifts.items()}
            for figure, each in values.items():
                row = {"depth": depth, "at": name, "seed": 0, "figure": figure}
                Log(csv / "pictures.csv").write(row | {str(i): float(v) for i, v in enumerate(each)})
            mean = {figure: float(each.mean()) for figure, each in values.items()}
            errors = {"Err_last": 0.9 * (n / 1e6) ** -0.02, "Err_all": 0.85 * (n / 1e6) ** -0.01}
            Log(csv / "scaling.csv").write({
                "depth": depth, "N": n, "at": name, "seed": 0, "pictures": seen, "flop": flop, "weights": "ema",
                **mean, "bits": mean["L_all"] * 680 / math.log(2), **errors, "train_L_all": mean["L_all"] * 0.99,
                "apart": 0.03 if depth == 3 and name == "2e14" else 0.01,
            })  # fmt: skip
    for run in ("scaling/depth-3-seed-0/level", "scaling/depth-3-seed-0/2e13", "peers/var"):
        for step in (50, 100):
            Log(csv / "runs.csv").write({"run": run, "step": step, "flop": step * 1e12, "minutes": 90.0})
    for who, shift in (("var", 0.0), ("next", -0.2)):
        nats = {f"nats {side}": 6 - 1 / side + shift for side in (1, 2, 16)}
        Log(csv / "scales.csv").write({"who": who, "seed": 0, "bits": 5000 + 500 * shift} | nats)
    for i, name in enumerate(TITLES):
        kind = {"var": "ten", "next": "ten", "five": "five", "flow": "features"}.get(name, "flat")
        frechet = (20.0, 15.0, 40.0, 21.0, 30.0, 25.0)[i]
        ends = {"frechet": frechet, "frechet_low": frechet - 2, "frechet_high": frechet + 2, "kernel": 0.01 * i}
        Log(csv / "members.csv").write({
            "name": name, "alphabet": kind, "parameters": 2_000_000, "flop": 1.01e15, "anywhere": int(i % 2 == 0),
            "bits": "" if name == "flow" else 5000.0,
        })  # fmt: skip
        row = {"name": name, "guidance": 1.0, "samples": 515, **ends, "accuracy": 0.4, "memorised": 0.05}
        Log(csv / "table.csv").write(row)
        Log(csv / "speed.csv").write({"name": name, "seconds": 0.1 * (i + 1)})
    for kind in ("ten", "five", "flat", "features"):
        Log(csv / "alphabets.csv").write({"alphabet": kind, "frechet": 3.0})
    for family in ("box", "half"):
        for i, method in enumerate(("var", "var, evidence", "next", "telea")):
            Log(csv / "editing.csv").write({"family": family, "method": method, "pictures": 100, "frechet": 9.0 - i})
    return csv


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    docs = tmp_path_factory.mktemp("docs")
    report(tables(docs / "csv"), docs)
    return docs


def test_the_known_law_comes_back_from_the_tables(written: Path) -> None:
    points = read_points(written / "study")
    found = size_law(points, "L_all")
    assert found.power.exponent == pytest.approx(ALPHA, rel=0.2)
    assert found.power.limit == pytest.approx(LIMIT + 1.1 * 8**-BETA, abs=0.05)
    assert found.intervals is not None and found.intervals[0, 1] <= found.power.exponent <= found.intervals[1, 1]
    assert size_law(points, "Err_all").intervals is None
    assert found.left_out.by_power == pytest.approx(found.left_out.measured, abs=0.02)
    both = joint_law(points)
    assert both.law.alpha == pytest.approx(ALPHA, rel=0.1) and both.law.beta == pytest.approx(BETA, rel=0.1)
    assert both.error < 0.02
    compute = compute_law(points)
    assert sum(one.inside for one in compute.valleys) >= 2
    assert compute.growth == pytest.approx(BETA / (ALPHA + BETA), abs=0.15)
    assert compute.interval[0] <= compute.growth <= compute.interval[1]


def test_the_page_says_what_the_tables_say(written: Path) -> None:
    text = (written / "study.md").read_text()
    assert "{" not in text and "<!--" not in text and "nan" not in text
    assert "3 runs, 2.2e14 FLOP and 9 hours of training in all" in text, "a fall's are the fifth that is its own"
    assert "5 sizes of one shape" in text and "from training loss at 1 of 25 points (+3.0% at most)" in text
    assert "costs 100 bits a picture (5,000 against 4,900); most of the difference is at 16×16" in text
    said = (
        "VAR's pictures are nearer to the true ones than those of: next token, raster order; flow matching, 50 steps; "
    )
    assert f"{said}VAR, five scales." in text
    assert (
        "VAR's are further off than those of: next token, VAR's order. No difference can be told from: masked" in text
    )
    assert "Over all families next comes nearest" in text
    assert "contradict each other" in text, "the paper's own labels"
    names = {"size", "compute", "scales", "peers", "editing"}
    for name in names:
        assert f"](study/{name}.svg)" in text
        assert (written / "study" / f"{name}.png").stat().st_size > 5000
        assert "<svg" in (written / "study" / f"{name}.svg").read_text()


def test_a_changed_number_is_found_on_either_side(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    check(tmp_path)
    file = tmp_path / "study" / "speed.csv"
    file.write_text(file.read_text().replace("0.2", "0.7"))
    with pytest.raises(ValueError, match=r"line \d+ of study.md is .* but the tables say"):
        check(tmp_path)
    text = page(tmp_path / "study")
    (tmp_path / "study.md").write_text(text.replace("5,000", "5,001"))
    with pytest.raises(ValueError, match="tables say"):
        check(tmp_path)
    assert main(["report", "--check", "--docs", str(tmp_path)]) == 1


def without_the_last_budget(written: Path, out: Path, *depths: int) -> Path:
    """The tables of which these sizes have not reached it."""
    missing = tuple(f"{depth}," for depth in depths)
    for name in ("scaling", "pictures"):
        lines = (written / "study" / f"{name}.csv").read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(missing) or f",{budget_name(BUDGETS[-1])}," not in line]
        (out / f"{name}.csv").write_text("".join(kept))
    return out


def test_a_budget_that_all_sizes_but_one_have_reached_is_fitted(written: Path, tmp_path: Path) -> None:
    points = read_points(without_the_last_budget(written, tmp_path, DEPTHS[0]))
    assert points.budgets == points.begun and len(compute_law(points).valleys) == len(BUDGETS)
    assert "trained that far" in page(tmp_path) and "trained that far" not in page(written / "study")


def test_a_budget_that_few_sizes_have_reached_is_shown_and_not_fitted(written: Path, tmp_path: Path) -> None:
    points = read_points(without_the_last_budget(written, tmp_path, 3, 4))
    assert points.begun == [budget_name(flop) for flop in BUDGETS] and points.budgets == points.begun[:-1]
    law = compute_law(points)
    assert len(law.valleys) == len(BUDGETS) - 1 and law.frontier is None
    text = page(tmp_path)
    assert f"{points.begun[-1]} FLOP | equal |" in text and "The losses of the best sizes" not in text
    report(tmp_path, tmp_path / "docs")
    assert (tmp_path / "docs" / "study" / "compute.png").stat().st_size > 5000


def test_parts_without_tables_are_left_out(written: Path, tmp_path: Path) -> None:
    for name in ("scaling", "pictures"):
        (tmp_path / f"{name}.csv").write_bytes((written / "study" / f"{name}.csv").read_bytes())
    text = page(tmp_path)
    assert "## Size and compute" in text and "## Peers" not in text and "## Editing" not in text
    with pytest.raises(ValueError, match="there are no tables at"):
        page(tmp_path / "nowhere")


def test_figures_are_the_same_bytes_every_time(written: Path, tmp_path: Path) -> None:
    peers_figure(written / "study", tmp_path)
    assert (tmp_path / "peers.svg").read_bytes() == (written / "study" / "peers.svg").read_bytes()


def test_the_contact_sheet_is_on_the_page_where_there_is_one(tmp_path: Path) -> None:
    csv = tables(tmp_path / "csv")
    report(csv, tmp_path / "bare")
    assert "sheet" not in (tmp_path / "bare" / "study.md").read_text()
    Image.new("RGB", (40, 30), "red").save(csv / "sheet.jpg")
    report(csv, tmp_path / "docs")
    assert "](study/sheet.jpg)" in (tmp_path / "docs" / "study.md").read_text()
    assert Image.open(tmp_path / "docs" / "study" / "sheet.jpg").size == (40, 30)
    check(tmp_path / "docs")


def test_too_few_sizes_are_no_law(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="laws need 4 sizes at least"):
        read_points(tmp_path)


def test_the_repositorys_page_holds() -> None:
    pages = list(DOCS.glob("study.md"))
    for _ in pages:
        check(DOCS)
    assert bool(pages) == (DOCS / "study").exists(), "page and tables come together"


def test_numbers_are_plain() -> None:
    assert [number(v) for v in (0.01234, 5.678, 43210, 1e9, math.nan)] == ["0.0123", "5.68", "43,210", "1e+09", "-"]
    assert number(5.678, 2) == "5.7"


def test_what_is_missing_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scaling", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: there are no whole tokens at {tmp_path}")
    assert main(["peers", "measure", "--out", str(tmp_path)]) == 1
    assert "give --data as for the tokens" in capsys.readouterr().err
    assert main(["peers", "train", "gan", "--out", str(tmp_path)]) == 1
    assert 'no member "gan"' in capsys.readouterr().err
