"""Runs: what is asked -> frames as they come, a result at the end. The generator's messages go to the browser as they
are: {"kind": "status" | "frame" | "result" | "failed", ...}."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from var_core import MODELS, Chance, Edit, Frame, Plan, Result
from var_core.request import Box, inside

from . import canvas
from .answers import spoken
from .form import WITH_MASK, Form, build_chance, build_edit, read_form
from .memory import Kept
from .pictures import displayed
from .session import Asked, Entry, Made, Original, Session
from .turns import Ticket
from .work import Waiting, Work, cost, cost_again

Message = dict[str, Any]


class Runs:
    """Every visitor's runs."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.engines, self.shelf = work.engines, work.shelf

    def asked(self, session: Session, given: dict[str, Any], task: str | None = None) -> tuple[Form, Edit, Plan]:
        """What the page asks now. ValueError with one sentence where something is missing."""
        form = read_form(given.get("form"))
        task, name, painted = task or form["mode"], given.get("ref"), given.get("mask")
        engine = self.engines.get(form["model"])
        picture = self.picture(session, name) if task != "generate" and name else None
        mask = None
        if task == "vary" and painted and picture is not None:  # of a part, in its place
            task = "edit" if form["label"] else "inpaint"
        if task in WITH_MASK and picture is not None:
            last: Asked | None = session.asked.value if session.asked is not None else None
            same = last is not None and last.painted == painted and last.edit.image is picture
            mask = last.edit.mask if last is not None and same else None
            mask = canvas.parse_mask(painted, picture.size) if mask is None else mask
        edit = build_edit(form, task, len(engine.sides), picture, mask)
        return form, edit, self.work.plan(session, form["model"], edit, painted)

    def picture(self, session: Session, name: Any) -> Any:
        """The whole picture of that name."""
        found = session.named(name)
        if isinstance(found, Original):
            return self.work.pictures.open(found.path).image
        return found[0].image(found[1], self.shelf)

    def stream(self, session: Session, given: dict[str, Any], request: gr.Request) -> Iterator[Message]:
        """A run from its place in the queue to its end, whatever that is."""
        ticket = None
        try:
            ticket = self.work.join(request)
            if given.get("do") == "fetch":
                yield from self._fetch(given)
            elif given.get("do") == "continue":
                yield from self._continue(session, given, ticket)
            else:
                yield from self._run(session, given, ticket)
        except Exception as error:
            yield {"kind": "failed", "text": spoken(error)}
        finally:
            if ticket is not None:
                ticket.leave()

    def _run(self, session: Session, given: dict[str, Any], ticket: Ticket) -> Iterator[Message]:
        if given.get("live") == "first":  # soon, not sharp
            given = given | {"form": {**_form(given), "detail": False, "sketch": True}}
        form, edit, plan = self.asked(session, given)
        model = form["model"]
        chance = build_chance(form, edit.task, len(self.engines.get(model).sides))
        live = given.get("live") if edit.task in WITH_MASK else None
        if live == "first" and len(plan.boxes) > 1:
            edit = _under_pen(edit, plan, given.get("at"))
            plan = self.engines.plan(model, edit)
        if live and len(plan.boxes) > 1:  # a sketch is of one part
            chance = replace(chance, stop_scale=None)
        steps = self.work.frames(
            ticket, model, cost(plan, chance.candidates), chance.candidates,
            lambda: self.engines.run(model, edit, chance, plan),
        )  # fmt: skip
        about = {"base": given.get("ref") if edit.image is not None else None, "mask": given.get("mask")}
        told = Told(canvas.shares(plan.bounds, plan.picture.size), _seen(edit.task, plan.boxes, plan.picture.size))
        yield from self._frames(steps, session, form, form["mode"], told, about, bool(live))

    def _continue(self, session: Session, given: dict[str, Any], ticket: Ticket) -> Iterator[Message]:
        """Keep some scales of a version and draw the rest anew; a sketch is finished."""
        found = session.named(given.get("ref"))
        if isinstance(found, Original):
            raise ValueError("There is no result yet: press Run.")
        entry, version = found
        form, result, model = read_form(given.get("form")), entry.result, entry.model
        chance = Chance(seed=form.setting("seed"), candidates=form.setting("candidates"))
        scale = given.get("scale")
        start = min(max(int(scale), 0), len(entry.sides) - 1) if isinstance(scale, int) else 0

        def steps() -> Iterator[Frame]:
            if entry.sketch:
                return self.engines.finish(model, result, version)
            return self.engines.branch(model, result, version, start, chance, None)

        many = chance.candidates
        frames = self.work.frames(ticket, model, cost_again(result, many), many, steps)
        about = {"base": entry.base, "mask": entry.made.mask}
        kept = Form(
            form.values | {name: entry.form.get(name, form.values[name]) for name in ("mode", "label", "model")}
        )
        boxes = [done.box for done in result.passes]
        told = Told(canvas.place_of(result), _seen(entry.task, boxes, result.picture.size))
        yield from self._frames(frames, session, kept, entry.task, told, about, False)

    def _frames(
        self, steps: Iterator[Frame | Waiting], session: Session, form: Form, task: str, told: Told,
        about: dict[str, Any], live: bool,
    ) -> Iterator[Message]:  # fmt: skip
        began = time.perf_counter()
        sides = self.engines.get(form["model"]).sides
        for frame in steps:
            if isinstance(frame, Waiting):
                words = "One run comes" if frame.ahead == 1 else f"{frame.ahead} runs come"
                yield {"kind": "status", "text": f"{words} before yours …"}
                continue
            told.add(frame)
            if frame.result is None:
                yield {
                    "kind": "frame", "scale": frame.scale, "scales": frame.scales, "side": sides[frame.scale - 1],
                    "window": frame.window, "windows": frame.windows, "box": [*told.box], "seed": frame.seed,
                    "pictures": told.frames[-1], "thumb": told.thumbs[-1], "text": _progress(frame),
                }  # fmt: skip
                continue
            if live:
                yield {
                    "kind": "sketch", "box": [*canvas.place_of(frame.result)], "pictures": _pictures(frame.result),
                    "seed": frame.seed, "text": f"Live · seed {frame.seed}",
                }  # fmt: skip
                continue
            if frame.windows == 1 and not frame.result.sketch and len(told.frames) == len(sides):
                self.engines.note(form["model"], frame.seconds / len(frame.result.patches))
            pictures = _pictures(frame.result)
            made = Made(frame.result, told.frames, [*told.thumbs], pictures, about["mask"])
            with self.shelf.delivering(made) as kept:
                entry = self._entry(session, form, task, kept, frame.result, about["base"])
                words = f"Done in {time.perf_counter() - began:.1f} s · seed {frame.seed}"
                yield {"kind": "result", "entry": entry.told(), "text": words, "notices": [*frame.result.notices]}

    def _entry(
        self, session: Session, form: Form, task: str, kept: Kept[Made], result: Result, base: str | None
    ) -> Entry:
        session.count += 1
        entry = Entry(
            number=session.count,
            task=task,
            model=form["model"],
            sides=self.engines.get(form["model"]).sides,
            kept=kept,
            sketch=result.sketch,
            cover=canvas.data_uri(displayed(result, canvas.COVER_SIDE), 80),
            base=base,
            form=form.values | {"mode": task},
        )
        session.add(entry)
        return entry

    def _fetch(self, given: dict[str, Any]) -> Iterator[Message]:
        """Download a model, telling how far it is."""
        name = given.get("model")
        if not isinstance(name, str) or name not in MODELS:
            raise ValueError("there is no such model to fetch")
        for arrived in self.engines.fetch(name):
            yield {"kind": "status", "text": f"Fetching {name}: {arrived:.0f} of about {MODELS[name].size_mb} MB"}
        yield {"kind": "fetched", "text": f"{name} is on this machine now.", "model": name}


def _under_pen(edit: Edit, plan: Plan, at: Any) -> Edit:
    """The edit of what one window repaints: the one at `at`, shares across and down, or the first."""
    place = at if isinstance(at, list) and len(at) == 2 and all(isinstance(x, (int, float)) for x in at) else None
    size = plan.picture.size
    number = 0 if place is None else plan.window_at(place[0] * size[0], place[1] * size[1])
    assert plan.owner is not None  # it has several windows
    return replace(edit, mask=Image.fromarray((plan.owner == number + 1) * np.uint8(255)))


def _form(given: dict[str, Any]) -> dict[str, Any]:
    form = given.get("form")
    return form if isinstance(form, dict) else {}


class Told:
    """What was shown of the window that is drawn: per scale the pictures of all versions, of `box`, and a thumbnail,
    of the window's place in `seen`."""

    def __init__(self, box: canvas.Box, seen: Sequence[canvas.Box]) -> None:
        self.box, self.seen = box, seen
        self.frames: list[list[str]] = []
        self.thumbs: list[str | None] = []

    def add(self, frame: Frame) -> None:
        """A frame that comes after the last scale (its detail) stands in that scale's place."""
        if frame.scale == 1 or not self.frames:
            self.frames, self.thumbs, self._first = [], [], frame.scale
        place = frame.scale - self._first
        parts = [canvas.part(picture, self.box) for picture in frame.previews]
        self.frames[place:] = [[canvas.data_uri(part, 84) for part in parts]]
        looked = canvas.part(frame.previews[0], self.seen[frame.window - 1]) if self.seen else parts[0]
        self.thumbs[place:] = [canvas.thumb(looked)]


def _seen(task: str, boxes: Sequence[Box | None], size: tuple[int, int]) -> list[canvas.Box]:
    """Where to look while a picture grows: at the window that is drawn. Empty: where the change is."""
    if task != "outpaint":
        return []
    inner = [(0, 0, *size) if box is None else inside(box, size)[0] for box in boxes]
    return [canvas.shares(box, size) for box in inner]


def _pictures(result: Result) -> list[str]:
    """What stands in the result's place, per version."""
    return [canvas.data_uri(canvas.shrink(patch, canvas.SHEET_SIDE), 92) for patch in result.patches]


def _progress(frame: Frame) -> str:
    part = f"Part {frame.window} of {frame.windows} · " if frame.windows > 1 else ""
    step = f"Scale {frame.scale} of {frame.scales}"
    if frame.detail:
        step = f"Detail {frame.detail} of {frame.details}"
    return f"{part}{step} · {frame.seconds:.1f} s"
