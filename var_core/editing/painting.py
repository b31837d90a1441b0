"""Finished windows pasted into the pictures, one picture a candidate: the same object serves a run and a replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from PIL import Image

from ..model.superres import bundled_superres
from ..request import Box, Pass, Way, inside, seed_of
from . import detail, geometry
from .compositing import blend, match_surroundings
from .plan import Plan
from .preview import small

_AROUND = 1280  # pixels of a side up to which detail looks further around than the model did
_ASIDE = 0.3  # shares of the longer side at which further candidates look for what goes on
_SOFTLY = Image.Resampling.BICUBIC


class Painting:
    """`picture` is shared by all candidates; each holds only what stands in `bounds`, where pixels may change.
    `owner` (H, W) uint8: who repaints each pixel, as in `Plan`. With `match`, a patch's tones are matched to all
    pixels that are not still to be drawn."""

    def __init__(self, picture: Image.Image, bounds: Box, owner: np.ndarray, match: bool, candidates: int) -> None:
        self.picture, self.bounds, self.owner, self.match = picture, bounds, owner, match
        self.parts = [picture.crop(bounds)] * candidates
        self.before = self.parts  # as they were when the last window was drawn
        self.drawn: list[Image.Image] = []  # what it was drawn as, tones matched

    @classmethod
    def of_plan(cls, plan: Plan, candidates: int) -> Painting:
        """For a run. A plan without windows is painted over whole."""
        whole = (0, 0, *plan.picture.size)
        if plan.owner is None or plan.bounds is None:
            return cls(plan.picture, whole, np.zeros((0, 0), np.uint8), False, candidates)
        return cls(plan.picture, plan.bounds, plan.owner, plan.edit.color_match, candidates)

    @classmethod
    def of_passes(cls, picture: Image.Image, passes: Sequence[Pass], match: bool) -> Painting:
        """For a replay: who repaints what is read from the windows' own masks."""
        owner = np.zeros((picture.height, picture.width), dtype=np.uint8)
        for number, done in enumerate(passes, 1):
            if done.box is not None and done.alpha is not None:
                inner, local = inside(done.box, picture.size)
                view = owner[inner[1] : inner[3], inner[0] : inner[2]]
                view[(np.asarray(done.alpha.crop(local)) == 255) & (view == 0)] = number
        return cls(picture, (0, 0, *picture.size), owner, match, 1)

    def crops(self, box: Box | None, side: int) -> list[Image.Image]:
        """What stands in a window now, at side x side pixels: one picture a candidate, or one for all while they are
        the same."""
        many = range(1 if self.alike else len(self.parts))
        return [geometry.crop(self._near(i, box), *self._moved(box, side)) for i in many]

    def add(self, number: int, box: Box | None, alpha: Image.Image | None, patches: list[Image.Image]) -> None:
        """Paste window `number` (from 0): RGB patches of the model's size, one a candidate. `alpha` is the window's
        composite mask; without a box the patches are the pictures."""
        if box is None or alpha is None:
            self.parts = patches
            return
        left, top, right, bottom = inside(box, self.picture.size)[0]
        waiting = Image.fromarray((self.owner[top:bottom, left:right] > number) * np.uint8(255))
        parts, self.drawn = [], []
        for i, patch in enumerate(patches):
            if self.match:
                place = self._moved(box, box[2] - box[0])
                still = geometry.crop(waiting, *place)
                patch = match_surroundings(patch, geometry.crop(self._near(i, box), *place), still)
            self.drawn.append(patch)
            parts.append(self._pasted(self.parts[i], box, alpha, patch.resize(alpha.size, Image.Resampling.LANCZOS)))
        self.before, self.parts = self.parts, parts

    def sharpen(
        self, number: int, box: Box, alpha: Image.Image, way: Way, seed: int, candidates: Sequence[int]
    ) -> tuple[int, Iterator[list[Image.Image]]]:
        """Give the window that was added last, number `number`, the photo's detail; `candidates` are the numbers of the
        pictures that this has, from 0: they go on with other parts of the photo, so that they differ. Returns how
        many levels there are, of one candidate after the other, so that only one's are held, and per level the window's
        pictures, one a candidate; with the last one they are pasted in place of what was added."""
        near = _around(box, self.picture.size)
        owner = self.owner[near[1] : near[3], near[0] : near[2]]
        known, hole = owner <= number, owner == number + 1
        inner, local = inside(box, self.picture.size)
        at = slice(inner[1] - near[1], inner[3] - near[1]), slice(inner[0] - near[0], inner[2] - near[0])
        if way == "refined":  # the fade needs what is drawn, sharp
            hole = np.zeros_like(known)
            hole[at] = np.asarray(alpha.crop(local)) > 0
            known = known & ~hole
        place, size = (near[0] - box[0], near[1] - box[1]), (near[2] - near[0], near[3] - near[1])

        def begin(index: int) -> detail.Steps:
            photo = self._seen(self.before[index], near)
            soft, patch = photo.copy(), self.drawn[index]
            usual = cv2.mean(photo, known.astype(np.uint8))[:3]
            soft[~(known | hole)] = np.rint(usual)  # nobody knows yet what comes there
            soft[at] = np.asarray(patch.resize(alpha.size, Image.Resampling.LANCZOS).crop(local))
            own = seed_of(seed, number, candidates[index])
            if way == "continued":
                return detail.continued(photo, soft, hole, known, own, aside=_aside(seed, candidates[index]))
            times = (box[2] - box[0]) / patch.width
            return detail.refined(photo, soft, hole, known, times, own, bundled_superres())

        def levels(steps: detail.Steps | None) -> Iterator[list[Image.Image]]:
            windows = [patch.resize(alpha.size, Image.Resampling.LANCZOS) for patch in self.drawn]
            parts = list(self.parts)
            for index in range(len(windows)):
                steps = begin(index) if steps is None else steps
                for level, picture in enumerate(steps.pictures, 1):
                    made = Image.fromarray(picture)
                    windows[index] = Image.new("RGB", alpha.size)
                    windows[index].paste(made if made.size == size else made.resize(size, _SOFTLY), place)
                    if level == steps.count:
                        parts[index] = self._pasted(self.before[index], box, alpha, windows[index])
                        self.parts = list(parts)
                    yield list(windows)
                steps = None

        first = begin(0)
        return first.count * len(self.drawn), levels(first)

    def _seen(self, part: Image.Image, box: Box) -> np.ndarray:
        """What stands in a box of the picture with that part in it, (h, w, 3) uint8."""
        seen = self.picture.crop(box)
        seen.paste(part, (self.bounds[0] - box[0], self.bounds[1] - box[1]))
        return np.array(seen)

    def _pasted(self, part: Image.Image, box: Box, alpha: Image.Image, patch: Image.Image) -> Image.Image:
        """A copy of one candidate's part with a patch, the size of its box, blended in."""
        x, y = self.bounds[:2]
        inner, local = inside((box[0] - x, box[1] - y, box[2] - x, box[3] - y), part.size)
        out = part.copy()
        out.paste(blend(part.crop(inner), patch.crop(local), alpha.crop(local)), inner[:2])
        return out

    def _near(self, index: int, box: Box | None) -> Image.Image:
        """The part of a candidate's picture that lies in a box (`_moved` says where the box is in it)."""
        if box is None:
            return self.parts[index]
        inner = inside(box, self.picture.size)[0]
        near = self.picture.crop(inner)
        x, y = self.bounds[:2]
        near.paste(self.parts[index], (x - inner[0], y - inner[1]))
        return near

    def _moved(self, box: Box | None, side: int) -> tuple[Box, int]:
        if box is None:
            return (0, 0, *self.parts[0].size), side
        x, y = inside(box, self.picture.size)[0][:2]
        return (box[0] - x, box[1] - y, box[2] - x, box[3] - y), side

    def whole(self, index: int) -> Image.Image:
        """One candidate's picture."""
        if self.parts[index].size == self.picture.size:
            return self.parts[index]
        picture = self.picture.copy()
        picture.paste(self.parts[index], self.bounds[:2])
        return picture

    def small(self) -> list[Image.Image]:
        """Small copies of the candidates' pictures, or one for all while they are the same."""
        return [small(self.whole(index)) for index in range(1 if self.alike else len(self.parts))]

    @property
    def alike(self) -> bool:
        return all(part is self.parts[0] for part in self.parts)


def _around(box: Box, size: tuple[int, int]) -> Box:
    """The box with a quarter of its side more around it, less where it is large, as far as there is a picture."""
    side = box[2] - box[0]
    more = min(max((_AROUND - side) // 2, 0), side // 4)
    return inside((box[0] - more, box[1] - more, box[2] + more, box[3] + more), size)[0]


def _aside(seed: int, candidate: int) -> tuple[float, float]:
    """Where a candidate looks for what goes on, down and across: the first one at each place itself, the others all
    around it, a golden angle apart."""
    if candidate == 0:
        return 0, 0
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi) + candidate * np.pi * (3 - 5**0.5)
    return _ASIDE * float(np.sin(angle)), _ASIDE * float(np.cos(angle))
