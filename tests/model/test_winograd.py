"""Winograd's convolutions are the direct ones, up to float32's rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from var_core.model.tokenizer import Tokenizer, TokenizerConfig
from var_core.model.winograd import WinogradConv, suits


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (7, 13), (1, 1), (70, 9)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_same_as_a_direct_convolution(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 40, 3, padding=1, bias=bias).requires_grad_(False)
    picture = torch.randn(2, 24, *size)
    wanted = conv.double()(picture.double())
    made = WinogradConv(conv)(picture)
    assert made.shape == wanted.shape
    assert (made - wanted).abs().max() < 5e-5 * wanted.abs().max()
    assert torch.equal(made, WinogradConv(conv)(picture.contiguous(memory_format=torch.channels_last)))


def test_only_what_it_can_do_suits() -> None:
    assert suits(nn.Conv2d(160, 160, 3, padding=1))
    assert not suits(nn.Conv2d(160, 160, 3, padding=1, stride=2))
    assert not suits(nn.Conv2d(160, 160, 3))
    assert not suits(nn.Conv2d(160, 160, 1))
    assert not suits(nn.Conv2d(32, 32, 3, padding=1))
    assert not suits(nn.Conv2d(160, 160, 3, padding=1).bfloat16())


def test_a_folded_tokenizer_says_and_draws_the_same() -> None:
    torch.manual_seed(1)
    config = TokenizerConfig(sides=(1, 2, 4), channels=128, multipliers=(1, 1, 2), code_dim=8, vocab_size=64)
    tokenizer = Tokenizer(config).eval().requires_grad_(False)
    picture = torch.rand(1, 3, config.resolution, config.resolution) * 2 - 1
    features = tokenizer.features(picture)
    canvas = tokenizer.quantize(features)[1][-1]
    drawn = tokenizer.decode(canvas)
    tokenizer.fold(winograd=True)
    assert sum(isinstance(module, WinogradConv) for module in tokenizer.modules()) >= 8
    assert (tokenizer.features(picture) - features).abs().max() < 1e-4 * features.abs().max()
    assert (tokenizer.decode(canvas) - drawn).abs().max() < 1e-4
