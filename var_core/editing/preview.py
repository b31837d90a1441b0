"""Running canvas -> small RGB picture, cheaply: decoded on a grid no finer than the scale needs, or by a linear fit of
a large decoder; and shown inside a small copy of the photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..model.tokenizer import Tokenizer
from ..request import Box

PREVIEW_SIDE = 512  # long side of preview pictures, pixels
_PIXELS_A_CELL, _RIDGE, _MEMORY = 2, 1e-2, 0.98  # of the linear fit
_LARGE = 20e6  # parameters of a decoder that is too slow to be asked at every scale
_COARSE = 10  # sides up to which the linear fit serves: above, a decode shows more, and one costs a tenth of a run
_SMALLEST_GRID = 4  # coarser grids leave the decoder's middle too little to work with
_FINEST_GRID = 10  # finer ones cost more than they show: 24 dB at 6 % of a run, 27 dB at 13 cells for a tenth of it


class LinearDecoder:
    """A ridge regression from 3 x 3 cells of a canvas to the pixels of the middle one, for decoders that take too long
    to be asked at every scale. It learns from pairs of canvas and pixels that a run has anyway: what was encoded, and
    what was drawn; older pairs count less and less. On garden-128 it is nearer to the full decode (24 dB after three
    pictures) than a decode on a small grid (21 dB) up to sides of 6, and little behind it (24 and 25 dB) at 10."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.pixels = min(_PIXELS_A_CELL, tokenizer.config.stride)
        self.always = sum(p.numel() for p in tokenizer.decoder.parameters()) > _LARGE
        self.never = tokenizer.config.kind == "tiny"  # quick itself, and taught by pictures that end after any scale
        size = 9 * tokenizer.config.code_dim + 1
        self._squares = torch.zeros(size, size, device=tokenizer.device)
        self._products = torch.zeros(size, 3 * self.pixels**2, device=tokenizer.device)
        self._weights: Tensor | None = None

    @property
    def ready(self) -> bool:
        return self._weights is not None

    def _inputs(self, canvas: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, h * w, 9 c + 1)."""
        cells = F.unfold(F.pad(canvas, (1, 1, 1, 1), mode="replicate"), 3).transpose(1, 2)
        return torch.cat((cells, torch.ones_like(cells[..., :1])), dim=2)

    @torch.inference_mode()
    def learn(self, canvas: Tensor, picture: Tensor) -> None:
        """One batch of (b, c, h, w) and (b, 3, H, W) in [-1, 1]."""
        if self.never:
            return
        side = canvas.shape[-1] * self.pixels
        small_ones = F.interpolate(picture.float(), size=(side, side), mode="area")
        targets = F.unfold(small_ones, self.pixels, stride=self.pixels).transpose(1, 2)
        inputs = self._inputs(canvas.float())
        self._squares.mul_(_MEMORY).add_(torch.einsum("bli,blj->ij", inputs, inputs))
        self._products.mul_(_MEMORY).add_(torch.einsum("bli,blj->ij", inputs, targets))
        ridge = _RIDGE * self._squares.diagonal().mean() * torch.eye(len(self._squares), device=self._squares.device)
        self._weights = torch.linalg.solve(self._squares + ridge, self._products)

    @torch.inference_mode()
    def __call__(self, canvas: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, 3, 2 h pixels, 2 w pixels) in [-1, 1], smooth over the cells. Only when `ready`."""
        assert self._weights is not None
        side = canvas.shape[-1] * self.pixels
        made = (self._inputs(canvas.float()) @ self._weights).transpose(1, 2)
        coarse = F.fold(made, (side, side), self.pixels, stride=self.pixels)
        if self.pixels == 2:  # two means of neighbours leave nothing of a pattern that repeats with the cells
            coarse = F.avg_pool2d(F.avg_pool2d(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 2, 1), 2, 1)
        return F.interpolate(coarse, scale_factor=2, mode="bicubic").clamp(-1, 1)


@torch.inference_mode()
def preview(
    tokenizer: Tokenizer, canvas: Tensor, k: int, linear: LinearDecoder | None = None, finest: int = _FINEST_GRID
) -> Tensor:
    """(b, c, h, w) canvas after scale k -> (b, 3, side, side) in [-1, 1]: by `linear` once it has learned, for coarse
    scales and for all of a large decoder; otherwise decoded on a grid of the scale's own side, `finest` at most;
    side = stride * that grid."""
    if linear is not None and linear.ready and (linear.always or tokenizer.scales.sides[k] <= _COARSE):
        return linear(canvas)
    grid = min(max(tokenizer.scales.sides[k], _SMALLEST_GRID), finest, canvas.shape[-1])
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
    box: Box
    alpha: Image.Image | None

    @classmethod
    def of(cls, bases: list[Image.Image], width: int, box: Box | None, alpha: Image.Image | None) -> View:
        """bases: the small copies, of pictures `width` pixels wide; box and alpha in the pictures' own pixels."""
        if box is None or alpha is None:
            return cls(bases, (0, 0, 0, 0), None)
        scale = bases[0].width / width
        left, top, right, bottom = (round(edge * scale) for edge in box)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        return cls(bases, (left, top, right, bottom), alpha.resize((right - left, bottom - top), Image.Resampling.BOX))

    def show(self, patches: list[Image.Image]) -> list[Image.Image]:
        """Each patch inside its picture."""
        if self.alpha is None:
            return patches
        left, top, right, bottom = self.box
        out = []
        for base, patch in zip(self.bases * (len(patches) // len(self.bases)), patches, strict=True):
            picture = base.copy()
            scaled = patch.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
            picture.paste(scaled, (left, top), self.alpha)
            out.append(picture)
        return out
