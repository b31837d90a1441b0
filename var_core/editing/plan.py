"""What an edit comes down to: the picture that is worked on, the squares of it that go through the model, and what is
known of each. The one place that looks at the mask; the sampler, the overlay, the painting and the recipe ask here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..request import Box, Edit, Way, inside
from . import compositing, geometry

if TYPE_CHECKING:
    from .start import Start


@dataclass(frozen=True)
class Shares:
    """What is known of one window, on the model's grids: `hole` "L" at the model's resolution, 255 wherever a pixel
    is repainted; `fraction` (h, w) float32 in [0, 1], the known share of each finest cell; `keep` per scale
    (side, side) bool, True where what is known is kept."""

    hole: Image.Image
    fraction: np.ndarray
    keep: list[np.ndarray]


@dataclass(eq=False)
class Plan:
    """Made by `plan_edit`. `boxes` are the windows in order; [None]: the picture is the model's own square.
    `owner` (H, W) uint8 says who repaints each pixel of `picture`: 0 nobody, n window n, counted from 1.
    `started` is what the first window's run begins with, once it is known."""

    edit: Edit
    picture: Image.Image
    boxes: list[Box | None]
    owner: np.ndarray | None
    sides: tuple[int, ...]
    resolution: int
    feather: int = 0
    notices: tuple[str, ...] = ()
    started: Start | None = None
    _shares: dict[int, Shares] = field(default_factory=dict)

    def mask(self, number: int) -> Image.Image:
        """What window `number` (from 0) repaints: "L" of its box's size, 255 there."""
        box = self.boxes[number]
        if box is None or self.owner is None:
            return Image.new("L", (self.resolution, self.resolution), 255)
        (left, top, right, bottom), local = inside(box, self.picture.size)
        out = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        own = self.owner[top:bottom, left:right] == number + 1
        out.paste(Image.fromarray(own * np.uint8(255)), local[:2])
        return out

    def window_at(self, x: float, y: float) -> int:
        """The window that repaints this pixel, else the one whose middle is nearest: its number, from 0."""
        if self.owner is None:
            return 0
        height, width = self.owner.shape
        if 0 <= x < width and 0 <= y < height and self.owner[int(y), int(x)]:
            return int(self.owner[int(y), int(x)]) - 1
        away = [abs((b[0] + b[2]) / 2 - x) + abs((b[1] + b[3]) / 2 - y) if b else 0.0 for b in self.boxes]
        return away.index(min(away))

    def alpha(self, number: int) -> Image.Image | None:
        """The composite mask of a window, its box's size: 255 on what it repaints, fading outside."""
        if self.boxes[number] is None:
            return None
        return compositing.composite_alpha(self.mask(number), self.feather)

    def way(self, number: int) -> Way | None:
        """How a window gets its detail, where it is larger than the model's square: without a class, and with nothing
        of the picture kept under the mask, the surroundings go on; else the model's picture stays."""
        box, edit = self.boxes[number], self.edit
        if box is None or not edit.detail or box[2] - box[0] <= self.resolution:
            return None
        return "continued" if edit.label is None and edit.start_scale == 0 else "refined"

    @property
    def detailed(self) -> list[tuple[Way, int, int]]:
        """Of each window that gets detail, the way, its pixels in the picture, and how many of them are repainted."""
        found = []
        for number, box in enumerate(self.boxes):
            if box is not None and (way := self.way(number)) is not None:
                left, top, right, bottom = inside(box, self.picture.size)[0]
                found.append((way, (right - left) * (bottom - top), self.mask(number).histogram()[255]))
        return found

    def shares(self, number: int) -> Shares:
        """What is known of a window."""
        if number not in self._shares:
            mask, side = self.mask(number), self.resolution
            small = np.asarray(mask.resize((side, side), Image.Resampling.BOX))
            if mask.width > 16 * side:  # a dot in so large a window must not vanish by rounding
                starts = np.arange(side) * mask.width // side
                small = np.maximum(small, geometry.touched(np.asarray(mask), starts, starts) & 1)
            hole = Image.fromarray((small > 0).astype(np.uint8) * 255)
            fraction = known_fraction(small, self.sides[-1])
            official = self.edit.method == "official"
            keep = official_keep((fraction > 0.5).astype(np.float32), self.sides) if official else None
            self._shares[number] = Shares(hole, fraction, keep or keep_maps(fraction, self.sides))
        return self._shares[number]

    def redrawn(self, number: int, start: int | None = None) -> list[np.ndarray]:
        """Which tokens a window's run draws: per scale (side, side) bool. Scales before `start` (default: the edit's
        start scale) are taken as they are."""
        start = self.edit.start_scale if start is None else start
        keep = self.shares(number).keep
        return [np.zeros_like(part) if k < start else ~part for k, part in enumerate(keep)]

    @property
    def bounds(self) -> Box | None:
        """Where pixels may change: the painted part and its fade. None: everywhere."""
        if self.owner is None:
            return None
        x, y, w, h = cv2.boundingRect(self.owner)
        f = self.feather
        return max(x - f, 0), max(y - f, 0), min(x + w + f, self.picture.width), min(y + h + f, self.picture.height)


def plan_edit(edit: Edit, sides: tuple[int, ...], resolution: int) -> Plan:
    """The plan for a model of these scales and pixels. ValueError for what takes too many windows."""
    if edit.start_scale >= len(sides):
        raise ValueError(f"the start scale must be below {len(sides)}, got {edit.start_scale}")
    if edit.task == "generate":
        blank = Image.new("RGB", (resolution, resolution))
        return Plan(edit, blank, [None], None, sides, resolution)
    picture = edit.image
    assert picture is not None
    if edit.task == "vary":
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = geometry.crop(picture, (left, top, left + side, top + side), resolution)
        notices = () if picture.width == picture.height else ("The picture was cropped to its centre square.",)
        return Plan(edit, square, [None], None, sides, resolution, notices=notices)
    if edit.task == "outpaint":
        boxes, owner = geometry.outpaint_windows(picture.size, edit.outpaint, resolution)
        picture = geometry.enlarged(picture, edit.outpaint)
    else:
        assert edit.mask is not None
        mask = cv2.threshold(np.asarray(edit.mask), 127, 255, cv2.THRESH_BINARY)[1]
        boxes, owner = geometry.painted_windows(mask, resolution, edit.context)
    feather = compositing.usual_feather(owner) if edit.feather is None else edit.feather
    return Plan(edit, picture, [*boxes], owner, sides, resolution, feather)


def known_fraction(mask: np.ndarray, side: int) -> np.ndarray:
    """Known share of each cell of a side x side grid, float32 in [0, 1], area average of a uint8 mask."""
    return _shrunk((255 - mask.astype(np.float32)) / np.float32(255), side, "area").numpy()


def official_keep(keep_mask: np.ndarray, sides: tuple[int, ...]) -> list[np.ndarray]:
    """The reference's rule: (h, w) float32 of 0 and 1 -> per scale (side, side) bool, True = keep.

    Bilinear shrink without antialiasing, then > 0.5; a scale of at most 3 tokens is kept whole.
    """
    shrunk = ((side, _shrunk(keep_mask, side, "bilinear")) for side in sides)
    return [((part > 0.5) | (side * side <= 3)).numpy() for side, part in shrunk]


def keep_maps(fraction: np.ndarray, sides: tuple[int, ...]) -> list[np.ndarray]:
    """Known shares of the finest cells (h, w) -> per scale (side, side) bool: True for fully known cells."""
    return [(_shrunk(fraction, side, "area") >= 1 - 1e-6).numpy() for side in sides]


def _shrunk(values: np.ndarray, side: int, mode: str) -> torch.Tensor:
    return F.interpolate(torch.from_numpy(values)[None, None], size=(side, side), mode=mode)[0, 0]
