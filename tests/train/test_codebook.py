"""Parts of tokenizer training: quantization with gradients, the codebook's life, losses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from test_train import TOKENIZER, data, states  # noqa: F401  data is a fixture

from var_core.measures.classifier import Classifier, ClassifierConfig, save_classifier
from var_core.model.tokenizer import Tokenizer, TokenizerConfig
from var_core.train.__main__ import main
from var_core.train.codebook import quantize_with_gradients, restart_codes, rotated, start_codebook
from var_core.train.losses import Perceptual, picture_loss


def small_tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(
        TokenizerConfig(sides=(1, 2, 4), channels=32, multipliers=(1, 1), residual_blocks=1, code_dim=8, vocab_size=16)
    )


def test_the_codebook_starts_on_the_features_and_dead_codes_move() -> None:
    tokenizer, rng = small_tokenizer(), np.random.default_rng(0)
    features = 5 + torch.randn(32, 8, 4, 4)
    start_codebook(tokenizer, features, rng)
    assert tokenizer.codebook.weight.abs().mean() > 0.5
    tokens, _ = tokenizer.quantize(features)
    assert len(torch.cat([t.flatten() for t in tokens]).unique()) > 8
    optimizer = torch.optim.AdamW(tokenizer.parameters())
    with torch.no_grad():
        tokenizer.codebook.weight[3] = 1e4
    used = torch.ones(16)
    used[3] = 0
    residuals = [tokenizer.shrink(features, k) for k in range(3)]
    before = tokenizer.codebook.weight.detach().clone()
    assert restart_codes(tokenizer, optimizer, used, residuals, rng).tolist() == [3]
    assert tokenizer.codebook.weight[3].abs().max() < 100
    assert torch.equal(tokenizer.codebook.weight[:3], before[:3])


def test_straight_through_passes_gradients_and_honours_the_cut() -> None:
    tokenizer = small_tokenizer()
    features = torch.randn(2, 8, 4, 4, requires_grad=True)
    canvas, distances, tokens, _ = quantize_with_gradients(tokenizer, features, torch.tensor([1, 3]))
    with torch.no_grad():
        exact = tokenizer.quantize(features.detach())[1]
    assert torch.allclose(canvas[0], exact[0][0], atol=1e-5) and torch.allclose(canvas[1], exact[2][1], atol=1e-5)
    canvas.sum().backward(retain_graph=True)
    assert features.grad is not None and torch.allclose(features.grad, torch.ones_like(features))
    distances.sum().backward()
    assert tokenizer.codebook.weight.grad is not None and tokenizer.codebook.weight.grad.abs().sum() > 0
    assert len(tokens) == 3


def test_the_rotation_turns_gradients_with_the_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, 4, 4, generator=generator, requires_grad=True)
    canvas = torch.randn(2, 8, 4, 4, generator=generator)
    out = rotated(features, canvas)
    assert torch.allclose(out, canvas, atol=1e-5)
    scale = (canvas.norm(dim=1) / features.norm(dim=1)).detach()
    # the gradient along the canvas becomes one along the features, as long as the scaling says
    (grad,) = torch.autograd.grad((out * canvas).sum(), features)
    along = canvas.norm(dim=1) * features.detach().norm(dim=1)
    assert torch.allclose((grad * features).sum(1), scale * along, rtol=1e-3)
    assert torch.allclose(grad.norm(dim=1), scale * canvas.norm(dim=1), rtol=1e-3)
    opposite = rotated(features, -features.detach())
    assert torch.allclose(opposite, -features) and torch.isfinite(opposite).all()


def judge() -> Classifier:
    torch.manual_seed(0)
    return Classifier(ClassifierConfig(classes=2, widths=(8, 16), features=8, side=16), ("box", "disc"))


def test_losses_tell_pictures_apart() -> None:
    real = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    soft = torch.nn.functional.avg_pool2d(real, 3, stride=1, padding=1)
    perceptual = Perceptual(judge())
    assert perceptual(real, real) == 0 and perceptual(soft, real) > perceptual(real.lerp(soft, 0.2), real) > 0
    assert picture_loss(soft, real) > picture_loss(soft, real, plain=True) > 0 == picture_loss(real, real)


def test_a_cut_run_with_every_option_equals_an_uncut_one(data: Path, tmp_path: Path) -> None:  # noqa: F811
    save_classifier(judge(), tmp_path / "judge.safetensors")
    extra = ["--rotation", "--perceptual", "0.5"]
    extra += ["--judge", str(tmp_path / "judge.safetensors"), "--restart-every", "2"]
    common = ["tokenizer", "--data", str(data), "--steps", "10", *TOKENIZER, *extra]
    assert main([*common, "--out", str(tmp_path / "whole")]) == 0
    for _ in range(3):
        assert main([*common, "--out", str(tmp_path / "cut"), "--max-steps", "4"]) == 0
    whole, cut = states(tmp_path / "whole"), states(tmp_path / "cut")
    assert whole["step"] == cut["step"] == 10
    assert all(
        torch.equal(whole[part][name], cut[part][name]) for part in ("trained", "average") for name in whole[part]
    )
    assert main([*common[:-4], "--perceptual", "1", "--out", str(tmp_path / "none")]) == 1  # no judge


def test_variants_are_compared_in_a_table(data: Path, tmp_path: Path, capsys) -> None:  # noqa: F811
    save_classifier(judge(), tmp_path / "judge.safetensors")
    common = ["compare", "--data", str(data), "--out", str(tmp_path), "--steps", "8", *TOKENIZER]
    common += ["--judge", str(tmp_path / "judge.safetensors"), "--only", "recipe", "--only", "rotation trick"]
    assert main(common) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"recipe", "rotation trick"} and all(5 < row["psnr"] < 40 for row in found.values())
    before = (tmp_path / "recipe" / "figures.json").stat().st_mtime_ns
    assert main([*common, "--only", "nonsense"]) == 1 and "nonsense" in capsys.readouterr().err
    assert main(common) == 0 and (tmp_path / "recipe" / "figures.json").stat().st_mtime_ns == before
    assert len((tmp_path / "table.md").read_text().splitlines()) == 4
