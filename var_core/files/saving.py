"""Results as files for other programs: PNG with its recipe, JPEG or WebP with the photo's own colours.

PNG keeps every byte: pixels outside the mask are those of the opened photo, in sRGB. JPEG and WebP round every pixel
of the picture a little, outside the mask too; in exchange they hold the photo's ICC profile, and where the edit changed
nothing, what they round are the photo's own values in it, not their copy in sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..request import Result
from ..settings import check_settings, setting, settings_of
from . import colour, recipe
from .exif import harmless
from .images import Own, open_own, save_png, whole_file

SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_MOST_SIDE = {"jpeg": 65_500, "webp": 16_383}  # pixels
_FINE = 90  # quality from which colours are as sharp as brightness
_ROWS = 256  # worked on together


@dataclass(frozen=True, kw_only=True)
class Saving:
    """How a result is written. ValueError with one sentence for a setting out of range."""

    format: str = setting(
        "png", str, choices=("png", "jpeg", "webp"), label="Format",
        help="PNG keeps every pixel and how it was made; JPEG and WebP are smaller and round every pixel a little",
    )  # fmt: skip
    quality: int = setting(92, int, low=1, high=100, label="Quality", help="of JPEG and WebP: higher is larger")
    keep_exif: bool = setting(
        False, bool, label="Camera data",
        help="keep the photo's camera, date, exposure, lens, artist and copyright; never its place",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_settings(self)


SAVING = settings_of(Saving)


def format_of(path: str | Path) -> str:
    """The format that a file's name asks for. ValueError for a name of none."""
    found = SUFFIXES.get(Path(path).suffix.lower())
    if found is None:
        raise ValueError(
            f"{path} is no name for a picture: results are PNG, JPEG or WebP, so end it in .png, .jpg or .webp"
        )
    return found


def save_result(
    result: Result,
    path: str | Path,
    index: int = 0,
    saving: Saving | None = None,
    photo: str | Path | bytes | None = None,
) -> None:
    """Write one candidate. `saving` says how, by default as a PNG; the name does not matter. `photo` is the file that
    the edit (or the first of a row of edits) began with: JPEG and WebP keep its ICC profile, and every format its
    camera data if `saving` asks for them. The file appears whole or not at all."""
    saving = Saving() if saving is None else saving
    own = None if photo is None or (saving.format == "png" and not saving.keep_exif) else open_own(photo)
    extra = {"exif": harmless(own.exif, result.image(index).size)} if own is not None and saving.keep_exif else {}
    extra = {name: value for name, value in extra.items() if value}
    if saving.format == "png":
        save_png(result.image(index), path, recipe.write(result, index).encode(), **extra)
    else:
        save_picture(result.image(index), path, saving, own, **extra)


def save_picture(picture: Image.Image, path: str | Path, saving: Saving, own: Own | None = None, **extra: Any) -> None:
    """Write sRGB pixels as JPEG or WebP, in the colours of `own`, the photo they came from."""
    if max(picture.size) > _MOST_SIDE[saving.format]:
        wide = f"{picture.width} x {picture.height}"
        raise ValueError(f"this result is {wide} pixels, too long a side for {saving.format.upper()}: save it as PNG")
    picture, profile = (picture, None) if own is None else in_own_colours(picture, own)
    options: dict[str, Any] = {"icc_profile": profile, "quality": saving.quality, **extra}
    if saving.format == "jpeg":
        options |= {"subsampling": 0 if saving.quality >= _FINE else 2}
    else:
        options |= {"method": 1}  # twice as fast as the next, for a few percent of size
    with whole_file(path) as beside:
        Image.fromarray(np.asarray(picture)).save(beside, format=saving.format.upper(), **options)


def in_own_colours(picture: Image.Image, own: Own) -> tuple[Image.Image, bytes | None]:
    """A result (sRGB) in the photo's colours, and the profile that says which they are; None: they are sRGB. Where a
    pixel is still the photo's, it is the photo's own value, with colours that sRGB does not have."""
    if own.picture is None or own.profile is None:
        return picture, None
    there, back = own.to_srgb, colour.from_srgb(own.profile)
    if back is None:
        return picture, None
    if there is colour.plain:
        return picture, own.profile
    out, same = Image.new("RGB", picture.size), picture.size == own.picture.size
    for top in range(0, picture.height, _ROWS):
        rows = (0, top, picture.width, min(top + _ROWS, picture.height))
        out.paste(_band(picture.crop(rows), own.picture.crop(rows) if same else None, there, back), (0, top))
    return out, own.profile


def _band(made: Image.Image, own: Image.Image | None, there: colour.Convert, back: colour.Convert) -> Image.Image:
    if own is None:
        return back(made)
    changed = (np.asarray(there(own)) != np.asarray(made)).any(axis=2)
    if not changed.any():
        return own
    return Image.fromarray(np.where(changed[..., None], np.asarray(back(made)), np.asarray(own)))
