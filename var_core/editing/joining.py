"""Pieces from several places become one surface: small steps of tone between them are spread out."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

_STEP = 60.0  # grey levels: much larger steps are edges, and stay
_AROUND = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
_ROUNDS = 12
_LEVELS = 4
_MARGIN = 2**_LEVELS  # pixels around a hole; more than rounds, so that a band's middle knows nothing of its ends
_BAND = 1_000_000  # pixels that are joined together
Part = tuple[slice, slice]


def copied(values: np.ndarray, ways: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """(h, w, ...) with the values of the hole fetched from where the ways (h, w, 2) lead."""
    y, x = np.nonzero(hole)
    out = values.copy()
    source_y = (y + ways[y, x, 0]).clip(0, hole.shape[0] - 1)
    out[y, x] = values[source_y, (x + ways[y, x, 1]).clip(0, hole.shape[1] - 1)]
    return out


def bands(hole: np.ndarray) -> list[Part]:
    """What is joined at a time: rows and columns of parts of bounded size, of all that lies near the hole (h, w)."""
    x, y, width, height = cv2.boundingRect(hole.astype(np.uint8))
    last = min(y + height + _MARGIN, len(hole))
    columns = slice(max(x - _MARGIN, 0), min(x + width + _MARGIN, hole.shape[1]))
    rows = max(_BAND // (columns.stop - columns.start), 2 * _MARGIN) // 2 * 2
    return [(slice(top, min(top + rows, last)), columns) for top in range(max(y - _MARGIN, 0), last, rows)]


def joined(
    colours: np.ndarray, ways: np.ndarray, times: int, hole: np.ndarray, known: np.ndarray
) -> Iterator[tuple[Part, np.ndarray]]:
    """For each of the `bands` in turn what it becomes, (rows, columns, 3) float32: `colours` (h, w, 3), and in the hole
    what lies where the ways lead; then for each again, its tones moved so that they go on smoothly where neighbours
    come from different places. Poisson image editing (Perez et al. 2003), for steps that are small enough to be light
    rather than edges. ways (h, w, 2) int32, or of a level that is `times` smaller."""
    parts, coarse, slab = bands(hole), [], None
    (first, last), columns = (parts[0][0].start, parts[-1][0].stop), parts[0][1]
    for rows, _ in parts:
        beyond = slice(rows.start, min(rows.stop + 2, last))
        slab = _slab(colours, ways, times, hole, known, (beyond, columns))
        below = [_coarser(_even(steps), axis) for axis, steps in enumerate(slab[1:])]
        coarse.append([steps[: (rows.stop - rows.start + 1) // 2] for steps in below])
        yield (rows, columns), slab[0][: rows.stop - rows.start]
    down, across = (np.concatenate(steps) for steps in zip(*coarse, strict=True))
    change = _surface(down, across, _halved(hole[first:last, columns]), _LEVELS - 1)
    for rows, _ in parts:
        near = slice(max(rows.start - _MARGIN, first), min(rows.stop + _MARGIN, last))
        if len(parts) > 1 or slab is None:
            slab = _slab(colours, ways, times, hole, known, (near, columns))
        start = _finer(change, near.start - first, near.stop - first, slab[0].shape[1])
        made = slab[0] + _relaxed(start, *slab[1:], hole[near, columns], _ROUNDS)
        yield (rows, columns), made[rows.start - near.start :][: rows.stop - rows.start]


def _slab(
    colours: np.ndarray, ways: np.ndarray, times: int, hole: np.ndarray, known: np.ndarray, near: Part
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A part as it is copied together, and what is missing in its steps down and across, (rows, columns, 3) float32."""
    inside = hole[near]
    places = np.ix_(*(np.arange(part.start, part.stop) // times for part in near))
    way = times * ways[places] * inside[..., None]
    made = colours[near].astype(np.float32)
    y, x = np.nonzero(inside)
    source = (
        (at + part.start + way[y, x, axis]).clip(0, hole.shape[axis] - 1)
        for axis, (at, part) in enumerate(zip((y, x), near, strict=True))
    )
    made[y, x] = colours[tuple(source)]
    down, across = (_steps(colours, made, way, inside, known, axis, near) for axis in (0, 1))
    return made, down, across


def _steps(
    colours: np.ndarray, made: np.ndarray, way: np.ndarray, inside: np.ndarray, known: np.ndarray, axis: int,
    near: Part,
) -> np.ndarray:  # fmt: skip
    """What is missing in the step from each pixel of a part to the next one down (axis 0) or across, where the two come
    from different places: against the same step as it stands at both places, as far as it is known. `made`, `way` and
    `inside` are of that part alone."""
    height, width = known.shape
    first = tuple(slice(None, -1) if n == axis else slice(None) for n in (0, 1))
    second = tuple(slice(1, None) if n == axis else slice(None) for n in (0, 1))
    apart = (way[first] != way[second]).any(-1) & (inside[first] | inside[second])
    y, x = (at + part.start for at, part in zip(np.nonzero(apart), near, strict=True))
    wanted, weight = np.zeros((len(y), 3), np.float32), np.zeros(len(y), np.float32)
    for end in (first, second):
        from_y, from_x = y + way[end][apart][:, 0], x + way[end][apart][:, 1]
        to_y, to_x = from_y + (axis == 0), from_x + (axis == 1)
        ok = (np.minimum(from_y, from_x) >= 0) & (to_y < height) & (to_x < width)
        from_y, from_x, to_y, to_x = (np.where(ok, place, 0) for place in (from_y, from_x, to_y, to_x))
        ok &= known[from_y, from_x] & known[to_y, to_x]
        wanted[ok] += (colours[to_y, to_x].astype(np.float32) - colours[from_y, from_x])[ok]
        weight += ok
    missing = wanted / np.maximum(weight, 1)[:, None] - (made[second] - made[first])[apart]
    missing *= (np.exp(-np.square(np.square(missing).mean(1) / _STEP**2)) * (weight > 0))[:, None]
    out = np.zeros_like(made)
    out[first][apart] = missing
    return out


def _surface(down: np.ndarray, across: np.ndarray, free: np.ndarray, levels: int) -> np.ndarray:
    """The surface (h, w, 3) whose steps from each pixel to the next are nearest to those wanted, 0 where nothing is
    free: coarse to fine, where a step is all that the finer ones on its way add up to."""
    if not levels:
        return _relaxed(np.zeros_like(across), down, across, free, 10 * _ROUNDS)
    coarse = _surface(_coarser(_even(down), 0), _coarser(_even(across), 1), _halved(free), levels - 1)
    return _relaxed(_finer(coarse, 0, *free.shape), down, across, free, _ROUNDS)


def _relaxed(change: np.ndarray, down: np.ndarray, across: np.ndarray, free: np.ndarray, rounds: int) -> np.ndarray:
    """The surface after so many rounds; `change`, where it starts, is written over."""
    moves = across + down
    moves[:, 1:] -= across[:, :-1]
    moves[1:] -= down[:-1]
    weight = np.repeat(0.2 * free[..., None].astype(np.float32), 3, axis=2)  # 0.8 of a step
    change *= free[..., None]
    off = np.empty_like(change)
    for _ in range(rounds):
        cv2.filter2D(change, -1, _AROUND, off, borderType=cv2.BORDER_REPLICATE)
        off -= moves
        off *= weight
        change += off
    return change


def _finer(change: np.ndarray, top: int, bottom: int, width: int) -> np.ndarray:
    """Rows from an even `top` to `bottom` of a surface, at twice the size."""
    first = max(top // 2 - 1, 0)
    part = change[first : (bottom + 1) // 2 + 1]
    finer = cv2.resize(part, (2 * part.shape[1], 2 * len(part)), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(finer[top - 2 * first :, :width][: bottom - top])


def _halved(free: np.ndarray) -> np.ndarray:
    """(h, w) bool -> where any of two by two pixels is."""
    even = np.pad(free, ((0, len(free) % 2), (0, free.shape[1] % 2)))
    return even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]


def _even(steps: np.ndarray) -> np.ndarray:
    """Its sides made even, by steps that are 0."""
    return np.pad(steps, ((0, len(steps) % 2), (0, steps.shape[1] % 2), (0, 0)))


def _coarser(steps: np.ndarray, axis: int) -> np.ndarray:
    """Steps along an axis between pixels of twice the size; even sizes."""
    mean = (np.moveaxis(steps, 1 - axis, 0)[::2] + np.moveaxis(steps, 1 - axis, 0)[1::2]) / 2  # of both rows
    out = mean[:, 0::2] / 2 + mean[:, 1::2]
    out[:, :-1] += mean[:, 2::2] / 2
    return np.ascontiguousarray(np.moveaxis(out, 0, 1 - axis))
