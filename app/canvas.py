"""Pictures and masks between the browser and the engine: parsing, encoding, and the HTML that shows them."""

from __future__ import annotations

import base64
import binascii
import html
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

DISPLAY_SIDE = 1024  # long side of the picture in the painter and of the finished picture in the page
THUMB_SIDE = 96
COVER_SIDE = 208  # of a thumbnail in the history
SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)  # of the empty stage, which belongs to no model yet
_MASK_BYTES = 4 * 2**20
_PREFIX = "data:image/png;base64,"


def parse_mask(url: str | None, size: tuple[int, int]) -> Image.Image | None:
    """The painter's layer (a PNG data URL, painted = opaque) as "L" of 0 and 255 at `size`, scaled with nearest.

    None when nothing is painted. ValueError when this is no layer of the painter.
    """
    if not url:
        return None
    if not url.startswith(_PREFIX) or len(url) > _MASK_BYTES:
        raise ValueError("The mask did not arrive whole: paint it again.")
    try:
        layer = Image.open(io.BytesIO(base64.b64decode(url[len(_PREFIX) :], validate=True)), formats=("PNG",))
        if max(layer.size) > 2 * DISPLAY_SIDE:
            raise ValueError("The mask is larger than the picture on the page: paint it again.")
        alpha = layer.convert("RGBA").getchannel("A")
    except (OSError, SyntaxError, binascii.Error) as error:
        raise ValueError("The mask did not arrive whole: paint it again.") from error
    mask = alpha.point([0] * 128 + [255] * 128)
    if mask.getbbox() is None:
        return None
    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)


def shrink(picture: Image.Image, side: int) -> Image.Image:
    """The picture itself, or a smaller copy whose long side is `side`."""
    if max(picture.size) <= side:
        return picture
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def data_uri(picture: Image.Image, quality: int = 90) -> str:
    """The picture as a JPEG data URI."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


Box = tuple[float, float, float, float]


def focus(mask: Image.Image | None) -> Box | None:
    """Where to look in an edit: a box around the painted part, as shares of the picture; None is everywhere."""
    bounds = mask.getbbox() if mask is not None else None
    if mask is None or bounds is None:
        return None
    width, height = mask.size
    side = min(1.3 * max(bounds[2] - bounds[0], bounds[3] - bounds[1]), width, height)
    left = min(max((bounds[0] + bounds[2] - side) / 2, 0), width - side)
    top = min(max((bounds[1] + bounds[3] - side) / 2, 0), height - side)
    return left / width, top / height, (left + side) / width, (top + side) / height


def thumb(picture: Image.Image, box: Box | None = None) -> str:
    """A small copy for the strip, of the box that matters where there is one."""
    if box is not None:
        width, height = picture.size
        left, top = int(box[0] * width), int(box[1] * height)
        right, bottom = max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
        picture = picture.crop((left, top, right, bottom))
    return data_uri(shrink(picture, THUMB_SIDE), 80)


def cells(changed: Sequence[tuple[tuple[int, int, int, int], Sequence[np.ndarray]]], size: tuple[int, int]) -> dict:
    """What will be redrawn, for the painter's overlay: per window its box as shares of the picture and, per scale,
    a row-major string of 0 and 1 (1 = redrawn)."""
    width, height = size
    windows = []
    for (left, top, right, bottom), grids in changed:
        windows.append(
            {
                "box": [left / width, top / height, right / width, bottom / height],
                "grids": [
                    {"side": len(grid), "cells": "".join("1" if cell else "0" for cell in np.asarray(grid).flat)}
                    for grid in grids
                ],
            }
        )
    return {"windows": windows}


# the stage: the large picture and the strip of scales


@dataclass
class Stage:
    """What the right half of the page shows. `pictures` are data URIs, one per candidate; `thumbs` one per scale
    of the chosen candidate. `result` is the number of what is shown; the page asks for its larger frames by it."""

    sides: tuple[int, ...] = SIDES
    state: str = "empty"  # empty, running, stopped or done
    pictures: list[str] = field(default_factory=list)
    thumbs: list[str | None] = field(default_factory=list)
    result: int = 0
    before: str | None = None
    chosen: int = 0
    sketch: bool = False
    likeliest: int | None = None  # the candidate that the model finds likeliest, where that is worth a hint


def stage_html(stage: Stage) -> str:
    """The large picture (or before and after), the candidates to pick from, and the strip."""
    inner = {"empty": _empty, "done": _finished}.get(stage.state, _live)(stage)
    which = f'data-result="{stage.result}" data-chosen="{stage.chosen}"'
    return f'<div class="vs" data-state="{stage.state}" {which}>{inner}{_strip(stage)}</div>'


def _empty(stage: Stage) -> str:
    squares = "".join(f'<i style="--side:{side}"></i>' for side in (1, 2, 4, 8))
    return (
        f'<div class="vs-view vs-empty"><div class="vs-pyramid" aria-hidden="true">{squares}</div>'
        f"<p>The picture appears here, redrawn {len(stage.sides)} times from coarse to fine.</p></div>"
    )


def _live(stage: Stage) -> str:
    pictures = "".join(
        f'<img class="vs-picture" alt="candidate {i + 1}" src="{p}">' for i, p in enumerate(stage.pictures)
    )
    return f'<div class="vs-view" data-count="{min(len(stage.pictures), 9)}">{pictures}</div>'


def _finished(stage: Stage) -> str:
    after = stage.pictures[stage.chosen]
    picture = f'<img class="vs-picture vs-after" alt="result" src="{after}">'
    if stage.before is not None:
        picture = (
            f'<div class="vs-compare" style="--split:50%"><img class="vs-picture vs-after" alt="result" src="{after}">'
            f'<img class="vs-picture vs-before" alt="before" src="{stage.before}">'
            '<span class="vs-tag vs-tag-before">Before</span><span class="vs-tag vs-tag-after">After</span>'
            '<input class="vs-split" type="range" min="0" max="100" value="50" aria-label="Before and after divider">'
            "</div>"
        )
    row = ""
    if len(stage.pictures) > 1:
        row = (
            '<div class="vs-candidates" role="group" aria-label="Candidates">'
            + "".join(_candidate(stage, i) for i in range(len(stage.pictures)))
            + "</div>"
        )
    return f'<div class="vs-view" data-count="1">{picture}<img class="vs-picture vs-back" alt="" hidden></div>{row}'


def _candidate(stage: Stage, i: int) -> str:
    likeliest = i == stage.likeliest
    hint = ' title="What the model itself finds likeliest is a little nearer to the true picture"' if likeliest else ""
    return (
        f'<button type="button" data-candidate="{i}" aria-pressed="{str(i == stage.chosen).lower()}"{hint} '
        f'aria-label="Candidate {i + 1}{", the likeliest" if likeliest else ""}"><img alt="" src="{stage.pictures[i]}">'
        f"{'<small>likeliest</small>' if likeliest else ''}</button>"
    )


def _strip(stage: Stage) -> str:
    count = len(stage.sides)
    out = []
    for k, side in enumerate(stage.sides):
        source = stage.thumbs[k] if k < len(stage.thumbs) else None
        image = f'<img alt="" src="{source}">' if source else ""
        out.append(
            f'<li><button type="button" data-scale="{k + 1}" disabled aria-label="Scale {k + 1} of {count}, '
            f'{side} by {side} tokens"><span class="vs-cell">{image}</span><small>{side}×{side}</small></button></li>'
        )
    finished = stage.state == "done"
    shown = len(stage.thumbs) if finished else count
    slider = (
        f'<input class="vs-range" type="range" min="1" max="{shown}" value="{shown}" '
        'aria-label="Scale shown, and where a branch begins" disabled>'
    )
    row = _branch(stage, shown) if finished else ""
    return f'<ol class="vs-strip" style="--count:{count}">{"".join(out)}</ol>{slider}{row}'


def _branch(stage: Stage, shown: int) -> str:
    if stage.sketch:
        return (
            f'<div class="vs-row"><span class="vs-label">A sketch of {shown} scales</span>'
            '<button type="button" class="vs-branch" data-sketch="yes">Finish this candidate</button></div>'
        )
    return (
        f'<div class="vs-row"><span class="vs-label">Scale {shown}: the finished picture</span>'
        '<button type="button" class="vs-branch" disabled>Branch from an earlier scale</button></div>'
    )


def status_html(text: str, kind: str = "idle", notices: Sequence[str] = ()) -> str:
    """One line of status; kind is idle, running, done, stopped or failed. The serial makes every line a change,
    so that the page notices the same outcome twice."""
    extra = "".join(f"<small>{html.escape(notice)}</small>" for notice in notices)
    serial = f'data-serial="{time.monotonic_ns()}"'
    return (
        f'<p class="status" data-kind="{kind}" {serial} role="status" aria-live="polite">{html.escape(text)}{extra}</p>'
    )


def history_html(items: Sequence[tuple[str, int, str, str]], shown: int | None) -> str:
    """The session's pictures as buttons, oldest first: (kind, number, title, thumbnail); kind is "original", which
    opens the picture again, or "entry", which shows the result."""
    if not items:
        return '<p class="history-empty">Results of this session will be kept here for an hour.</p>'
    buttons = "".join(
        f'<button type="button" data-{kind}="{number}" '
        f'aria-pressed="{str(kind == "entry" and number == shown).lower()}" aria-label="{html.escape(title)}">'
        f'<img alt="" src="{picture}"><small>{html.escape(title)}</small></button>'
        for kind, number, title, picture in items
    )
    return f'<div class="history" role="group" aria-label="History">{buttons}</div>'
