"""What every training run goes by: its length, its descent, its average, and going on as if it had never been cut."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from var_core.train.run import (
    Clock,
    Descent,
    Length,
    Log,
    Run,
    averaged,
    learning_rate,
    level_rate,
    load_state,
    save_state,
)
from var_core.train.workers import Workers


def test_the_rate_grows_in_and_falls_along_a_cosine() -> None:
    assert [learning_rate(2.0, step, 0.0, 4) for step in (0, 1, 3, 9)] == pytest.approx([0.5, 1.0, 2.0, 2.0])
    assert learning_rate(1.0, 500, 0.5) == pytest.approx(0.505) and learning_rate(1.0, 500, 1.0) == pytest.approx(0.01)
    assert learning_rate(1.0, 500, 1 / 3) == pytest.approx(0.01 + 0.99 * 0.75)
    assert learning_rate(1.0, 99, 0.0) == pytest.approx(0.5)  # of 200 steps


def test_the_rate_is_level_until_the_last_part() -> None:
    rates = [level_rate(1.0, 1000, progress, 100, 0.25) for progress in (0.0, 0.7, 0.875, 1.0)]
    assert rates[0] == rates[1] == 1.0 and 0.5 < rates[2] < 0.52 and abs(rates[3] - 0.02) < 1e-9
    assert level_rate(1.0, 49, 0.0, 100, 0.25) == 0.5


def test_the_average_moves_by_a_decay_that_grows_in() -> None:
    module = nn.BatchNorm1d(2)
    average = averaged(module, 0.25)
    assert not average.module.training and not any(p.requires_grad for p in average.module.parameters())
    expected = 0.0
    for step, value in enumerate((3.0, 7.0, -5.0, 11.0)):
        with torch.no_grad():
            module.weight.fill_(value)
            module.running_mean.fill_(10 * value)  # type: ignore[union-attr]
        average.update_parameters(module)
        decay = (0.0, 2 / 11, 0.25, 0.25)[step]  # the first weights as they are; 3/12 and more are capped
        expected = decay * expected + (1 - decay) * value
        assert average.module.weight.tolist() == pytest.approx([expected] * 2)
    assert average.module.running_mean.tolist() == [110.0, 110.0]  # measured, not learned: as it is


@pytest.mark.parametrize(
    "length",
    [{}, {"steps": 3, "minutes": 1.0}, {"steps": 0}, {"steps": -1}, {"minutes": 0.0}, {"minutes": math.nan}],
)
def test_a_run_has_one_length(length: dict) -> None:
    with pytest.raises(ValueError, match="length"):
        Length(**length)


def test_a_clock_of_steps() -> None:
    clock = Clock(Length(steps=10, max_steps=3), 2.5, 4)
    assert [clock.progress(step) for step in (0, 4, 10, 11)] == [0, 0.4, 1, 1] and clock.minutes >= 2.5
    assert [clock.finished(step) for step in (9, 10)] == [False, True]
    assert [clock.piece_over(step) for step in (6, 7, 8)] == [False, True, True]


def test_a_clock_of_minutes_counts_earlier_pieces() -> None:
    assert Clock(Length(minutes=1e6), 0.5e6, 0).progress(7) == pytest.approx(0.5, abs=1e-3)
    assert Clock(Length(minutes=1e6), 1e6, 0).finished(0)
    assert Clock(Length(minutes=1e6, max_minutes=1e-9), 0, 0).piece_over(0)
    assert not Clock(Length(minutes=1e6, max_minutes=1e6), 0, 0).piece_over(0)


def make(out: Path, length: Length, seed: int = 0, **others: object) -> Run[nn.Linear]:
    torch.manual_seed(seed)
    module = nn.Linear(3, 1, bias=False)
    known = {"about": {"config": {"sides": (1, 2)}, "class_names": ["a"]}, "save_minutes": 1e6}
    known |= {"kept": {"count": torch.zeros(2), "best": 9}}
    return Run(
        out=out, trained=module, optimizer=torch.optim.SGD(module.parameters(), lr=99.0, momentum=0.9),
        descent=Descent(peak_rate=0.5, warmup=2, clip=0.1, decay=0.9), length=length, workers=Workers(),
        bfloat16=False, seed=seed, **{**known, **others},
    )  # fmt: skip


def test_a_step_goes_down_the_clipped_gradient_at_the_rate(tmp_path: Path) -> None:
    run = make(tmp_path, Length(steps=4))
    before = run.trained.weight.detach().clone()
    run.descend(1000 * run.trained(torch.ones(1, 3)).sum(), 1, 0.0)
    first = run.trained.weight.detach().clone()
    assert (before - first)[0].tolist() == pytest.approx(
        [0.25 * 0.1 / math.sqrt(3)] * 3, rel=1e-5
    )  # half of the peak at first
    assert run.step == 1 and run.rate == 0.25 and torch.equal(run.averaged.weight, first)
    run.descend(0 * run.trained(torch.ones(1, 3)).sum(), 1, 0.0)  # momentum alone: the gradient was forgotten
    assert (first - run.trained.weight)[0].tolist() == pytest.approx([0.9 * 0.5 * 0.1 / math.sqrt(3)] * 3, rel=1e-5)
    assert torch.allclose(run.averaged.weight, first + (run.trained.weight - first) * (1 - 2 / 11))


def work(run: Run[nn.Linear], seen: list[float]) -> dict:
    def step(progress: float) -> dict:
        seen.append(progress)
        run.kept["count"] += torch.tensor([1.0, float(run.rng.random())])
        run.descend((run.trained(torch.rand(4, 3)) - 1).square().mean(), 4, progress)
        return {}

    return run.go(step, lambda last: {"loss": 0.5, "last": last})


def test_pieces_are_the_whole(tmp_path: Path) -> None:
    whole, pieces = [], []
    assert work(make(tmp_path / "whole", Length(steps=7)), whole) == {"loss": 0.5, "last": True}
    for seed in (0, 1, 2):  # what a later piece begins with does not count
        work(make(tmp_path / "pieces", Length(steps=7, max_steps=3), seed), pieces)
    assert pieces == whole == [pytest.approx(i / 7) for i in range(7)]
    one, other = (load_state(tmp_path / name / "state.pt") for name in ("whole", "pieces"))
    assert one is not None and other is not None and one["step"] == other["step"] == 7
    for part in ("trained", "average"):
        assert torch.equal(one[part]["weight"], other[part]["weight"])
    assert torch.equal(one["count"], other["count"]) and one["count"][0] == 7
    assert not torch.equal(one["trained"]["weight"], one["average"]["weight"])


def test_a_run_reports_saves_and_stops_as_told(tmp_path: Path) -> None:
    run, reports = make(tmp_path, Length(steps=3), save_minutes=-1.0), []

    def report(last: bool) -> dict:
        run.kept["best"] = run.step
        reports.append((run.step, last))
        return {}

    def step(progress: float) -> dict:
        saved = load_state(tmp_path / "state.pt")
        assert (saved["best"] if saved else 0) == run.step  # each report was saved before the next step
        run.descend(run.trained(torch.ones(1, 3)).sum(), 1, progress)
        return {"loss": "1"}

    run.go(step, report)
    assert reports == [(1, False), (2, False), (3, False), (3, True)]


@pytest.mark.parametrize("about", [{"config": {"sides": (1, 3)}}, {"class_names": ["a", "b"]}])
def test_another_run_in_the_folder_is_one_sentence(about: dict, tmp_path: Path) -> None:
    work(make(tmp_path, Length(steps=1)), [])
    with pytest.raises(ValueError, match=next(iter(about))):
        make(tmp_path, Length(steps=2), about={"config": {"sides": (1, 2)}, "class_names": ["a"]} | about)


def test_a_damaged_state_is_one_sentence(tmp_path: Path) -> None:
    work(make(tmp_path, Length(steps=1)), [])
    path = tmp_path / "state.pt"
    whole = path.read_bytes()
    for content in (b"", whole[:-200], b"no state", whole[:100] + bytes(len(whole) - 100), b"\x80\x02}."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state\.pt is damaged"):
            make(tmp_path, Length(steps=2))


def test_a_cut_save_leaves_the_older_state(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_state(tmp_path / "state.pt", {"step": lambda: 2})
    assert load_state(tmp_path / "state.pt") == {"step": 1} and load_state(tmp_path / "none.pt") is None


def test_the_log_grows_by_rows(tmp_path: Path) -> None:
    for step in (1, 2):  # a run and its next piece
        Log(tmp_path / "a" / "log.csv").write({"step": step, "loss": 1 / 3})
    Log(tmp_path / "a" / "log.csv").write({"loss": 0.5, "more": 1, "step": 3})  # by a later version
    with (tmp_path / "a" / "log.csv").open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [("1", "0.33333"), ("2", "0.33333"), ("3", "0.5")]


def test_workers_share_a_batch() -> None:
    with pytest.raises(ValueError, match="--batch"):
        Workers(rank=0, count=4).rows(3)
    parts = [Workers(rank=rank, count=4) for rank in range(4)]
    assert [i for w in parts for i in range(10)[w.rows(10)]] == list(range(10))
    assert [w.first for w in parts] == [True] + [False] * 3
    alone, value = Workers(), torch.arange(3.0)
    assert alone.total(value) is value and alone.whole(value, 3) is value and alone.agree([1.5]) == [1.5]
    assert np.array_equal(np.arange(5)[alone.rows(5)], np.arange(5))
