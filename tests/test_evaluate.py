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

from var_core.checkpoints import Model, load_model, save_model
from var_core.evaluate import main, psnr, ssim


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
