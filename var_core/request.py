"""One job from outside: what is asked (`Edit`), what is left to chance (`Chance`), the frames while it runs, and the
result. Both requests check themselves once: ValueError with one sentence."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

from PIL import Image
from torch import Tensor

from .settings import PAINTED, TASKS, WITH_MASK, WITH_PICTURE, Setting, Task, check_settings, setting, settings_of

Method = Literal["evidence", "requantize", "official"]
Fill = Literal["telea", "navier-stokes", "mean", "none"]
Way = Literal["continued", "refined"]  # to detail: `editing.detail`
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

_NEXT_WINDOW, _NEXT_CANDIDATE = 104_729, 15_485_863  # between seeds
MAX_PIXELS = 40_000_000  # of a picture, enlarged ones included
MAX_DRAWN = 100_000_000  # pixels of what is drawn, over all candidates: what a result holds in memory


def _amount(side: str) -> int:
    """The setting of one side that is enlarged."""
    return setting(
        0, int, low=0, high=16_384, tasks=("outpaint",), label=side.title(), help=f"pixels to add at the {side}"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """What is asked of which picture.

    task: "generate" needs nothing; "inpaint" a picture and a mask; "edit" those and a label; "outpaint" a picture
    and amounts; "vary" a picture and a start scale. image: RGB, upright. mask: "L" of the picture's size, above 127 =
    repaint; given otherwise it is brought to that (nearest). label: class number or name, None = no class.
    Two edits are never compared by their pixels: `same` asks whether all settings are equal and the pictures one.
    """

    task: Task = "generate"
    image: Image.Image | None = None
    mask: Image.Image | None = None
    label: int | str | None = None
    start_scale: int = setting(
        0, int, low=0, high=31, tasks=(*WITH_MASK, "vary"), label="Start scale",
        help="scales before this one come from the picture: 0 changes everything from the layout on",
    )  # fmt: skip
    method: Method = setting(
        "evidence", str, choices=("evidence", "requantize", "official"), tasks=WITH_PICTURE, label="Method",
        help="how known pixels are held: evidence fits best, official is the paper's fixed tokens",
    )  # fmt: skip
    evidence: float | None = setting(
        None, float, low=0, high=1000, tasks=WITH_PICTURE, label="Evidence",
        help="how strongly known pixels speak in partly known cells (default: the model's)",
    )  # fmt: skip
    fill: Fill = setting(
        "telea", str, choices=("telea", "navier-stokes", "mean", "none"), tasks=PAINTED, label="Fill",
        help="what covers the masked pixels before the picture is encoded",
    )  # fmt: skip
    guess: bool = setting(
        True, bool, tasks=("inpaint", "outpaint"), label="Guess the class",
        help="without a class, the one that the surroundings suggest, for models of few classes",
    )  # fmt: skip
    context: float = setting(
        2.0, float, low=1, high=8, tasks=WITH_MASK, label="Context",
        help="side of the square that the model sees around a region, in sides of the region",
    )  # fmt: skip
    feather: int | None = setting(
        None, int, low=0, high=512, tasks=PAINTED, label="Feather",
        help="width of the soft edge outside the mask, in pixels (default: by the region)",
    )  # fmt: skip
    color_match: bool = setting(
        True, bool, tasks=PAINTED, label="Match colours",
        help="join light and colour to what surrounds the mask, without a seam",
    )  # fmt: skip
    detail: bool = setting(
        True, bool, tasks=PAINTED, label="Detail",
        help="sharpen what is drawn with the photo's own texture and grain, where it is larger than the model's square",
    )  # fmt: skip
    left: int = _amount("left")
    top: int = _amount("top")
    right: int = _amount("right")
    bottom: int = _amount("bottom")

    def __post_init__(self) -> None:
        _check(self.task in TASKS, f'the task must be one of {", ".join(TASKS)}, got "{self.task}"')
        check_settings(self)
        if self.task != "generate":
            _check(self.image is not None, "there is no picture yet: open one first")
        if self.image is not None and self.image.mode != "RGB":
            object.__setattr__(self, "image", self.image.convert("RGB"))
        if self.task in WITH_MASK:
            self._fit_mask()
        if self.task == "edit":
            _check(self.label is not None, "choose the class that the painted region should become")
        if self.task == "outpaint":
            _check(max(self.outpaint) > 0, "outpainting needs a positive amount on at least one side")
            width, height = self.enlarged
            megapixels = f"{width * height / 1e6:.0f} megapixels, the limit is {MAX_PIXELS // 10**6}"
            _check(width * height <= MAX_PIXELS, f"the enlarged picture would have {megapixels}: add less")

    def _fit_mask(self) -> None:
        """The mask as "L" at the picture's size; the very object where it is that already."""
        assert self.image is not None
        mask = self.mask if self.mask is None or self.mask.mode == "L" else self.mask.convert("L")
        if mask is not None and mask.size != self.image.size:
            mask = mask.resize(self.image.size, Image.Resampling.NEAREST)
        brightest = 0 if mask is None else cast(tuple[int, int], mask.getextrema())[1]
        _check(brightest > 127, "the mask is empty: paint over the part that should change")
        object.__setattr__(self, "mask", mask)

    @property
    def outpaint(self) -> Box:
        """Pixels added at (left, top, right, bottom)."""
        return self.left, self.top, self.right, self.bottom

    @property
    def enlarged(self) -> tuple[int, int]:
        """Size of the outpainted picture."""
        assert self.image is not None
        return self.image.width + self.left + self.right, self.image.height + self.top + self.bottom

    def same(self, other: Edit) -> bool:
        """Whether it asks the same of the same pictures: settings by value, pictures by identity."""
        pairs = [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return all(a is b or (not isinstance(a, Image.Image) and a == b) for a, b in pairs)


@dataclass(frozen=True, kw_only=True)
class Chance:
    """How it is drawn: what may differ between two runs of one edit. None: the model's own choice.

    seed: None = random. guidance, top_k, top_p: of the sampler. random_scales: after as many scales, counted from
    the first that is drawn, the likeliest tokens are taken. stop_scale: end after that many scales (a sketch)."""

    seed: int | None = setting(
        None, int, low=0, high=2**32 - 1, label="Seed",
        help="the same seed gives the same picture again (default: random)",
    )  # fmt: skip
    candidates: int = setting(
        1, int, low=1, high=16, label="Candidates", help="how many versions to choose from, 1 to 16"
    )
    guidance: float | None = setting(
        None, float, low=0, high=20, label="Guidance", help="how strongly the class is followed (default: the model's)"
    )
    top_k: int | None = setting(
        None, int, low=0, high=1_000_000, label="Top-k",
        help="draw among the k likeliest codes, 0 = all (default: the model's)",
    )  # fmt: skip
    top_p: float | None = setting(
        None, float, low=0, high=1, label="Top-p",
        help="draw among the likeliest codes of this total probability, 0 = all (default: the model's)",
    )  # fmt: skip
    random_scales: int | None = setting(
        None, int, low=0, high=32, label="Random scales",
        help="scales left to chance before the likeliest codes (default: the model's)",
    )  # fmt: skip
    smooth: bool = setting(
        False, bool, label="Smooth", help="softer pictures with less variety: codes are mixed (Gumbel-softmax)"
    )
    stop_scale: int | None = setting(
        None, int, low=1, high=32, label="Stop scale", help="end after that many scales: a sketch, to be finished later"
    )

    def __post_init__(self) -> None:
        check_settings(self)


ANCHORS: dict[str, tuple[float, float]] = {  # where the picture sits in a new shape
    "centre": (0.5, 0.5), "left": (0.0, 0.5), "right": (1.0, 0.5), "top": (0.5, 0.0), "bottom": (0.5, 1.0),
}  # fmt: skip
EDIT, CHANCE = settings_of(Edit), settings_of(Chance)
SETTINGS: dict[str, Setting] = EDIT | CHANCE


def requested(**values: Any) -> tuple[Edit, Chance]:
    """Both requests from one set of values."""
    chance = {name: values.pop(name) for name in CHANCE if name in values}
    return Edit(**values), Chance(**chance)


def _check(good: bool, sentence: str) -> None:
    if not good:
        raise ValueError(sentence)


@dataclass(frozen=True)
class Pass:
    """What one window did, enough to do it again without sampling, and to go on from any scale. `tokens[k]` is
    (candidates, l). Where codes were mixed tokens do not say it all: then `codes[k]` (candidates, l, c) does.
    `box` and `alpha` are None where the whole picture is the model's square. `detail` says which way it was sharpened;
    what that takes are the photo's own pixels around it."""

    tokens: list[Tensor]
    codes: list[Tensor] | None = None
    box: Box | None = None
    alpha: Image.Image | None = None
    detail: Way | None = None

    def of(self, index: int) -> Pass:
        """The same of one candidate alone."""
        codes = None if self.codes is None else [part[index : index + 1] for part in self.codes]
        return replace(self, tokens=[part[index : index + 1] for part in self.tokens], codes=codes)


@dataclass(frozen=True, eq=False)
class Result:
    """A finished job. `picture` is what was painted into, shared by all candidates; `patches` per candidate what
    stands at `at` in it (the whole picture where nothing was given). `precision` says what the numbers were computed
    in. `chance` has every automatic choice filled in; `first` is the number of the first candidate among those of its
    seed, `settle` the scale from which the likeliest tokens were taken. A branch keeps the edit of the job it
    branched from."""

    model: str
    precision: str
    edit: Edit
    chance: Chance
    picture: Image.Image
    patches: list[Image.Image]
    at: tuple[int, int]
    passes: list[Pass]
    previews: list[Image.Image]  # per scale, first candidate, last window
    notices: tuple[str, ...] = ()
    first: int = 0
    settle: int | None = None
    seconds: float = 0.0
    likelihood: tuple[float, ...] = ()  # per candidate: log-likelihood of what the model drew

    @property
    def seed(self) -> int:
        return cast(int, self.chance.seed)

    @property
    def sketch(self) -> bool:
        return self.chance.stop_scale is not None

    def image(self, index: int) -> Image.Image:
        """One candidate's picture, put together anew."""
        if not 0 <= index < len(self.patches):
            raise ValueError(f"the result has {len(self.patches)} candidates, there is no number {index + 1}")
        if self.patches[index].size == self.picture.size:
            return self.patches[index]
        picture = self.picture.copy()
        picture.paste(self.patches[index], self.at)
        return picture

    @property
    def images(self) -> list[Image.Image]:
        return [self.image(index) for index in range(len(self.patches))]


@dataclass(frozen=True)
class Frame:
    """One scale of one window done; `result` comes with the last frame only. Where a window gets detail, frames follow
    its last scale with `scale` as it was, and `detail` counting from 1 to `details`."""

    scale: int  # 1-based
    scales: int
    window: int  # 1-based
    windows: int
    previews: list[Image.Image]
    seconds: float
    seed: int
    result: Result | None = None
    detail: int = 0
    details: int = 0


def seed_of(seed: int, window: int, candidate: int) -> int:
    """The seed of one window of one candidate, both counted from 0."""
    return seed + _NEXT_WINDOW * window + _NEXT_CANDIDATE * candidate


def inside(box: Box, size: tuple[int, int]) -> tuple[Box, Box]:
    """The part of a box that lies in a picture of that size, in the picture's and in the box's own coordinates."""
    left, top, right, bottom = box
    inner = max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])
    return inner, (inner[0] - left, inner[1] - top, inner[2] - left, inner[3] - top)


def described(edit: Edit, chance: Chance) -> dict[str, Any]:
    """Every setting of a job, for a recipe."""
    values = {name: getattr(edit, name) for name in EDIT} | {name: getattr(chance, name) for name in CHANCE}
    return {"task": edit.task, "label": edit.label} | values
