"""Pieces from several places become one surface: small steps of tone between them are spread out."""

from __future__ import annotations

import cv2
import numpy as np

_STEP = 60.0  # grey levels: much larger steps are edges, and stay
_AROUND = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
_ROUNDS = 12
_LEVELS = 4


def copied(values: np.ndarray, ways: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """(h, w, ...) with the values of the hole fetched from where the ways (h, w, 2) lead."""
    y, x = np.nonzero(hole)
    out = values.copy()
    source_y = (y + ways[y, x, 0]).clip(0, hole.shape[0] - 1)
    out[y, x] = values[source_y, (x + ways[y, x, 1]).clip(0, hole.shape[1] - 1)]
    return out


def joined(colours: np.ndarray, ways: np.ndarray, hole: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n, 3), the pixels of the hole in `colours` (h, w, 3) float32, row by row: from where the ways lead, their tones
    moved so that they go on smoothly where neighbours come from different places. Poisson image editing (Perez et al.
    2003), for steps that are small enough to be light rather than edges."""
    x, y, width, height = cv2.boundingRect(hole.astype(np.uint8))
    margin = 2**_LEVELS
    near = (
        slice(max(y - margin, 0), min(y + height + margin, len(hole))),
        slice(max(x - margin, 0), min(x + width + margin, hole.shape[1])),
    )
    made = colours[near].copy()
    y, x = np.nonzero(hole)
    source_y, source_x = ((at + ways[y, x, n]).clip(0, hole.shape[n] - 1) for n, at in enumerate((y, x)))
    made[y - near[0].start, x - near[1].start] = colours[source_y, source_x]
    across, down = (_steps(colours, made, ways, hole, known, axis, near) for axis in (1, 0))
    return (made + _surface(across, down, hole[near], _LEVELS))[hole[near]]


def _steps(
    colours: np.ndarray, made: np.ndarray, ways: np.ndarray, hole: np.ndarray, known: np.ndarray, axis: int,
    near: tuple[slice, slice],
) -> np.ndarray:  # fmt: skip
    """What is missing in the step from each pixel of a part to the next one down (axis 0) or across, where the two come
    from different places: against the same step as it stands at both places, as far as it is known."""
    height, width = hole.shape
    first = tuple(slice(None, -1) if n == axis else slice(None) for n in (0, 1))
    second = tuple(slice(1, None) if n == axis else slice(None) for n in (0, 1))
    way, inside, values = ways[near] * hole[near][..., None], hole[near], made
    apart = (way[first] != way[second]).any(-1) & (inside[first] | inside[second])
    y, x = (at + part.start for at, part in zip(np.nonzero(apart), near, strict=True))
    wanted, weight = np.zeros((len(y), 3), np.float32), np.zeros(len(y), np.float32)
    for end in (first, second):
        from_y, from_x = y + way[end][apart][:, 0], x + way[end][apart][:, 1]
        to_y, to_x = from_y + (axis == 0), from_x + (axis == 1)
        ok = (np.minimum(from_y, from_x) >= 0) & (to_y < height) & (to_x < width)
        from_y, from_x, to_y, to_x = (np.where(ok, place, 0) for place in (from_y, from_x, to_y, to_x))
        ok &= known[from_y, from_x] & known[to_y, to_x]
        wanted[ok] += (colours[to_y, to_x] - colours[from_y, from_x])[ok]
        weight += ok
    missing = wanted / np.maximum(weight, 1)[:, None] - (values[second] - values[first])[apart]
    missing *= (np.exp(-np.square(np.square(missing).mean(1) / _STEP**2)) * (weight > 0))[:, None]
    out = np.zeros_like(values)
    out[first][apart] = missing
    return out


def _surface(across: np.ndarray, down: np.ndarray, free: np.ndarray, levels: int) -> np.ndarray:
    """The surface (h, w, 3) whose steps from each pixel to the next are nearest to those wanted, 0 where nothing is
    free: coarse to fine, where a step is all that the finer ones on its way add up to."""
    height, width = free.shape
    change = np.zeros_like(across)
    if levels:
        even = [(0, height % 2), (0, width % 2), (0, 0)]
        share = cv2.resize(
            np.pad(free.astype(np.float32), even[:2]),
            ((width + 1) // 2, (height + 1) // 2),
            interpolation=cv2.INTER_AREA,
        )
        coarse = _surface(_coarser(np.pad(across, even), 1), _coarser(np.pad(down, even), 0), share > 0, levels - 1)
        finer = cv2.resize(coarse, (2 * coarse.shape[1], 2 * coarse.shape[0]), interpolation=cv2.INTER_LINEAR)
        change = finer[:height, :width] * free[..., None]
    moves = across + down
    moves[:, 1:] -= across[:, :-1]
    moves[1:] -= down[:-1]
    weight = np.repeat(0.2 * free[..., None].astype(np.float32), 3, axis=2)  # 0.8 of a step
    off = np.empty_like(change)
    for _ in range(_ROUNDS if levels else 10 * _ROUNDS):
        cv2.filter2D(change, -1, _AROUND, off, borderType=cv2.BORDER_REPLICATE)
        off -= moves
        off *= weight
        change += off
    return change


def _coarser(steps: np.ndarray, axis: int) -> np.ndarray:
    """Steps along an axis between pixels of twice the size; even sizes."""
    mean = (np.moveaxis(steps, 1 - axis, 0)[::2] + np.moveaxis(steps, 1 - axis, 0)[1::2]) / 2  # of both rows
    out = mean[:, 0::2] / 2 + mean[:, 1::2]
    out[:, :-1] += mean[:, 2::2] / 2
    return np.ascontiguousarray(np.moveaxis(out, 0, 1 - axis))
