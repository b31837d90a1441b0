"""Patches of a picture's known part that continue into its hole: where from (search), what of it (votes, picks).

Arrays are numpy alone and every random number comes from the caller's generator: the same calls give the same bytes.
A place is a patch's centre, (y, x) in pixels of one level of a pyramid.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
import torch

_CHUNK = 512  # patches compared together: they stay in the processor's cache
_TOGETHER = 1.15  # how much further a place may be that lies as a neighbour's does
_EXACT = 3_000_000  # pairs of patches up to which all are compared


def strips(padded: np.ndarray, side: int) -> np.ndarray:
    """(H, W, c), contiguous -> (H - side + 1, W - side + 1, side, side * c), a view: the patch at every place."""
    down, across = padded.strides[:2]
    height, width, channels = padded.shape
    shape = (height - side + 1, width - side + 1, side, side * channels)
    return np.lib.stride_tricks.as_strided(padded, shape, (down, across, down, padded.itemsize), writeable=False)


def padded(values: np.ndarray, radius: int) -> np.ndarray:
    """(h, w, c) with its edge repeated `radius` pixels outwards."""
    return cv2.copyMakeBorder(values, radius, radius, radius, radius, cv2.BORDER_REPLICATE).reshape(
        values.shape[0] + 2 * radius, values.shape[1] + 2 * radius, -1
    )


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), "patches")


def usable(source: np.ndarray, radius: int) -> np.ndarray:
    """(h, w) bool -> (h, w) bool: centres of patches of known pixels; beyond the picture its edge is repeated."""
    side = 2 * radius + 1
    kernel = np.ones((side, side), np.uint8)
    return cv2.erode(source.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0


class Match:
    """For a grid of patches over a hole, one place each in the source of the same level.

    values: (h, w, c) float32, what patches are compared in; source: (h, w) bool, what may be copied; hole: (h, w)
    bool; trust: (h, w) float32 in (0, 1], how much a pixel counts; hints: (h, w, f) float32, compared at the patches'
    centres alone, already weighted. `near` is the part of the level around the hole that is all that changes."""

    def __init__(
        self, values: np.ndarray, source: np.ndarray, hole: np.ndarray, trust: np.ndarray, hints: np.ndarray,
        radius: int, stride: int, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.shape, self.radius, self.side, self.rng, self.hints = hole.shape, radius, 2 * radius + 1, rng, hints
        self.centre = usable(source, radius)
        self.places = np.stack(np.nonzero(self.centre), 1).astype(np.int32)  # (m, 2)
        self.strips = strips(padded(values, radius), self.side)
        self.at, self.cell, self.ids = _grid(hole, stride, radius)
        first = np.maximum(self.at.min(0) - radius - 1, 0)
        last = np.minimum(self.at.max(0) + radius + 2, self.shape)
        self.near = slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
        self.here = self.at - first.astype(np.int32)  # the patches' centres in that part
        across = self.near[1].stop - self.near[1].start + 2 * radius
        step = np.arange(self.side)
        under = (self.here @ (across, 1))[:, None, None] + step[:, None] * across + step
        self.under = torch.from_numpy(under.ravel())  # (n * side * side,) where each pixel lies in `near` and a border
        self.beside: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}  # `_beside`, once asked
        self.everyone = np.arange(len(self.at))
        self.found = np.zeros_like(self.at)
        self.cost = np.zeros(len(self.at), np.float32)
        around = np.pad(trust, radius)[..., None]  # nothing beyond the picture counts
        weight = strips(around, self.side)[self.at[:, 0], self.at[:, 1]].reshape(len(self.at), -1)
        self.weight = weight / weight.sum(1, keepdims=True)
        self.all_weights = np.repeat(self.weight, values.shape[2], axis=1)  # of every channel
        self.trust = trust[self.at[:, 0], self.at[:, 1]]

    def look(self, estimate: np.ndarray, hints: np.ndarray) -> None:
        """Compare from now on with this, of `near`: (h, w, c) and (h, w, f)."""
        y, x = self.here.T
        self.wanted = strips(padded(estimate, self.radius), self.side)[y, x].reshape(len(self.at), -1)
        self.wanted_hints = hints[y, x]

    def costs(self, places: np.ndarray, which: np.ndarray) -> np.ndarray:
        """(n,) weighted mean squared differences between patches `which` (n,) and those at `places` (n, 2)."""
        out = np.empty(len(places), np.float32)

        def compare(starts: Iterable[int]) -> None:
            for start in starts:
                some = slice(start, start + _CHUNK)
                (y, x), those = places[some].T, which[some]
                apart = self.strips[y, x].reshape(len(y), -1)
                apart -= self.wanted[those]
                apart *= apart
                beside = self.hints[y, x] - self.wanted_hints[those]
                out[some] = np.vecdot(apart, self.all_weights[those]) + np.vecdot(beside, beside)

        starts = range(0, len(places), _CHUNK)
        many = min(torch.get_num_threads(), len(starts))
        if many > 1:  # numpy works on one core only, but lets others work meanwhile
            list(_threads().map(compare, (starts[k::many] for k in range(many))))
        else:
            compare(starts)
        return out

    def begin(self, places: np.ndarray | None) -> None:
        """Start from these places (n, 2), or anywhere; what is no place of the source becomes a random one."""
        if places is None:
            places = np.full_like(self.at, -1)
        bad = ~self._is_place(places)
        self.found = places.copy()
        self.found[bad] = self.places[self.rng.integers(len(self.places), size=int(bad.sum()))]
        self.cost = self.costs(self.found, self.everyone)

    def search(self, far: bool) -> None:
        """Look for nearer places for all patches: all of them where they are few, else by PatchMatch (Barnes et al.
        2009), all patches at once: what suits a neighbour, and random tries in smaller and smaller squares; not `far`:
        only about where it was found before."""
        if len(self.at) * len(self.places) <= _EXACT:
            self._compare_all()
            self._ask_neighbours((1,))
            return
        self.cost = self.costs(self.found, self.everyone)
        self._ask_neighbours((4, 1) if far else (1,))
        longest = max(self.shape)
        if far:
            self._offer(self.places[self.rng.integers(len(self.places), size=len(self.at))], self.everyone)
        for reach in (longest // 4, longest // 16 + 1, 2) if far else (longest // 16 + 1, 2):
            moved = self.found + self.rng.integers(-reach, reach + 1, self.found.shape, dtype=np.int32)
            self._offer(moved, self.everyone)
        self._ask_neighbours((2, 1) if far else (1,))

    def _compare_all(self) -> None:
        """The nearest places by two matrix products."""
        y, x = self.places.T
        theirs = self.strips[y, x].reshape(len(y), self.side**2, -1)
        hints = self.hints[y, x]
        stack = (theirs.reshape(len(y), -1), np.square(theirs).sum(2), hints, np.square(hints).sum(1, keepdims=True))
        right = np.concatenate(stack, 1).T.copy()
        for start in range(0, len(self.at), 1024):
            some = slice(start, start + 1024)
            weight = self.weight[some]
            cross = -2 * self.all_weights[some] * self.wanted[some]
            left = (cross, weight, -2 * self.wanted_hints[some], np.ones((len(weight), 1), np.float32))
            self.found[some] = self.places[(np.concatenate(left, 1) @ right).argmin(1)]
        self.cost = self.costs(self.found, self.everyone)

    def _is_place(self, places: np.ndarray) -> np.ndarray:
        height, width = self.shape
        y, x = places.T
        ok = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return ok & self.centre[np.where(ok, y, 0), np.where(ok, x, 0)]

    def _offer(self, places: np.ndarray, which: np.ndarray, favour: float = 1.0) -> None:
        """Patches `which` (n,) take those of the places (n, 2) that are nearer, or less than `favour` times as far."""
        take = self._is_place(places)
        found = self.found[which]
        take &= (places[:, 0] != found[:, 0]) | (places[:, 1] != found[:, 1])
        which, places = which[take], places[take]
        cost = self.costs(places, which)
        nearer = cost < favour * self.cost[which]
        which = which[nearer]
        self.found[which], self.cost[which] = places[nearer], cost[nearer]

    def _ask_neighbours(self, steps: tuple[int, ...]) -> None:
        for step in steps:
            for way in ((0, step), (0, -step), (step, 0), (-step, 0)):
                which, neighbour = self._beside(way)
                self._offer(self.found[neighbour] + self.at[which] - self.at[neighbour], which, _TOGETHER)

    def _beside(self, way: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The patches that have another one so many cells away, and that one."""
        if way not in self.beside:
            down, across = (np.arange(length) + step for length, step in zip(self.ids.shape, way, strict=True))
            other = np.full_like(self.ids, -1)
            rows, columns = ((at >= 0) & (at < n) for at, n in zip((down, across), self.ids.shape, strict=True))
            other[np.ix_(rows, columns)] = self.ids[np.ix_(down[rows], across[columns])]
            other = other[self.cell[:, 0], self.cell[:, 1]]
            which = np.nonzero(other >= 0)[0]
            self.beside[way] = which, other[which]
        return self.beside[way]

    def vote(self, values: np.ndarray) -> np.ndarray:
        """values (h, w, c) with its edge repeated (`padded`) -> at each pixel of `near` the weighted mean of what the
        patches over it bring along; 0 where there is none. The nearer a patch and the more of it is known, the more it
        counts."""
        usual = max(float(np.percentile(self.cost, 75)), 1e-6)
        weight = self.trust * np.exp(-self.cost / (2 * usual) * (1 - 0.9 * self.trust)) + 1e-6
        y, x = self.found.T
        brought = strips(values, self.side)[y, x].reshape(len(y), self.side**2, -1)
        brought *= weight[:, None, None]
        total = self._sum(brought)
        total /= np.maximum(self._sum(np.repeat(weight, self.side**2)[:, None]), 1e-12)
        return _without_border(total, self.radius)

    def _sum(self, brought: np.ndarray) -> np.ndarray:
        """What patches bring along for each of their pixels, (n, side * side, c) float32, summed where they lie."""
        total = self._empty(brought.shape[-1])
        flat = torch.from_numpy(total.reshape(-1, total.shape[2]))  # shares its memory
        flat.index_add_(0, self.under, torch.from_numpy(brought.reshape(-1, total.shape[2])))
        return total

    def pick(self) -> np.ndarray:
        """(h, w, 2) int32 over the whole level: at each pixel the way to its source, from the patch over it that fits
        best, the nearer its middle the better; 0 where there is none."""
        usual = max(float(np.percentile(self.cost, 50)), 1e-6)
        aside = np.square(np.arange(self.side, dtype=np.float32) - self.radius)
        middle = 0.05 * usual * (aside[:, None] + aside).ravel()
        cost = torch.from_numpy(((self.cost * (1 - 0.9 * self.trust))[:, None] + middle).ravel())
        who = np.full(self._empty(1).shape[:2], -1, np.int32)
        best = torch.full((who.size,), torch.inf).scatter_reduce_(0, self.under, cost, "amin")
        fits = np.nonzero((cost == best[self.under]).numpy())[0][::-1]  # of equal ones the first
        who.ravel()[self.under.numpy()[fits]] = fits // self.side**2
        who = _without_border(who, self.radius)
        ways = np.zeros((*self.shape, 2), np.int32)
        ways[self.near] = (self.found - self.at)[who] * (who >= 0)[..., None]
        return ways

    def _empty(self, channels: int) -> np.ndarray:
        """Zeros over `near` and a border for the patches' edges."""
        height, width = (part.stop - part.start + 2 * self.radius for part in self.near)
        return np.zeros((height, width, channels), np.float32)


def _without_border(values: np.ndarray, radius: int) -> np.ndarray:
    return values[radius:-radius, radius:-radius]


def _grid(hole: np.ndarray, stride: int, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches every `stride` pixels, the last row and column included, whose square meets the hole: their centres
    (n, 2), their cells in the grid (n, 2), and the grid of their numbers, -1 for none."""
    near = cv2.dilate(hole.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 0
    rows, columns = (np.unique([*range(0, length, stride), length - 1]) for length in hole.shape)
    cell = np.stack(np.nonzero(near[np.ix_(rows, columns)]), 1).astype(np.int32)
    ids = np.full((len(rows), len(columns)), -1, np.int32)
    ids[cell[:, 0], cell[:, 1]] = np.arange(len(cell))
    return np.stack((rows[cell[:, 0]], columns[cell[:, 1]]), 1).astype(np.int32), cell, ids
