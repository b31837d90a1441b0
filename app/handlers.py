"""What the page's events do: values of the page -> one request -> frames, status, history.

Only this file speaks `gr.Error`. Handlers that stream are generator functions; the work happens in the engine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from shutil import copyfile
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr
from PIL import Image

from var_core import MODELS, EditRequest, Engine, Frame, Result

from . import canvas, zero
from .engines import Engines
from .examples import examples
from .form import NO_CLASS, RESTORED, STOPS, build_request, read_form, whole
from .recipe import read_recipe
from .session import Entry, Outbox, Pictures, Session

log = logging.getLogger(__name__)

_SAME = (gr.skip(), gr.skip(), gr.skip())


def sentence(error: Exception) -> str:
    text = str(error).strip() or "This did not work"
    if text.split(maxsplit=1)[0].isalpha():  # names of models and files stay as they are
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "?", "!")) else ".")


def spoken(error: Exception) -> str:
    """Our own sentence for what the visitor can mend; anything else is logged and described plainly."""
    if isinstance(error, ValueError):
        return sentence(error)
    log.error("unexpected error", exc_info=error)
    return "Something went wrong on the server; nothing you made was lost. Please try again."


def toast(text: str) -> gr.Error:
    return gr.Error(text, duration=9, print_exception=False)


def failure(text: str) -> gr.Error:
    """The end of a run whose sentence the status says already."""
    return gr.Error(text, visible=False, print_exception=False)


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
        self.outbox = Outbox()
        self._sessions: WeakValueDictionary[str, Session] = (
            WeakValueDictionary()
        )  # they live as long as gradio's states

    # coming back

    def resume(self, key: str | None) -> tuple[Any, ...]:
        """The session of this key, or a new one: (session, what the browser keeps, its picture, mode, stage,
        history). The paint comes as a layer of the painter."""
        session = self._sessions.get(key or "") or Session()
        self._sessions[session.key] = session
        answer: dict[str, Any] = {"key": session.key, "mask": session.mask}
        source = session.source if session.source and Path(session.source).is_file() else None
        mode = session.mode or gr.skip()
        stage = gr.skip() if session.standing() is None else standing(session)
        return session, answer, source, mode, stage, self.history(session)

    def keep(self, path: str | None, mask_url: str | None, mode: str, session: Session) -> None:
        """The painter's state, for when the visitor comes back."""
        session.keep(path, mask_url, mode)
        self._sessions[session.key] = session

    def began(self, path: str | None, session: Session) -> Any:
        """A picture of the visitor's own is open: it stands in the history."""
        try:
            picture = self.pictures.open(path or "").image
        except ValueError:  # `opened` has said so
            return gr.skip()
        session.begin(str(path), canvas.data_uri(canvas.shrink(picture, canvas.COVER_SIDE), 80))
        return self.history(session)

    @guarded
    def reopen(self, session: Session, event: gr.EventData) -> tuple[str, dict[str, Any]]:
        """An original of the history, and its paint."""
        original = session.original(int(event.original))
        return original.path, {"mask": original.mask}

    # pictures in

    def opened(self, path: str | None, model: str | None = None) -> tuple[Any, ...]:
        """What the painter is told about an upload (which, notices, or why it is refused), and the controls that a
        recipe inside it sets, as far as the model chosen can do it: (answer, mode, label, strength, candidates, seed,
        advanced...)."""
        try:
            if not path:
                raise ValueError("The picture did not arrive: open it again.")
            upload = self.pictures.open(path)
        except Exception as error:  # the painter shows the sentence
            return {"file": path and str(path), "error": spoken(error)}, *(gr.skip() for _ in RESTORED)
        answer = {"file": str(path), "notices": list(upload.notices), "size": list(upload.image.size)}
        recipe = read_recipe(path)
        if recipe:
            answer["notices"].append("The settings that made this picture were restored from it.")
        return answer, *self._restored(recipe, model)

    def _restored(self, recipe: dict[str, Any], model: str | None) -> list[Any]:
        """Updates of the controls in RESTORED."""
        values: dict[str, Any] = {"random_scales": ""} | {name: recipe[name] for name in RESTORED if name in recipe}
        if "task" in recipe:
            values["mode"] = recipe["task"]
        try:
            engine = self.engines.get(model)
            if "top_k" in values:
                values["top_k"] = min(values["top_k"], engine.vocab_size)
            if "label" in values:
                values["label"] = engine.label_index(values["label"])
            kept = recipe.get("start_scale", 0) / len(engine.sides)
            values["strength"] = min(STOPS, key=lambda name: abs(STOPS[name] - kept))
        except ValueError:
            for name in ("label", "top_k"):  # nobody knows whether they are possible
                values.pop(name, None)
        for name in ("seed", "feather", "random_scales"):
            if name in values:
                values[name] = str(values[name])
        if "outpaint" in recipe and any(recipe["outpaint"]):
            values["ratio"] = "by sides"
            values |= dict(zip(("left", "top", "right", "bottom"), recipe["outpaint"], strict=True))
        return [values.get(name, gr.skip()) if recipe else gr.skip() for name in RESTORED]

    def look(self, path: str | None, mask_url: str | None, *values: Any) -> dict[str, Any]:
        """The tokens that will be redrawn, for the painter's overlay."""
        try:
            form = read_form(values)
            engine = self.engines.get(form.model)
            task = form.mode if form.mode in ("inpaint", "edit") else "inpaint"
            request = build_request(engine, self._picture(path, task), mask_url, form, task)
            assert request.image is not None and request.mask is not None
            changed = engine.changed(request.image.size, request.mask, request)
            return canvas.cells([(window.box, grids) for window, grids in changed], request.image.size)
        except Exception as error:
            return {"error": spoken(error)}

    def prepare(self, path: str | None, mask_url: str | None, *values: Any) -> bool:
        """Encode ahead what a run would need now, while the visitor still paints. What is missing is said by the
        run, not by this."""
        try:
            form = read_form(values)
            if not path or form.mode == "generate" or self.engines.missing(form.model) or zero.active():
                return False
            engine = self.engines.get(form.model)
            request = build_request(engine, self._picture(path, form.mode), mask_url, form, form.mode)
            return self.engines.prepare(engine, request)
        except ValueError:
            return False
        except Exception:
            log.exception("nothing could be prepared")
            return False

    def _picture(self, path: str | None, task: str) -> Image.Image | None:
        return self.pictures.open(path).image if path and task != "generate" else None

    # running

    def run(self, path: str | None, mask_url: str | None, session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yields (stage, status, session, history, download)."""
        try:
            form = read_form(values)
            session.keep(path, mask_url, form.mode)
            engine = self.engines.get(form.model)
            request = build_request(engine, self._picture(path, form.mode), mask_url, form, form.mode)
        except Exception as error:
            text = spoken(error)
            yield gr.skip(), canvas.status_html(text, "failed"), *_SAME
            raise failure(text) from error
        yield from self._stream(engine, form.model, request, session)

    def branch(self, scale: float, session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Keep `scale` scales of the chosen result and draw the rest anew; a sketch is finished with its own seed."""
        try:
            form, entry = read_form(values), session.current()
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
            raise failure(text) from error
        yield from self._stream(engine, entry.model, request, session)

    def _stream(self, engine: Engine, model: str, request: EditRequest, session: Session) -> Iterator[tuple[Any, ...]]:
        began = time.perf_counter()
        stage = canvas.Stage(engine.sides, "running")
        frames: list[list[str]] = []
        focus = canvas.focus(request.mask)
        try:
            for frame in self.engines.run(engine, request):
                if frame.scale == 1:
                    stage.thumbs, frames = [], []
                stage.pictures = [canvas.data_uri(picture, 84) for picture in frame.previews]
                stage.thumbs.append(canvas.thumb(frame.previews[0], focus))
                frames.append(stage.pictures)
                status = canvas.status_html(_progress(frame), "running")
                if frame.result is None:
                    yield canvas.stage_html(stage), status, *_SAME
                    continue
                entry = self._entry(session, model, request.task, engine, frame.result, frames, stage.thumbs)
                if request.task != "branch" and frame.windows == 1 and request.stop_scale is None:
                    self.engines.note(model, frame.seconds / request.candidates)
                words = f"Done in {time.perf_counter() - began:.1f} s · seed {frame.seed}"
                status = canvas.status_html(words, "done", frame.result.notices)
                waits = gr.update(interactive=False)  # until the file is written
                yield canvas.stage_html(entry.stage()), status, session, self.history(session), waits
                yield gr.skip(), gr.skip(), *_SAME  # what was yielded last is sent again when the run has ended
        except Exception as error:
            text = spoken(error)
            yield standing(session), canvas.status_html(text, "failed"), *_SAME
            raise failure(text) from error

    def _entry(
        self,
        session: Session,
        model: str,
        task: str,
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
            task=task,
            model=model,
            sides=engine.sides,
            frames=frames,
            thumbs=thumbs,
            before=None if before is None else canvas.data_uri(canvas.shrink(before, canvas.DISPLAY_SIDE)),
            sketch=len(frames) < len(engine.sides),
            pictures=[canvas.data_uri(canvas.shrink(image, canvas.DISPLAY_SIDE), 92) for image in result.images],
            cover=canvas.data_uri(canvas.shrink(result.images[0], canvas.COVER_SIDE), 80),
        )
        session.add(entry)
        return entry

    def stopped(self, session: Session) -> tuple[str, str]:
        """(stage, status): the last finished result stands again."""
        words = "Stopped. Everything is as it was; run again when you like."
        return standing(session), canvas.status_html(words, "stopped")

    # after a run

    @guarded
    def frames(self, session: Session) -> Any:
        """The pictures of all scales of the result shown, for looking back: after it is there, not with it."""
        return gr.skip() if session.shown is None else session.current().looking_back()

    @guarded
    def write(self, session: Session) -> Any:
        """The chosen picture as a PNG file with its recipe, for the download button."""
        if session.shown is None:
            return gr.skip()
        entry = session.current()
        name = f"{entry.result.request.task}-{entry.result.seed}-{entry.chosen + 1}.png"
        path = self.outbox.place() / name
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
        path = self.outbox.place() / f"result-{entry.number}.png"
        entry.result.images[entry.chosen].save(path, compress_level=1)
        return str(path)

    @guarded
    def last_seed(self, session: Session) -> str:
        return str(session.current().result.seed)

    def history(self, session: Session) -> str:
        items = [(made.number, 0, ("entry", made.number, made.title, made.cover)) for made in session.entries]
        items += [(one.after, 1, ("original", one.number, "Original", one.cover)) for one in session.originals]
        return canvas.history_html([item for _, _, item in sorted(items)], session.shown)

    def models(self) -> Any:
        """The list of models as it is now: one may have arrived."""
        return gr.update(choices=self.engines.choices())

    def choose_model(self, name: str) -> tuple[Any, ...]:
        """A model's classes and default settings: (class, guidance, top-k, top-p, status, download button)."""
        if self.engines.missing(name):
            info = MODELS[name]
            text = f"{info.title} is not on this machine yet: fetch it once, then it works offline."
            label = f"Fetch model ({info.size_mb / 1000:.1f} GB)"
            return *(gr.skip() for _ in range(4)), canvas.status_html(text), gr.update(value=label, visible=True)
        try:
            engine = self.engines.get(name)
        except Exception as error:
            return *(gr.skip() for _ in range(4)), canvas.status_html(spoken(error), "failed"), gr.update(visible=False)
        own = engine.defaults
        choices = [("No class", NO_CLASS), *((spaced(text), i) for i, text in enumerate(engine.class_names))]
        ready = " · ".join(filter(None, ["Ready", self.engines.pace(name)]))
        return (
            gr.update(choices=choices, value=NO_CLASS),
            own.guidance,
            gr.update(value=min(own.top_k, engine.vocab_size), maximum=engine.vocab_size),
            own.top_p,
            canvas.status_html(ready),
            gr.update(visible=False),
        )

    def fetch(self, name: str) -> Iterator[str]:
        """Download the chosen model, telling how far it is."""
        try:
            total = MODELS[name].size_mb if name in MODELS else 0
            for arrived in self.engines.fetch(name):
                yield canvas.status_html(f"Fetching {name}: {arrived:.0f} of about {total} MB", "idle")
            yield canvas.status_html(f"{name} is on this machine now; reading it ...")
        except Exception as error:
            text = spoken(error)
            yield canvas.status_html(text, "failed")
            raise failure(text) from error

    @guarded
    def example(self, event: gr.EventData) -> tuple[str, str | None, str]:
        """(picture, mask, mode) of an example."""
        found = examples()
        index = int(event.example)
        if not 0 <= index < len(found):
            raise ValueError("This example is no longer there: reload the page.")
        chosen = found[index]
        folder = self.outbox.place()  # from where the server may send it
        picture = str(copyfile(chosen.picture, folder / chosen.picture.name))
        if chosen.mask is None:
            return picture, None, "vary"
        return picture, str(copyfile(chosen.mask, folder / chosen.mask.name)), "inpaint"


def standing(session: Session) -> str:
    """What the stage shows while no run is going: the last result looked at, or nothing yet."""
    entry = session.standing()
    return canvas.stage_html(canvas.Stage() if entry is None else entry.stage())


def spaced(name: str) -> str:
    """A class name as people write it."""
    return name.replace("_", " ").replace("-", " · ", 1) if "-" in name and "," not in name else name.replace("_", " ")


def before_picture(result: Result, resolution: int) -> Image.Image | None:
    """What the result is compared with; the new area of an outpainting is grey."""
    request = result.request
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
