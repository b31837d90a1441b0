"""What a request comes down to: the picture that is worked on, and the squares of it that go through the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from ..request import EditRequest
from ..sampling.sampler import Known
from . import compositing, geometry
from .preview import View


@dataclass
class Job:
    """What `Engine.run` works on: the pictures (one per candidate) and the windows still to paint."""

    pictures: list[Image.Image]
    windows: list[geometry.Window | None]  # None: the whole picture is the model's own square
    alpha: Image.Image | None
    feather: int = 0
    notices: list[str] = field(default_factory=list)
    started: list[Start] = field(default_factory=list)  # of the first window, once it is known


@dataclass(frozen=True)
class Start:
    """What the run of one window begins with: its composite mask and display geometry, what is known of its picture,
    and the class that was guessed, if one was."""

    alpha: Image.Image | None
    view: View
    known: Known | None
    label: int | None


def plan(request: EditRequest, resolution: int) -> Job:
    """The picture to work on and the windows to paint, in order, for a model of that resolution."""
    many = range(request.candidates)
    if request.task == "generate" or request.image is None:
        blank = Image.new("RGB", (resolution, resolution))
        return Job([blank for _ in many], [None], None)
    picture = request.image.convert("RGB")
    if request.task == "vary" and request.mask is None:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = geometry.crop(picture, (left, top, left + side, top + side), resolution)
        notices = [] if picture.width == picture.height else ["The picture was cropped to its centre square."]
        return Job([square for _ in many], [None], None, notices=notices)
    if request.task == "outpaint":
        size, windows = geometry.plan_outpaint(picture.size, *request.outpaint, resolution)
        canvas, mask = geometry.outpaint_canvas(picture, *request.outpaint)
        assert canvas.size == size
    else:
        assert request.mask is not None
        canvas, mask = picture, fit_mask(request.mask, picture.size)
        windows = geometry.plan_windows(mask, resolution, request.context)
    feather = compositing.usual_feather(mask) if request.feather is None else request.feather
    return Job([canvas for _ in many], list(windows), compositing.composite_alpha(mask, feather), feather)


def fit_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The mask at the picture's size, 0 and 255."""
    mask = mask.convert("L")
    return geometry.binary(mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST))
