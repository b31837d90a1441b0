"""Uploads -> upright 8-bit sRGB, and back to files. What is not a usable picture is refused with one sentence."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np
from PIL import Image, ImageChops
from torch import Tensor

from ..model.memory import give_back_memory
from . import colour, heif, png

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF")
MAX_BYTES = 80 * 2**20  # so that a noisy result of 40 megapixels can be opened again
MAX_PIXELS = 40_000_000
MIN_SIDE, MAX_SIDE = 16, 16_384
_TURN = Image.Transpose
_TURNS = {  # by the orientation in EXIF
    2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90,
}  # fmt: skip
_BEGINNINGS = (png.SIGNATURE, b"\xff\xd8\xff", b"II*\0", b"MM\0*")
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_LARGE = 8_000_000  # pixels
_LEVEL = 3  # of packing: a photo is as small as at 6, the usual one, in a third of the time
_opening = BoundedSemaphore(2)  # a picture of 40 megapixels takes 0.4 GB while it is opened


@dataclass(frozen=True)
class Upload:
    """An upright RGB picture; `alpha_mask` is "L", 255 where the upload was transparent (None if it had no
    transparency); `notices` say in one sentence each what was lost; `orientation` is how it was stored (EXIF)."""

    image: Image.Image
    alpha_mask: Image.Image | None
    notices: tuple[str, ...] = ()
    orientation: int = 1


@dataclass
class _Stored:
    picture: Image.Image  # decoded, as it lies in the file
    profile: bytes | None = None
    orientation: int = 1
    notices: tuple[str, ...] = ()


def open_image(source: str | Path | bytes) -> Upload:
    """Read a PNG, JPEG, WebP, AVIF, HEIC or TIFF, told by its content. ValueError with one sentence for anything
    else."""
    data = read_bytes(source)
    with _opening:
        stored = _decode(data, "picture")
        if stored.profile is None:
            convert, notice = colour.described(stored.picture.info)
        else:
            convert, notice = colour.to_srgb(stored.profile, _colours(stored.picture.mode))
        notices, orientation = [*stored.notices, notice], stored.orientation
        image, opacity = _channels(stored.picture, "RGB", convert)
        del stored, data
        alpha = None
        if opacity is not None:
            image.paste("white", mask=ImageChops.invert(opacity))
            alpha = _turned(opacity.point([255] * 128 + [0] * 128), orientation)
            notices.append("Transparent parts were laid on white.")
        image = _turned(image, orientation)
        if image.width * image.height > _LARGE:
            give_back_memory()
        return Upload(image, alpha, tuple(filter(None, notices)), orientation)


@dataclass(frozen=True)
class Own:
    """A photo as its file has it: upright, in its own colours ("RGB"; None where they are grey or CMYK), transparent
    parts on white; what converts it to sRGB as `open_image` does; its ICC profile; its camera data."""

    picture: Image.Image | None
    to_srgb: colour.Convert
    profile: bytes | None
    exif: Image.Exif


def open_own(source: str | Path | bytes) -> Own:
    """Read a photo for what its `Upload` no longer has. ValueError as of `open_image`."""
    data = read_bytes(source)
    with _opening:
        stored = _decode(data, "picture")
        own, convert = None, colour.plain
        if stored.profile is not None and _colours(stored.picture.mode) == "RGB":
            convert, _ = colour.to_srgb(stored.profile, "RGB")
            own, opacity = _channels(stored.picture, "RGB", colour.plain)
            if opacity is not None:
                own.paste("white", mask=ImageChops.invert(opacity))
            own = _turned(own, stored.orientation)
        return Own(own, convert, stored.profile, _camera_data(stored.picture))


def open_mask(source: str | Path | bytes | Image.Image, size: tuple[int, int], orientation: int = 1) -> Image.Image:
    """A mask as "L" of 0 and 255 at `size`, scaled with nearest. White means repaint; where parts are transparent and
    all that is visible is equally bright or dark, what is visible. A mask of the size in which the picture is stored
    (`orientation`, of its upload) is turned with it; ValueError for one of another shape."""
    data = b"" if isinstance(source, Image.Image) else read_bytes(source)
    with _opening:
        stored = _Stored(source) if isinstance(source, Image.Image) else _decode(data, "mask")
        mask, opacity = _channels(stored.picture, "L", lambda picture: picture.convert("L"))
    if opacity is not None:
        visible = mask.histogram(opacity.point([0] * 128 + [1] * 128))
        mask = ImageChops.multiply(mask, opacity) if any(visible[:128]) and any(visible[128:]) else opacity
    mask = _turned(mask.point([0] * 128 + [255] * 128), stored.orientation)
    if mask.size != size and mask.size == size[::-1] and orientation > 4:
        mask = _turned(mask, orientation)
    (width, height), (wide, high) = mask.size, size
    if abs(width * high - height * wide) > max(width, height, wide, high):  # more than rounding a side explains
        raise ValueError(
            f"This mask is {width} x {height} pixels, the picture {wide} x {high}: give one of the picture's shape."
        )
    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)


def read_bytes(source: str | Path | bytes) -> bytes:
    """A file's content. ValueError where there is none, or too much."""
    if isinstance(source, bytes):
        size = len(source)
    elif Path(source).is_file():
        size = Path(source).stat().st_size
    else:
        raise ValueError(f"There is no file {Path(source).name}.")
    if size > MAX_BYTES:
        limit = MAX_BYTES // 2**20
        raise ValueError(f"This file has {_up(size / 2**20)} MB, the limit is {limit} MB: choose a smaller one.")
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _decode(data: bytes, what: str) -> _Stored:
    """The picture (or mask) in a file, once its header says that it may be decoded."""
    profile, depth, notices = None, 8, []
    if data.startswith(png.SIGNATURE):
        depth = data[24] if len(data) > 24 else 8
        data, profile = png.shown(data)
    with _header(data, what) as opened:
        _check_size(opened.size, what)
        if opened.format in ("PNG", "WEBP", "AVIF") and getattr(opened, "n_frames", 1) > 1:
            notices.append(f"This {what} is animated: its first frame is used.")
        if opened.format == "HEIF":
            notices += heif.notices(opened, what)
        try:
            tags = getattr(opened, "tag_v2", {})
            if int(tags.get(322, 0)) * int(tags.get(323, 0)) > MAX_PIXELS:
                raise ValueError("tiles larger than any picture")
            opened.load()
        except Exception as error:  # whatever a decoder makes of damaged bytes
            raise _damaged(what) from error
    if opened.format != "HEIF" and (opened.mode.startswith("I;16") or depth == 16):
        notices.append(f"This {what} has 16 bits per channel: it was reduced to 8.")
    level = opened.info.get("transparency")
    if isinstance(level, int) and opened.mode == "L" and depth < 8:
        opened.info["transparency"] = level * 255 // (2**depth - 1)  # Pillow scales the pixels, not their level
    elif isinstance(level, tuple) and depth == 16:
        opened.info["transparency"] = tuple(value >> 8 for value in level)
    if profile is None:
        profile = opened.info.get("icc_profile")
    return _Stored(opened, profile, _orientation(opened), tuple(notices))


def _header(data: bytes, what: str) -> Image.Image:
    """Parse the header only; nothing is decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked right after
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"This {what} has over {MAX_PIXELS // 10**6} megapixels: make it smaller first.") from error
    except Exception as error:  # whatever a parser makes of damaged bytes
        if heif.claims(data):
            return _heif_header(data, what)
        if data.startswith(_BEGINNINGS) or data[8:12] in (b"WEBP", b"avif"):
            raise _damaged(what) from error
        raise ValueError(
            "This file is not a PNG, JPEG or WebP picture, nor AVIF, HEIC or TIFF: choose one of these."
        ) from error


def _heif_header(data: bytes, what: str) -> Image.Image:
    if all(size := heif.stored_size(data)):
        _check_size(size, what)
    try:
        return heif.header(data, what)
    except ValueError:
        raise
    except Exception as error:  # whatever a parser makes of damaged bytes
        raise _damaged(what) from error


def _damaged(what: str) -> ValueError:
    return ValueError(f"This {what} is damaged or cut off: save it again or choose another one.")


def _check_size(size: tuple[int, int], what: str) -> None:
    width, height = size
    if what == "picture" and min(size) < MIN_SIDE:
        raise ValueError(f"This picture is {width} x {height} pixels: each side needs at least {MIN_SIDE}.")
    if max(size) > MAX_SIDE:
        raise ValueError(f"This {what} is {width} x {height} pixels: no side may exceed {MAX_SIDE}.")
    if width * height > MAX_PIXELS:
        megapixels, limit = _up(width * height / 1e6), MAX_PIXELS // 10**6
        raise ValueError(f"This {what} has {megapixels} megapixels, the limit is {limit}: make it smaller first.")


def _up(value: float) -> str:
    """With one decimal at most, rounded up, so that what is over a limit reads so."""
    return f"{math.ceil(value * 10) / 10:g}"


def _camera_data(opened: Image.Image) -> Image.Exif:
    try:
        return opened.getexif()
    except Exception:  # what cannot be parsed says nothing
        return Image.Exif()


def _orientation(opened: Image.Image) -> int:
    """1 to 8 from the camera data; a TIFF was turned as it was decoded."""
    try:
        value = opened.getexif().get(0x0112)
    except Exception:  # data that cannot be parsed do not say which side is up
        return 1
    return int(value) if value in _TURNS else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _colours(mode: str) -> str:
    """The mode of what `_split` makes of a picture."""
    if mode in ("I", "F", "LAB", "HSV"):
        raise ValueError("This picture is not in RGB, CMYK or grey of 8 or 16 bits: save it as one of these first.")
    return mode if mode == "CMYK" else "L" if mode in ("1", "L", "LA", "La") or mode.startswith("I;16") else "RGB"


def _split(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours as "L", "RGB" or "CMYK", and the opacity as "L", None where the file knows none."""
    kind, level = _colours(picture.mode), picture.info.get("transparency")
    if picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        grey = Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
        return grey, None if level is None else Image.fromarray((values != level).astype(np.uint8) * 255)
    if level is None and picture.mode not in _TRANSPARENT:
        return picture.convert(kind), None
    picture = picture.convert("LA" if kind == "L" else "RGBA")
    return picture.convert(kind), picture.getchannel("A")


def _channels(picture: Image.Image, mode: str, convert: colour.Convert) -> tuple[Image.Image, Image.Image | None]:
    """Colours, converted to the mode, and opacity, None where all is opaque; in bands, so that little memory is
    taken beside the two pictures."""
    (width, height), opacity = picture.size, None
    out = Image.new(mode, picture.size)
    rows = max(1, 2**20 // width)
    for top in range(0, height, rows):
        colours, alpha = _split(picture.crop((0, top, width, min(top + rows, height))))
        out.paste(convert(colours), (0, top))
        if alpha is not None:
            opacity = opacity or Image.new("L", picture.size)
            opacity.paste(alpha, (0, top))
    return out, None if opacity is None or opacity.getextrema()[0] == 255 else opacity


def save_png(image: Image.Image, path: str | Path, private: bytes | None = None, exif: bytes = b"") -> None:
    """Write pixels, the private bytes and camera data where they are given, nothing else: no place, no profile. The
    file appears whole or not at all, whatever interrupts it."""
    more = {"exif": exif} if exif else {}
    with whole_file(path) as beside:
        plain = Image.fromarray(np.asarray(image))
        plain.save(beside, format="PNG", compress_level=_LEVEL, pnginfo=png.private_chunks(private), **more)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file moves to `path` when all is written, and goes when it is not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_private(path: str | Path) -> bytes | None:
    """What `save_png` was given with a picture; None where there is nothing. ValueError where it is damaged."""
    data = read_bytes(path)
    return png.private_bytes(data) if data.startswith(png.SIGNATURE) else None


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """(b, 3, H, W) in [-1, 1] -> RGB pictures."""
    array = ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in array]
