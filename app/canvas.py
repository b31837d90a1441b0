"""Pictures and masks between the browser and the engine: parsing, encoding, and where they stand."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from var_core import Result

DISPLAY_SIDE = 1024  # long side of the layer that is painted on
SHEET_SIDE = 2048  # and of a picture on the page
THUMB_SIDE = 160
COVER_SIDE = 208  # of a thumbnail in the history
_MASK_BYTES = 4 * 2**20
_PREFIX = "data:image/png;base64,"


def parse_mask(url: str | None, size: tuple[int, int]) -> Image.Image | None:
    """The painted layer (a PNG data URL, painted = opaque) as "L" of 0 and 255 at `size`, scaled with nearest.

    None when nothing is painted. ValueError when this is no layer of the page.
    """
    if not url:
        return None
    if not isinstance(url, str) or not url.startswith(_PREFIX) or len(url) > _MASK_BYTES:
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


def layer_uri(mask: Image.Image) -> str:
    """A mask ("L", above 127 = painted) as the page's layer."""
    small = shrink_mask(mask)
    layer = Image.new("RGBA", small.size, (240, 37, 124, 0))
    layer.putalpha(small.point([0] * 128 + [255] * 128))
    buffer = io.BytesIO()
    layer.save(buffer, "PNG")
    return _PREFIX + base64.b64encode(buffer.getvalue()).decode()


def shrink_mask(mask: Image.Image) -> Image.Image:
    factor = min(1.0, DISPLAY_SIDE / max(mask.size))
    size = max(1, round(mask.width * factor)), max(1, round(mask.height * factor))
    return mask.resize(size, Image.Resampling.NEAREST)


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


Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of a picture
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def shares(box: tuple[int, int, int, int] | None, size: tuple[int, int]) -> Box:
    """A box in pixels as shares of a picture of that size; None is all of it."""
    if box is None:
        return WHOLE
    width, height = size
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def part(picture: Image.Image, box: Box) -> Image.Image:
    """What lies in the box, one pixel at least."""
    if box == WHOLE:
        return picture
    width, height = picture.size
    left, top = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    right, bottom = max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
    return picture.crop((left, top, right, bottom))


def thumb(picture: Image.Image) -> str:
    """A small copy for the strip."""
    return data_uri(shrink(picture, THUMB_SIDE), 82)


def size_of(result: Result) -> tuple[int, int]:
    """Of a result's pictures."""
    return result.patches[0].size if result.edit.task in ("generate", "vary") else result.picture.size


def place_of(result: Result) -> Box:
    """Where a result's patches stand in its pictures: nothing else has changed."""
    width, height = result.patches[0].size
    left, top = result.at
    return shares((left, top, left + width, top + height), size_of(result))


def cells(changed: Sequence[tuple[tuple[int, int, int, int], Sequence[np.ndarray]]], size: tuple[int, int]) -> dict:
    """What will be redrawn, for the overlay: per window its box as shares of the picture and, per scale, a row-major
    string of 0 and 1 (1 = redrawn)."""
    windows = []
    for box, grids in changed:
        windows.append(
            {
                "box": [*shares(box, size)],
                "grids": [
                    {"side": len(grid), "cells": "".join("1" if cell else "0" for cell in np.asarray(grid).flat)}
                    for grid in grids
                ],
            }
        )
    return {"windows": windows}
