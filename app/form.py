"""The page's controls -> one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from var_core import EditRequest, Engine, outpaint_amounts

from . import canvas

STOPS = {"layout": 0.0, "shape": 0.3, "texture": 0.5, "detail": 0.7}  # share of the scales that the source keeps
RATIOS = {
    "1:1": 1.0,
    "4:3": 4 / 3,
    "3:2": 1.5,
    "16:9": 16 / 9,
    "21:9": 21 / 9,
    "3:4": 0.75,
    "2:3": 2 / 3,
    "9:16": 9 / 16,
}
ANCHORS = {"centre": (0.5, 0.5), "left": (0.0, 0.5), "right": (1.0, 0.5), "top": (0.5, 0.0), "bottom": (0.5, 1.0)}
NO_CLASS = -1
RESTORED = (
    "mode", "label", "strength", "candidates", "seed", "ratio", "left", "top", "right", "bottom", "method", "guidance",
    "top_k", "top_p", "random_scales", "smooth", "context", "feather", "color_match",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Form:
    """The page's controls, in the order in which the page passes them."""

    mode: str
    model: str
    label: int
    strength: str
    candidates: int
    seed: str | int | None
    ratio: str
    anchor: str
    left: int | float | None
    top: int | float | None
    right: int | float | None
    bottom: int | float | None
    method: str
    guidance: float
    top_k: int
    top_p: float
    random_scales: str | int | None
    smooth: bool
    context: float
    feather: str | int | None
    color_match: bool
    sketch: bool


def read_form(values: tuple[Any, ...]) -> Form:
    names = Form.__dataclass_fields__
    return Form(**dict(zip(names, values, strict=True)))


def whole(value: str | int | None, name: str) -> int | None:
    """A whole number from a text field; empty is None."""
    text = str("" if value is None else value).strip()
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(f'{name} must be a whole number or empty, got "{text}"')
    return int(text)


def sides_to_add(size: tuple[int, int], form: Form) -> tuple[int, int, int, int]:
    """Pixels that outpainting adds at (left, top, right, bottom)."""
    ratio = RATIOS.get(form.ratio)
    if ratio is None:
        amounts = int(form.left or 0), int(form.top or 0), int(form.right or 0), int(form.bottom or 0)
    else:
        amounts = outpaint_amounts(size, ratio, ANCHORS[form.anchor])
        if not any(amounts):
            raise ValueError(f"The picture already has the shape {form.ratio}: choose another, or give the sides.")
    if (size[0] + amounts[0] + amounts[2]) * (size[1] + amounts[1] + amounts[3]) > 40_000_000:
        raise ValueError("The enlarged picture would have over 40 megapixels: add less.")
    return amounts


def build_request(
    engine: Engine, picture: Image.Image | None, mask_url: str | None, form: Form, task: str
) -> EditRequest:
    """One request from the page's values. ValueError with one sentence where something is missing."""
    common: dict[str, Any] = {
        "task": task,
        "seed": whole(form.seed, "the seed"),
        "candidates": int(form.candidates),
        # left alone, it is the engine's choice: class edits pull harder
        "guidance": None if form.guidance == engine.defaults.guidance else float(form.guidance),
        "top_k": int(form.top_k),
        "top_p": float(form.top_p),
        "random_scales": whole(form.random_scales, "the number of random scales"),
        "smooth": bool(form.smooth),
        "stop_scale": round(len(engine.sides) * 0.6) if form.sketch and task != "outpaint" else None,
    }
    if task != "inpaint" and form.label != NO_CLASS:
        common["label"] = int(form.label)
    if task == "generate":
        return EditRequest(**common)
    if picture is None:
        raise ValueError("There is no picture yet: drop one on the left, paste it, or click to choose one.")
    common |= {
        "image": picture,
        "method": form.method,
        "context": float(form.context),
        "feather": whole(form.feather, "the feather"),
        "color_match": bool(form.color_match),
    }
    start = round(STOPS[form.strength] * len(engine.sides))
    if task in ("inpaint", "edit"):
        common["mask"] = canvas.parse_mask(mask_url, picture.size)
        common["start_scale"] = start
        if common["mask"] is None:
            raise ValueError("Nothing is painted yet: brush over the part that should change.")
        if task == "edit" and "label" not in common:
            raise ValueError("Choose a class first: the painted part will become one.")
    if task == "outpaint":
        common["outpaint"] = sides_to_add(picture.size, form)
    if task == "vary":
        common["start_scale"] = max(1, start)
    return EditRequest(**common)
