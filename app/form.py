"""The page's controls -> one edit and how it is drawn. What settings there are is declared in `var_core`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from var_core import ANCHORS, CHANCE, EDIT, SETTINGS, TASKS, WITH_MASK, Chance, Edit, Setting, outpaint_amounts

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
AMOUNTS = ("left", "top", "right", "bottom")
NO_CLASS = ""
SKETCHED = 0.6  # share of the scales that a sketch has
_OWN = ("mode", "model", "label", "strength", "candidates", "seed", "ratio", "anchor", *AMOUNTS, "sketch")
# the other settings, each with a control made from what is declared of it
ADVANCED = tuple(name for name in SETTINGS if name not in (*_OWN, "start_scale", "stop_scale"))
CONTROLS = (*_OWN, *ADVANCED)
BY_SIDES = "by sides"
RESTORED = tuple(name for name in CONTROLS if name not in ("anchor", "sketch"))


@dataclass(frozen=True)
class Form:
    """The page's controls, by the names in CONTROLS. An empty setting is its default."""

    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def setting(self, name: str) -> Any:
        """A setting as its own kind. ValueError with one sentence."""
        value, declared = self.values[name], SETTINGS[name]
        if value is None:
            return declared.default
        return declared.parse(value) if isinstance(value, str) else declared.read(value)


_ONE_OF = {"mode": TASKS, "strength": (*STOPS,), "ratio": (BY_SIDES, *RATIOS), "anchor": (*ANCHORS,)}
_USUAL = {"mode": "inpaint", "model": "", "label": NO_CLASS, "strength": "layout", "ratio": BY_SIDES}
_USUAL |= {"anchor": "centre", "sketch": False}


def read_form(values: Any) -> Form:
    """What the page sent, by name; what is missing is as usual, what is unknown is left out. ValueError for values
    that no control of the page has; the settings are read one by one when they are needed."""
    given = values if isinstance(values, dict) else {}
    read = {name: given.get(name, _USUAL.get(name)) for name in CONTROLS}
    for name, known in _ONE_OF.items():
        if read[name] not in known:
            raise ValueError(f"the {name} must be one of {', '.join(known)}: reload the page")
    for name in ("model", "label"):
        if not isinstance(read[name], str):
            raise ValueError(f"the {name} must be a name: reload the page")
    read["sketch"] = read["sketch"] is True
    return Form(read)


def amounts_of(size: tuple[int, int], form: Form) -> dict[str, int]:
    """Pixels that outpainting adds at each side."""
    ratio = RATIOS.get(form["ratio"])
    if ratio is None:
        return {side: form.setting(side) for side in AMOUNTS}
    amounts = outpaint_amounts(size, ratio, ANCHORS[form["anchor"]])
    if not any(amounts):
        raise ValueError(f"The picture already has the shape {form['ratio']}: choose another, or give the sides.")
    return dict(zip(AMOUNTS, amounts, strict=True))


def build_chance(form: Form, task: str, scales: int) -> Chance:
    """How it is drawn, by a model of so many scales. A sketch draws two scales at least, whatever the strength."""
    names, stop = [name for name in CHANCE if name in CONTROLS], None
    if form["sketch"] and task != "outpaint":
        stop = max(round(scales * SKETCHED), start_of(form, task, scales) + 2)
    settings = {name: form.setting(name) for name in names}
    return Chance(**settings, stop_scale=stop if stop is not None and stop < scales else None)


def start_of(form: Form, task: str, scales: int) -> int:
    """The first scale that is drawn."""
    start = round(STOPS[form["strength"]] * scales) if task in EDIT["start_scale"].tasks else 0
    return max(1, start) if "vary" in (task, form["mode"]) else start


def build_edit(form: Form, task: Any, scales: int, picture: Image.Image | None, mask: Image.Image | None) -> Edit:
    """What is asked of the picture, by a model of so many scales. ValueError with one sentence where something is
    missing; what the task has no use for is left out."""
    given: dict[str, Any] = {"task": task}
    if task != "inpaint" and form["label"] != NO_CLASS:
        given["label"] = form["label"]
    given |= {name: form.setting(name) for name in EDIT if name in ADVANCED and task in EDIT[name].tasks}
    given["start_scale"] = start_of(form, task, scales)
    if task != "generate":
        given["image"] = picture
    if task in WITH_MASK:
        given["mask"] = mask
    if task == "outpaint" and picture is not None:
        given |= amounts_of(picture.size, form)
    return Edit(**given)


def declared(name: str, settings: Mapping[str, Setting] = SETTINGS) -> dict[str, Any]:
    """A setting as the page shows it."""
    each = settings[name]
    kind = "choice" if each.choices else each.kind.__name__
    return {
        "name": name, "kind": kind, "label": each.label, "help": f"{each.help[:1].upper()}{each.help[1:]}.",
        "default": each.default, "low": each.low, "high": each.high, "choices": [*each.choices], "tasks": [*each.tasks],
    }  # fmt: skip
