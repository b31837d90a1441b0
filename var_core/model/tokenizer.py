"""Multi-scale VQVAE: pixels <-> one token map per scale (VAR, section 3.2, algorithms 1 and 2).

Pictures are (b, 3, H, W) in [-1, 1]. The quantizer works in float32 whatever the convolutions use,
because anything less changes tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .scales import Scales, check_sizes
from .tiny import TinyDecoder, TinyEncoder

_WIDE = 128  # channels from which the multiplications that folding saves are more than the copies it needs

_LARGEST = 2048  # pixels of a side
_RANGES = {
    "sides": (1, 128),
    "channels": (1, 4096),
    "multipliers": (1, 64),
    "residual_blocks": (1, 16),
    "code_dim": (1, 1024),
    "vocab_size": (2, 2**20),
    "refine_count": (1, 32),
    "groups": (1, 1024),
}


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Sizes of a tokenizer; the defaults are the official ``vae_ch160v4096z32``.

    ``multipliers`` has one entry per resolution level; the stride is ``2 ** (levels - 1)``. ``kind`` "tiny" has the
    encoder and decoder of `tiny` instead of VAR's (`tiny_config`): all multipliers are 1 there.
    ValueError if a size is out of its range or they do not go together.
    """

    kind: Literal["var", "tiny"] = "var"
    sides: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    channels: int = 160
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    residual_blocks: int = 2
    code_dim: int = 32
    vocab_size: int = 4096
    refine_count: int = 4
    attention: bool = True  # in the last level; the middle always attends
    groups: int = 32  # of the norms; with few channels a group, the decoder's last norm erases a picture's mean colour

    def __post_init__(self) -> None:
        check_sizes(self, _RANGES)
        Scales(self.sides)
        if self.kind not in ("var", "tiny"):
            raise ValueError(f'a tokenizer of kind "{self.kind}" is unknown: expected "var" or "tiny"')
        if self.channels % self.groups:
            raise ValueError(f"{self.channels} channels do not divide into {self.groups} groups")
        if self.resolution > _LARGEST:
            raise ValueError(f"pictures of {self.resolution} px are above the limit of {_LARGEST}")

    @property
    def stride(self) -> int:
        return 2 ** (len(self.multipliers) - 1)

    @property
    def resolution(self) -> int:
        return self.sides[-1] * self.stride


def tiny_config(
    sides: tuple[int, ...] = TokenizerConfig.sides, channels: int = 64, vocab_size: int = 4096
) -> TokenizerConfig:
    """The tiny kind: stride 8, three blocks a level, sizes of the published files."""
    return TokenizerConfig(
        kind="tiny", sides=sides, channels=channels, multipliers=(1, 1, 1, 1), residual_blocks=3, vocab_size=vocab_size,
        attention=False, groups=4,
    )  # fmt: skip


class ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=1e-6)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class SpatialAttention(nn.Module):
    """One head over all positions, scaled by channels ** -0.5."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3, c, h * w).transpose(2, 3).unbind(1)  # (b, hw, c)
        out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.project(out.transpose(1, 2).reshape(b, c, h, w))


class Upsample(nn.Module):
    """Nearest neighbour, then a 3x3 convolution. Of the enlarged picture each of those sees 2x2 different pixels at
    most, so four 2x2 convolutions of the small one are the same with 4/9 of the multiplications (`fold`)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.phases: list[Tensor] = []  # (c, c, 2, 2), for output pixels (0, 0), (0, 1), (1, 0) and (1, 1) of each four

    def fold(self) -> None:
        """For inference, with the weights as they are now."""

        def halves(w: Tensor, dim: int) -> tuple[Tensor, Tensor]:
            a, b, c = w.unbind(dim)
            return torch.stack((a, b + c), dim), torch.stack((a + b, c), dim)

        w = self.conv.weight.detach()
        layout = torch.channels_last if w.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        phases = [phase for rows in halves(w.float(), 2) for phase in halves(rows, 3)]
        self.phases = [phase.to(w.dtype).contiguous(memory_format=layout) for phase in phases]

    def forward(self, x: Tensor) -> Tensor:
        if not self.phases:
            return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        (b, c, h, w), last = x.shape, x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        out = torch.empty(b, c, 2 * h, 2 * w, dtype=x.dtype, device=x.device, memory_format=layout)
        for i, weight in enumerate(self.phases):
            row, column = divmod(i, 2)
            padded = F.pad(x, (1 - column, column, 1 - row, row))
            out[:, :, row::2, column::2] = F.conv2d(padded, weight, self.conv.bias)
        return out


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention where the level attends."""

    def __init__(self, sizes: list[int], groups: int, attention: bool, resample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(a, b, groups) for a, b in pairwise(sizes))
        self.attention = nn.ModuleList(SpatialAttention(c, groups) for c in sizes[1:] if attention)
        self.resample = resample if resample is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x)
            if len(self.attention):
                x = self.attention[i](x)
        return self.resample(x)


def _middle(channels: int, groups: int) -> nn.Module:
    block1, attention = ResidualBlock(channels, channels, groups), SpatialAttention(channels, groups)
    block2 = ResidualBlock(channels, channels, groups)
    return nn.Sequential(OrderedDict(block1=block1, attention=attention, block2=block2))


def _downsample(channels: int) -> nn.Module:
    conv = nn.Conv2d(channels, channels, 3, stride=2)
    return nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((0, 1, 0, 1)), conv=conv))


class Encoder(nn.Module):
    """(b, 3, H, W) in [-1, 1] -> (b, code_dim, H / stride, W / stride)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        ins = [config.channels, *widths[:-1]]
        last, groups, blocks = len(widths) - 1, config.groups, config.residual_blocks
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1)
        self.levels = nn.ModuleList(
            Level([a] + [b] * blocks, groups, config.attention and i == last, _downsample(b) if i < last else None)
            for i, (a, b) in enumerate(zip(ins, widths, strict=True))
        )
        self.middle = _middle(widths[-1], groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], config.code_dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.levels:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """(b, code_dim, h, w) -> (b, 3, h * stride, w * stride), about [-1, 1], not clamped.

    ``levels`` runs from coarse to fine.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        ins = [widths[0], *widths[:-1]]
        last, groups, blocks = len(widths) - 1, config.groups, config.residual_blocks + 1
        self.conv_in = nn.Conv2d(config.code_dim, widths[0], 3, padding=1)
        self.middle = _middle(widths[0], groups)
        self.levels = nn.ModuleList(
            Level([a] + [b] * blocks, groups, config.attention and i == 0, Upsample(b) if i < last else None)
            for i, (a, b) in enumerate(zip(ins, widths, strict=True))
        )
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.conv_in(x))
        for level in self.levels:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Refine(nn.Conv2d):
    """Half identity, half 3x3 convolution (reference: Phi with ratio 0.5)."""

    def __init__(self, code_dim: int) -> None:
        super().__init__(code_dim, code_dim, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        return 0.5 * input + 0.5 * super().forward(input)


class Tokenizer(nn.Module):
    """The multi-scale VQVAE. ``scales`` is its pyramid; a picture smaller than ``resolution`` whose
    feature side is one of the pyramid's sides uses the scales up to that side (training uses this)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.scales = Scales(config.sides)
        self.encoder: Encoder | TinyEncoder
        self.decoder: Decoder | TinyDecoder
        self.quant_conv: nn.Module
        self.post_quant_conv: nn.Module
        if config.kind == "tiny":
            sizes = (config.channels, config.code_dim, len(config.multipliers) - 1, config.residual_blocks)
            self.encoder, self.decoder = TinyEncoder(*sizes), TinyDecoder(*sizes)
            self.quant_conv, self.post_quant_conv = nn.Identity(), nn.Identity()
        else:
            self.encoder, self.decoder = Encoder(config), Decoder(config)
            self.quant_conv = nn.Conv2d(config.code_dim, config.code_dim, 3, padding=1)
            self.post_quant_conv = nn.Conv2d(config.code_dim, config.code_dim, 3, padding=1)
        self.codebook = nn.Embedding(config.vocab_size, config.code_dim)
        self.refine = nn.ModuleList(Refine(config.code_dim) for _ in range(config.refine_count))

    @property
    def device(self) -> torch.device:
        return self.codebook.weight.device

    def fold(self) -> None:
        """Have the decoder's wide enlargements done at the small size: for inference, after the last conversion."""
        for module in self.decoder.modules():
            if isinstance(module, Upsample) and module.conv.in_channels >= _WIDE:
                module.fold()

    def set_channels_last(self, last: bool) -> None:
        """The memory layout of the convolutions; it changes their speed only."""
        for module in self.convolutions:
            module.to(memory_format=torch.channels_last if last else torch.contiguous_format)  # type: ignore[call-overload]

    @property
    def kernel(self) -> Tensor:
        """One of the large 3x3 kernels: its number format and layout are the convolutions'."""
        return next(p for p in self.decoder.parameters() if p.dim() == 4 and p.shape[-1] == 3)

    @property
    def convolutions(self) -> tuple[nn.Module, ...]:
        """What may compute in another number format; the codebook and the refine convolutions stay float32."""
        return self.encoder, self.decoder, self.quant_conv, self.post_quant_conv

    # pixels <-> features

    def features(self, image: Tensor) -> Tensor:
        """(b, 3, H, W) in [-1, 1] -> (b, c, h, w) float32, what the quantizer approximates."""
        dtype = next(self.encoder.parameters()).dtype
        return self.quant_conv(self.encoder(image.to(dtype))).float()

    def decode(self, canvas: Tensor) -> Tensor:
        """(b, c, h, w) canvas -> (b, 3, h * stride, w * stride) float32, clamped to [-1, 1]."""
        dtype = next(self.decoder.parameters()).dtype
        return self.decoder(self.post_quant_conv(canvas.to(dtype))).float().clamp(-1, 1)

    # features <-> tokens, one scale at a time

    def count_for(self, side: int) -> int:
        """How many scales describe a feature map of this side; ValueError if it is not in the pyramid."""
        if side not in self.scales.sides:
            raise ValueError(f"a feature map of side {side} fits none of the scales {self.scales.sides}")
        return self.scales.sides.index(side) + 1

    def shrink(self, maps: Tensor, k: int) -> Tensor:
        """(b, c, h, w) -> (b, l, c): area average to the side of scale k (no change at the map's own side)."""
        side = self.scales.sides[k]
        if maps.shape[-1] != side:
            maps = F.interpolate(maps, size=(side, side), mode="area")
        return maps.flatten(2).transpose(1, 2)

    def nearest(self, vectors: Tensor) -> Tensor:
        """(..., c) float32 -> (...) long: the closest code by Euclidean distance."""
        codes = self.codebook.weight.float()
        flat = vectors.reshape(-1, vectors.shape[-1])
        distance = codes.square().sum(1) - 2 * flat @ codes.t()  # up to the vector's own norm
        return distance.argmin(1).reshape(vectors.shape[:-1])

    def enlarge(self, codes: Tensor, k: int, side: int | None = None) -> Tensor:
        """(b, l, c) codes of scale k -> (b, c, h, w): what they add to the canvas of `side` (default: finest)."""
        b, _, c = codes.shape
        own, side = self.scales.sides[k], side or self.scales.finest
        maps = codes.transpose(1, 2).reshape(b, c, own, own)
        if own != side:
            maps = F.interpolate(maps, size=(side, side), mode="bicubic")
        return self.refine[self.scales.refine_index(k, len(self.refine))](maps)

    def empty_canvas(self, b: int) -> Tensor:
        side = self.scales.finest
        return torch.zeros(b, self.config.code_dim, side, side, device=self.device)

    # whole pictures

    def quantize(self, features: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Residual quantization (algorithm 1). Returns tokens (b, l) and the canvas (b, c, h, w) after each scale."""
        side = features.shape[-1]
        canvas = torch.zeros_like(features)
        tokens, canvases = [], []
        for k in range(self.count_for(side)):
            ids = self.nearest(self.shrink(features - canvas, k))
            canvas = canvas + self.enlarge(self.codebook(ids), k, side)
            tokens.append(ids)
            canvases.append(canvas)
        return tokens, canvases

    def encode(self, image: Tensor) -> list[Tensor]:
        """(b, 3, H, W) in [-1, 1] -> token ids (b, l) of every scale."""
        return self.quantize(self.features(image))[0]

    def canvases(self, tokens: list[Tensor]) -> list[Tensor]:
        """Token ids (b, l) of the first scales -> the canvas (b, c, h, w) after each of them (algorithm 2)."""
        canvas = self.empty_canvas(tokens[0].shape[0])
        out = []
        for k, ids in enumerate(tokens):
            canvas = canvas + self.enlarge(self.codebook(ids), k)
            out.append(canvas)
        return out

    def teacher_inputs(self, tokens: list[Tensor]) -> Tensor:
        """Token ids of every scale -> (b, L - 1, c): the transformer's input for scales 1 onwards."""
        canvases = self.canvases(tokens[:-1])
        return torch.cat([self.shrink(canvas, k + 1) for k, canvas in enumerate(canvases)], dim=1)
