"""How a picture was made, carried in its own PNG: settings, token ids, and what compositing needs.

With it a picture is drawn again without sampling. Pixels outside the edit are the PNG's own; only the original
pixels under the fade, which the result has blended away, are stored beside the tokens. What a file says is checked
before any memory is taken for it.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..request import Box, Pass, Result, Way, described, inside
from .images import open_image, read_private

VERSION, _READ = 5, (3, 4, 5)  # 3 had no detail; where 4 says "refined", bands of the photo were added
_MOST_WINDOWS, _MOST_SCALES = 255, 64


@dataclass(frozen=True)
class Recipe:
    """`settings` are those of an `Edit` and a `Chance`, as the file has them; `picture` is what the passes are painted
    into; `precision` says in words what the numbers were computed in."""

    model: str
    seed: int
    candidate: int
    precision: str
    settings: dict[str, Any]
    passes: list[Pass]
    picture: Image.Image


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _png(picture: Image.Image, **packing: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **packing)
    return _text(buffer.getvalue())


def _under_fade(done: Pass, source: Image.Image) -> dict[str, Any] | None:
    """The source's pixels (RGBA) under one window's fade, opaque there, cut to their bounds."""
    assert done.box is not None and done.alpha is not None
    inner, local = inside(done.box, source.size)
    alpha = np.asarray(done.alpha.crop(local))
    fade = (alpha > 0) & (alpha < 255)
    if not fade.any():
        return None
    ys, xs = np.nonzero(fade.any(axis=1))[0], np.nonzero(fade.any(axis=0))[0]
    x, y, right, bottom = int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
    where = fade[y:bottom, x:right, None]
    left, top = inner[0] + x, inner[1] + y
    rgba = np.array(source.crop((left, top, inner[0] + right, inner[1] + bottom)).convert("RGBA"))
    rgba *= where
    packing = {"compress_level": 1, "compress_type": zlib.Z_HUFFMAN_ONLY}  # a photo's pixels do not repeat themselves
    return {"at": [left, top], "pixels": _png(Image.fromarray(rgba), **packing)}


def write(result: Result, index: int) -> str:
    """The recipe of one candidate as JSON text."""
    passes, fades = [], []
    for done in result.passes:
        entry: dict[str, Any] = {"tokens": [_text(t[index].numpy().astype("<u2").tobytes()) for t in done.tokens]}
        if done.codes is not None:
            entry["codes"] = [_text(part[index].float().numpy().astype("<f4").tobytes()) for part in done.codes]
        if done.box is not None and done.alpha is not None:
            entry |= {"box": done.box, "alpha": _png(done.alpha), "detail": done.detail}
            fades.append(_under_fade(done, result.picture))
        passes.append(entry)
    document = {
        "version": VERSION, "model": result.model, "seed": result.seed, "candidate": result.first + index,
        "precision": result.precision, "settings": described(result.edit, result.chance), "passes": passes,
        "fades": [fade for fade in fades if fade],
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":"))


def settings_of_file(path: str | Path) -> dict[str, Any]:
    """What a saved picture says of its settings, with "model", "seed" and "candidate"; empty for other pictures. Not
    checked: `settings.readable` does that."""
    document = _document(path)
    if document is None:
        return {}
    given = document.get("settings")
    return (given if isinstance(given, dict) else {}) | {n: document.get(n) for n in ("model", "seed", "candidate")}


def _document(path: str | Path) -> dict[str, Any] | None:
    private = read_private(path)
    try:
        found = None if private is None else json.loads(private)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) and found.get("version") in _READ else None


def read(path: str | Path) -> Recipe:
    """The recipe in a PNG. ValueError with one sentence where there is none that can be used."""
    path = Path(path)
    document = _document(path)
    if document is None:
        raise ValueError(f"{path.name} carries no recipe of this version: only PNG files saved by this editor do")
    picture = open_image(path).image
    try:
        return _parse(document, picture)
    except (KeyError, TypeError, ValueError, OSError, AttributeError, OverflowError) as error:
        raise ValueError(f"the recipe in {path.name} is damaged: {error}") from error


def check(again: Recipe, model: str, lengths: Sequence[int], vocab_size: int, code_dim: int) -> None:
    """ValueError unless a recipe is this model's: of its name, tokens a scale, codes and their channels."""
    if again.model != model:
        raise ValueError(f"this picture was made with {again.model}, but {model} is loaded: load that model")
    for done in again.passes:
        found = [part.shape[1] for part in done.tokens]
        if found != [*lengths[: len(found)]]:
            raise ValueError(f"the recipe has scales of {found} tokens, which are not those of {model}")
        if max(int(part.max()) for part in done.tokens) >= vocab_size:
            raise ValueError(f"the recipe has tokens beyond the {vocab_size} codes of {model}")
        if done.codes is not None and any(part.shape[2] != code_dim for part in done.codes):
            raise ValueError(f"the recipe has codes that are not those of {model}")


def _parse(document: dict[str, Any], picture: Image.Image) -> Recipe:
    for name, kind in (("model", str), ("seed", int), ("candidate", int), ("settings", dict), ("passes", list)):
        if type(document[name]) is not kind:
            raise ValueError(f"its {name} is no {kind.__name__}")
    if not 0 <= document["seed"] < 2**32 or not 0 <= document["candidate"] < 2**32:
        raise ValueError(f"its seed is {document['seed']}, its candidate {document['candidate']}")
    if not 1 <= len(document["passes"]) <= _MOST_WINDOWS:
        raise ValueError(f"it has {len(document['passes'])} windows")
    passes = [_pass(entry, picture.size) for entry in document["passes"]]
    for fade in document["fades"]:
        left, top = (int(place) for place in fade["at"])
        pixels = _picture(fade["pixels"], "RGBA", None, picture.size)
        if left < 0 or top < 0 or left + pixels.width > picture.width or top + pixels.height > picture.height:
            raise ValueError("a fade lies outside of the picture")
        picture.paste(pixels, (left, top), pixels)
    return Recipe(
        document["model"], document["seed"], document["candidate"], str(document.get("precision", "")),
        document["settings"], passes, picture,
    )  # fmt: skip


def _pass(entry: dict[str, Any], size: tuple[int, int]) -> Pass:
    tokens = [torch.from_numpy(_numbers(part, "<u2").astype(np.int64))[None] for part in entry["tokens"]]
    if not 1 <= len(tokens) <= _MOST_SCALES:
        raise ValueError(f"it has {len(tokens)} scales")
    codes = None
    if "codes" in entry:
        codes = [_codes(part, scale.shape[1]) for part, scale in zip(entry["codes"], tokens, strict=True)]
    if "box" not in entry:
        return Pass(tokens, codes)
    box = _box(entry["box"], size)
    side = box[2] - box[0]
    way = entry.get("detail")
    if way not in (None, *get_args(Way)):
        raise ValueError("its detail is none that is known")
    return Pass(tokens, codes, box, _picture(entry["alpha"], "L", (side, side), (side, side)), way)


def _codes(text: str, length: int) -> Tensor:
    """(1, l, c) float32, finite."""
    values = torch.from_numpy(_numbers(text, "<f4").copy()).view(1, length, -1)
    if not bool(values.isfinite().all()):
        raise ValueError("a code is no number")
    return values


def _numbers(text: Any, kind: str) -> np.ndarray:
    if not isinstance(text, str):
        raise ValueError("tokens are no text")
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
    except (binascii.Error, ValueError) as error:
        raise ValueError("tokens cannot be read") from error


def _box(values: Any, size: tuple[int, int]) -> Box:
    """A square no larger than the picture's long side that meets the picture."""
    if not (isinstance(values, list) and len(values) == 4 and all(type(value) is int for value in values)):
        raise ValueError("a box is no four whole numbers")
    left, top, right, bottom = values
    side = right - left
    fits = 0 < side <= max(size) and bottom - top == side
    if not fits or left >= size[0] or top >= size[1] or right <= 0 or bottom <= 0:
        raise ValueError(f"the box {values} does not fit a picture of {size[0]} x {size[1]}")
    return left, top, right, bottom


def _picture(text: Any, mode: str, size: tuple[int, int] | None, most: tuple[int, int]) -> Image.Image:
    """A small PNG inside the recipe; its size is checked before its pixels are read."""
    if not isinstance(text, str):
        raise ValueError("a mask is no text")
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as opened:
        if (size is not None and opened.size != size) or opened.width > most[0] or opened.height > most[1]:
            raise ValueError(f"a mask of {opened.width} x {opened.height} is none of its window's")
        return opened.convert(mode)
