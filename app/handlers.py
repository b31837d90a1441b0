"""What the page's events do: values of the page -> one request -> frames, status, history.

Only this file speaks `gr.Error`. Handlers that stream are generator functions; the work happens in the engine.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from var_core import EditRequest, Engine, Frame, Result, outpaint_amounts

from . import canvas
from .engines import Engines
from .session import Entry, Pictures, Session

log = logging.getLogger(__name__)

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
_SAME = (gr.skip(), gr.skip(), gr.skip())
MODES = ("inpaint", "edit", "outpaint", "vary", "generate")


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
    smooth: bool
    context: float
    feather: str | int | None
    color_match: bool
    sketch: bool


def sentence(error: Exception) -> str:
    text = str(error).strip() or "This did not work"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def whole(value: str | int | None, name: str) -> int | None:
    """A whole number from a text field; empty is None."""
    text = str("" if value is None else value).strip()
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(f'{name} must be a whole number or empty, got "{text}"')
    return int(text)


def spoken(error: Exception) -> str:
    """Our own sentence for what the visitor can mend; anything else is logged and described plainly."""
    if isinstance(error, ValueError):
        return sentence(error)
    log.error("unexpected error", exc_info=error)
    return "Something went wrong on the server; nothing you made was lost. Please try again."


def toast(text: str) -> gr.Error:
    return gr.Error(text, duration=9, print_exception=False)


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of a plain handler become our own sentences."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise toast(spoken(error)) from error

    return call


class Handlers:
    """Handlers of one page."""

    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        self.pictures = Pictures()
        self.folder = Path(tempfile.mkdtemp(prefix="var-editor-"))

    # pictures in

    def opened(self, path: str | None) -> dict[str, Any]:
        """What the painter is told about an upload: notices, or why it is refused."""
        try:
            if not path:
                raise ValueError("The picture did not arrive: open it again.")
            upload = self.pictures.open(path)
        except Exception as error:  # the painter shows the sentence
            return {"error": spoken(error)}
        return {"notices": list(upload.notices), "size": list(upload.image.size)}

    def look(self, path: str | None, mask_url: str | None, *values: Any) -> dict[str, Any]:
        """The tokens that will be redrawn, for the painter's overlay."""
        try:
            form = _form(values)
            engine = self.engines.get(form.model)
            task = form.mode if form.mode in ("inpaint", "edit") else "inpaint"
            request = self._request(engine, path, mask_url, form, task)
            assert request.image is not None and request.mask is not None
            changed = engine.changed(request.image.size, request.mask, request)
            return canvas.cells([(window.box, grids) for window, grids in changed], request.image.size)
        except Exception as error:
            return {"error": spoken(error)}

    # requests

    def _request(self, engine: Engine, path: str | None, mask_url: str | None, form: Form, task: str) -> EditRequest:
        """One request from the page's values. ValueError with one sentence where something is missing."""
        common: dict[str, Any] = {
            "task": task,
            "seed": whole(form.seed, "the seed"),
            "candidates": int(form.candidates),
            "guidance": float(form.guidance),
            "top_k": int(form.top_k),
            "top_p": float(form.top_p),
            "smooth": bool(form.smooth),
            "stop_scale": round(len(engine.sides) * 0.6) if form.sketch and task != "outpaint" else None,
        }
        if task != "inpaint" and form.label != NO_CLASS:
            common["label"] = int(form.label)
        if task == "generate":
            return EditRequest(**common)
        if not path:
            raise ValueError("There is no picture yet: drop one on the left, paste it, or click to choose one.")
        picture = self.pictures.open(path).image
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
            common["outpaint"] = _amounts(picture.size, form)
        if task == "vary":
            common["start_scale"] = max(1, start)
        return EditRequest(**common)

    # running

    def run(self, path: str | None, mask_url: str | None, session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yields (stage, status, session, history, download)."""
        try:
            form = _form(values)
            engine = self.engines.get(form.model)
            request = self._request(engine, path, mask_url, form, form.mode)
        except Exception as error:
            text = spoken(error)
            yield gr.skip(), canvas.status_html(text, "failed"), *_SAME
            raise toast(text) from error
        yield from self._stream(engine, form.model, request, session)

    def branch(self, scale: float, session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Keep `scale` scales of the chosen result and draw the rest anew; a sketch is finished with its own seed."""
        try:
            form, entry = _form(values), session.current()
            engine = self.engines.get(entry.model)
            seed = whole(form.seed, "the seed")
            request = EditRequest(
                task="branch",
                base=entry.result,
                base_index=entry.chosen,
                start_scale=len(entry.frames) if entry.sketch else min(int(scale), len(entry.sides) - 1),
                seed=entry.result.seed if entry.sketch else seed,
                candidates=1 if entry.sketch else int(form.candidates),
            )
        except Exception as error:
            text = spoken(error)
            yield gr.skip(), canvas.status_html(text, "failed"), *_SAME
            raise toast(text) from error
        yield from self._stream(engine, entry.model, request, session)

    def _stream(self, engine: Engine, model: str, request: EditRequest, session: Session) -> Iterator[tuple[Any, ...]]:
        began = time.perf_counter()
        stage = canvas.Stage(engine.sides, "running")
        frames: list[list[str]] = []
        focus = canvas.focus(request.mask)
        try:
            for frame in engine.run(request):
                if frame.scale == 1:
                    stage.thumbs, frames = [], []
                stage.pictures = [canvas.data_uri(picture) for picture in frame.previews]
                stage.thumbs.append(canvas.thumb(frame.previews[0], focus))
                frames.append(stage.pictures)
                status = canvas.status_html(_progress(frame), "running")
                if frame.result is None:
                    yield canvas.stage_html(stage), status, *_SAME
                    continue
                entry = self._entry(session, model, engine, frame.result, frames, stage.thumbs)
                words = f"Done in {time.perf_counter() - began:.1f} s · seed {frame.seed}"
                status = canvas.status_html(words, "done", frame.result.notices)
                waits = gr.update(interactive=False)  # until the file is written
                yield canvas.stage_html(entry.stage()), status, session, self.history(session), waits
        except GeneratorExit:
            raise
        except Exception as error:
            text = spoken(error)
            stage.state = "stopped"
            yield canvas.stage_html(stage), canvas.status_html(text, "failed"), *_SAME
            raise toast(text) from error

    def _entry(
        self,
        session: Session,
        model: str,
        engine: Engine,
        result: Result,
        frames: list[list[str]],
        thumbs: list[str | None],
    ) -> Entry:
        session.count += 1
        before = before_picture(result, engine.resolution)
        entry = Entry(
            number=session.count,
            result=result,
            model=model,
            sides=engine.sides,
            frames=frames,
            thumbs=thumbs,
            before=None if before is None else canvas.data_uri(canvas.shrink(before, canvas.DISPLAY_SIDE)),
            sketch=len(frames) < len(engine.sides),
            pictures=[canvas.data_uri(canvas.shrink(image, canvas.DISPLAY_SIDE), 92) for image in result.images],
            cover=canvas.data_uri(canvas.shrink(result.images[0], 208), 80),
        )
        session.add(entry)
        return entry

    def stopped(self) -> str:
        return canvas.status_html("Stopped. Everything is as it was; run again when you like.", "stopped")

    # after a run

    @guarded
    def write(self, session: Session) -> Any:
        """The chosen picture as a PNG file with its recipe, for the download button."""
        if session.shown is None:
            return gr.skip()
        entry = session.current()
        name = f"{entry.result.request.task}-{entry.result.seed}-{entry.chosen + 1}.png"
        path = Path(tempfile.mkdtemp(dir=self.folder)) / name
        self.engines.get(entry.model).save(entry.result, path, entry.chosen)
        return gr.update(value=str(path), interactive=True)

    @guarded
    def pick_candidate(self, session: Session, event: gr.EventData) -> tuple[Any, ...]:
        entry = session.current()
        entry.chosen = min(max(int(event.candidate), 0), len(entry.pictures) - 1)
        return canvas.stage_html(entry.stage()), session, gr.update(interactive=False)

    @guarded
    def pick_entry(self, session: Session, event: gr.EventData) -> tuple[Any, ...]:
        entry = session.pick(int(event.entry))
        status = canvas.status_html(f"Result {entry.number} · seed {entry.result.seed}", "done", entry.result.notices)
        waits = gr.update(interactive=False)
        return canvas.stage_html(entry.stage()), status, session, self.history(session), waits

    @guarded
    def use(self, session: Session) -> str:
        """The chosen result as a plain picture file: the next input."""
        entry = session.current()
        path = Path(tempfile.mkdtemp(dir=self.folder)) / f"result-{entry.number}.png"
        entry.result.images[entry.chosen].save(path, compress_level=1)
        return str(path)

    @guarded
    def last_seed(self, session: Session) -> str:
        return str(session.current().result.seed)

    def history(self, session: Session) -> str:
        items = [(entry.number, entry.title, entry.cover) for entry in reversed(session.entries)]
        return canvas.history_html(items, session.shown)

    @guarded
    def choose_model(self, name: str) -> tuple[Any, ...]:
        """Class list and default settings of a model: (class, guidance, top-k, top-p, stage)."""
        engine = self.engines.get(name)
        own = engine.defaults
        choices = [("No class", NO_CLASS), *((text.replace("_", " "), i) for i, text in enumerate(engine.class_names))]
        return (
            gr.update(choices=choices, value=NO_CLASS),
            own.guidance,
            gr.update(value=min(own.top_k, engine.vocab_size), maximum=engine.vocab_size),
            own.top_p,
        )


def _form(values: tuple[Any, ...]) -> Form:
    names = Form.__dataclass_fields__
    return Form(**dict(zip(names, values, strict=True)))


def _amounts(size: tuple[int, int], form: Form) -> tuple[int, int, int, int]:
    ratio = RATIOS.get(form.ratio)
    if ratio is None:
        left, top, right, bottom = (int(value or 0) for value in (form.left, form.top, form.right, form.bottom))
        amounts = left, top, right, bottom
    else:
        amounts = outpaint_amounts(size, ratio, ANCHORS[form.anchor])
        if not any(amounts):
            raise ValueError(f"The picture already has the shape {form.ratio}: choose another, or give the sides.")
    if (size[0] + amounts[0] + amounts[2]) * (size[1] + amounts[1] + amounts[3]) > 40_000_000:
        raise ValueError("The enlarged picture would have over 40 megapixels: add less.")
    return amounts


def before_picture(result: Result, resolution: int) -> Image.Image | None:
    """What the result is compared with; the new area of an outpainting is grey."""
    request = result.request
    while request.task == "branch" and request.base is not None:
        request = request.base.request
    if request.image is None or request.task == "generate":
        return None
    if request.task == "vary" and request.mask is None:
        side = min(request.image.size)
        left, top = (request.image.width - side) // 2, (request.image.height - side) // 2
        return request.image.crop((left, top, left + side, top + side)).resize((resolution, resolution))
    if request.task == "outpaint":
        left, top, _, _ = request.outpaint
        before = Image.new("RGB", result.images[0].size, (128, 128, 128))
        before.paste(request.image, (left, top))
        return before
    return request.image


def _progress(frame: Frame) -> str:
    part = f"Part {frame.window} of {frame.windows} · " if frame.windows > 1 else ""
    return f"{part}Scale {frame.scale} of {frame.scales} · {frame.seconds:.1f} s"
