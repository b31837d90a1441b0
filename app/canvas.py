"""Pictures for the page: data URIs, the live stage, the strip of scales, and the painter's mask."""

from __future__ import annotations

import base64
import binascii
import html
import io
from typing import Any

from PIL import Image

from var_core import open_mask

DISPLAY_SIDE = 1024
THUMB_SIDE = 96


def shrink(picture: Image.Image, side: int) -> Image.Image:
    """A copy of at most `side` pixels."""
    if max(picture.size) <= side:
        return picture
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def data_uri(picture: Image.Image, quality: int = 88, kind: str = "JPEG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def painter_value(picture: Image.Image, mask: Image.Image | None = None, serial: int = 0) -> dict[str, Any]:
    """What the painter loads: an upright copy of at most 1024 px and, where there is one, a mask."""
    shown = shrink(picture, DISPLAY_SIDE)
    value: dict[str, Any] = {"image": data_uri(shown, 92), "serial": serial}
    if mask is not None:
        value["mask"] = data_uri(mask.resize(shown.size, Image.Resampling.NEAREST), kind="PNG")
    return value


def parse_mask(payload: Any, size: tuple[int, int]) -> Image.Image | None:
    """The painter's mask at the picture's size; None where nothing is painted. ValueError if it is no picture."""
    uri = payload.get("mask") if isinstance(payload, dict) else None
    if not uri:
        return None
    prefix = "data:image/png;base64,"
    if not isinstance(uri, str) or not uri.startswith(prefix):
        raise ValueError("The mask did not arrive as a PNG picture: reload the page and try again.")
    try:
        raw = base64.b64decode(uri[len(prefix) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("The mask did not arrive whole: reload the page and try again.") from error
    mask = open_mask(raw, size)
    return mask if mask.getbbox() else None


def _words(k: int, count: int) -> str:
    """What a scale decides, in a photographer's words."""
    place = k / max(1, count - 1)
    return "layout" if place < 0.3 else "shape" if place < 0.6 else "texture" if place < 0.85 else "detail"


def strip(thumbs: list[str], sides: tuple[int, ...]) -> str:
    """One cell a scale: thumbnails as they arrive, empty frames for those to come."""
    cells = []
    for k, side in enumerate(sides):
        inside = f'<img alt="Scale {k + 1}" src="{thumbs[k]}">' if k < len(thumbs) else ""
        state = "done" if k < len(thumbs) else "wait"
        cells.append(
            f'<button type="button" class="cell {state}" data-k="{k}" title="Scale {k + 1}: {_words(k, len(sides))}">'
            f"{inside}<span>{side}×{side}</span></button>"
        )
    return f'<div class="strip" style="--count:{len(sides)}">{"".join(cells)}</div>'


def empty_stage(sides: tuple[int, ...]) -> str:
    hint = "Ten pictures will appear here, coarse to fine: from one token for everything to the full grid."
    return f'<div class="live"><div class="big blank"><p>{hint}</p></div>{strip([], sides)}</div>'


def live_stage(previews: list[str], thumbs: list[str], sides: tuple[int, ...]) -> str:
    """While running: the newest picture of every candidate, and the strip."""
    many = " many" if len(previews) > 1 else ""
    pictures = "".join(f'<img alt="Preview" src="{uri}">' for uri in previews)
    return f'<div class="live"><div class="big running{many}">{pictures}</div>{strip(thumbs, sides)}</div>'


def final_stage(before: str | None, after: str, scales: list[str], thumbs: list[str], sides: tuple[int, ...]) -> str:
    """When done: before/after with a slider, and every scale one click away."""
    hidden = "".join(
        f'<img class="scale" data-k="{k}" alt="Scale {k + 1}" src="{uri}">' for k, uri in enumerate(scales)
    )
    compare = ""
    if before is not None:
        compare = (
            f'<img class="before" alt="Before" src="{before}">'
            '<input class="compare" type="range" min="0" max="100" value="0" aria-label="Compare with the picture before">'
        )
    return (
        f'<div class="live"><div class="big final" style="--cut:0%"><img class="after" alt="Result" src="{after}">'
        f"{compare}{hidden}</div>{strip(thumbs, sides)}</div>"
    )


def notice(text: str) -> str:
    return f'<p class="status">{html.escape(text)}</p>'
