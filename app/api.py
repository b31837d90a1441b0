"""The same work for programs: named endpoints that stream, for gradio_client and plain HTTP.

Each yields (progress, pictures): progress is {scale, scales, window, windows, seconds, seed, preview}, the preview a
JPEG data URI; pictures are the finished PNG files and come with the last item. /branch continues the last result of
the same session.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from var_core import EditRequest, Engine, open_mask, outpaint_amounts

from . import canvas
from .form import ANCHORS
from .handlers import Handlers, spoken, toast
from .session import Entry, Session
from .zero import gpu

_OPTIONS = ("seed", "candidates", "guidance", "top_k", "top_p", "smooth", "model", "random_scales")
_HOLD = ("method", "context", "feather", "color_match")


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


class Api:
    """Turns endpoint arguments into requests; the streaming is the page's own."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def models(self) -> dict[str, Any]:
        """The model in use and its classes, in order."""
        engine = self.handlers.engines.get()
        return {"model": engine.name, "resolution": engine.resolution, "classes": list(engine.class_names)}

    def replay(self, image: str) -> str:
        """The picture of a saved PNG again, from the tokens in its recipe, without sampling."""
        try:
            if not image:
                raise ValueError("An image is needed: send a PNG that this editor saved.")
            self.handlers.pictures.open(image)  # the limits of uploads hold here too
            path = self.handlers.outbox.place() / "replay.png"
            engine = self.handlers.engines.get()
            self.handlers.engines.compute(lambda: engine.replay(image)).save(path)
            return str(path)
        except Exception as error:
            raise toast(spoken(error)) from error

    def run(self, task: str, session: Session, given: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        try:
            engine = self.handlers.engines.get(given["model"] or None)
            request = self._request(task, session, given)
            yield from self._stream(engine, request, session)
        except GeneratorExit:
            raise
        except Exception as error:
            raise toast(spoken(error)) from error

    def _request(self, task: str, session: Session, given: dict[str, Any]) -> EditRequest:
        fields: dict[str, Any] = {
            "task": task,
            "label": given.get("label") or None,
            "seed": _whole(given["seed"]),
            "candidates": int(given["candidates"]),
            "guidance": given["guidance"],
            "top_k": _whole(given["top_k"]),
            "top_p": given["top_p"],
            "random_scales": _whole(given["random_scales"]),
            "smooth": bool(given["smooth"]),
        }
        if "start_scale" in given:
            fields["start_scale"] = int(given["start_scale"])
        if task == "branch":
            entry = session.current()
            return EditRequest(**fields, base=entry.result, base_index=int(given["candidate"]) - 1)
        if "image" in given:
            if not given["image"]:
                raise ValueError("An image is needed: send a PNG, JPEG or WebP file.")
            picture = fields["image"] = self.handlers.pictures.open(given["image"]).image
            if "mask" in given:
                if not given["mask"]:
                    raise ValueError("A mask is needed: send a picture that is white where it should be repainted.")
                fields["mask"] = open_mask(given["mask"], picture.size)
            if task == "outpaint":
                sides = ("left", "top", "right", "bottom")
                left, top, right, bottom = (int(given[side]) for side in sides)
                fields["outpaint"] = (left, top, right, bottom)
                if given["ratio"]:
                    fields["outpaint"] = outpaint_amounts(picture.size, float(given["ratio"]), ANCHORS[given["anchor"]])
        for name in _HOLD:
            if name in given:
                fields[name] = _whole(given[name]) if name == "feather" else given[name]
        return EditRequest(**fields)

    def _stream(self, engine: Engine, request: EditRequest, session: Session) -> Iterator[tuple[Any, ...]]:
        for frame in self.handlers.engines.run(engine, request):
            progress = {
                "scale": frame.scale,
                "scales": frame.scales,
                "window": frame.window,
                "windows": frame.windows,
                "seconds": round(frame.seconds, 3),
                "seed": frame.seed,
                "preview": canvas.data_uri(frame.previews[0]),
            }
            if frame.result is None:
                yield progress, None, gr.skip()
                continue
            session.count += 1
            session.add(Entry(session.count, frame.result, request.task, engine.name, engine.sides, [], None, False))
            folder = self.handlers.outbox.place()
            paths = []
            for index in range(len(frame.result.images)):
                path = folder / f"{request.task}-{frame.seed}-{index + 1}.png"
                engine.save(frame.result, path, index)
                paths.append(str(path))
            yield progress | {"notices": list(frame.result.notices)}, paths, session


def add_api(handlers: Handlers, session: gr.State) -> None:
    """Declare the endpoints. Parameter names are the labels of components that the page never shows."""
    api = Api(handlers)
    with gr.Column(visible=False):
        parts: dict[str, Any] = {
            "image": gr.File(label="image", type="filepath"),
            "mask": gr.File(label="mask", type="filepath"),
            "label": gr.Textbox("", label="label"),
            "seed": gr.Number(None, label="seed", precision=0),
            "candidates": gr.Number(1, label="candidates", precision=0),
            "guidance": gr.Number(None, label="guidance"),
            "top_k": gr.Number(None, label="top_k", precision=0),
            "top_p": gr.Number(None, label="top_p"),
            "random_scales": gr.Number(None, label="random_scales", precision=0),
            "smooth": gr.Checkbox(False, label="smooth"),
            "model": gr.Textbox("", label="model"),
            "start_scale": gr.Number(0, label="start_scale", precision=0),
            "method": gr.Textbox("evidence", label="method"),
            "context": gr.Number(2.0, label="context"),
            "feather": gr.Number(None, label="feather", precision=0),
            "color_match": gr.Checkbox(True, label="color_match"),
            "left": gr.Number(0, label="left", precision=0),
            "top": gr.Number(0, label="top", precision=0),
            "right": gr.Number(0, label="right", precision=0),
            "bottom": gr.Number(0, label="bottom", precision=0),
            "ratio": gr.Number(None, label="ratio"),
            "anchor": gr.Dropdown(list(ANCHORS), value="centre", label="anchor"),
            "candidate": gr.Number(1, label="candidate", precision=0),
        }
        outputs = [gr.JSON(label="progress"), gr.File(label="pictures", file_count="multiple"), session]
        listing = gr.JSON(label="models")
        picture = gr.File(label="picture")
        trigger = gr.Button()
    sides = ("left", "top", "right", "bottom", "ratio", "anchor")
    endpoints = {
        "generate": ("A new picture of a class.", ("label", *_OPTIONS)),
        "inpaint": ("Redraw the white part of the mask.", ("image", "mask", "start_scale", *_HOLD, *_OPTIONS)),
        "edit": ("Redraw it as a class.", ("image", "mask", "label", "start_scale", *_HOLD, *_OPTIONS)),
        "outpaint": ("Extend a picture, by pixels or to a ratio.", ("image", "label", *sides, *_HOLD[2:], *_OPTIONS)),
        "vary": ("Keep start_scale scales of a picture.", ("image", "label", "start_scale", *_OPTIONS)),
        "branch": ("Keep start_scale scales of the last result.", ("start_scale", "candidate", "label", *_OPTIONS)),
    }
    for task, (text, names) in endpoints.items():
        trigger.click(
            gpu(_endpoint(api, task, names, parts)), [session, *(parts[name] for name in names)], outputs,
            api_name=task, api_description=text, concurrency_limit=1, concurrency_id="engine", show_progress="hidden",
        )  # fmt: skip
    trigger.click(
        gpu(api.replay), parts["image"], picture, api_name="replay", concurrency_limit=1, concurrency_id="engine",
        show_progress="hidden",
    )  # fmt: skip
    trigger.click(api.models, None, listing, api_name="models", show_progress="hidden")


def _endpoint(api: Api, task: str, names: tuple[str, ...], parts: dict[str, Any]) -> Callable[..., Any]:
    """One generator with a real signature: from it the client learns names and defaults."""

    def stream(session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from api.run(task, session, dict(zip(names, values, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("session", kind)]
    for name in names:
        default = inspect.Parameter.empty if name in ("image", "mask") else parts[name].value
        parameters.append(inspect.Parameter(name, kind, default=default))
    stream.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return stream
