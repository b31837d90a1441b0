"""Running canvas -> small RGB picture, cheaply: decoded on a grid no finer than the scale needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .tokenizer import Tokenizer

_SMALLEST_GRID = 4  # coarser grids leave the decoder's middle too little to work with


@torch.inference_mode()
def preview(tokenizer: Tokenizer, canvas: Tensor, k: int) -> Tensor:
    """(b, c, h, w) canvas after scale k -> (b, 3, side, side) in [-1, 1], side = stride * the decoded grid."""
    grid = min(max(tokenizer.scales.sides[k], _SMALLEST_GRID), canvas.shape[-1])
    if grid != canvas.shape[-1]:
        canvas = F.interpolate(canvas, size=(grid, grid), mode="area")
    return tokenizer.decode(canvas)
