"""Pure geometry of an edit: squares around painted regions, the windows of an enlargement, crops.

Masks are uint8 arrays (H, W), 0 where the picture is known and 255 where it is repainted.
Boxes are (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from ..request import Box, inside

MOST_WINDOWS = 100  # of one request; each is a pass of the model
_MOST_REGIONS = 32  # more are joined with their neighbours
_LABEL_SIDE = 512  # connected regions are found on a copy of at most this side


def _square(region: Box, size: tuple[int, int], resolution: int, context: float) -> Box:
    """A square around a region, inside the picture wherever the picture is large enough."""
    left, top, right, bottom = region
    extent = max(right - left, bottom - top)
    smallest = min(resolution, max(size))  # a smaller crop would only be enlarged
    side = max(smallest, min(round(extent * context), max(extent, min(size))))
    side = min(side, max(size))
    corner = []
    for centre, length in (((left + right) / 2, size[0]), ((top + bottom) / 2, size[1])):
        start = round(centre - side / 2)
        corner.append((length - side) // 2 if side > length else min(max(start, 0), length - side))
    return corner[0], corner[1], corner[0] + side, corner[1] + side


def regions(mask: np.ndarray) -> list[Box]:
    """Bounding boxes of the connected parts of a mask (found at 512 px), at most 32: beyond that, near ones are one."""
    height, width = mask.shape
    factor = max(1, -(-max(height, width) // _LABEL_SIDE))
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    small = touched(mask, rows, columns)
    count, _, stats, _ = cv2.connectedComponentsWithStats(small, connectivity=8)
    reach = 1
    while count - 1 > _MOST_REGIONS:
        reach *= 2
        grown = cv2.dilate(small, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        count, _, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    boxes = []
    for left, top, across, down, _ in stats[1:count] * factor:
        x, y, w, h = cv2.boundingRect(mask[top : top + down, left : left + across])
        boxes.append((int(left) + x, int(top) + y, int(left) + x + w, int(top) + y + h))
    return boxes


def touched(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Not 0 where any pixel of a block is; the blocks begin at `rows` and `columns`. Eight pixels at a time."""
    width = mask.shape[1]
    whole = cv2.copyMakeBorder(mask, 0, 0, 0, -width % 8, cv2.BORDER_CONSTANT) if width % 8 else mask
    words = np.bitwise_or.reduceat(np.ascontiguousarray(whole).view(np.uint64), rows, axis=0)
    return np.bitwise_or.reduceat(words.view(np.uint8)[:, :width], columns, axis=1)


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _contains(outer: Box, inner: Box) -> bool:
    return _union(outer, inner) == outer


def painted_windows(mask: np.ndarray, resolution: int, context: float) -> tuple[list[Box], np.ndarray]:
    """One square with context around each painted region; regions that fit one square share it. Returns the squares,
    and who repaints each pixel: (H, W) uint8, 0 for nobody, n for window n from 1."""
    size = mask.shape[1], mask.shape[0]
    groups = sorted(regions(mask))
    while pair := next(
        ((i, j) for i in range(len(groups)) for j in range(i + 1, len(groups))
         if _share(groups[i], groups[j], size, resolution, context)),
        None,
    ):  # fmt: skip
        groups[pair[0]] = _union(groups[pair[0]], groups[pair[1]])
        del groups[pair[1]]
    boxes: list[Box] = []
    owner = np.zeros_like(mask)
    for group in groups:
        where = slice(group[1], group[3]), slice(group[0], group[2])
        free = np.minimum(mask[where], (owner[where] == 0).view(np.uint8))  # 1 where this window draws
        if free.any():
            boxes.append(_square(group, size, resolution, context))
            owner[where] += free * np.uint8(len(boxes))
    return boxes, owner


def _share(a: Box, b: Box, size: tuple[int, int], resolution: int, context: float) -> bool:
    """Whether two regions share a square: where that needs no lower magnification than one of the two alone."""
    joint = _union(a, b)
    alone = [_square(each, size, resolution, context) for each in (a, b)]
    extent = max(joint[2] - joint[0], joint[3] - joint[1])
    return extent <= max(box[2] - box[0] for box in alone) * 0.75 or _contains(alone[0], b)


def crop(picture: Image.Image, box: Box, side: int) -> Image.Image:
    """The square `box` at side x side pixels; what sticks out of the picture repeats its edge."""
    inner, (left, top, right, bottom) = inside(box, picture.size)
    part = picture.crop(inner)
    if inner != box:
        array = np.asarray(part)
        beyond = [(top, box[3] - box[1] - bottom), (left, box[2] - box[0] - right)] + [(0, 0)] * (array.ndim - 2)
        part = Image.fromarray(np.pad(array, beyond, mode="edge"))
    return part if part.width == side else part.resize((side, side), Image.Resampling.LANCZOS)


# enlargement


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


def enlarged(picture: Image.Image, amounts: Box) -> Image.Image:
    """The picture with `amounts` added at (left, top, right, bottom), its edge repeated outwards."""
    left, top, right, bottom = amounts
    width, height = picture.width + left + right, picture.height + top + bottom
    whole = Image.new(picture.mode, (width, height), None)
    whole.paste(picture, (left, top))
    end, below = left + picture.width, top + picture.height
    for edge, box in (
        ((left, top, left + 1, below), (0, top, left, below)),
        ((end - 1, top, end, below), (end, top, width, below)),
        ((0, top, width, top + 1), (0, 0, width, top)),  # of what is there now: corners too
        ((0, below - 1, width, below), (0, below, width, height)),
    ):
        size = box[2] - box[0], box[3] - box[1]
        if all(size):
            whole.paste(whole.crop(edge).resize(size, Image.Resampling.NEAREST), box)
    return whole


def outpaint_windows(size: tuple[int, int], amounts: Box, resolution: int) -> tuple[list[Box], np.ndarray]:
    """Overlapping squares over the new area around a picture of `size`, ordered so that each sees the most known
    content; each sees about half of it at least where the picture allows. Returns them and who draws each
    pixel, as `painted_windows` does. ValueError for more than 100."""
    left, top, right, bottom = amounts
    width, height = size[0] + left + right, size[1] + top + bottom
    side = max(min(size), min(resolution, min(width, height)))
    side = min(side, min(width, height))
    stride = max(1, round(side / 2))
    xs = _stops(left % stride if left else 0, width - side, stride)
    ys = _stops(top % stride if top else 0, height - side, stride)
    known = (left, top, left + size[0], top + size[1])
    places = [
        (x, y) for y in ys for x in xs
        if len(xs) * len(ys) > 40 * MOST_WINDOWS or not _contains(known, (x, y, x + side, y + side))
    ]  # fmt: skip
    if len(places) > MOST_WINDOWS:
        many = f"{len(places)} passes of the model, at most {MOST_WINDOWS} are drawn at once"
        raise ValueError(f"an enlargement by so much of so small a picture takes {many}: go in steps")
    edges = _edges([known, *(_at(place, side) for place in places)], (width, height))
    ordered = _by_known_content(places, side, known, edges)
    boxes = [_at(place, side) for place in ordered]
    who = np.zeros((len(edges[1]) - 1, len(edges[0]) - 1), np.uint8)
    who[_cells(edges, known)] = 255
    for n, box in enumerate(boxes, 1):
        view = who[_cells(edges, box)]
        view[view == 0] = n
    who[_cells(edges, known)] = 0
    return boxes, np.repeat(np.repeat(who, np.diff(edges[0]), axis=1), np.diff(edges[1]), axis=0)


def _at(place: tuple[int, int], side: int) -> Box:
    return *place, place[0] + side, place[1] + side


def _edges(boxes: list[Box], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """All edges of boxes in a picture, across and down, its own included: between them nothing changes, so that the
    picture's size does not matter."""
    across, down = ([0, size[axis], *(at for box in boxes for at in box[axis::2])] for axis in (0, 1))
    return np.unique(across), np.unique(down)


def _cells(edges: tuple[np.ndarray, np.ndarray], box: Box) -> tuple[slice, slice]:
    """Where a box lies between the edges, down and across."""
    (left, right), (top, bottom) = (np.searchsorted(edges[axis], box[axis::2]) for axis in (0, 1))
    return slice(top, bottom), slice(left, right)


def _by_known_content(
    places: list[tuple[int, int]], side: int, known: Box, edges: tuple[np.ndarray, np.ndarray]
) -> list[tuple[int, int]]:
    """The places in the order in which the least is missing in each, those with nothing missing left out."""
    area = np.outer(np.diff(edges[1]), np.diff(edges[0])).astype(np.int64)
    area[_cells(edges, known)] = 0
    waiting, order = [*places], []
    while waiting:
        needs = {place: int(area[_cells(edges, _at(place, side))].sum()) for place in waiting}
        waiting = [place for place in waiting if needs[place]]
        if waiting:
            x, y = min(waiting, key=lambda place: (needs[place], place[1], place[0]))
            area[_cells(edges, _at((x, y), side))] = 0
            order.append((x, y))
            waiting.remove((x, y))
    return order


def _stops(first: int, last: int, stride: int) -> list[int]:
    """Window positions from 0 to `last`, at most `stride` apart, both ends included."""
    return sorted({0, last, *range(min(first, last), last, stride)})
