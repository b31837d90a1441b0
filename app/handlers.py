"""What the buttons do: values of the page -> one request -> frames, status and history.

Only this file speaks `gr.Error`. Handlers that stream are generator functions; the work happens in the engine.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from var_core import EditRequest, Engine, Frame, Result, open_image, outpaint_amounts

from . import canvas

log = logging.getLogger(__name__)

HISTORY = 6  # results kept per visitor
RATIOS = {"16:9": 16 / 9, "3:2": 1.5, "4:3": 4 / 3, "1:1": 1.0, "3:4": 0.75, "2:3": 2 / 3, "9:16": 9 / 16}
ANCHORS = {"centre": (0.5, 0.5), "left": (0.0, 0.5), "right": (1.0, 0.5), "top": (0.5, 0.0), "bottom": (0.5, 1.0)}
STRENGTHS = {"everything": 0.0, "layout": 0.3, "shape": 0.5, "texture": 0.7, "detail": 0.9}


@dataclass
class Session:
    """One visitor's picture and results; lives in `gr.State`, never shared."""

    picture: Image.Image | None = None
    serial: int = 0
    results: list[Result] = field(default_factory=list)
    current: int = -1  # in results
    candidate: int = 0

    @property
    def result(self) -> Result | None:
        return self.results[self.current] if self.results else None


def sentence(error: Exception) -> str:
    text = str(error).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def failure(error: Exception) -> gr.Error:
    """Our own sentence for what the visitor can mend; anything else is logged and described plainly."""
    if isinstance(error, ValueError):
        return gr.Error(sentence(error), duration=9, print_exception=False)
    log.error("unexpected error", exc_info=error)
    return gr.Error(
        "Something went wrong on our side; nothing you made was lost. Try again.", duration=9, print_exception=False
    )


class Handlers:
    """Handlers of one page. `engine()` gives the engine, waiting for it to load where it must."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self.engine = engine
        self.folder = Path(tempfile.mkdtemp(prefix="var-editor-"))
        self._serial = itertools.count(1)

    # pictures in

    def upload(self, path: str | None, session: Session) -> tuple[Any, ...]:
        """A new photo: (painter value, session, status)."""
        if not path:
            return gr.skip(), session, gr.skip()
        try:
            opened = open_image(path)
        except (ValueError, OSError) as error:
            raise failure(error) from error
        for text in opened.notices:
            gr.Info(text, duration=6)
        value = self._place(session, opened.image, opened.alpha_mask)
        width, height = opened.image.size
        return (
            value,
            session,
            canvas.notice(f"{width} × {height} pixels. Paint over what should change, then press Run."),
        )

    def use_result(self, session: Session) -> tuple[Any, ...]:
        """The chosen result becomes the next input."""
        result = session.result
        if result is None:
            raise gr.Error("There is no result yet: run something first.", print_exception=False)
        value = self._place(session, result.images[session.candidate], None)
        return value, session, canvas.notice("The result is now the picture on the left. Paint again.")

    def example(self, picture: Path, mask: Path | None, session: Session) -> dict[str, Any]:
        opened = open_image(picture)
        painted = open_image(mask).image.convert("L") if mask else None
        return self._place(session, opened.image, painted)

    def _place(self, session: Session, picture: Image.Image, mask: Image.Image | None) -> dict[str, Any]:
        session.picture, session.serial = picture, next(self._serial)
        return canvas.painter_value(picture, mask, session.serial)

    # running

    def request(self, session: Session, payload: Any, values: dict[str, Any]) -> EditRequest:
        """One request from the page's values. ValueError with one sentence where something is missing."""
        mode = values["mode"]
        engine = self.engine()
        common: dict[str, Any] = {
            "task": mode,
            "label": values["label"] or None,
            "seed": None if values["seed"] in (None, "") else int(values["seed"]),
            "candidates": int(values["candidates"]),
            "guidance": float(values["guidance"]),
            "top_k": int(values["top_k"]),
            "top_p": float(values["top_p"]),
            "smooth": bool(values["smooth"]),
        }
        if mode == "generate":
            return EditRequest(**common)
        picture = session.picture
        if picture is None:
            raise ValueError("Open a photo first: drop one on the left, paste it, or choose an example.")
        start = round(STRENGTHS[values["strength"]] * len(engine.sides))
        common |= {
            "image": picture,
            "start_scale": start,
            "method": values["method"],
            "context": float(values["context"]),
            "feather": None if values["feather"] in (None, "") else int(values["feather"]),
            "color_match": bool(values["color_match"]),
        }
        if mode in ("inpaint", "edit"):
            mask = canvas.parse_mask(payload, picture.size)
            if mask is None:
                raise ValueError("Paint over the part that should change first, or add a rectangle under More.")
            common["mask"] = mask
        if mode in ("inpaint", "outpaint"):
            common["label"] = None if mode == "inpaint" else common["label"]
        if mode == "outpaint":
            common["outpaint"] = self._amounts(picture.size, values)
            common["start_scale"] = 0
        if mode == "vary":
            common["start_scale"] = max(1, start)
        return EditRequest(**common)

    def _amounts(self, size: tuple[int, int], values: dict[str, Any]) -> tuple[int, int, int, int]:
        ratio = RATIOS.get(values["ratio"])
        if ratio is not None:
            amounts = outpaint_amounts(size, ratio, ANCHORS[values["anchor"]])
            if not any(amounts):
                raise ValueError(
                    f"The picture already has the shape {values['ratio']}: choose another one or give amounts."
                )
            return amounts
        left, top, right, bottom = (float(values[side]) / 100 for side in ("left", "top", "right", "bottom"))
        return round(left * size[0]), round(top * size[1]), round(right * size[0]), round(bottom * size[1])

    def run(self, session: Session, payload: Any, values: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yields (stage, status, session, download, candidate picker, history, seed shown)."""
        try:
            request = self.request(session, payload, values)
        except (ValueError, TypeError) as error:
            raise failure(ValueError(str(error))) from error
        yield from self._stream(session, request)

    def branch(self, session: Session, scale: float, seed: Any, candidates: float) -> Iterator[tuple[Any, ...]]:
        """New continuations of the chosen result from a scale (1-based) onwards."""
        if session.result is None:
            raise gr.Error("There is no result to branch from yet: run something first.", print_exception=False)
        try:
            request = EditRequest(
                task="branch",
                base=session.result,
                base_index=session.candidate,
                start_scale=int(scale) - 1,
                seed=None if seed in (None, "") else int(seed),
                candidates=int(candidates),
            )
        except ValueError as error:
            raise failure(error) from error
        yield from self._stream(session, request)

    def _stream(self, session: Session, request: EditRequest) -> Iterator[tuple[Any, ...]]:
        engine = self.engine()
        sides, thumbs, scales = engine.sides, [], []
        wait = (gr.skip(),) * 4
        try:
            for frame in engine.run(request):
                uris = [canvas.data_uri(p) for p in frame.previews]
                if frame.scale == 1:
                    thumbs, scales = [], []
                thumbs.append(canvas.data_uri(canvas.shrink(frame.previews[0], canvas.THUMB_SIDE), 80))
                scales.append(uris[0])
                if frame.result is None:
                    yield canvas.live_stage(uris, thumbs, sides), canvas.notice(_progress(frame)), gr.skip(), *wait
                    continue
                session.results = [*session.results, frame.result][-HISTORY:]
                session.current, session.candidate = len(session.results) - 1, 0
                yield self._finished(session, frame, thumbs, scales)
        except GeneratorExit:
            raise
        except Exception as error:
            raise failure(error) from error

    def _finished(self, session: Session, frame: Frame, thumbs: list[str], scales: list[str]) -> tuple[Any, ...]:
        result = frame.result
        assert result is not None
        many = len(result.images)
        picker = gr.update(choices=[(f"{i + 1}", i) for i in range(many)], value=0, visible=many > 1)
        words = f"Done in {result.seconds:.1f} s · seed {result.seed}"
        status = canvas.notice(" · ".join([words, *result.notices]))
        return (
            self._final(session, thumbs, scales),
            status,
            session,
            self._file(session),
            picker,
            self.gallery(session),
            str(result.seed),
        )

    def _final(self, session: Session, thumbs: list[str], scales: list[str]) -> str:
        result = session.result
        assert result is not None
        after = canvas.shrink(result.images[session.candidate], canvas.DISPLAY_SIDE)
        before = before_picture(result)
        shown = canvas.data_uri(canvas.shrink(before, canvas.DISPLAY_SIDE), 90) if before is not None else None
        return canvas.final_stage(shown, canvas.data_uri(after, 92), scales, thumbs, self.engine().sides)

    def _file(self, session: Session) -> Any:
        result = session.result
        assert result is not None
        path = self.folder / f"edit-{result.seed}-{next(self._serial)}.png"
        self.engine().save(result, path, session.candidate)
        return gr.update(value=str(path), interactive=True)

    def gallery(self, session: Session) -> list[tuple[Image.Image, str]]:
        return [
            (canvas.shrink(result.images[0], 256), f"{result.request.task} · {result.seed}")
            for result in reversed(session.results)
        ]

    def show(self, session: Session) -> tuple[Any, ...]:
        """The chosen result again: (stage, download)."""
        result = session.result
        if result is None:
            return gr.skip(), gr.skip()
        scales = [canvas.data_uri(p) for p in result.previews]
        thumbs = [canvas.data_uri(canvas.shrink(p, canvas.THUMB_SIDE), 80) for p in result.previews]
        return self._final(session, thumbs, scales), self._file(session)

    def pick_candidate(self, index: Any, session: Session) -> tuple[Any, ...]:
        session.candidate = int(index or 0)
        return *self.show(session), session

    def pick_history(self, session: Session, event: gr.SelectData) -> tuple[Any, ...]:
        session.current = len(session.results) - 1 - int(event.index)  # type: ignore[arg-type]
        session.candidate = 0
        result = session.result
        assert result is not None
        many = len(result.images)
        picker = gr.update(choices=[(f"{i + 1}", i) for i in range(many)], value=0, visible=many > 1)
        return *self.show(session), session, picker, str(result.seed)

    def tokens(self, session: Session, payload: Any, values: dict[str, Any], scale: float) -> Any:
        """Which tokens of a scale will be redrawn, for the painter's overlay."""
        try:
            request = self.request(session, payload, values | {"mode": "inpaint"})
            assert request.image is not None and request.mask is not None
            window, maps = self.engine().changed(request.image.size, request.mask, request)[0]
        except ValueError as error:
            raise failure(error) from error
        cells = maps[int(scale) - 1]
        width, height = request.image.size
        left, top, right, bottom = window.box
        flat = "".join("1" if cell else "0" for cell in cells.flatten())
        box = [left / width, top / height, right / width, bottom / height]
        return {"side": int(cells.shape[0]), "cells": flat, "box": box}


def before_picture(result: Result) -> Image.Image | None:
    """What the result is compared with; the new area of an outpainting is gray."""
    request = result.request
    while request.task == "branch" and request.base is not None:
        request = request.base.request
    if request.image is None or request.task in ("generate", "vary"):
        return None
    if request.task != "outpaint":
        return request.image
    left, top, _, _ = request.outpaint
    before = Image.new("RGB", result.images[0].size, (128, 128, 128))
    before.paste(request.image, (left, top))
    return before


def _progress(frame: Frame) -> str:
    window = f"Part {frame.window} of {frame.windows} · " if frame.windows > 1 else ""
    return f"{window}Scale {frame.scale} of {frame.scales} · {frame.seconds:.1f} s"
