"""A run told again: what each scale of a candidate looked like in the picture, made from its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from ..request import Box, Pass, Result
from .painting import Painting

_LEAST = 256  # pixels of a patch whose tones are matched: coarser ones would show their cells along the mask
_GREY = (128, 128, 128)  # what is not there before an outpainting


@dataclass(frozen=True)
class Stage:
    """Where a run is told: small copies of the picture before and after, and the windows of each scale in them.
    `before` is None where nothing was there; `passes` hold one candidate each."""

    size: tuple[int, int]
    before: Image.Image | None
    base: Image.Image
    final: Image.Image
    passes: list[Pass]
    match: bool

    @classmethod
    def of(
        cls, picture: Image.Image, final: Image.Image, passes: Sequence[Pass], match: bool, side: int, window: bool,
        before: Image.Image | None = None,
    ) -> Stage:  # fmt: skip
        """picture: what was painted into; final: the result; side: of the copies, in pixels. `window` shows only what
        lies around the change, enlarged if need be."""
        boxes = [done.box for done in passes if done.box is not None]
        frame = (0, 0, *final.size)
        if window and boxes:
            frame = _around(boxes, final.size)
        width, height = frame[2] - frame[0], frame[3] - frame[1]
        scale = side / max(width, height)
        if not window and boxes:
            scale = min(scale, 1.0)
        size = max(2, round(width * scale)), max(2, round(height * scale))

        def shown(one: Image.Image) -> Image.Image:
            part = one if one.size != final.size or frame == (0, 0, *one.size) else one.crop(frame)
            return part.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)

        moved = [_moved(done, frame, size[0] / width) for done in passes]
        return cls(size, None if before is None else shown(before), shown(picture), shown(final), moved, match)

    def show(self, patches: Sequence[Image.Image]) -> Image.Image:
        """The picture with one patch a window (of any size, square) in its place."""
        painting = Painting.of_passes(self.base, self.passes, self.match)
        for number, (done, patch) in enumerate(zip(self.passes, patches, strict=True)):
            least = _LEAST if done.alpha is None else min(_LEAST, done.alpha.width)
            smooth = patch if patch.width >= least else patch.resize((least, least), Image.Resampling.BICUBIC)
            painting.add(number, done.box, done.alpha, [smooth])
        whole = painting.whole(0)
        return whole if whole.size == self.size else whole.resize(self.size, Image.Resampling.LANCZOS)


def told(stage: Stage, scales: Sequence[Iterator[Image.Image]]) -> Iterator[Image.Image]:
    """The picture before, after each scale (`scales`: a window's patches, coarse to fine, side by side), and at the
    end."""
    if stage.before is not None:
        yield stage.before
    for patches in zip(*scales, strict=True):
        yield stage.show(patches)
    yield stage.final


def before(result: Result) -> Image.Image | None:
    """What was there before a run; None where nothing was."""
    edit = result.edit
    if edit.task == "generate" or edit.image is None:
        return None
    if edit.task != "outpaint":
        return result.picture
    blank = Image.new("RGB", result.picture.size, _GREY)
    blank.paste(edit.image, (edit.left, edit.top))
    return blank


def _around(boxes: Sequence[Box], size: tuple[int, int]) -> Box:
    """What all windows cover of a picture of that size."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return max(min(left), 0), max(min(top), 0), min(max(right), size[0]), min(max(bottom), size[1])


def _moved(done: Pass, frame: Box, scale: float) -> Pass:
    """A window in the small copy."""
    if done.box is None or done.alpha is None:
        return done
    left, top = (round((edge - start) * scale) for edge, start in zip(done.box[:2], frame[:2], strict=True))
    side = max(2, round((done.box[2] - done.box[0]) * scale))
    alpha = done.alpha.resize((side, side), Image.Resampling.BOX)
    return replace(done, box=(left, top, left + side, top + side), alpha=alpha)
