"""HEIC and HEIF, the pictures of phones, through pillow-heif where that package is there."""

from __future__ import annotations

import io
import struct

from PIL import Image

BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_ORDINARY = (1, 2, 5, 6, 7, 13)  # of nclx: primaries near sRGB's, or not told; curves likewise
_CURVES = (1, 2, 4, 5, 6, 7, 13, 14, 15)


def claims(data: bytes) -> bool:
    """Whether a file says that it is one."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS


def header(data: bytes, what: str) -> Image.Image:
    """The main picture of a file, not decoded yet, as it is to be looked at: the file's own turns are done while it
    is decoded. Bursts, thumbnails and depth stay where they are. ValueError where the package is missing; OSError or
    SyntaxError for damaged bytes."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        way = "install the package pillow-heif, or save it as JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"
        raise ValueError(f"This {what} is a HEIC file, which cannot be read here: {way}.") from error
    return HeifImageFile(io.BytesIO(data))


def stored_size(data: bytes) -> tuple[int, int]:
    """The largest width and height of any picture in a file, before it is cropped to what is shown; (0, 0) where none
    says its own."""
    at, sizes = 0, [(0, 0)]
    while len(box := data[at : at + 16]) >= 8:
        size, kind = struct.unpack(">I4s", box[:8])
        size = int.from_bytes(box[8:], "big") if size == 1 else size
        if kind == b"meta":
            parts = data[at : at + size if size else None].split(b"ispe")[1:]
            sizes += [struct.unpack(">II", part[4:12]) for part in parts if len(part) >= 12]
        if size < 8:
            break
        at += size
    return max(sizes, key=lambda pair: pair[0] * pair[1])


def notices(opened: Image.Image, what: str) -> list[str]:
    """What is lost of a picture of `header`, in one sentence each."""
    found, depth, colours = [], opened.info.get("bit_depth", 8), opened.info.get("nclx_profile") or {}
    if getattr(opened, "n_frames", 1) > 1:
        found.append(f"This file holds several pictures: its main {what} is used.")
    if depth > 8:
        found.append(f"This {what} has {depth} bits per channel: it was reduced to 8.")
    primaries, curve = colours.get("color_primaries", 1), colours.get("transfer_characteristics", 13)
    if not opened.info.get("icc_profile") and (primaries not in _ORDINARY or curve not in _CURVES):
        found.append(f"This {what} is meant for a screen of wider colours: they may look a little different.")
    return found
