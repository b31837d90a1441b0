"""What the page asks of the server between runs: one question, one answer, each a dictionary. An answer with "error"
is a sentence for the visitor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio.utils import get_upload_folder

from var_core import ANIMATION, MODELS, SAVING, WITH_MASK

from . import canvas, zero
from .answers import log, spoken
from .examples import examples
from .form import ADVANCED, AMOUNTS, RATIOS, declared
from .pictures import displayed
from .recipe import class_value, painted, restored
from .runs import Runs
from .saving import animations, photo_of
from .session import Entry, Original, Session
from .tiles import Tiles
from .work import Work

DEFAULTS = ("guidance", "top_k", "top_p")  # settings whose automatic value is the model's own
Answer = dict[str, Any]
Given = dict[str, Any]


class Handlers:
    """Answers of one page. `ask` is all that the browser can reach."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.engines, self.pictures, self.outbox, self.shelf = work.engines, work.pictures, work.outbox, work.shelf
        self.runs, self.tiles = Runs(work), Tiles(work.pictures)
        self._answers: dict[str, Callable[[Session, Given], Answer]] = {
            "open": self.opened, "rest": self.rest, "look": self.look, "picture": self.picture, "entry": self.entry,
            "frames": self.frames, "save": self.save, "model": self.model, "example": self.example, "pick": self.pick,
            "tile": self.tile, "animation": self.animation,
        }  # fmt: skip

    def ask(self, given: Any) -> Answer:
        """The answer to one question: {"do": which, "key": whose, ...}."""
        try:
            if not isinstance(given, dict):
                raise ValueError("this is no question that the page asks: reload it")
            if given.get("do") == "hello":
                return self.hello(given.get("key"))
            answer = self._answers.get(str(given.get("do")))
            if answer is None:
                raise ValueError("this is no question that the page asks: reload it")
            return answer(self.session(given.get("key")), given)
        except Exception as error:
            return {"error": spoken(error)}

    def session(self, key: Any) -> Session:
        """Whose key this is. ValueError when it is gone."""
        found = self.work.sessions.find(key) if isinstance(key, str) else None
        if found is None:
            raise ValueError("The session is no longer on the server: reload the page.")
        return found

    def stream(self, given: Any, request: gr.Request) -> Iterator[Answer]:
        """The messages of one run: {"run": which, "live": whether it is only shown, "kind": ...}."""
        asked = given if isinstance(given, dict) else {}
        about = {"run": asked.get("run"), "live": bool(asked.get("live"))}
        try:
            session = self.session(asked.get("key"))
        except ValueError as error:
            yield {**about, "kind": "failed", "text": str(error)}
            return
        for message in self.runs.stream(session, asked, request):
            yield {**message, **about}

    # coming back

    def hello(self, key: Any) -> Answer:
        """The session of this key, or a new one: what the page shows first."""
        session = (self.work.sessions.find(key) if isinstance(key, str) else None) or Session()
        self.work.sessions.put(session.key, session)
        mask = session.mask.value if session.mask is not None else None
        answer: Answer = {
            "key": session.key, "form": session.form, "history": self.history(session), "model": self.engines.default,
            "models": self._models(), "settings": [declared(name) for name in ADVANCED], "seed": declared("seed"),
            "saving": [declared(name, SAVING) for name in SAVING], "animation": _animation(), "ratios": RATIOS,
            "examples": [example.told() for example in examples()],
        }  # fmt: skip
        try:
            if session.source:
                answer["canvas"] = {"ref": session.source, "mask": mask} | self._shown(session, session.source)
        except ValueError:
            answer["gone"] = True
        return answer

    def history(self, session: Session) -> list[Answer]:
        """The session's pictures, oldest first."""
        items: list[tuple[int, int, Answer]] = [
            (one.number, 0, {"kind": "entry", "number": one.number, "title": one.title, "cover": one.cover})
            for one in session.there()
        ]
        for one in session.originals:
            if Path(one.path).is_file():
                items.append(
                    (one.after, 1, {"kind": "original", "number": one.number, "title": "Original", "cover": one.cover})
                )
        return [item for _, _, item in sorted(items, key=lambda item: (item[0], item[1], item[2]["number"]))]

    def _shown(self, session: Session, name: Any) -> Answer:
        """A picture for the canvas, and the result that it belongs to."""
        found = session.named(name)
        if isinstance(found, Original):
            image = self.pictures.open(found.path).image
            return {"size": [*image.size], "sheet": canvas.data_uri(canvas.shrink(image, canvas.SHEET_SIDE), 92)}
        entry, version = found
        image = displayed(entry.result, canvas.SHEET_SIDE, version)
        return {"size": [*canvas.size_of(entry.result)], "sheet": canvas.data_uri(image, 92), "entry": entry.told()}

    def picture(self, session: Session, given: Given) -> Answer:
        return {"ref": given.get("ref")} | self._shown(session, given.get("ref"))

    def entry(self, session: Session, given: Given) -> Answer:
        """A result of the history, or an original with the paint last seen on it."""
        number = given.get("number")
        number = number if isinstance(number, int) else 0
        if given.get("kind") == "original":
            original = session.original(number)
            mask = original.mask.value if original.mask is not None else None
            return {"ref": f"o{number}", "mask": mask} | self._shown(session, f"o{number}")
        entry = session.entry(number)
        session.shown = number
        ref = f"e{number}.{entry.chosen}"
        return {"ref": ref} | self._shown(session, ref)

    def pick(self, session: Session, given: Given) -> Answer:
        """The version of a result that is looked at."""
        found = session.named(given.get("ref"))
        if not isinstance(found, Original):
            found[0].chosen = found[1]
            session.shown = found[0].number
        return {}

    def frames(self, session: Session, given: Given) -> Answer:
        """What stood in a result's place after every scale, for looking back."""
        found = session.named(given.get("ref"))
        if isinstance(found, Original):
            return {"frames": []}
        entry, version = found
        return {"frames": [scale[min(version, len(scale) - 1)] for scale in entry.made.frames]}

    # pictures in

    def opened(self, session: Session, given: Given) -> Answer:
        """An upload: its name, notices or why it is refused, and what a recipe inside it sets."""
        path = uploaded(given.get("path"))
        upload = self.pictures.open(path)
        values, notice = restored(path, self.engines)
        original = session.begin(path, canvas.data_uri(canvas.shrink(upload.image, canvas.COVER_SIDE), 80))
        answer: Answer = {
            "ref": f"o{original.number}", "size": [*upload.image.size],
            "notices": [*upload.notices, *([notice] if notice else [])], "form": values,
            "history": self.history(session), "mask": painted(path, values),
        }  # fmt: skip
        if given.get("sheet") is True:
            answer["sheet"] = canvas.data_uri(canvas.shrink(upload.image, canvas.SHEET_SIDE), 92)
        return answer

    def example(self, session: Session, given: Given) -> Answer:
        """An example on the canvas: picture, paint, mode."""
        index, found = given.get("index"), examples()
        if not isinstance(index, int) or not 0 <= index < len(found):
            raise ValueError("This example is no longer there: reload the page.")
        chosen = found[index]
        image = self.pictures.open(str(chosen.picture)).image
        original = session.begin(str(chosen.picture), canvas.data_uri(canvas.shrink(image, canvas.COVER_SIDE), 80))
        return {
            "ref": f"o{original.number}", "size": [*image.size], "mask": chosen.layer(), "mode": chosen.mode,
            "sheet": canvas.data_uri(canvas.shrink(image, canvas.SHEET_SIDE), 92), "history": self.history(session),
            "label": chosen.label,
        }  # fmt: skip

    # while the visitor paints

    def rest(self, session: Session, given: Given) -> Answer:
        """The pen rests: keep what the canvas holds, and encode ahead what a run would need now. What is missing is
        said by the run, not by this."""
        ref, mask = given.get("ref"), given.get("mask")
        form = given.get("form")
        if isinstance(ref, str):
            session.named(ref)
        kept = self.shelf.keep(mask) if isinstance(mask, str) and mask else None
        session.keep(ref if isinstance(ref, str) else None, kept, _plain(form))
        try:
            if form is None or given.get("ahead") is not True or zero.active() or self.engines.busy:
                return {"prepared": False}
            name = form.get("model")
            if self.engines.missing(name) or form.get("mode") == "generate":
                return {"prepared": False}
            _, _, plan = self.runs.asked(session, given)
            return {"prepared": self.engines.prepare(name, plan)}
        except ValueError:
            return {"prepared": False}
        except Exception:
            log.exception("nothing could be prepared")
            return {"prepared": False}

    def look(self, session: Session, given: Given) -> Answer:
        """The tokens that will be redrawn, for the overlay."""
        mode = given["form"].get("mode") if isinstance(given.get("form"), dict) else None
        _, edit, plan = self.runs.asked(session, given, mode if mode in WITH_MASK else "inpaint")
        assert edit.image is not None
        whole = (0, 0, *edit.image.size)
        changed = [(box or whole, plan.redrawn(number)) for number, box in enumerate(plan.boxes)]
        return canvas.cells(changed, edit.image.size)

    # pictures out

    def tile(self, session: Session, given: Given) -> Answer:
        """A part of a picture, pixel by pixel."""
        found = session.named(given.get("ref"))
        source = found.path if isinstance(found, Original) else (found[0].result, found[1])
        return {"tile": self.tiles.of(source, given.get("column", -1), given.get("row", -1))}

    def save(self, session: Session, given: Given) -> Answer:
        """One version as a file: where the browser finds it."""
        entry, version = self._made(session, given)
        return _offered(self.work.saver.picture(entry, version, photo_of(session.named, entry.base), given))

    def animation(self, session: Session, given: Given) -> Answer:
        """Its run, coarse to fine, as a moving picture."""
        return _offered(self.work.saver.animation(*self._made(session, given), given))

    def _made(self, session: Session, given: Given) -> tuple[Entry, int]:
        found = session.named(given.get("ref"))
        if isinstance(found, Original):
            raise ValueError("This is the picture as you opened it: change something first.")
        return found

    # models

    def _models(self) -> list[Answer]:
        """The list of models as it is now: one may have arrived."""
        found = []
        for words, name in self.engines.choices():
            size = f"{MODELS[name].size_mb / 1000:.1f} GB" if name in MODELS else ""
            found.append({"name": name, "text": words, "missing": self.engines.missing(name), "size": size})
        return found

    def model(self, session: Session, given: Given) -> Answer:
        """A model's classes and what is automatic with it; or that it has to be fetched first."""
        name = given.get("name")
        name = name if isinstance(name, str) else self.engines.default
        answer: Answer = {"name": name, "models": self._models()}
        if self.engines.missing(name):
            title = MODELS[name].title
            return answer | {"missing": f"{title} is not on this machine yet: fetch it once, then it works offline."}
        engine = self.engines.get(name)
        own, edits, automatic = engine.defaults("inpaint"), engine.defaults("edit"), {}
        for setting in DEFAULTS:
            usual, edited = getattr(own, setting), getattr(edits, setting)
            automatic[setting] = f"automatic: {usual:g}" + ("" if usual == edited else f", in a class edit {edited:g}")
        return answer | {
            "classes": self._classes(name), "automatic": automatic, "sides": [*engine.sides],
            "resolution": engine.resolution, "pace": self.engines.pace(name),
        }  # fmt: skip

    def _classes(self, model: str) -> list[tuple[str, str]]:
        names = self.engines.get(model).class_names
        return [(spaced(name), class_value(i, names)) for i, name in enumerate(names)]


def _animation() -> list[dict[str, Any]]:
    """What can be decided about an animation here."""
    found = [declared(name, ANIMATION) for name in ANIMATION]
    for each in found:
        if each["name"] == "format":
            each["choices"] = [*animations()]
    return found


def _offered(written: dict[str, Any]) -> Answer:
    """A file of ours, for the browser."""
    return {**written, "url": f"gradio_api/file={quote(written['path'])}"}


def uploaded(path: Any) -> str:
    """ValueError for what is no upload: no other file of the server can be had."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("The picture did not arrive: open it again.")
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError("The picture did not arrive: open it again.")
    return path


def _plain(form: Any) -> dict[str, Any]:
    """The page's controls as it sent them, for its own return: short values only."""
    if not isinstance(form, dict):
        return {}
    short = (bool, int, float, str, type(None))
    names = ("mode", "model", "label", "strength", "candidates", "seed", "ratio", "anchor", "sketch", "live")
    known = {*names, *AMOUNTS, *ADVANCED}
    return {name: v for name, v in form.items() if name in known and isinstance(v, short) and len(str(v)) < 200}


def spaced(name: str) -> str:
    """A class name as people write it."""
    return name.replace("_", " ").replace("-", " · ", 1) if "-" in name and "," not in name else name.replace("_", " ")
