"""The tiny encoder and decoder (the layout of taef2, by Ollin Boer Bohan): 64 channels at every resolution, residual
blocks of three convolutions with ReLU, no norms but in a pool branch at the coarsest resolution.

Pictures at the boundary are (b, 3, H, W) in [-1, 1] as everywhere here; inside, the layers work on [0, 1], as
published. The entries of `layers` are numbered as in the published files, which load as a start (`load_start`).
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_POOL_WIDTH, _POOL_GROUPS = 256, 4
_LIMIT = 3.0  # the decoder squashes its input softly into (-3, 3)


def _conv(a: int, b: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(a, b, 3, padding=1, stride=stride, bias=bias)


class TinyBlock(nn.Module):
    """x + three convolutions of x, then ReLU; with `pool`, x first gains a branch whose norm sees the whole map."""

    def __init__(self, channels: int, pool: bool) -> None:
        super().__init__()
        c = channels
        self.conv = nn.Sequential(_conv(c, c), nn.ReLU(), _conv(c, c), nn.ReLU(), _conv(c, c))
        self.pool: nn.Sequential | None = None
        if pool:
            wide = nn.Conv2d(c, _POOL_WIDTH, 1, bias=False), nn.GroupNorm(_POOL_GROUPS, _POOL_WIDTH)
            self.pool = nn.Sequential(*wide, nn.ReLU(), nn.Conv2d(_POOL_WIDTH, c, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(x + self.conv(x))


class Squash(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / _LIMIT) * _LIMIT


class TinyEncoder(nn.Module):
    """(b, 3, H, W) in [-1, 1] -> (b, code_dim, H / 2^halvings, W / 2^halvings)."""

    def __init__(self, channels: int, code_dim: int, halvings: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, channels), TinyBlock(channels, False)]
        for level in range(halvings):
            layers.append(_conv(channels, channels, stride=2, bias=False))
            layers += [TinyBlock(channels, level == halvings - 1) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, _conv(channels, code_dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers((x + 1) / 2)


class TinyDecoder(nn.Module):
    """(b, code_dim, h, w) -> (b, 3, h * 2^halvings, w * 2^halvings), about [-1, 1], not clamped."""

    def __init__(self, channels: int, code_dim: int, halvings: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [Squash(), _conv(code_dim, channels), nn.ReLU()]
        for level in range(halvings):
            layers += [TinyBlock(channels, level == 0) for _ in range(blocks)]
            layers += [nn.Upsample(scale_factor=2), _conv(channels, channels, bias=False)]
        self.layers = nn.Sequential(*layers, TinyBlock(channels, False), _conv(channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) * 2 - 1


def load_start(module: TinyEncoder | TinyDecoder, path: Path) -> None:
    """Take the published weights as the start. ValueError where the file is missing, damaged or of another layout;
    code in it never runs."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        module.layers.load_state_dict({name: value.float() for name, value in weights.items()})
    except FileNotFoundError:
        raise ValueError(f"there is no file {path} to start from") from None
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} is damaged or holds more than plain weights, and was not opened") from error
    except (RuntimeError, AttributeError) as error:
        kind = type(module).__name__
        raise ValueError(f"{path} does not fit a {kind} of this size: {str(error).splitlines()[0]}") from error
