"""Peers from training to table, sheet and edits, in small; cut runs equal uncut ones for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from var_core.study import editing, peers, training
from var_core.study.members import TITLES
from var_core.study.scaling import rows
from var_core.study.tokens import Cache
from var_core.study.training import Deadline, Machine
from var_core.train.run import load_state

CPU, NAMES = Machine(torch.device("cpu")), list(TITLES)
SMALL = {"depth": 1, "flop": 1e8, "rates": (3e-3,), "batch": 4}


@pytest.fixture(scope="module")
def study(tokens: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All peers trained, and measured at one guidance."""
    out = tmp_path_factory.mktemp("peers")
    assert peers.train_peers(tokens, out, NAMES, CPU, Deadline(None), **SMALL)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tokens: Cache) -> list[str]:
    (place,) = tmp_path_factory.getbasetemp().glob("study0/data")
    return [str(place)]


@pytest.fixture(scope="module", autouse=True)
def judged_by_colour() -> Iterator[None]:
    """Mean colours of sixteen parts instead of lite2's features: what is tested is what is done with them."""

    def look(judge: object, pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        parts = np.array([np.asarray(Image.fromarray(p).resize((4, 4))).reshape(-1) for p in pictures]) / 255
        return parts, np.stack((parts[:, 0], 1 - parts[:, 0]), 1)

    with pytest.MonkeyPatch.context() as patch:
        for module in (peers, editing):
            patch.setattr(module, "look", look)
        patch.setattr(peers, "fit_judge", lambda pictures, side: None)
        yield


def test_all_learn_from_about_as_many_tokens_a_step(
    tokens: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "STEP", 60)  # VAR has 1 + 4 + 9 + 16 tokens here, masked tokens 16
    usual = {"depth": 1, "flop": 1e7, "rates": (3e-3,)}
    assert peers.train_peers(tokens, tmp_path, ["var", "masked"], CPU, Deadline(None), **usual)
    found = {row["name"]: int(row["pictures"]) / int(row["steps"]) for row in rows(tmp_path / "csv" / "members.csv")}
    assert found == {"var": 2, "masked": 4}


def test_all_are_trained_at_equal_flop_on_one_trunk(study: Path) -> None:
    found = {row["name"]: row for row in rows(study / "csv" / "members.csv")}
    assert list(found) == NAMES
    for name, row in found.items():
        assert float(row["flop"]) == pytest.approx(1e8, rel=0.1), name
        assert row["width"] == "24" and float(row["loss"]) > 0 and (row["bits"] == "") == (name == "flow")
    assert found["var"]["N"] == found["next"]["N"] == found["masked"]["N"]
    assert [name for name, row in found.items() if row["anywhere"] == "1"] == ["var", "next", "masked", "five"]
    who = {row["who"]: row for row in rows(study / "csv" / "scales.csv")}
    assert set(who) == {"var", "next"} and "nats 4" in who["var"]


def test_a_cut_peer_equals_an_uncut_one(tokens: Cache, study: Path, tmp_path: Path) -> None:
    for name in ("masked", "flow"):
        for _ in range(2):
            assert not peers.train_peers(tokens, tmp_path, [name], CPU, Short(), **SMALL)
        assert peers.train_peers(tokens, tmp_path, [name], CPU, Deadline(None), **SMALL)
        one, two = (load_state(place / "peers" / name / "state.pt") or {} for place in (study, tmp_path))
        assert all(torch.equal(value, two["average"][key]) for key, value in one["average"].items())


def test_each_takes_the_best_of_its_rates_cut_or_not(tokens: Cache, tmp_path: Path) -> None:
    few = SMALL | {"rates": (1e-6, 1e-2)}
    assert not peers.train_peers(tokens, tmp_path, ["raster"], CPU, Short(), **few)
    assert peers.train_peers(tokens, tmp_path, ["raster"], CPU, Deadline(None), **few)
    tried = {float(row["rate"]): float(row["loss"]) for row in rows(tmp_path / "csv" / "peer-rates.csv")}
    assert list(tried) == [1e-6, 1e-2] and tried[1e-2] < tried[1e-6]
    (row,) = rows(tmp_path / "csv" / "members.csv")
    assert float(row["rate"]) == 1e-2 and float(row["loss"]) < tried[1e-2]
    assert float(row["flop"]) == pytest.approx(1e8, rel=0.1)


class Short(Deadline):
    def __init__(self) -> None:
        super().__init__(None)

    @property
    def left(self) -> float:
        return 1e-4


def test_measured_drawn_and_edited(tokens: Cache, study: Path, data: list[str], tmp_path: Path) -> None:
    some = (0.0, 1.0)
    assert peers.measure(tokens, study, data, NAMES, CPU, Deadline(None), some, swept=4)
    csv = study / "csv"
    before = (csv / "table.csv").read_text()
    assert peers.measure(tokens, study, data, NAMES, CPU, Deadline(0.0), some, swept=4), "nothing is done twice"
    assert (csv / "table.csv").read_text() == before
    tried = rows(csv / "guidance.csv")
    for row in rows(csv / "table.csv"):
        own = {float(r["guidance"]): float(r["frechet"]) for r in tried if r["name"] == row["name"]}
        assert float(row["guidance"]) == min(own, key=lambda guidance: own[guidance])
        assert int(row["samples"]) == len(tokens.val) and 0 <= float(row["accuracy"]) <= 1
    floors = {row["alphabet"]: float(row["frechet"]) for row in rows(csv / "alphabets.csv")}
    assert set(floors) == {"ten", "five", "flat", "features"}

    peers.speed(tokens, study, NAMES, CPU, runs=2)
    times = rows(csv / "speed.csv")
    assert [row["name"] for row in times] == NAMES
    assert all(0 < float(row["least"]) <= float(row["seconds"]) <= float(row["most"]) for row in times)

    page = peers.sheet(tokens, study, NAMES, dict.fromkeys(NAMES, 0.0), CPU.device, count=3)
    assert page.size == (150 + 3 * 34, len(NAMES) * 34)
    file = peers.sample(tokens, study, "five", None, 5, CPU.device)
    assert file.name == "five.png" and Image.open(file).size == (5 * 34, 34)

    assert not editing.edit(tokens, study, data, CPU, Deadline(0.0), 4, ("box",))
    assert editing.edit(tokens, study, data, CPU, Deadline(None), 4, ("box",))
    edits = rows(csv / "editing.csv")
    assert [(r["family"], r["method"]) for r in edits] == [("box", method) for method in editing.METHODS]
    assert all(float(row["own"]) > 0 for row in edits)


def test_the_sweep_goes_on_while_the_last_is_the_best(
    tokens: Cache, study: Path, data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peers").symlink_to(study / "peers")
    asked: list[float] = []

    def draw(member, cache, labels, guidance, *rest):
        asked.append(guidance)
        return [np.full((32, 32, 3), int(40 + 20 * guidance), np.uint8)] * len(labels)

    def figures(self, made, labels, index):
        return {"frechet": abs(float(made[0].mean()) - 40 - 20 * 2.0)}  # best at 2

    monkeypatch.setattr(peers, "draw", draw)
    monkeypatch.setattr(peers.Judging, "figures", figures)
    assert peers.measure(tokens, tmp_path, data, ["var"], CPU, Deadline(None), (0.0, 1.0), swept=4)
    assert asked == [0.0, 1.0, 1.5, 2.25, 2.25 * 1.5, 2.25], "the last is the table's"
    assert peers.best_guidance(tmp_path / "csv", "var") == 2.25


@pytest.mark.parametrize("name", ["var", "next", "five", "masked"])
def test_an_edit_changes_the_hole_alone(name: str, tokens: Cache, study: Path) -> None:
    member, rng = peers.open_member(study, name, tokens), np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    hole = np.zeros((32, 32), bool)
    hole[8:24, 8:24] = True
    made = editing.complete(member, tokens, picture, hole, name == "var", 3, CPU.device)
    assert np.array_equal(made[~hole], picture[~hole]) and not np.array_equal(made[hole], picture[hole])
    other = np.where(hole[..., None], 255 - picture, picture).astype(np.uint8)
    again = editing.complete(member, tokens, other, hole, name == "var", 3, CPU.device)
    assert np.array_equal(made, again), "what the hole hides does not shine through"


def test_what_is_not_there_is_said(tokens: Cache, study: Path, data: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="var is not trained yet: run"):
        peers.open_member(tmp_path, "var", tokens)
    with pytest.raises(ValueError, match="no guidance was tried for var"):
        peers.best_guidance(tmp_path, "var")
    with pytest.raises(ValueError, match="3 pictures say nothing: edit at least 4"):
        editing.edit(tokens, tmp_path, data, CPU, Deadline(None), 3)
