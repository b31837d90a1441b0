"""Real pixels of a part of a picture, for looking closely: cut out of what is there, nothing whole is put together."""

from __future__ import annotations

import base64
import io
import threading

from PIL import Image

from var_core import Result

from .pictures import Pictures

SIDE = 512  # pixels of a tile; those at the right and at the bottom are smaller
_LEVEL = 1  # of packing: a tile is looked at once
_cutting = threading.BoundedSemaphore(4)


class Tiles:
    """The tiles of a server's pictures. Whose picture it is, the caller has made sure of: it found it by the session's
    key. A handler needs two lines:

        found = session.named(given.get("ref"))  # Original, or (entry, version)
        return {"tile": self.tiles.of(found.path if isinstance(found, Original) else (found[0].result, found[1]), c, r)}
    """

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def of(self, source: str | tuple[Result, int], column: int, row: int) -> str:
        """A tile as a PNG data URI, its pixels exactly those of the picture. `source`: the file of an upload, or a
        result and the number of its version. ValueError with one sentence for what is no tile of it."""
        if isinstance(source, str):
            image = self.pictures.open(source).image
            size = image.size
        else:
            image, size = None, size_of(*source)
        box = box_of(column, row, size)
        with _cutting:
            part = image.crop(box) if image is not None else cut(source[0], source[1], box)  # type: ignore[arg-type]
            buffer = io.BytesIO()
            part.save(buffer, "PNG", compress_level=_LEVEL)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def size_of(result: Result, version: int) -> tuple[int, int]:
    """Of one version's picture, without putting it together. ValueError where there is no such version."""
    if not 0 <= version < len(result.patches):
        raise ValueError(f"the result has {len(result.patches)} versions, there is no number {version + 1}")
    patch = result.patches[version]
    right, bottom = result.at[0] + patch.width, result.at[1] + patch.height
    whole = result.edit.task in ("generate", "vary")
    return patch.size if whole else (max(right, result.picture.width), max(bottom, result.picture.height))


def cut(result: Result, version: int, box: tuple[int, int, int, int]) -> Image.Image:
    """What `result.image(version).crop(box)` is, at the cost of the box."""
    patch = result.patches[version]
    if patch.size == size_of(result, version):
        return patch.crop(box)
    x, y = result.at
    part = result.picture.crop(box)
    inner = max(box[0], x), max(box[1], y), min(box[2], x + patch.width), min(box[3], y + patch.height)
    if inner[0] < inner[2] and inner[1] < inner[3]:
        there = (inner[0] - x, inner[1] - y, inner[2] - x, inner[3] - y)
        part.paste(patch.crop(there), (inner[0] - box[0], inner[1] - box[1]))
    return part


def box_of(column: int, row: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a tile stands in a picture of that size. ValueError outside of it."""
    whole = all(isinstance(place, int) and not isinstance(place, bool) and place >= 0 for place in (column, row))
    if not whole or column * SIDE >= size[0] or row * SIDE >= size[1]:
        raise ValueError("this part of the picture is not there: reload the page")
    left, top = column * SIDE, row * SIDE
    return left, top, min(left + SIDE, size[0]), min(top + SIDE, size[1])
