"""Running canvas -> small RGB picture, cheaply: decoded on a grid no finer than the scale needs, and shown inside
a small copy of the photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .tokenizer import Tokenizer

PREVIEW_SIDE = 512  # long side of preview pictures, pixels
_SMALLEST_GRID = 4  # coarser grids leave the decoder's middle too little to work with


@torch.inference_mode()
def preview(tokenizer: Tokenizer, canvas: Tensor, k: int) -> Tensor:
    """(b, c, h, w) canvas after scale k -> (b, 3, side, side) in [-1, 1], side = stride * the decoded grid."""
    grid = min(max(tokenizer.scales.sides[k], _SMALLEST_GRID), canvas.shape[-1])
    if grid != canvas.shape[-1]:
        canvas = F.interpolate(canvas, size=(grid, grid), mode="area")
    return tokenizer.decode(canvas)


def small(picture: Image.Image) -> Image.Image:
    """A copy of at most PREVIEW_SIDE pixels, or the picture itself."""
    scale = PREVIEW_SIDE / max(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def strip(pictures: list[Image.Image], gap: int = 6) -> Image.Image:
    """Pictures of all scales in one row, enlarged to the last one's size, on white."""
    width, height = pictures[-1].size
    row = Image.new("RGB", (len(pictures) * (width + gap) - gap, height), "white")
    for i, picture in enumerate(pictures):
        row.paste(picture.resize((width, height), Image.Resampling.BICUBIC), (i * (width + gap), 0))
    return row


@dataclass(frozen=True)
class View:
    """Display geometry of one window: a small copy of each picture, the window's box and alpha in it. Without an
    alpha the patches are the whole picture."""

    bases: list[Image.Image]
    box: tuple[int, int, int, int]
    alpha: Image.Image | None

    @classmethod
    def of(cls, pictures: list[Image.Image], box: tuple[int, int, int, int] | None, alpha: Image.Image | None) -> View:
        if box is None or alpha is None:
            return cls(pictures, (0, 0, 0, 0), None)
        first = small(pictures[0])
        bases = [first if picture is pictures[0] else small(picture) for picture in pictures]
        scale = first.width / pictures[0].width
        left, top, right, bottom = (round(edge * scale) for edge in box)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        return cls(bases, (left, top, right, bottom), alpha.resize((right - left, bottom - top), Image.Resampling.BOX))

    def show(self, patches: list[Image.Image]) -> list[Image.Image]:
        """Each patch inside its picture."""
        if self.alpha is None:
            return patches
        left, top, right, bottom = self.box
        out = []
        for base, patch in zip(self.bases, patches, strict=True):
            picture = base.copy()
            scaled = patch.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
            picture.paste(scaled, (left, top), self.alpha)
            out.append(picture)
        return out
