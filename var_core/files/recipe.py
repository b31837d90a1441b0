"""How a picture was made, carried in its own PNG: settings, token ids, and what compositing needs.

With it a picture is drawn again without sampling. Pixels outside the edit are the PNG's own; only the original
pixels under the fade, which the result has blended away, are stored beside the tokens.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..request import Pass, Result
from .images import open_image, read_private

VERSION = 2
FIELDS = (
    "task", "label", "guidance", "top_k", "top_p", "random_scales", "smooth", "start_scale", "stop_scale", "method",
    "context", "feather", "color_match", "outpaint",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """`settings` are fields of an `EditRequest`; `picture` is what the passes are painted into."""

    model: str
    seed: int
    candidate: int
    settings: dict[str, Any]
    passes: list[Pass]
    picture: Image.Image


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return _text(buffer.getvalue())


def _picture(text: str, mode: str) -> Image.Image:
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as opened:
        return opened.convert(mode)


def _under_fade(result: Result) -> tuple[Image.Image, tuple[int, int]] | None:
    """The source's pixels (RGBA) under the fades of all windows, opaque there, cut to their bounds."""
    if result.source is None or result.alpha is None:
        return None
    alpha = np.asarray(result.alpha)
    fade = (alpha > 0) & (alpha < 255)
    if not fade.any():
        return None
    ys, xs = np.nonzero(fade.any(axis=1))[0], np.nonzero(fade.any(axis=0))[0]
    left, top, right, bottom = int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
    where = fade[top:bottom, left:right, None]
    pixels = np.where(where, np.asarray(result.source.crop((left, top, right, bottom))), 0)
    return Image.fromarray(np.dstack((pixels, where * 255)).astype(np.uint8)), (left, top)


def write(result: Result, index: int, model: str) -> str:
    """The recipe of one candidate as JSON text."""
    passes = []
    for done in result.passes:
        entry: dict[str, Any] = {
            "tokens": [_text(t[index].numpy().astype("<u2").tobytes()) for t in done.tokens],
            "box": done.box,
        }
        if done.canvas is not None:
            entry["canvas"] = _text(done.canvas[index].float().numpy().astype("<f4").tobytes())
            entry["shape"] = list(done.canvas.shape[1:])
        if done.alpha is not None:
            entry["alpha"] = _png(done.alpha)
        passes.append(entry)
    settings = {name: getattr(result.request, name) for name in FIELDS}
    document: dict[str, Any] = {
        "version": VERSION,
        "model": model,
        "seed": result.seed,
        "candidate": index,
        "settings": settings,
        "passes": passes,
    }
    fade = _under_fade(result)
    if fade is not None:
        document["fade"] = {"at": fade[1], "pixels": _png(fade[0])}
    return json.dumps(document, separators=(",", ":"))


def read(path: str | Path) -> Recipe:
    """The recipe in a PNG. ValueError with one sentence where there is none that can be used."""
    path = Path(path)
    picture, private = open_image(path).image, read_private(path)
    if private is None:
        raise ValueError(f"{path.name} carries no recipe: only PNG files saved by this editor do")
    try:
        return _parse(json.loads(private), picture)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"the recipe in {path.name} is damaged or of another version") from error


def _parse(document: dict[str, Any], picture: Image.Image) -> Recipe:
    if document["version"] != VERSION:
        raise ValueError("another version")
    fade = document.get("fade")
    if fade is not None:
        pixels = _picture(fade["pixels"], "RGBA")
        picture.paste(pixels, tuple(fade["at"]), pixels)
    passes = []
    for entry in document["passes"]:
        tokens = [_tokens(part) for part in entry["tokens"]]
        canvas = None
        if "canvas" in entry:
            values = np.frombuffer(base64.b64decode(entry["canvas"]), dtype="<f4").reshape(entry["shape"])
            canvas = torch.from_numpy(values.copy())[None]
        alpha = _picture(entry["alpha"], "L") if "alpha" in entry else None
        box = tuple(entry["box"]) if entry["box"] is not None else None
        passes.append(Pass(tokens, canvas, box, alpha))
    settings = {name: document["settings"].get(name) for name in FIELDS}
    return Recipe(document["model"], document["seed"], document["candidate"], settings, passes, picture)


def _tokens(text: str) -> Tensor:
    """(1, l) long."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<u2").astype(np.int64))[None]
