"""Steps at a stroke are the same steps; several runs at once are several runs."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest
import torch

from var_core.study import training
from var_core.study.bursts import LENGTH, Bursts, side_by_side
from var_core.study.members import TITLES, build
from var_core.study.scaling import rows
from var_core.study.tokens import Cache
from var_core.study.training import Choices, Deadline, Machine, train
from var_core.train.run import Length

CPU = Machine(torch.device("cpu"))


@pytest.mark.parametrize("name", TITLES)
def test_steps_at_a_stroke_are_the_same_steps(
    name: str, tokens: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = LENGTH + 9  # a burst and a piece of one
    choices, course = Choices(rate=3e-3, batch=3, decay=0.9), (7, 50, steps)

    def run(place: Path):
        return train(
            build(name, 1, tokens), tokens, choices, place, CPU, Deadline(None), course=course, until=steps
        )[0]  # fmt: skip

    one = run(tmp_path / "one")
    monkeypatch.setattr(training, "in_bursts", lambda device: True)
    many = run(tmp_path / "many")
    assert many.step == one.step == steps and int(many.average.n_averaged) == int(one.average.n_averaged)
    for key, value in one.trained.state_dict().items():
        assert torch.allclose(many.trained.state_dict()[key], value, rtol=1e-3, atol=2e-5), key
    for key, value in one.averaged.state_dict().items():
        assert torch.allclose(many.averaged.state_dict()[key], value, rtol=1e-3, atol=2e-5), key
    assert many.rng.random() == one.rng.random(), "the next draw is the same"
    (said,), (same,) = (rows(tmp_path / place / "log.csv") for place in ("one", "many"))
    for column in ("step", "pictures", "flop", "rate", "loss"):
        assert math.isclose(float(said[column]), float(same[column]), rel_tol=1e-3), column


def test_a_burst_ends_with_its_run(tokens: Cache, tmp_path: Path) -> None:
    run, _ = train(
        build("var", 1, tokens), tokens, Choices(rate=1e-3), tmp_path, CPU, Deadline(None), course=(1, 99, 99), until=5
    )  # fmt: skip
    bursts = Bursts(run, tokens.words, lambda: tokens.train.random("ten", 2, run.rng))
    run.length = Length(steps=5 + LENGTH + 7)
    assert len(bursts(0.0)) == LENGTH and len(bursts(0.0)) == 7
    assert run.step == 12 + LENGTH and run.rate == run.descent.rate(11 + LENGTH, 0.0)


def test_all_or_none_got_there() -> None:
    cpu, seen = torch.device("cpu"), []
    assert side_by_side([lambda: True, lambda: True], cpu)
    assert not side_by_side([lambda: False, lambda: bool(seen.append(threading.get_ident()))], cpu)
    assert not seen, "one after the other: nothing is begun after one that was cut"


def test_what_a_gpu_began_goes_on_without_one(tokens: Cache, tmp_path: Path) -> None:
    def run(place: str, until: int):
        there, choices, course = tmp_path / place, Choices(rate=3e-3, batch=2), (2, 4, 6)
        member = build("var", 1, tokens)
        return train(member, tokens, choices, there, CPU, Deadline(None), course=course, until=until)[0]

    run("cut", 3)
    saved = torch.load(tmp_path / "cut" / "state.pt", weights_only=True)
    for group in (group for each in saved["optimizer"]["each"] for group in each["param_groups"]):
        group |= {"fused": True, "capturable": True, "lr": torch.tensor(group["lr"])}
    torch.save(saved, tmp_path / "cut" / "state.pt")
    cut, uncut = run("cut", 6), run("uncut", 6)
    for key, value in uncut.trained.state_dict().items():
        assert torch.equal(cut.trained.state_dict()[key], value), key
