"""Figures that can fail: they fall when the pictures get worse, and agree with known values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import scenery
from PIL import Image
from test_train import folder

from var_core.evaluate.__main__ import main
from var_core.evaluate.edits import FAMILIES, mask_for
from var_core.evaluate.metrics import bootstrap, frechet, interval, kernel_distance, psnr, seam_score, ssim
from var_core.model.checkpoints import Model, load_model, save_model
from var_core.train.__main__ import main as train


def test_known_values() -> None:
    picture = np.asarray(scenery(64, 64))
    assert psnr(picture, picture) == 99 and ssim(picture, picture) == pytest.approx(1)
    off = np.full((64, 64, 3), 100, dtype=np.uint8)
    assert psnr(off, off + 10) == pytest.approx(10 * math.log10(255**2 / 100))
    noisy = (picture.astype(int) + np.random.default_rng(0).integers(-40, 41, picture.shape)).clip(0, 255)
    assert psnr(noisy.astype(np.uint8), picture) < 30 and ssim(noisy.astype(np.uint8), picture) < 0.9


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
    assert bad["psnr"] < good["psnr"]


def test_likelihood(model_file: Path, tmp_path: Path, capsys) -> None:
    data = folder(tmp_path / "data", ("disc", "box"), 20)
    assert main(["likelihood", "--data", str(data), "--model", str(model_file)]) == 1
    assert "does not know the class" in capsys.readouterr().err
    old = load_model(model_file)
    save_model(Model(old.tokenizer, old.transformer, ("disc", "box", "bar"), "m", {}), tmp_path / "m.safetensors")
    found = figures(capsys, "likelihood", "--data", data, "--model", tmp_path / "m.safetensors")
    assert found["loss"] == pytest.approx(found["chance"], abs=1.5)
    assert len(found["accuracy_per_scale"]) == 10


def test_a_sheet_of_samples(model_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "s.png"
    found = figures(capsys, "samples", "--model", model_file, "--out", out, "--rows", 2)
    assert found["samples"] == 6 and Image.open(out).size == (10 * 52, 48 + 19)


def test_frechet_is_the_closed_form_for_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40_000, 3)) * [1.0, 2.0, 0.5] + [0.0, 1.0, 0.0]
    b = rng.standard_normal((40_000, 3)) * [2.0, 2.0, 1.5] + [1.0, -1.0, 0.0]
    exact = 1 + 4 + (1 - 2) ** 2 + 0 + (0.5 - 1.5) ** 2
    assert frechet(a, b) == pytest.approx(exact, rel=0.03) and frechet(a, a) == pytest.approx(0, abs=1e-8)


def test_kernel_distance_is_unbiased() -> None:
    rng = np.random.default_rng(1)
    same = [kernel_distance(rng.standard_normal((60, 8)), rng.standard_normal((60, 8))) for _ in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / math.sqrt(60) and min(same) < 0
    assert kernel_distance(rng.standard_normal((60, 8)), rng.standard_normal((60, 8)) + 1) > 10 * np.std(same)


def test_seams() -> None:
    picture = np.asarray(scenery(64, 64))
    mask = mask_for("box", 64, np.random.default_rng(0))
    pasted = picture.copy()
    pasted[mask] = (255, 0, 255)
    assert seam_score([picture], [picture], [mask]) == 1
    assert seam_score([pasted], [picture], [mask]) > 1.3


def test_a_bootstrap_interval_covers_the_mean() -> None:
    covered = 0
    for seed in range(100):
        values = np.random.default_rng(seed).standard_normal(80)
        low, high = interval(bootstrap(80, lambda index, values=values: float(values[index].mean())))
        covered += low <= 0 <= high
    assert 88 <= covered <= 100


def test_an_interval_of_a_distance_holds_its_value_and_is_not_drawn_to_copies() -> None:
    """Draws with replacement would put all of the interval above the value."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((100, 16)), rng.standard_normal((500, 16))
    for distance in (frechet, kernel_distance):
        low, high = interval(bootstrap(100, lambda index, distance=distance: distance(a[index], b)))
        assert low < distance(a, b) < high


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
    old, judge = load_model(model_file), tmp_path / "judge.safetensors"
    save_model(Model(old.tokenizer, old.transformer, ("bar", "box", "disc"), "m", {}), tmp_path / "m.safetensors")
    assert train(["classifier", "--data", str(data), "--out", str(judge), "--steps", "40"]) == 0
    trained = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert trained["accuracy"] > 0.6  # of three classes; the shapes differ plainly
    common = ["--data", data, "--model", tmp_path / "m.safetensors", "--classifier", judge]
    found = figures(capsys, "generate", *common, "--out", tmp_path / "near.png")
    assert found["samples"] == 18 and found["accuracy_real"] == pytest.approx(trained["accuracy"], abs=0.12)
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
    assert main(["edit", *(str(word) for word in common[:4]), "--classifier", str(tmp_path / "none")]) == 1
    assert "train one" in capsys.readouterr().err
