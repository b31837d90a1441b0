"""Figures that can fail: they fall when the pictures get worse, and agree with known values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import scenery
from PIL import Image
from shapes import folder

from var_core.evaluate.__main__ import main
from var_core.evaluate.edits import FAMILIES, mask_for
from var_core.measures.metrics import bootstrap
from var_core.model.checkpoints import Model, load_model, save_model
from var_core.model.transformer import Transformer


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 20 draws: whether they hold is asked elsewhere."""
    monkeypatch.setattr(bootstrap, "__defaults__", (20, 0))


def figures(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    assert main([str(word) for word in words] + ["--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_damaged_decoder_shows(model_file: Path, tmp_path: Path, capsys) -> None:
    data = folder(tmp_path / "data", ("disc", "box"), 20)
    good = figures(capsys, "reconstruct", "--data", data, "--model", model_file)
    assert good["pictures"] == 4 and set(good["by_kind"]) == {"disc", "box"}
    assert 1 <= good["codes_per_scale"]["1"] <= 4 and 0 < good["codes_used"] <= 1
    model = load_model(model_file)
    with torch.no_grad():
        assert model.tokenizer.decoder.conv_out.bias is not None
        model.tokenizer.decoder.conv_out.bias -= 3  # black
    save_model(model, tmp_path / "bad.safetensors")
    bad = figures(capsys, "reconstruct", "--data", data, "--model", tmp_path / "bad.safetensors")
    assert bad["psnr"] < good["psnr"] and bad["frechet"] > good["frechet"] > 0
    both = figures(
        capsys, "reconstruct", "--data", data, "--model", tmp_path / "bad.safetensors", "--against", model_file
    )
    assert both["against"]["frechet"] == good["frechet"] and both["frechet"] == bad["frechet"]
    assert both["against"]["share"] == pytest.approx(bad["frechet"] / good["frechet"], abs=1e-3)


def test_windows_of_photographs_are_rebuilt(model_file: Path, tmp_path: Path, capsys) -> None:
    for n in range(2):
        scenery(210, 200, n).save(tmp_path / f"{n}.png")
    found = figures(capsys, "reconstruct", "--data", tmp_path, "--photos", "--limit", 10, "--model", model_file)
    assert found["pictures"] == 10 and found["psnr"] > 0 and found["by_kind"] == {}


def test_likelihood(model_file: Path, tmp_path: Path, capsys) -> None:
    data = folder(tmp_path / "data", ("disc", "box"), 20)
    assert main(["likelihood", "--data", str(data), "--model", str(model_file)]) == 1
    assert "does not know the class" in capsys.readouterr().err
    old = load_model(model_file)
    save_model(Model(old.tokenizer, old.transformer, ("disc", "box", "bar"), "m", {}), tmp_path / "m.safetensors")
    found = figures(capsys, "likelihood", "--data", data, "--model", tmp_path / "m.safetensors")
    assert found["loss"] == pytest.approx(found["chance"], abs=1.5)
    assert len(found["accuracy_per_scale"]) == 10 and "holes" not in found
    config = replace(old.transformer.config, infill=True)
    told = Model(old.tokenizer, Transformer(config), ("disc", "box", "bar"), "m", {})
    save_model(told, tmp_path / "told.safetensors")
    found = figures(capsys, "likelihood", "--data", data, "--model", tmp_path / "told.safetensors", "--limit", 3)[
        "holes"
    ]
    assert found["removed"] == pytest.approx(1 - found["shown"] / found["withheld"], abs=2e-3) and found["shown"] > 0
    assert len(found["removed_per_scale"]) == len(found["withheld_per_scale"]) == 10


def test_a_sheet_of_samples(model_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "s.png"
    found = figures(capsys, "samples", "--model", model_file, "--out", out, "--rows", 2)
    assert found["samples"] == 6 and Image.open(out).size == (10 * 52, 48 + 19)
    found = figures(capsys, "scales", "--model", model_file, "--out", out, "--label", "rose", "--seed", 1)
    row = Image.open(out)
    assert row.height == 48 and row.width == found["scales"] * 54 - 6


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_of_their_family(family: str) -> None:
    rng = np.random.default_rng(3)
    share = np.array([mask_for(family, 128, rng).mean() for _ in range(20)])
    low, high = {
        "box": (0.25, 0.25),
        "half": (0.5, 0.5),
        "border": (0.24, 0.27),
        "outpaint": (0.48, 0.52),
        "strokes": (0.1, 0.3),
    }[family]
    assert low <= share.min() and share.max() <= high


def test_samples_and_edits_are_judged(model_file: Path, tmp_path: Path, capsys) -> None:
    data = folder(tmp_path / "data", ("disc", "box", "bar"), 60)
    old = load_model(model_file)
    save_model(Model(old.tokenizer, old.transformer, ("bar", "box", "disc"), "m", {}), tmp_path / "m.safetensors")
    common = ["--data", data, "--model", tmp_path / "m.safetensors"]
    found = figures(capsys, "generate", *common, "--out", tmp_path / "near.png")
    assert found["samples"] == 18 and found["accuracy_real"] > 0.6  # of three; they differ plainly
    again = figures(capsys, "generate", *common, "--against", tmp_path / "m.safetensors", "--top-k", 1)
    assert again["against"]["frechet"] == found["frechet"] and again["frechet"] != found["frechet"]
    assert again["against"]["share"] == pytest.approx(again["frechet"] / found["frechet"], abs=1e-3)
    assert found["frechet"] > found["frechet_real"] and Image.open(tmp_path / "near.png").width == 12 * 48
    found = figures(capsys, "edit", *common, "--count", 4)
    assert set(found["families"]) == set(FAMILIES) and 0 <= found["class_edit"]["named"] <= 1
    for family in found["families"].values():
        assert family["evidence"]["known_psnr"] > 0 and family["telea"]["seam"] > 0
        assert family["official"]["seam"] > 1  # noise of a random model
        assert all(
            low <= high for low, high in (family["official"][f"{name}_interval"] for name in ("frechet", "seam"))
        )
        low, high = family["evidence"]["known_psnr_interval"]
        assert low <= family["evidence"]["known_psnr"] <= high
    weak = figures(capsys, "edit", *common, "--count", 4, "--family", "half", "--evidence", 0, "--fill", "mean")
    now, before = weak["families"]["half"], found["families"]["half"]
    assert set(weak["families"]) == {"half"} and now["official"]["frechet"] == before["official"]["frechet"]
    assert now["evidence"]["frechet"] != before["evidence"]["frechet"]
    assert figures(capsys, "sheet", "--model", tmp_path / "m.safetensors", "--out", tmp_path / "e.png")["edits"] == 24
    assert Image.open(tmp_path / "e.png").size == (4 * 108, 6 * 70)
    other = folder(tmp_path / "other", ("ring", "box"), 20)
    assert main(["edit", "--data", str(other), *(str(word) for word in common[2:])]) == 1
    assert 'does not know the class "ring"' in capsys.readouterr().err


def test_infilling_of_photographs(model_file: Path, tmp_path: Path, capsys) -> None:
    for n in range(2):
        scenery(210, 200, n).save(tmp_path / f"{n}.png")
    found = figures(capsys, "infill", "--data", tmp_path, "--model", model_file, "--each", 1)
    assert found["crops"] == 6 and set(found["families"]) == {"box", "strokes", "half", "border"}
    for methods in found["families"].values():
        assert methods["ours"]["error"] > methods["telea"]["error"]  # random weights against smooth waves
        ours = methods["ours"]
        assert ours["frechet_of_telea"] == pytest.approx(ours["frechet"] / methods["telea"]["frechet"], rel=1e-2)
        assert ours["own_distance_of_patchmatch"] > 0
        assert methods["patchmatch"]["frechet"] >= 0 and methods["telea"]["own_distance"] > 0
    assert found["grey"]["crops"] == 6 and found["grey"]["chroma"] > 0
