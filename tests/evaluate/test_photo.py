"""The measure at photo resolution: its cases, and a report that a damaged result makes worse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import scenery
from PIL import Image

from var_core.evaluate import photo
from var_core.evaluate.__main__ import main
from var_core.measures.metrics import bootstrap


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 20 draws: whether they hold is asked elsewhere."""
    monkeypatch.setattr(bootstrap, "__defaults__", (20, 0))


def photographs(place: Path) -> Path:
    place.mkdir()
    for n in range(2):
        scenery(260, 230, n).save(place / f"{n}.png")
    return place


@pytest.mark.parametrize("family", photo.FAMILIES)
def test_holes_leave_their_surroundings(family: str) -> None:
    rng = np.random.default_rng(1)
    for side in (200, 333):
        mask = photo.hole(family, side, rng)
        assert mask.shape == (side, side) and mask.dtype == bool and 0.005 < mask.mean() < 0.4
        inner = mask[side // 5 : -side // 5, side // 5 : -side // 5]
        if family == "border":
            assert [mask[:, 0].all(), mask[:, -1].all(), mask[0].all(), mask[-1].all()].count(True) == 1
        else:
            assert mask.sum() == inner.sum()


def test_cases_are_the_same_every_time(tmp_path: Path) -> None:
    place = photographs(tmp_path / "photos")
    first, again, other = (photo.cases(place, 6, seed) for seed in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        assert a.box == b.box and np.array_equal(a.mask, b.mask) and a.window.shape == (*a.mask.shape, 3)
    assert [case.family for case in first] == ["ellipse", "blob", "strokes", "border", "ellipse", "blob"]
    assert [case.box for case in first] != [case.box for case in other]
    (tmp_path / "small").mkdir()
    scenery(150, 190).save(tmp_path / "small" / "a.png")
    with pytest.raises(ValueError, match="200 pixels or more"):
        photo.cases(tmp_path / "small", 2, 0)


def test_sharpness_falls_with_blur() -> None:
    picture = scenery(80, 80)
    mask = np.zeros((80, 80), bool)
    mask[20:60, 20:60] = True
    soft = np.asarray(picture.resize((20, 20), Image.Resampling.BOX).resize((80, 80)))
    assert photo.sharpness(soft, mask) < 0.2 * photo.sharpness(np.asarray(picture), mask)


def test_the_report(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("patchmatch")
    pytest.importorskip("efficientnet_lite_pytorch")
    place, out = photographs(tmp_path / "photos"), tmp_path / "sheet.png"
    words = ["photo", "--data", place, "--model", model_file, "--cases", 4, "--out", out, "--json"]
    assert main([str(word) for word in words]) == 0
    told = json.loads(capsys.readouterr().out)
    found = told["methods"]
    assert told["cases"] == 4 and list(found) == ["ours", "without detail", "telea", "navier-stokes", "patchmatch"]
    assert found["ours"]["sharpness"] > 2 * found["telea"]["sharpness"]
    assert set(found["telea"]["ours_nearer"]) == {"frechet", "own"} and found["ours"]["seconds"] > 0
    for figures in found.values():
        low, high = figures["own_interval"]
        assert low <= figures["own"] <= high
    assert Image.open(out).width == 7 * (max(len(case.mask) for case in photo.cases(place, 4, 0)) + 4)


def test_a_sheet_of_results(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo, "_RESULTS", 5)
    place, out = photographs(tmp_path / "photos"), tmp_path / "sheet.jpg"
    assert main(["photo-sheet", "--data", str(place), "--model", str(model_file), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == 5
    assert Image.open(out).size == (4 * 594, 2 * 294)


def test_without_patchmatch_one_sentence_says_what_to_do(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "patchmatch", None)
    place = photographs(tmp_path / "photos")
    assert main(["photo", "--data", str(place), "--model", str(model_file), "--cases", "2"]) == 1
    assert "pip install -r requirements-dev.txt" in capsys.readouterr().err


def test_originals_are_measured_too(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("patchmatch")
    place, originals = photographs(tmp_path / "photos"), tmp_path / "originals"
    for split in ("train", "val"):
        for number, name in enumerate(("rose", "tulip")):
            (originals / split / name).mkdir(parents=True)
            scenery(120, 110, number).save(originals / split / name / "a.png")
    words = ["photo", "--data", place, "--originals", originals, "--model", model_file, "--cases", 2, "--json"]
    assert main([str(word) for word in words]) == 0
    found = json.loads(capsys.readouterr().out)["originals"]
    assert found["pictures"] == 2 and 0 <= found["detail"]["named"] <= 1 and 0 <= found["detail"]["named_large"] <= 1
    with_it, without = (found[name]["outpaint_sharpness"] for name in ("detail", "without detail"))
    assert abs(with_it - 1) < 0.3 < abs(without - 1)
