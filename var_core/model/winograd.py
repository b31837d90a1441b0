"""3x3 convolutions with a third of the multiplications: Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray
2016, section 4), as products that any BLAS does well. Inference in float32 on the CPU; results differ from direct
convolution by about 1e-5 of the largest value."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TILES = 256  # of 4 x 4 pixels that are worked on together: what they need stays in the processor's cache
_NARROWEST, _WIDEST = 128, 512  # channels: below, the transforms cost what they save; above, the weights' memory counts

_INPUT = np.array([
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
])  # fmt: skip
_WEIGHT = np.array([
    [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
])  # fmt: skip
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


class WinogradConv(nn.Module):
    """The same as a `Conv2d` of kernel 3, stride 1 and padding 1, its weights as they are now: (b, in, h, w) ->
    (b, out, h, w) float32, channels last."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        kernels = conv.weight.detach().double().cpu().flatten(2).transpose(0, 1)  # (in, out, 9)
        turned = torch.from_numpy(np.kron(_WEIGHT, _WEIGHT)) @ kernels.reshape(-1, 9).t()  # (36, in * out)
        turned = turned.float().view(36, conv.in_channels, conv.out_channels)
        self.weight = nn.Parameter(turned, requires_grad=False)
        self.bias = conv.bias
        self.before = torch.from_numpy(np.kron(_INPUT, _INPUT)).float()  # (36, 36)
        self.after = torch.from_numpy(np.kron(_OUTPUT, _OUTPUT)).float()  # (16, 36)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        rows, columns, width = -(-h // 4), -(-w // 4), self.weight.shape[2]
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 4 * columns - w + 1, 1, 4 * rows - h + 1)).contiguous()
        out = x.new_empty(b, 4 * rows, 4 * columns, width)
        strip = max(1, min(rows, _TILES // columns))
        for n in range(b):
            for first in range(0, rows, strip):
                count = min(strip, rows - first)
                part = padded[n, 4 * first : 4 * (first + count) + 2]
                down, right = part.stride(0), part.stride(1)
                tiles = part.as_strided((6, 6, count, columns, c), (down, right, 4 * down, 4 * right, 1))
                turned = self.before @ tiles.reshape(36, -1)
                products = torch.bmm(turned.view(36, -1, c), self.weight)  # (36, tiles, out)
                made = (self.after @ products.view(36, -1)).view(4, 4, count, columns, width)
                place = out[n, 4 * first : 4 * (first + count)].view(count, 4, columns, 4, width)
                place.copy_(made.permute(2, 0, 3, 1, 4))
        if self.bias is not None:
            out += self.bias
        return out[:, :h, :w].permute(0, 3, 1, 2)


def suits(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is one that `WinogradConv` can replace with a gain."""
    return (
        isinstance(conv, nn.Conv2d)
        and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        and conv.weight.dtype == torch.float32
        and min(conv.in_channels, conv.out_channels) >= _NARROWEST
        and max(conv.in_channels, conv.out_channels) <= _WIDEST
    )
