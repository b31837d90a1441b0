"""Pure geometry of an edit: windows around a mask, crops, what is known per scale, and exact compositing.

Masks are PIL "L" pictures of 0 and 255, 255 = repaint. Boxes are (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..request import Fill

Box = tuple[int, int, int, int]
_LABEL_SIDE = 512  # connected regions are found on a copy of at most this side


@dataclass(frozen=True)
class Window:
    """One square that goes through the model. `box` may stick out of a picture narrower than it; `mask` has the
    box's size and marks the pixels this window repaints."""

    box: Box
    mask: Image.Image


def binary(mask: Image.Image, above: int = 127) -> Image.Image:
    """255 where the mask is above the threshold, 0 elsewhere."""
    return Image.fromarray((np.asarray(mask.convert("L")) > above).astype(np.uint8) * 255)


# what is known


def known_fraction(mask: Image.Image, side: int) -> np.ndarray:
    """Known share of each cell of a side x side grid, float32 in [0, 1], exact area average of the mask."""
    known = torch.from_numpy(255.0 - np.asarray(mask.convert("L"), dtype=np.float32)) / 255
    return F.interpolate(known[None, None], size=(side, side), mode="area")[0, 0].numpy()


def official_keep(keep_mask: np.ndarray, sides: tuple[int, ...]) -> list[np.ndarray]:
    """The reference's rule: (h, w) of 0 and 1 -> per scale (side, side) bool, True = keep.

    Bilinear shrink without antialiasing, then > 0.5; a scale of at most 3 tokens is kept whole.
    """
    mask = torch.from_numpy(np.asarray(keep_mask, dtype=np.float32))[None, None]
    out = []
    for side in sides:
        if side * side <= 3:
            out.append(np.ones((side, side), dtype=bool))
            continue
        out.append((F.interpolate(mask, size=(side, side), mode="bilinear", align_corners=False)[0, 0] > 0.5).numpy())
    return out


def keep_maps(
    fraction: np.ndarray, sides: tuple[int, ...], rule: Literal["known", "ring"] = "known"
) -> list[np.ndarray]:
    """Known shares of the finest cells (h, w) -> per scale (side, side) bool, True = keep.

    "known" keeps fully known cells only; "ring" gives up one more ring of cells around the rest.
    """
    share = torch.from_numpy(np.asarray(fraction, dtype=np.float32))[None, None]
    out = []
    for side in sides:
        keep = (F.interpolate(share, size=(side, side), mode="area")[0, 0] >= 1 - 1e-6).numpy()
        if rule == "ring":
            keep = cv2.erode(keep.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
        out.append(keep)
    return out


def fill_hole(crop: Image.Image, mask: Image.Image, method: Fill = "telea") -> Image.Image:
    """Cover the masked pixels so that nothing of them reaches the encoder."""
    if method == "none":
        return crop
    pixels, hole = np.asarray(crop.convert("RGB")), np.asarray(mask.convert("L")) > 0
    if not hole.any():
        return crop
    if method == "mean" or hole.all():
        colour = np.full(3, 128) if hole.all() else pixels[~hole].mean(axis=0)
        return Image.fromarray(np.where(hole[..., None], colour, pixels).astype(np.uint8))
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    return Image.fromarray(cv2.inpaint(np.ascontiguousarray(pixels), hole.astype(np.uint8), 3, flag))


# windows


def _square(region: Box, size: tuple[int, int], resolution: int, context: float) -> Box:
    """A square around a region, inside the picture wherever the picture is large enough."""
    left, top, right, bottom = region
    extent = max(right - left, bottom - top)
    smallest = min(resolution, max(size))  # a smaller crop would only be enlarged
    side = max(smallest, min(round(extent * context), max(extent, min(size))))
    side = min(side, max(size))
    return _place((left + right) / 2, (top + bottom) / 2, side, size)


def _place(x: float, y: float, side: int, size: tuple[int, int]) -> Box:
    corner = []
    for centre, length in ((x, size[0]), (y, size[1])):
        start = round(centre - side / 2)
        corner.append((length - side) // 2 if side > length else min(max(start, 0), length - side))
    return corner[0], corner[1], corner[0] + side, corner[1] + side


def _regions(mask: np.ndarray) -> list[Box]:
    """Bounding boxes of the connected parts of a bool mask, in pixels of the mask."""
    height, width = mask.shape
    factor = max(1, -(-max(height, width) // _LABEL_SIDE))
    rows, columns = -(-height // factor), -(-width // factor)
    padded = np.zeros((rows * factor, columns * factor), dtype=bool)
    padded[:height, :width] = mask
    small = padded.reshape(rows, factor, columns, factor).any(axis=(1, 3))
    count, _, stats, _ = cv2.connectedComponentsWithStats(np.asarray(small, dtype=np.uint8), connectivity=8)
    boxes = []
    for left, top, across, down, _ in stats[1:count]:
        area = mask[top * factor : (top + down) * factor, left * factor : (left + across) * factor]
        ys, xs = np.nonzero(area.any(axis=1))[0], np.nonzero(area.any(axis=0))[0]
        boxes.append(
            (left * factor + xs[0], top * factor + ys[0], left * factor + xs[-1] + 1, top * factor + ys[-1] + 1)
        )
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in boxes]


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _inside(inner: Box, outer: Box) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def plan_windows(mask: Image.Image, resolution: int, context: float = 2.0) -> list[Window]:
    """One square crop with context around each connected region of the mask; regions that fit one square share it.

    Raises ValueError when the mask is empty.
    """
    painted = np.asarray(mask.convert("L")) > 127
    if not painted.any():
        raise ValueError("the mask is empty: paint over the part that should change")
    size = mask.size
    groups = sorted(_regions(painted))
    merged = True
    while merged and len(groups) > 1:
        merged = False
        for i in range(len(groups)):
            for j in range(i + 1, len(groups)):
                joint = _union(groups[i], groups[j])
                extent = max(joint[2] - joint[0], joint[3] - joint[1])
                alone = [_square(groups[n], size, resolution, context) for n in (i, j)]
                # share a square when that needs no lower magnification than one of the two alone
                if extent <= max(box[2] - box[0] for box in alone) * 0.75 or _inside(groups[j], alone[0]):
                    groups[i] = joint
                    del groups[j]
                    merged = True
                    break
            if merged:
                break
    windows = []
    claimed = np.zeros_like(painted)
    for group in groups:
        windows += _cover(painted, claimed, group, size, resolution, context)
    return windows


def _cover(
    painted: np.ndarray, claimed: np.ndarray, region: Box, size: tuple[int, int], resolution: int, context: float
) -> list[Window]:
    """The square of one region, its mask without pixels that an earlier window repaints."""
    box = _square(region, size, resolution, context)
    mine = np.zeros_like(painted)
    left, top, right, bottom = region
    mine[top:bottom, left:right] = painted[top:bottom, left:right] & ~claimed[top:bottom, left:right]
    if not mine.any():
        return []
    claimed |= mine
    return [Window(box, Image.fromarray(_crop_array(mine.astype(np.uint8) * 255, box, 0)))]


def _crop_array(array: np.ndarray, box: Box, outside: int | None) -> np.ndarray:
    """Cut a box; what lies outside the picture is `outside`, or the nearest edge pixel for None."""
    left, top, right, bottom = box
    height, width = array.shape[:2]
    inner = array[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    pads = [(max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))] + [(0, 0)] * (
        array.ndim - 2
    )
    if not any(a or b for a, b in pads):
        return inner
    return np.pad(inner, pads, mode="edge") if outside is None else np.pad(inner, pads, constant_values=outside)


def crop(picture: Image.Image, box: Box, side: int) -> Image.Image:
    """The square `box` at side x side pixels; what sticks out of the picture repeats its edge."""
    left, top, right, bottom = box
    inner = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
    part = picture.crop(inner)
    if inner != box:
        moved = (left - inner[0], top - inner[1], right - inner[0], bottom - inner[1])
        part = Image.fromarray(_crop_array(np.asarray(part), moved, None))
    return part if part.width == side else part.resize((side, side), Image.Resampling.LANCZOS)


# outpainting


def outpaint_amounts(size: tuple[int, int], ratio: float, anchor: tuple[float, float] = (0.5, 0.5)) -> Box:
    """Pixels to add at (left, top, right, bottom) so that width / height becomes `ratio`.

    anchor (x, y) in [0, 1]: where the picture sits in the new one, (0, 0) = top left.
    """
    width, height = size
    if not 0.05 <= ratio <= 20:
        raise ValueError(f"the aspect ratio must be between 1:20 and 20:1, got {ratio:.3g}")
    across = max(0, round(height * ratio) - width)
    down = max(0, round(width / ratio) - height) if not across else 0
    left, top = round(across * anchor[0]), round(down * anchor[1])
    return left, top, across - left, down - top


def outpaint_canvas(
    picture: Image.Image, left: int, top: int, right: int, bottom: int
) -> tuple[Image.Image, Image.Image]:
    """The enlarged picture, its edge repeated outwards, and the mask of the new area."""
    array = np.asarray(picture.convert("RGB"))
    canvas = np.pad(array, ((top, bottom), (left, right), (0, 0)), mode="edge")
    mask = np.full(canvas.shape[:2], 255, dtype=np.uint8)
    mask[top : top + picture.height, left : left + picture.width] = 0
    return Image.fromarray(canvas), Image.fromarray(mask)


def plan_outpaint(
    size: tuple[int, int], left: int, top: int, right: int, bottom: int, resolution: int, overlap: float = 0.5
) -> tuple[tuple[int, int], list[Window]]:
    """Overlapping square windows over the new area, ordered so that each sees the most known content.

    Every new pixel belongs to exactly one window; a window sees at least about `overlap` of known content where
    the picture allows. Returns the new size and the windows.
    """
    width, height = size[0] + left + right, size[1] + top + bottom
    missing = np.ones((height, width), dtype=bool)
    missing[top : top + size[1], left : left + size[0]] = False
    side = max(min(size), min(resolution, min(width, height)))
    side = min(side, min(width, height))
    stride = max(1, round(side * (1 - overlap)))
    xs = _stops(left % stride if left else 0, width - side, stride)
    ys = _stops(top % stride if top else 0, height - side, stride)
    waiting = [(x, y) for y in ys for x in xs]
    windows: list[Window] = []
    while waiting:
        needs = {(x, y): int(missing[y : y + side, x : x + side].sum()) for x, y in waiting}
        waiting = [place for place in waiting if needs[place]]
        if not waiting:
            break
        x, y = min(waiting, key=lambda place: (needs[place], place[1], place[0]))
        area = missing[y : y + side, x : x + side]
        windows.append(Window((x, y, x + side, y + side), Image.fromarray(area.astype(np.uint8) * 255)))
        area[:] = False
        waiting.remove((x, y))
    return (width, height), windows


def _stops(first: int, last: int, stride: int) -> list[int]:
    """Window positions from 0 to `last`, at most `stride` apart, both ends included."""
    return sorted({0, last, *range(min(first, last), last, stride)})
