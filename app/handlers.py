"""What the page's events do: values of the page -> one request -> frames, status, history.

Handlers that stream are generator functions; the work happens in the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import gradio as gr
from PIL import Image

from var_core import MODELS, WITH_MASK, Chance, Edit, Frame, Plan, Result

from . import canvas, zero
from .answers import failure, guarded, log, spoken
from .examples import examples
from .form import NO_CLASS, RESTORED, Form, build_chance, build_edit, read_form
from .pictures import displayed
from .recipe import class_value, restored
from .session import Entry, Made, Session
from .turns import Ticket
from .work import Waiting, Work, cost, cost_again

_SAME = (gr.skip(), gr.skip(), gr.skip())
DEFAULTS = ("guidance", "top_k", "top_p")  # settings whose automatic value is the model's own


class Handlers:
    """Handlers of one page."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.engines, self.pictures, self.outbox, self.shelf = work.engines, work.pictures, work.outbox, work.shelf

    # coming back

    def resume(self, key: str | None) -> tuple[Any, ...]:
        """The session of this key, or a new one: (session, what the browser keeps, its picture, mode, stage,
        history). The paint comes as a layer of the painter."""
        session = self.work.sessions.find(key or "") or Session()
        self.work.sessions.put(session.key, session)
        answer: dict[str, Any] = {"key": session.key, "mask": session.mask and session.mask.value}
        source = session.source if session.source and Path(session.source).is_file() else None
        mode = session.mode or gr.skip()
        stage = gr.skip() if session.standing() is None else standing(session)
        return session, answer, source, mode, stage, self.history(session)

    def keep(self, path: str | None, mask_url: str | None, mode: str, session: Session) -> None:
        """The painter's state, for when the visitor comes back."""
        session.keep(path, self.shelf.keep(mask_url) if mask_url else None, mode)
        self.work.sessions.put(session.key, session)

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
        return original.path, {"mask": original.mask and original.mask.value}

    # pictures in

    def opened(self, path: str | None) -> tuple[Any, ...]:
        """What the painter is told about an upload (which, notices, or why it is refused), and what a recipe inside it
        sets: (answer, the controls in RESTORED)."""
        try:
            if not path:
                raise ValueError("The picture did not arrive: open it again.")
            upload = self.pictures.open(path)
            values, notice = restored(path, self.engines)
        except Exception as error:  # the painter shows the sentence
            return {"file": path and str(path), "error": spoken(error)}, *(gr.skip() for _ in RESTORED)
        answer = {"file": str(path), "notices": list(upload.notices), "size": list(upload.image.size)}
        answer["notices"] += [notice] if notice else []
        if "model" in values:  # its classes come with it
            values["label"] = gr.update(choices=self._classes(values["model"]), value=values["label"])
        return answer, *(values.get(name, gr.skip()) for name in RESTORED)

    def _classes(self, model: str) -> list[tuple[str, str]]:
        names = self.engines.get(model).class_names
        return [("No class", NO_CLASS), *((spaced(name), class_value(i, names)) for i, name in enumerate(names))]

    def look(self, path: str | None, mask_url: str | None, session: Session, *values: Any) -> dict[str, Any]:
        """The tokens that will be redrawn, for the painter's overlay."""
        try:
            form = read_form(values)
            task = form["mode"] if form["mode"] in WITH_MASK else "inpaint"
            edit, plan = self._ask(path, mask_url, session, form, task)
            assert edit.image is not None
            whole = (0, 0, *edit.image.size)
            changed = self.engines.get(form["model"]).changed(plan)
            return canvas.cells([(box or whole, grids) for box, grids in changed], edit.image.size)
        except Exception as error:
            return {"error": spoken(error)}

    def prepare(self, path: str | None, mask_url: str | None, session: Session, *values: Any) -> bool:
        """Encode ahead what a run would need now, while the visitor still paints. What is missing is said by the
        run, not by this."""
        try:
            form = read_form(values)
            if not path or form["mode"] == "generate" or self.engines.missing(form["model"]):
                return False
            if zero.active() or self.engines.busy:
                return False
            _, plan = self._ask(path, mask_url, session, form, form["mode"])
            return self.engines.prepare(form["model"], plan)
        except ValueError:
            return False
        except Exception:
            log.exception("nothing could be prepared")
            return False

    def _ask(
        self, path: str | None, mask_url: str | None, session: Session, form: Form, task: str
    ) -> tuple[Edit, Plan]:
        """What the page asks now. ValueError with one sentence where something is missing."""
        engine = self.engines.get(form["model"])
        picture = self.pictures.open(path).image if path and task != "generate" else None
        mask = None
        if task in WITH_MASK and picture is not None:
            last = session.asked.value if session.asked is not None else None
            same = last is not None and last.painted == mask_url and last.edit.image is picture
            mask = last.edit.mask if last is not None and same else None
            mask = canvas.parse_mask(mask_url, picture.size) if mask is None else mask
        edit = build_edit(form, task, len(engine.sides), picture, mask)
        return edit, self.work.plan(session, form["model"], edit, mask_url)

    # running

    def run(
        self, request: gr.Request, path: str | None, mask_url: str | None, session: Session, *values: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Yields (stage, status, session, history, download)."""

        def begin(ticket: Ticket) -> Iterator[Any]:
            form = read_form(values)
            self.keep(path, mask_url, form["mode"], session)
            edit, plan = self._ask(path, mask_url, session, form, form["mode"])
            model = form["model"]
            chance = build_chance(form, edit.task, len(self.engines.get(model).sides))
            nbytes = cost(plan, chance.candidates)
            steps = self.work.frames(ticket, nbytes, lambda: self.engines.run(model, edit, chance, plan))
            return self._stream(steps, model, edit.task, canvas.focus(edit.mask), session)

        yield from self._guarded_run(request, session, begin)

    def branch(self, request: gr.Request, scale: float, session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Keep `scale` scales of the chosen result and draw the rest anew; a sketch is finished."""

        def begin(ticket: Ticket) -> Iterator[Any]:
            form, entry = read_form(values), session.current()
            result, chosen, model = entry.result, entry.chosen, entry.model
            chance = Chance(seed=form.setting("seed"), candidates=form.setting("candidates"))
            start = min(int(scale), len(entry.sides) - 1)

            def steps() -> Iterator[Frame]:
                if entry.sketch:
                    return self.engines.finish(model, result, chosen)
                return self.engines.branch(model, result, chosen, start, chance, None)

            frames = self.work.frames(ticket, cost_again(result, chance.candidates), steps)
            return self._stream(frames, model, "branch", canvas.focus(result.edit.mask), session)

        yield from self._guarded_run(request, session, begin)

    def _guarded_run(
        self, request: gr.Request, session: Session, begin: Callable[[Ticket], Iterator[tuple[Any, ...]]]
    ) -> Iterator[tuple[Any, ...]]:
        """A run from its place in the queue to its end, whatever that is."""
        ticket = None
        try:
            ticket = self.work.join(request)
            yield from begin(ticket)
        except Exception as error:
            text = spoken(error)
            yield standing(session), canvas.status_html(text, "failed"), *_SAME
            raise failure(text) from error
        finally:
            if ticket is not None:
                ticket.leave()

    def _stream(
        self, steps: Iterator[Frame | Waiting], model: str, task: str, focus: canvas.Box | None, session: Session
    ) -> Iterator[tuple[Any, ...]]:
        began = time.perf_counter()
        sides = self.engines.get(model).sides
        stage = canvas.Stage(sides, "running")
        frames: list[list[str]] = []
        for frame in steps:
            if isinstance(frame, Waiting):
                words = "One run comes" if frame.ahead == 1 else f"{frame.ahead} runs come"
                yield gr.skip(), canvas.status_html(f"{words} before yours …", "running"), *_SAME
                continue
            if frame.scale == 1 or not stage.thumbs:
                stage.thumbs, frames = [], []
            if frame.detail:  # the last scale, sharper
                del stage.thumbs[-1], frames[-1]
            stage.pictures = [canvas.data_uri(picture, 84) for picture in frame.previews]
            stage.thumbs.append(canvas.thumb(frame.previews[0], focus))
            frames.append(stage.pictures)
            if frame.result is None:
                yield canvas.stage_html(stage), canvas.status_html(_progress(frame), "running"), *_SAME
                continue
            entry = self._entry(session, model, task, frame.result, frames, stage.thumbs)
            if task != "branch" and frame.windows == 1 and not frame.result.sketch:
                self.engines.note(model, frame.seconds / len(frame.result.patches))
            words = f"Done in {time.perf_counter() - began:.1f} s · seed {frame.seed}"
            status = canvas.status_html(words, "done", frame.result.notices)
            waits = gr.update(interactive=False)  # until the file is written
            yield canvas.stage_html(entry.stage()), status, session, self.history(session), waits
            yield gr.skip(), gr.skip(), *_SAME  # what was yielded last is sent again when the run has ended

    def _entry(
        self, session: Session, model: str, task: str, result: Result, frames: list[list[str]], thumbs: list[str | None]
    ) -> Entry:
        session.count += 1
        engine = self.engines.get(model)
        before = before_picture(result, engine.resolution)
        shown = displayed(result, canvas.DISPLAY_SIDE)
        made = Made(
            result=result,
            frames=frames,
            thumbs=thumbs,
            pictures=[canvas.data_uri(image, 92) for image in shown],
            before=None if before is None else canvas.data_uri(canvas.shrink(before, canvas.DISPLAY_SIDE)),
        )
        entry = Entry(
            number=session.count,
            task=task,
            model=model,
            sides=engine.sides,
            kept=self.shelf.keep(made),
            sketch=result.sketch,
            cover=canvas.data_uri(canvas.shrink(shown[0], canvas.COVER_SIDE), 80),
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
        entry = session.standing()
        return gr.skip() if entry is None else entry.looking_back()

    @guarded
    def write(self, session: Session) -> Any:
        """The chosen picture as a PNG file with its recipe, for the download button."""
        entry = session.standing()
        return gr.skip() if entry is None else gr.update(value=self.outbox.saved(entry, entry.chosen), interactive=True)

    @guarded
    def pick_candidate(self, session: Session, event: gr.EventData) -> tuple[Any, ...]:
        entry = session.current()
        entry.chosen = min(max(int(event.candidate), 0), len(entry.made.pictures) - 1)
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
        return self.outbox.plain(session.current())

    @guarded
    def last_seed(self, session: Session) -> str:
        return str(session.current().result.seed)

    def history(self, session: Session) -> str:
        items = [(made.number, 0, ("entry", made.number, made.title, made.cover)) for made in session.there()]
        items += [(one.after, 1, ("original", one.number, "Original", one.cover)) for one in session.originals]
        return canvas.history_html([item for _, _, item in sorted(items)], session.shown)

    # models

    def models(self) -> Any:
        """The list of models as it is now: one may have arrived."""
        return gr.update(choices=self.engines.choices())

    def choose_model(self, name: str, label: str) -> tuple[Any, ...]:
        """A model's classes, the one chosen kept where it has it, and what is automatic: (class, the controls in
        DEFAULTS, status, download button)."""
        same = [gr.skip() for _ in (0, *DEFAULTS)]
        if self.engines.missing(name):
            info = MODELS[name]
            text = f"{info.title} is not on this machine yet: fetch it once, then it works offline."
            button = f"Fetch model ({info.size_mb / 1000:.1f} GB)"
            return *same, canvas.status_html(text), gr.update(value=button, visible=True)
        try:
            engine, classes = self.engines.get(name), self._classes(name)
        except Exception as error:
            return *same, canvas.status_html(spoken(error), "failed"), gr.update(visible=False)
        own, edits = engine.defaults("inpaint"), engine.defaults("edit")
        automatic = []
        for setting in DEFAULTS:
            usual, edited = getattr(own, setting), getattr(edits, setting)
            text = f"automatic: {usual:g}" + ("" if usual == edited else f", in a class edit {edited:g}")
            automatic.append(gr.update(placeholder=text))
        label = label if label in [value for _, value in classes] else NO_CLASS
        ready = " · ".join(filter(None, ["Ready", self.engines.pace(name)]))
        status = canvas.status_html(ready)
        return gr.update(choices=classes, value=label), *automatic, status, gr.update(visible=False)

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
    edit = result.edit
    if edit.image is None:
        return None
    if edit.task == "vary":
        side = min(edit.image.size)
        left, top = (edit.image.width - side) // 2, (edit.image.height - side) // 2
        return edit.image.crop((left, top, left + side, top + side)).resize((resolution, resolution))
    if edit.task == "outpaint":
        before = Image.new("RGB", edit.enlarged, (128, 128, 128))
        before.paste(edit.image, (edit.left, edit.top))
        return before
    return edit.image


def _progress(frame: Frame) -> str:
    part = f"Part {frame.window} of {frame.windows} · " if frame.windows > 1 else ""
    step = f"Scale {frame.scale} of {frame.scales}"
    if frame.detail:
        step = f"Detail {frame.detail} of {frame.details}"
    return f"{part}{step} · {frame.seconds:.1f} s"
