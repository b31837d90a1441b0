"""The grid of sizes and budgets: what a point is, and that cuts change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from study_small import GRID, run_scaling

from var_core.study import __main__ as command
from var_core.study.members import TITLES, build
from var_core.study.report import gather_runs
from var_core.study.scaling import EQUAL, Grid, budget_name, choose_rates, points, rows, scaling
from var_core.study.tokens import Cache, Data
from var_core.study.training import Choices, Course, Deadline, Machine, cool_from, foretell, summary, train
from var_core.train.run import Log

CPU = Machine(torch.device("cpu"))


@pytest.fixture(scope="module")
def done(tokens: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_scaling(tokens, tmp_path_factory.mktemp("scaling"))


def test_every_size_has_every_point(tokens: Cache, done: Path) -> None:
    found = rows(done / "csv" / "scaling.csv")
    names = {budget_name(flop) for flop in GRID.budgets} | {EQUAL}
    wanted = {(str(d), name, weights) for d in GRID.depths for name in names for weights in ("ema", "raw")}
    assert {(row["depth"], row["at"], row["weights"]) for row in found} == wanted and len(found) == len(wanted)
    for row in found:
        if row["at"] != EQUAL:
            assert float(row["flop"]) == pytest.approx(float(row["at"]), rel=0.2)
        assert int(row["pictures"]) == int(row["steps"]) * GRID.batch
        assert 0 < float(row["L_all"]) < 4 and 0 <= float(row["Err_last"]) <= 1
        gap = float(row["L_all"]) / float(row["train_L_all"]) - 1
        assert float(row["apart"]) == pytest.approx(gap, abs=1e-3) and int(row["flagged"]) == (abs(gap) > 0.02)
    equal = {row["pictures"] for row in found if row["at"] == EQUAL}
    assert len(equal) == 1, "every size has seen as many pictures there"


def test_pictures_make_up_the_points(done: Path) -> None:
    points_of = {(r["depth"], r["at"]): r for r in rows(done / "csv" / "scaling.csv") if r["weights"] == "ema"}
    for row in rows(done / "csv" / "pictures.csv"):
        values = [float(value) for key, value in row.items() if key.isdigit()]
        assert np.mean(values) == pytest.approx(float(points_of[row["depth"], row["at"]][row["figure"]]), rel=1e-3)


def test_a_cut_grid_equals_an_uncut_one(tokens: Cache, done: Path, tmp_path: Path) -> None:
    for begun in (2, 4, 7):  # in a rate's run, in a level run, in a fall
        assert not scaling(tokens, tmp_path, CPU, Soon(begun), grid=GRID)
    assert scaling(tokens, tmp_path, CPU, Deadline(None), grid=GRID)
    for name in ("rates", "scaling", "pictures", "scales"):
        assert (tmp_path / "csv" / f"{name}.csv").read_text() == (done / "csv" / f"{name}.csv").read_text(), name


def test_every_run_is_on_record(tokens: Cache, done: Path) -> None:
    gather_runs(done)
    table = rows(done / "csv" / "runs.csv")
    names = {row["run"] for row in table}
    assert {"scaling/depth-1-seed-0/level", f"scaling/depth-1-seed-0/{EQUAL}"} <= names
    for row in table:
        pictures = int(row["pictures"])
        assert pictures == int(row["step"]) * GRID.batch
        assert int(row["tokens"]) == pictures * tokens.words.ten.scales.total
        assert float(row["flop"]) > 0 and float(row["loss"]) > 0 and 0 < float(row["minutes"]) < 60
    gather_runs(done)
    assert rows(done / "csv" / "runs.csv") == table, "a second time replaces the first"


def test_a_record_without_its_runs_stays(tmp_path: Path) -> None:
    Log(tmp_path / "csv" / "runs.csv").write({"run": "peers/var", "step": 5})
    gather_runs(tmp_path)
    assert rows(tmp_path / "csv" / "runs.csv") == [{"run": "peers/var", "step": "5"}]


def test_a_pause_is_no_work(tokens: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, random = [0.0], Data.random

    def slept(*args: object) -> object:
        clock[0] += 3600 if clock[0] == 120 else 60  # an hour in the third step
        return random(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Data, "random", slept)
    monkeypatch.setattr("var_core.study.training.time.monotonic", lambda: clock[0])
    member = build("var", 1, tokens)
    train(member, tokens, Choices(rate=1e-3), tmp_path, CPU, Deadline(None), course=(1, 9, 9), until=5)
    minutes = [float(row["minutes"]) for row in rows(tmp_path / "log.csv")]
    assert sum(minutes) == pytest.approx(5)


class Soon(Deadline):
    """Over after some runs were begun: those get a piece so short that they are cut."""

    def __init__(self, count: int) -> None:
        super().__init__(None)
        self.count = count

    @property
    def left(self) -> float:
        self.count -= 1
        return 1e3 if self.count > 0 else 1e-4


def test_a_point_is_the_end_of_a_run_of_its_own(tokens: Cache, done: Path, tmp_path: Path) -> None:
    depth, name = GRID.depths[0], budget_name(GRID.budgets[1])
    stops = points(GRID, depth, tokens)
    rate = choose_rates(rows(done / "csv" / "rates.csv"), GRID)[depth]
    warmup = max(1, min(stops.values()) // 10)
    run, there = train(
        build("var", depth, tokens), tokens, Choices(rate=rate, batch=GRID.batch), tmp_path, CPU, Deadline(None),
        course=(warmup, cool_from(stops[name]), stops[name]), until=stops[name],
    )  # fmt: skip
    found = summary(foretell(run.averaged, tokens, tokens.val, CPU.device), slice(*tokens.words.ten.scales.spans[-1]))
    told = rows(done / "csv" / "scaling.csv")
    row = next(r for r in told if (r["depth"], r["at"], r["weights"]) == (str(depth), name, "ema"))
    assert there and found["L_all"] == pytest.approx(float(row["L_all"]), rel=1e-4)


def test_rates_are_chosen_at_the_ends_and_lie_between() -> None:
    grid = Grid(depths=(1, 2, 3))
    tried = [
        {"depth": str(depth), "rate": str(rate), "L_all": str(loss)}
        for depth, losses in ((1, (5.0, 4.0, 6.0)), (3, (4.5, 4.6, 4.7)))
        for rate, loss in zip((1e-3, 4e-3, 9e-3), losses, strict=True)
    ]
    chosen = choose_rates(tried, grid)
    assert chosen[1] == pytest.approx(4e-3) and chosen[3] == pytest.approx(1e-3) and 1e-3 < chosen[2] < 4e-3
    with pytest.raises(ValueError, match="no rates were tried at depth 3"):
        choose_rates(tried[:3], grid)


def test_the_rate_is_level_then_falls() -> None:
    course = Course(peak_rate=1.0, warmup=10, clip=1.0, decay=0.9, cool_from=80, end=100)
    assert [course.rate(step, 0.0) for step in (4, 9, 80)] == [0.5, 1.0, 1.0]
    assert course.rate(90, 0.0) == pytest.approx(0.51) and course.rate(100, 0.0) == pytest.approx(0.02)
    assert cool_from(100) == 80 and cool_from(2) == 1


def test_train_is_scaling_and_peers(tokens: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    monkeypatch.setattr(command, "open_tokens", lambda place: tokens)
    monkeypatch.setattr(command, "scaling", lambda *given: begun.append(given[-1]) or True)
    monkeypatch.setattr(command.peers, "train_peers", lambda *given: begun.append(given[2]))
    grid = ["--depths", "2", "4", "--budgets", "1e9", "3e9", "--batch", "3"]
    assert command.main(["scaling", "--out", str(tmp_path), *grid]) == 0
    assert command.main(["train", "--out", str(tmp_path), *grid]) == 0
    assert begun == [Grid(depths=(2, 4), budgets=(1e9, 3e9), batch=3)] * 2 + [list(TITLES)]
