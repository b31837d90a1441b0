"""Detail: what the model drew at its own few pixels becomes as sharp as the photo around it.

Two ways, coarse to fine, a level per factor of two:
`continued`: the photo's own surroundings go on into the hole; the model's picture is a hint of colours.
`refined`: the model's picture stays, and a network adds what is finer (super-resolution).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ..model.superres import SuperResolution
from .compositing import fill_smoothly
from .joining import bands, copied, joined
from .patches import Match, padded, usable

_LARGEST = 1600  # pixels of a side up to which patches are matched: beyond, what is found is copied in larger pieces
_MATCHED = 600_000  # pixels of a hole up to which they are: what bounds a level's time
_SMALLEST = 7  # pixels of the coarsest level's shorter side, at least
_LONG = 200_000  # pixels of a hole from which on a level takes several steps, so that none takes long
_BAND = 512  # rows of a photo that are reduced together
_SHOWN = 100  # pixels of a side from which on a level is worth a look
_PLACES = 20  # a level with fewer patches to copy is too coarse
_THIN = 2.0  # pixels of a hole's half width from which on no coarser level is needed
_KNOWN = 0.3  # share of a coarse pixel that must be known
_RADII = (2, 2, 3)  # of patches, from the coarsest level on; the last one for all that follow
_ROUNDS = (12, 10, 8, 5, 3, 2)
_FAR = 5  # levels, from the coarsest on, at which patches are looked for everywhere
_PATCHES = 10_000  # about so many are matched at a level
_FALL = 1.2  # a pixel counts less by this factor for each pixel between it and what is known
_LIVELY = 2.0  # how much the liveliness around a pixel counts
_NEAR = (60.0, 30.0)  # how much it counts to be as high and as far across: grey levels for all of the longer side
_SLOPES = 1.7  # the weight of a pixel's slopes against its three colours
_TONES = 2.0  # pixels within which tones follow the mean of all patches: above, grain is that of one
_MARGIN = 64  # pixels around a hole that the network is shown
# How much is taken of what the network adds: in one step, which has a model's own softness to make up for; in all steps
# but the last, whose additions are enlarged and sharpened again; in the last.
_ALONE, _EARLIER, _LAST = 1.5, 0.7, 1.0
_STRIP = 200_000  # pixels that it is given at once, so that no step takes long
_TRUST = 0.05  # how much the model's colours count where the surroundings go on: more, and they are its fog too


@dataclass(frozen=True)
class Steps:
    """`count` pictures of one patch, coarse to fine, (h, w, 3) uint8; the last one has the photo's size."""

    count: int
    pictures: Iterator[np.ndarray]


@dataclass(frozen=True)
class _Level:
    """colours (h, w, 3) float32 in [0, 255], means of the known pixels; known, hole (h, w) bool: what is neither
    counts for nothing; slopes (h, w, 2) float32, mean steps across and down at the photo's own pixels. A level that is
    too large to be matched has no slopes, the finest one then the photo itself as colours."""

    colours: np.ndarray
    known: np.ndarray
    hole: np.ndarray
    slopes: np.ndarray


def continued(
    photo: np.ndarray, soft: np.ndarray, hole: np.ndarray, known: np.ndarray, seed: int, trust: float = _TRUST,
    aside: tuple[float, float] = (0, 0),
) -> Steps:  # fmt: skip
    """The surroundings continued into the hole.

    photo, soft: (H, W, 3) uint8; hole: (H, W) bool, to be filled; known: (H, W) bool, what may be copied and must be
    met; trust >= 0: how much the colours of `soft` count; aside: how far down and across from each place its patch is
    looked for first, in shares of the longer side. Outside the hole the photo's pixels stay. Where there is too little
    to copy from, `soft` is the only step.

    Patches that overlap a pixel vote for it, and are looked for again (Wexler et al. 2007). The liveliness of textures
    counts too (Newson et al. 2014), else what is smooth would be cheapest; at last every pixel is one patch's, and its
    tone follows the votes."""
    if not hole.any() or not usable(known, _RADII[0]).any():
        return _as_it_is(photo, soft, hole)
    levels = _pyramid(photo, hole, known)
    if not _is_matched(levels[-1].hole):
        return _as_it_is(photo, soft, hole)
    return Steps(_count(levels), _continued(photo, soft, hole, levels, (trust, aside), np.random.default_rng(seed)))


def _as_it_is(photo: np.ndarray, soft: np.ndarray, hole: np.ndarray) -> Steps:
    return Steps(1, iter((np.where(hole[..., None], soft, photo),)))


def _is_matched(hole: np.ndarray) -> bool:
    return max(hole.shape) <= _LARGEST and int(hole.sum()) <= _MATCHED


def _is_shown(level: _Level) -> bool:
    return min(level.hole.shape) >= _SHOWN


def _is_long(hole: np.ndarray) -> bool:
    return int(hole.sum()) > _LONG


def _rounds(number: int) -> int:
    return _ROUNDS[min(number, len(_ROUNDS) - 1)]


def _count(levels: list[_Level]) -> int:
    """How many pictures `_continued` makes."""
    count = 1
    for number, level in enumerate(reversed(levels)):
        if _is_shown(level) and _is_long(level.hole) and _is_matched(level.hole):
            count += 1 + _rounds(number)
        count += _is_shown(level) and level is not levels[0]
    return count + (2 * len(bands(levels[0].hole)) if _is_long(levels[0].hole) else 0)


def _continued(
    photo: np.ndarray, soft: np.ndarray, hole: np.ndarray, levels: list[_Level],
    hints: tuple[float, tuple[float, float]], rng: np.random.Generator,
) -> Iterator[np.ndarray]:  # fmt: skip
    """A long way is told in more steps: the soft picture, each round of matching, each band that is joined."""
    if _is_long(hole):
        yield np.where(hole[..., None], soft, photo)
    ways, times = None, 1
    for number, level in enumerate(reversed(levels)):
        picture = None
        if ways is None or _is_matched(level.hole):
            ways = None if ways is None else _finer(ways, level.hole.shape)
            ways, mean = yield from _solved(level, ways, number, _hints(level, soft, *hints), rng)
            if level is not levels[0] and _is_shown(level):
                picture = _toned(level.colours, mean, ways, level.hole)
        else:
            times *= 2
            if level is not levels[0] and _is_shown(level):
                picture = copied(level.colours, _finer(ways, level.hole.shape, times), level.hole)
        if picture is not None:
            yield _bytes(picture)
    assert ways is not None
    out, made = photo.copy(), joined(levels[0].colours, ways, times, hole, levels[0].known)
    for part, values in made:
        inside = hole[part]
        out[part][inside] = _bytes(values[inside])
        if _is_long(hole):
            yield out
    if not _is_long(hole):
        yield out


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def _pyramid(photo: np.ndarray, hole: np.ndarray, known: np.ndarray) -> list[_Level]:
    """Fine to coarse, as long as there is a hole and enough around it."""
    levels = []
    if _is_matched(hole):
        sums = _sums(photo, hole, known, slice(0, len(hole)))
        levels.append(_Level(sums[0], known, hole, _share_of(sums[3], sums[4])))  # the finest pixels are known or not
        sums = [_halved(part) for part in sums]
    else:
        levels.append(_Level(photo, known, hole, np.zeros((0, 0, 2), np.float32)))
        tops = range(0, len(hole), _BAND)
        parts = [[_halved(part) for part in _sums(photo, hole, known, slice(top, top + _BAND))] for top in tops]
        sums = [np.concatenate(part) for part in zip(*parts, strict=True)]
    while _is_thick(levels[-1]):
        colours, share, missing, slopes, flat = sums
        is_known = share > _KNOWN
        is_hole = (missing > 0) & ~is_known
        enough = usable(is_known, _RADII[0]).sum() >= _PLACES and min(is_known.shape) >= _SMALLEST
        if not (enough and is_hole.any()):
            break
        slopes = _share_of(slopes, flat) if _is_matched(is_hole) else slopes[:0]
        levels.append(_Level(_share_of(colours, share), is_known, is_hole, slopes))
        sums = [_halved(part) for part in sums]
    return levels


def _is_thick(level: _Level) -> bool:
    return cv2.distanceTransform(level.hole.astype(np.uint8), cv2.DIST_L2, 3).max() > _THIN


def _sums(photo: np.ndarray, hole: np.ndarray, known: np.ndarray, rows: slice) -> list[np.ndarray]:
    """Of some rows, float32: the known colours, what is known, the hole, the slopes and where they are known."""
    top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, len(hole))
    own = slice(rows.start - top, min(rows.stop, len(hole)) - top)
    flat = cv2.erode(known[top:bottom].astype(np.uint8), np.ones((3, 3), np.uint8))[own].astype(np.float32)
    grey = cv2.cvtColor(photo[top:bottom], cv2.COLOR_RGB2GRAY)
    slopes = np.empty((*flat.shape, 2), np.float32)
    for axis, way in enumerate(((1, 0), (0, 1))):
        slopes[..., axis] = np.abs(cv2.Sobel(grey, cv2.CV_32F, *way, scale=0.25))[own] * flat
    share = known[rows].astype(np.float32)
    return [photo[rows] * share[..., None], share, hole[rows].astype(np.float32), slopes, flat]


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of two by two pixels; nothing beyond the edge counts."""
    height, width = values.shape[:2]
    even = cv2.copyMakeBorder(values, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT)
    return cv2.resize(even, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)


def _share_of(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    return values / np.maximum(share, 1e-6)[..., None]


def _hints(level: _Level, soft: np.ndarray, trust: float, aside: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """What patches' centres are compared by besides their pixels, of the source and as wanted, (h, w, f) float32:
    how lively it is around them, where they are (as wanted, `aside` of it), the colours that are drawn there."""
    reach = 2 * max(1, min(8, round(min(level.hole.shape) / 40))) + 1
    weight = cv2.blur(level.known.astype(np.float32), (reach, reach))
    theirs = cv2.blur(level.slopes * level.known[..., None], (reach, reach)) / np.maximum(weight, 1e-3)[..., None]
    height, width = level.hole.shape
    near = np.array(_NEAR, np.float32)
    place = np.mgrid[:height, :width].transpose(1, 2, 0).astype(np.float32) * (near / max(height, width))
    theirs *= _LIVELY**0.5
    theirs, wanted = _stacked(theirs, place), _stacked(theirs, place + near * np.array(aside, np.float32))
    if trust <= 0:
        return theirs, wanted
    around = cv2.blur(level.known.astype(np.float32), (5, 5))
    colours = cv2.blur(level.colours * level.known[..., None], (5, 5)) / np.maximum(around, 1e-3)[..., None]
    drawn = cv2.blur(cv2.resize(soft, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32), (5, 5))
    return _stacked(theirs, trust**0.5 * colours), _stacked(wanted, trust**0.5 * drawn)


def _solved(
    level: _Level, ways: np.ndarray | None, number: int, hints: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> Generator[np.ndarray, None, tuple[np.ndarray, np.ndarray]]:
    """The ways from each pixel to its source, and the mean of all patches' votes, at level `number` from the coarsest
    one on. Told after each round where that takes long."""
    hole, radius = level.hole, _RADII[min(number, len(_RADII) - 1)]
    is_told = _is_shown(level) and _is_long(hole)
    distance = cv2.distanceTransform((~level.known).astype(np.uint8), cv2.DIST_L2, 3)
    counts = np.where(level.known, 1, np.maximum(_FALL**-distance, 0.05) * hole).astype(np.float32)
    theirs, wanted = hints
    if ways is None:
        mean = fill_smoothly(level.colours, level.known)
        lively = fill_smoothly(np.dstack((theirs[..., :2], theirs[..., :1])), level.known)[..., :2]
    else:
        mean, lively = copied(level.colours, ways, hole), copied(theirs[..., :2], ways, hole)
    stride = int(np.clip(np.sqrt(hole.sum() / _PATCHES) + 0.5, 1 if number < 3 else 2, 4))
    match = Match(_with_slopes(mean), level.known, hole, counts, theirs, radius, stride, rng)
    near, inside = match.near, hole[match.near][..., None]
    drawn, lively, other = mean[near], lively[near], wanted[near][..., 2:]
    votes = padded(_stacked(level.colours, theirs[..., :2]), radius)
    match.look(_with_slopes(drawn), _stacked(lively, other))
    match.begin(None if ways is None else match.at + ways[match.at[:, 0], match.at[:, 1]])
    if is_told:
        yield _bytes(mean)
    for _ in range(_rounds(number)):
        match.look(_with_slopes(drawn), _stacked(lively, other))
        match.search(number < _FAR)
        voted = match.vote(votes)
        drawn, lively = np.where(inside, voted[..., :3], drawn), np.where(inside, voted[..., 3:], lively)
        if is_told:
            mean[near] = drawn
            yield _bytes(mean)
    ways = match.pick()
    match.look(_with_slopes(copied(level.colours, ways, hole)[near]), _stacked(lively, other))
    match.search(number < _FAR)
    mean[near] = drawn
    return match.pick(), mean


def _with_slopes(colours: np.ndarray) -> np.ndarray:
    """(h, w, 3) -> (h, w, 5): and the steps to the neighbours across and down."""
    grey = cv2.cvtColor(np.ascontiguousarray(colours, np.float32), cv2.COLOR_RGB2GRAY)
    steps = (cv2.Sobel(grey, cv2.CV_32F, *way, ksize=1, scale=0.5 * _SLOPES) for way in ((1, 0), (0, 1)))
    return _stacked(colours, *steps)


def _stacked(*parts: np.ndarray) -> np.ndarray:
    """(h, w, ...) float32 each -> (h, w, all of their channels)."""
    return cv2.merge([np.ascontiguousarray(part, np.float32) for part in parts])


def _finer(ways: np.ndarray, shape: tuple[int, ...], times: int = 2) -> np.ndarray:
    return times * np.repeat(np.repeat(ways, times, axis=0), times, axis=1)[: shape[0], : shape[1]]


def _toned(colours: np.ndarray, mean: np.ndarray, ways: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The hole filled from where the ways lead, moved to the mean's tones; what is finer than a few pixels stays."""
    sharp = copied(colours, ways, hole)
    moved = cv2.GaussianBlur(np.where(hole[..., None], mean - sharp, 0), (0, 0), _TONES)
    return np.where(hole[..., None], sharp + moved, sharp)


def refined(
    photo: np.ndarray, soft: np.ndarray, hole: np.ndarray, known: np.ndarray, times: float, seed: int,
    net: SuperResolution,
) -> Steps:  # fmt: skip
    """The model's picture stays, and becomes as sharp as one that was taken at this size.

    As in `continued`; times > 1: how much `soft` was enlarged; seed: of its grain. Factor of two by factor of two the
    network sees it inside the photo, reduced as far. A large hole is told part by part, from the top."""
    if not hole.any():
        return _as_it_is(photo, soft, hole)
    frame = _around(hole, _MARGIN)
    pictures, holes = [np.where((hole | ~known)[frame][..., None], soft[frame], photo[frame])], [hole[frame]]
    for _ in range(max(1, math.ceil(math.log2(times) - 1e-6)) - 1):
        pictures.append(_bytes(_halved(pictures[-1].astype(np.float32))))
        holes.append(_halved(holes[-1].astype(np.float32)) > 0)
    rng = np.random.default_rng(seed)
    return Steps(sum(len(_strips(each)) for each in holes), _refined(photo, hole, frame, pictures, holes, net, rng))


def _refined(
    photo: np.ndarray, hole: np.ndarray, frame: tuple[slice, slice], pictures: list[np.ndarray],
    holes: list[np.ndarray], net: SuperResolution, rng: np.random.Generator,
) -> Iterator[np.ndarray]:  # fmt: skip
    drawn, (height, width) = pictures[-1], hole[frame].shape
    for here, is_hole in zip(reversed(pictures), reversed(holes), strict=True):
        if drawn is not here:
            large = cv2.resize(drawn, (here.shape[1], here.shape[0]), interpolation=cv2.INTER_CUBIC)
            drawn = np.where(is_hole[..., None], large, here)
        strength = _ALONE if len(pictures) == 1 else _LAST if here is pictures[0] else _EARLIER
        seen, noise = drawn.astype(np.float32), rng.standard_normal(is_hole.shape, dtype=np.float32)
        for rows in _strips(is_hole):
            inside = is_hole[rows]
            added = net.sharpened(seen, noise, rows)[inside] - seen[rows][inside]
            drawn[rows][inside] = _bytes(seen[rows][inside] + strength * added)
            out = photo.copy()
            whole = drawn if here is pictures[0] else cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC)
            out[frame][hole[frame]] = whole[hole[frame]]
            yield out


def _around(hole: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rows and columns that a hole takes, and a margin."""
    found = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    down, across = (slice(max(int(at[0]) - margin, 0), int(at[-1]) + 1 + margin) for at in found)
    return down, across


def _strips(hole: np.ndarray) -> list[slice]:
    """The rows that have a hole, in strips of at most about _STRIP pixels that begin at even rows."""
    rows = np.flatnonzero(hole.any(1))
    many = max(2, _STRIP // hole.shape[1] // 2 * 2)
    first, last = int(rows[0]) // 2 * 2, int(rows[-1]) + 1
    return [slice(top, min(top + many, last)) for top in range(first, last, many)]
