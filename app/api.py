"""The same work for programs: named endpoints that stream, for gradio_client and plain HTTP.

Each yields (progress, pictures): progress is {scale, scales, window, windows, seconds, seed, preview}, the preview a
JPEG data URI; pictures are the finished PNG files and come with the last item. While the runs of others come first,
scale is 0 and `waiting` says how many. /branch continues the last result of the same session, /save and /animation
write it as another file. Which arguments there are, and what they are when left out, is declared in `var_core`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from var_core import (
    ANCHORS,
    ANIMATION,
    CHANCE,
    EDIT,
    SAVING,
    SETTINGS,
    WITH_MASK,
    Chance,
    Edit,
    Frame,
    Setting,
    open_mask,
    outpaint_amounts,
    settings_of_file,
)

from . import canvas
from .answers import refusal, spoken
from .form import AMOUNTS
from .session import Entry, Made, Session
from .turns import Ticket
from .work import Waiting, Work, cost, cost_again

Item = tuple[dict, list[FileData]]
Steps = Iterator[Frame | Waiting]
_TEXTS = {
    "generate": "A new picture of a class.",
    "inpaint": "Redraw the white part of the mask.",
    "edit": "Redraw it as a class.",
    "outpaint": "Extend a picture, by pixels or to a ratio with an anchor.",
    "vary": "Keep start_scale scales of a picture.",
    "branch": "Keep start_scale scales of a candidate of the last result, and draw the rest anew.",
}
_RATIO = Setting(name="ratio", kind=float, default=None, low=0.05, high=20, label="Ratio")


class Api:
    """Turns endpoint arguments into requests."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def save(self, request: gr.Request, given: dict[str, Any]) -> FileData:
        """One candidate of the last result as a file of another format."""
        return self._written(request, given, lambda entry, i: self.work.saver.picture(entry, i, entry.photo, given))

    def animation(self, request: gr.Request, given: dict[str, Any]) -> FileData:
        """Its run, coarse to fine."""
        return self._written(request, given, lambda entry, i: self.work.saver.animation(entry, i, given))

    def _written(self, request: gr.Request, given: dict[str, Any], write: Callable[[Entry, int], dict]) -> FileData:
        try:
            index = SETTINGS["candidates"].read(given["candidate"]) - 1
            return FileData(path=write(self._session(request).current(), index)["path"])
        except Exception as error:
            raise refusal(spoken(error)) from error

    def models(self) -> dict:
        """The model in use and its classes, in order."""
        engine = self.work.engines.get()
        return {"model": engine.name, "resolution": engine.resolution, "classes": list(engine.class_names)}

    def replay(self, request: gr.Request, image: FileData) -> FileData:
        """The picture of a saved PNG again, from the tokens in its recipe, without sampling."""
        ticket, engines = None, self.work.engines
        try:
            ticket = self.work.join(request)
            path = sent(image, "An image is needed: send a PNG that this editor saved.")
            picture = self.work.pictures.open(path).image  # the limits of uploads hold here too
            said = settings_of_file(path).get("model")
            name = engines.name_of(said) if isinstance(said, str) else None
            for _ in self.work.turn(ticket, 20 * picture.width * picture.height):
                continue
            made = engines.replay(name or engines.default, path)
            return FileData(path=self.work.outbox.picture(made, "replay.png"))
        except Exception as error:
            raise refusal(spoken(error)) from error
        finally:
            if ticket is not None:
                ticket.leave()

    def run(self, task: str, request: gr.Request, given: dict[str, Any]) -> Iterator[tuple[dict, list[dict]]]:
        """One job, from its place in the queue to its files."""
        session, ticket = self._session(request), None
        try:
            ticket = self.work.join(request)
            begin = self._branch if task == "branch" else self._new
            model, steps = begin(task, ticket, session, given)
            yield from self._stream(task, model, steps, session, given)
        except Exception as error:
            raise refusal(spoken(error)) from error
        finally:
            if ticket is not None:
                ticket.leave()

    def _session(self, request: gr.Request) -> Session:
        name = f"program {request.session_hash}"
        session = self.work.sessions.find(name) or Session()
        self.work.sessions.put(name, session)
        return session

    def _new(self, task: Any, ticket: Ticket, session: Session, given: dict[str, Any]) -> tuple[str, Steps]:
        model = given["model"] or self.work.engines.default
        self.work.engines.check(model)
        chance = Chance(**{name: given[name] for name in CHANCE})
        edit = Edit(task=task, label=given.get("label") or None, **self._pictures(task, given))
        plan = self.work.plan(session, model, edit)
        steps = partial(self.work.engines.run, model, edit, chance, plan)
        many = chance.candidates
        return model, self.work.frames(ticket, model, cost(plan, many), many, steps)

    def _pictures(self, task: str, given: dict[str, Any]) -> dict[str, Any]:
        """The fields of an edit: its settings, and what the files hold."""
        fields = {name: given[name] for name in EDIT if name in given}
        if task == "generate":
            return fields
        upload = self.work.pictures.open(sent(given["image"], "An image is needed: send a picture file."))
        fields["image"], given["notices"] = upload.image, list(upload.notices)
        if task in WITH_MASK:
            words = "A mask is needed: send a picture that is white where it should be repainted."
            fields["mask"] = open_mask(sent(given["mask"], words), upload.image.size, upload.orientation)
        if task == "outpaint" and given["ratio"] is not None:
            if given["anchor"] not in ANCHORS:
                raise ValueError(f"the anchor must be one of {', '.join(ANCHORS)}")
            amounts = outpaint_amounts(upload.image.size, _RATIO.read(given["ratio"]), ANCHORS[given["anchor"]])
            fields |= dict(zip(AMOUNTS, amounts, strict=True))
        return fields

    def _branch(self, task: str, ticket: Ticket, session: Session, given: dict[str, Any]) -> tuple[str, Steps]:
        entry = session.current()
        if given["model"] and given["model"] != entry.model:
            raise ValueError(f"the result was made with {entry.result.model}: leave the model out")
        chance = Chance(**{name: given[name] for name in CHANCE})
        start = EDIT["start_scale"].read(given["start_scale"])
        index = SETTINGS["candidates"].read(given["candidate"]) - 1
        label = given["label"] or None
        steps = partial(self.work.engines.branch, entry.model, entry.result, index, start, chance, label)
        many = chance.candidates
        return entry.model, self.work.frames(ticket, entry.model, cost_again(entry.result, many), many, steps)

    def _stream(
        self, task: str, model: str, steps: Steps, session: Session, given: dict[str, Any]
    ) -> Iterator[tuple[dict, list[dict]]]:
        photo = session.current().photo if task == "branch" else (given.get("image") or {}).get("path")
        for frame in steps:
            if isinstance(frame, Waiting):
                yield {"scale": 0, "seconds": 0.0, "waiting": frame.ahead}, []
                continue
            progress = {
                "scale": frame.scale,
                "scales": frame.scales,
                "window": frame.window,
                "windows": frame.windows,
                "detail": frame.detail,
                "details": frame.details,
                "seconds": round(frame.seconds, 3),
                "seed": frame.seed,
                "preview": canvas.data_uri(frame.previews[0]),
            }
            if frame.result is None:
                yield progress, []
                continue
            session.count += 1
            with self.work.shelf.delivering(Made(frame.result)) as kept:
                entry = Entry(session.count, task, model, self.work.engines.get(model).sides, kept, frame.result.sketch)
                entry.photo = photo
                session.add(entry)
                paths = [self.work.outbox.saved(entry, index) for index in range(len(frame.result.patches))]
                yield (
                    progress | {"notices": [*given.get("notices", []), *frame.result.notices]},
                    [FileData(path=path).model_dump() for path in paths],
                )


def sent(file: Any, words: str) -> str:
    """Path of a file that the visitor sent. ValueError for anything else: no other file of the server can be had."""
    path = file.get("path") if isinstance(file, dict) else None
    if not path or not isinstance(path, str):
        raise ValueError(words)
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError("This file was not uploaded: send it with handle_file.")
    return path


def add_api(work: Work) -> None:
    """Declare the endpoints."""
    api = Api(work)
    anyhow: dict[str, Any] = {"concurrency_limit": None}  # whose turn it is, `turns` says
    for task in _TEXTS:
        endpoint = _endpoint(api, task)
        gr.api(endpoint, api_name=task, api_description=endpoint.__doc__, **anyhow)
    gr.api(api.replay, api_name="replay", **anyhow)
    gr.api(_file("One candidate of the last result as a file.", api.save, SAVING), api_name="save", **anyhow)
    gr.api(_file("Its run, coarse to fine.", api.animation, ANIMATION), api_name="animation", **anyhow)
    gr.api(api.models, api_name="models")


def _arguments(task: str) -> list[inspect.Parameter]:
    """What an endpoint takes: files, a class, the settings that are declared for the task, and the model."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD

    def argument(name: str, form: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, kind, default=default, annotation=form)

    found = [argument("request", gr.Request)]
    found += [argument("image", FileData)] if task not in ("generate", "branch") else []
    found += [argument("mask", FileData)] if task in WITH_MASK else []
    found += [argument("label", str, "")] if task != "inpaint" else []
    own = (
        {"start_scale": EDIT["start_scale"]} if task == "branch" else {n: s for n, s in EDIT.items() if task in s.tasks}
    )
    found += [argument(name, _type(each), each.default) for name, each in (own | CHANCE).items()]
    found += [argument("candidate", int, 1)] if task == "branch" else []
    if task == "outpaint":
        found += [argument("ratio", float | None, None), argument("anchor", Literal[tuple(ANCHORS)], "centre")]
    return [*found, argument("model", str, "")]


def _file(text: str, write: Callable[..., FileData], declared: dict[str, Setting]) -> Callable[..., FileData]:
    """An endpoint that makes a file of the last result, by declared settings."""
    kind, names = inspect.Parameter.POSITIONAL_OR_KEYWORD, ["candidate", *declared]

    def call(request: gr.Request, *values: Any) -> FileData:
        return write(request, dict(zip(names, values, strict=True)))

    arguments = [
        inspect.Parameter("request", kind, annotation=gr.Request),
        inspect.Parameter("candidate", kind, default=1, annotation=int),
        *(inspect.Parameter(n, kind, default=each.default, annotation=_type(each)) for n, each in declared.items()),
    ]
    call.__doc__ = "\n".join([text, *(f"{name}: {each.help}" for name, each in declared.items())])
    call.__signature__ = inspect.Signature(arguments, return_annotation=FileData)  # type: ignore[attr-defined]
    call.__annotations__ = {argument.name: argument.annotation for argument in arguments} | {"return": FileData}
    return call


def _type(setting: Setting) -> Any:
    plain: Any = Literal[setting.choices] if setting.choices else setting.kind
    return plain | None if setting.default is None else plain


def _endpoint(api: Api, task: str) -> Callable[..., Any]:
    """A generator function whose signature says what it takes, as its callers and the API's page read it."""
    arguments = _arguments(task)
    names = [argument.name for argument in arguments[1:]]

    def stream(request: gr.Request, *values: Any) -> Iterator[tuple[dict, list[dict]]]:
        yield from api.run(task, request, dict(zip(names, values, strict=True)))

    helped = [f"{name}: {SETTINGS[name].help}" for name in names if name in SETTINGS]
    stream.__doc__ = "\n".join([_TEXTS[task], *helped])
    stream.__signature__ = inspect.Signature(arguments, return_annotation=Item)  # type: ignore[attr-defined]
    stream.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    return stream
