"""One job from outside: the request that checks itself, the frames while it runs, and the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from PIL import Image
from torch import Tensor

Task = Literal["generate", "inpaint", "edit", "outpaint", "vary", "branch"]
Method = Literal["evidence", "requantize", "official"]
Fill = Literal["telea", "navier-stokes", "mean", "none"]


@dataclass(frozen=True, kw_only=True)
class EditRequest:
    """Everything about one job. It checks itself: ValueError with one sentence.

    task: "generate" needs nothing; "inpaint" a picture and a mask; "edit" those and a label; "outpaint" a
    picture and amounts; "vary" a picture and a start scale; "branch" a result (`base`) and a start scale.
    image: RGB, upright. mask: "L", above 127 = repaint; another size is scaled to the picture with nearest.
    label: class index or name; None = no class. seed: None = random. guidance, top_k, top_p,
    random_scales: None = the model's own defaults; after as many random scales, counted from the first that is drawn,
    the likeliest tokens are taken. start_scale: scales before it come from the source. stop_scale: end after that many
    scales (a sketch). method: how known pixels are held; evidence: how strongly they speak in partly known cells,
    None = the model's own; fill: what the masked pixels are covered with before encoding; guess: with
    "evidence" and no label, the class that the known pixels suggest, for models of few classes. context: side of
    the square around a region, in sides of the region. feather: width in pixels of the fade outside the mask;
    None = chosen from the region. outpaint: pixels added at (left, top, right, bottom).
    """

    task: Task = "generate"
    image: Image.Image | None = None
    mask: Image.Image | None = None
    label: int | str | None = None
    seed: int | None = None
    candidates: int = 1
    guidance: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    random_scales: int | None = None
    smooth: bool = False
    start_scale: int = 0
    stop_scale: int | None = None
    method: Method = "evidence"
    evidence: float | None = None
    fill: Fill = "telea"
    guess: bool = True
    context: float = 2.0
    feather: int | None = None
    color_match: bool = True
    outpaint: tuple[int, int, int, int] = (0, 0, 0, 0)
    base: Result | None = None
    base_index: int = 0

    def __post_init__(self) -> None:
        def check(good: bool, sentence: str) -> None:
            if not good:
                raise ValueError(sentence)

        tasks = ("generate", "inpaint", "edit", "outpaint", "vary", "branch")
        check(self.task in tasks, f'the task must be one of {", ".join(tasks)}, got "{self.task}"')
        check(
            self.method in ("evidence", "requantize", "official"),
            f'unknown method "{self.method}": use evidence, requantize or official',
        )
        fills = ("telea", "navier-stokes", "mean", "none")
        check(self.fill in fills, f'unknown fill "{self.fill}": use {", ".join(fills)}')
        check(self.evidence is None or self.evidence >= 0, f"evidence must be 0 or more, got {self.evidence}")
        check(1 <= self.candidates <= 16, f"the number of candidates must be 1 to 16, got {self.candidates}")
        check(self.guidance is None or 0 <= self.guidance <= 20, f"guidance must be 0 to 20, got {self.guidance}")
        check(self.top_k is None or self.top_k >= 0, f"top-k must be 0 (off) or more, got {self.top_k}")
        check(self.top_p is None or 0 <= self.top_p <= 1, f"top-p must be 0 to 1, got {self.top_p}")
        scales = self.random_scales
        check(scales is None or scales >= 0, f"the number of random scales must be 0 or more, got {scales}")
        check(1.0 <= self.context <= 8.0, f"the context factor must be 1 to 8, got {self.context}")
        check(self.feather is None or 0 <= self.feather <= 512, f"feather must be 0 to 512 pixels, got {self.feather}")
        check(self.seed is None or 0 <= self.seed < 2**32, f"the seed must be 0 to {2**32 - 1}, got {self.seed}")
        check(self.start_scale >= 0, f"the start scale must be 0 or more, got {self.start_scale}")
        if self.task in ("inpaint", "edit", "outpaint", "vary"):
            check(self.image is not None, "there is no picture yet: open one first")
        if self.task in ("inpaint", "edit"):
            check(
                self.mask is not None and cast(int, self.mask.convert("L").getextrema()[1]) > 127,
                "the mask is empty: paint over the part that should change",
            )
        if self.task == "edit":
            check(self.label is not None, "choose the class that the painted region should become")
        if self.task == "outpaint":
            check(
                min(self.outpaint) >= 0 and max(self.outpaint) > 0,
                "outpainting needs a positive amount on at least one side",
            )
        if self.task == "branch":
            check(self.base is not None, "there is no result to branch from yet")


@dataclass(frozen=True)
class Pass:
    """What one window did, enough to do it again without sampling. `tokens[k]` is (candidates, l); `canvas`
    (candidates, c, h, w) only where codes were mixed and tokens do not say it all.
    `box` and `alpha` are None where the whole picture is the model's square."""

    tokens: list[Tensor]
    canvas: Tensor | None = None
    box: tuple[int, int, int, int] | None = None
    alpha: Image.Image | None = None


@dataclass(frozen=True)
class Result:
    """A finished job. `alpha` is the composite mask of the whole picture (None: all of it is new); `source` the
    picture that was painted into. A branch keeps the request of the job it branched from."""

    images: list[Image.Image]
    seed: int
    passes: list[Pass]
    source: Image.Image | None
    alpha: Image.Image | None
    notices: tuple[str, ...]
    request: EditRequest
    previews: list[Image.Image]  # per scale, first candidate, last window
    seconds: float = 0.0
    likelihood: tuple[float, ...] = ()  # per candidate: log-likelihood of what the model drew
    settle: int | None = None  # the scale from which the likeliest tokens were taken
    seams: tuple[float, ...] = ()  # per candidate: jump over the mask's border, relative to jumps beside it

    @property
    def tokens(self) -> list[list[Tensor]]:
        """Per window, per scale: (candidates, l)."""
        return [done.tokens for done in self.passes]


@dataclass(frozen=True)
class Frame:
    """One scale of one window done; `result` comes with the last frame only."""

    scale: int  # 1-based
    scales: int
    window: int  # 1-based
    windows: int
    previews: list[Image.Image]
    seconds: float
    seed: int
    result: Result | None = None
