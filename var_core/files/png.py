"""The chunks of a PNG: what Pillow is shown of any, and the private one in which our own carry how they were made."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL.PngImagePlugin import PngInfo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PRIVATE = b"vsEd"  # by its letters ancillary, private, safe to copy
MAX_PRIVATE = 128 * 2**20  # bytes, unpacked
_MOST_CHUNKS = 100_000  # a file of 80 MB in the usual parts of 8 KB has a tenth of that
_PART = 4 * 2**20  # bytes of one chunk; libpng refuses more than 8 million
_MAX_PROFILE = 16 * 2**20
_SHOWN = {  # side chunks that decide pixels, and what each must hold at least
    b"tRNS": 1, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"eXIf": 8, b"acTL": 8, b"fcTL": 26, b"fdAT": 4,
}  # fmt: skip


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and bytes of each chunk, as far as the file goes; a side chunk whose checksum is wrong is left out."""
    view, at = memoryview(data), len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        kind, chunk = bytes(view[at + 4 : at + 8]), view[at:end]
        if kind[:1].isupper() or zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]:
            yield kind, chunk
        if kind in (b"IEND", b""):
            return
        at = end


def shown(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG with only those chunks that decide its pixels, and its ICC profile (empty where it cannot be unpacked).
    For a wrong checksum or a long text in any other, Pillow would refuse the whole picture."""
    profile: bytes | None = None
    kept: list[bytes | memoryview] = [SIGNATURE]
    for kind, chunk in chunks(data):
        if kind == b"iCCP":
            profile = unpack(bytes(chunk[8:-4]).partition(b"\0")[2][1:], _MAX_PROFILE) or b""
        elif kind[:1].isupper() or len(chunk) - 12 >= _SHOWN.get(kind, len(data)):
            kept.append(chunk)
    return b"".join(kept), profile


def unpack(packed: bytes, limit: int) -> bytes | None:
    """Zlib's bytes unpacked; None where they are damaged, cut off, or more than `limit`."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(packed, limit + 1)
    except zlib.error:
        return None
    return plain if stream.eof and len(plain) <= limit else None


def private_chunks(private: bytes | None) -> PngInfo:
    """What Pillow writes before the pixels: the private bytes, packed, in as many chunks as they need."""
    info = PngInfo()
    stream = zlib.compressobj(1, strategy=zlib.Z_HUFFMAN_ONLY)  # what is in it is packed already, and written as text
    packed = b"" if private is None else stream.compress(private) + stream.flush()
    for at in range(0, len(packed), _PART):
        info.add(PRIVATE, packed[at : at + _PART])
    return info


def private_bytes(data: bytes) -> bytes | None:
    """What `private_chunks` has written into a PNG; None where it has none. ValueError where they are damaged."""
    packed = b"".join(chunk[8:-4] for kind, chunk in chunks(data) if kind == PRIVATE)
    private = unpack(packed, MAX_PRIVATE) if packed else None
    if packed and private is None:
        raise ValueError("What this picture says about how it was made is damaged: its pixels can be opened.")
    return private
