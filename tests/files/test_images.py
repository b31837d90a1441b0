"""Uploads of every kind: defined results, and one sentence for what is refused."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import scenery
from PIL import Image, ImageCms

from var_core import open_image
from var_core.files import images

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 240)


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def close_to(image: Image.Image, at: tuple[int, int], colour: tuple[int, int, int], limit: int = 25) -> bool:
    pixel = np.asarray(image)[at[1], at[0]].astype(int)
    return bool((np.abs(pixel - colour) <= limit).all())


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    """Stored turned, told by EXIF: the upload comes out upright."""
    upright = quadrants()
    stored = upright.transpose(_TURNS[orientation]) if orientation in _TURNS else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(encoded(stored, "JPEG", exif=exif, quality=95)).image
    assert opened.size == (64, 48)
    for at, colour in (((8, 8), RED), ((56, 8), GREEN), ((8, 40), BLUE), ((56, 40), WHITE)):
        assert close_to(opened, at, colour)


_HOLDS = {"PNG": ("L", "P", "RGB", "1", "RGBA", "LA"), "JPEG": ("L", "RGB", "CMYK"), "WEBP": ("L", "P", "RGB", "RGBA")}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in _HOLDS.items() for mode in modes])
def test_modes(kind: str, mode: str) -> None:
    image = quadrants().quantize(8) if mode == "P" else quadrants().convert(mode)
    data = encoded(image, kind)
    opened = open_image(data).image
    assert opened.mode == "RGB" and opened.size == (64, 48)
    if mode in ("RGB", "RGBA", "P"):
        assert close_to(opened, (8, 8), RED) and close_to(opened, (8, 40), BLUE)
    if mode in ("L", "LA"):
        assert close_to(opened, (56, 40), WHITE)


def test_cmyk_jpeg_keeps_its_colours() -> None:
    opened = open_image(encoded(quadrants().convert("CMYK"), "JPEG", quality=95))
    assert close_to(opened.image, (8, 8), RED, 40) and close_to(opened.image, (56, 8), GREEN, 40)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    opened = open_image(encoded(Image.fromarray(ramp)))
    values = np.asarray(opened.image)[..., 0].astype(int)
    assert np.abs(values - (ramp / 257).round()).max() <= 1
    assert any("16 bits" in text for text in opened.notices)


def test_transparency_becomes_white_and_a_mask() -> None:
    image = quadrants().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 20, 20))
    opened = open_image(encoded(image))
    assert close_to(opened.image, (5, 5), (255, 255, 255), 0)
    assert opened.alpha_mask is not None and opened.alpha_mask.getbbox() == (0, 0, 20, 20)
    assert opened.notices == ("Transparent parts were laid on white.",)
    assert open_image(encoded(quadrants().convert("RGBA"))).alpha_mask is None


def test_colour_profiles_are_converted_to_srgb() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    broken = open_image(encoded(quadrants(), "PNG", icc_profile=b"no profile at all"))
    assert any("profile" in text for text in broken.notices)
    assert close_to(broken.image, (8, 8), RED, 0)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = open_image(encoded(quadrants(), "PNG", icc_profile=srgb))
    assert plain.notices == () and close_to(plain.image, (8, 8), RED, 0)
    assert open_image(encoded(quadrants(), "PNG", icc_profile=lab)).image.mode == "RGB"


def test_animated_pictures_give_their_first_frame() -> None:
    frames = [quadrants(), Image.new("RGB", (64, 48), BLUE)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=80, lossless=True)
    opened = open_image(data)
    assert close_to(opened.image, (8, 8), RED, 5)
    assert any("first frame" in text for text in opened.notices)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def with_chunk(data: bytes, new: bytes) -> bytes:
    """The PNG with a chunk after its header."""
    return data[:33] + new + data[33:]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(scenery(200, 150), "JPEG")[:3000], "damaged or cut off"),
        (encoded(scenery(200, 150))[:3000], "damaged or cut off"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "PNG, JPEG or WebP"),
        (b"<html><body>hello</body></html>", "PNG, JPEG or WebP"),
        (pickle.dumps({"a": 1}), "PNG, JPEG or WebP"),
        (b"", "PNG, JPEG or WebP"),
        (encoded(scenery(40, 40), "GIF"), "PNG, JPEG or WebP"),
        (encoded(scenery(40, 40), "BMP"), "PNG, JPEG or WebP"),
        (png_header(30_000, 30_000), "megapixels|16384"),
        (png_header(8_000, 6_000), "48 megapixels, the limit is 40"),
        (png_header(8_000, 5_000), "damaged"),
        (png_header(8_000, 5_000)[:8], "damaged|not a picture|PNG"),
        (png_header(8_000, 5_000)[:24], "damaged|not a picture|PNG"),
        (png_header(8_000, 5_001), "40.1 megapixels, the limit is 40"),
        (encoded(scenery(200, 150), "WEBP")[:3000], "damaged or cut off"),
        (encoded(scenery(200, 150), "AVIF")[:2000], "damaged or cut off"),
        (encoded(scenery(200, 150), "TIFF")[:2000], "damaged or cut off"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "damaged or cut off"),
        (encoded(Image.fromarray(np.zeros((20, 20), np.float32)), "TIFF"), "grey of 8 or 16 bits"),
        (png_header(17_000, 100), "no side may exceed 16384"),
        (encoded(scenery(15, 400)), "at least 16"),
    ],
)
def test_what_is_refused_is_refused_in_one_sentence(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(ValueError, match=words) as error:
            open_image(source)
        text = str(error.value)
        assert "\n" not in text and len(text) < 160 and str(tmp_path) not in text


def test_a_huge_header_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="megapixels"):
        open_image(png_header(9_000, 9_000))


def test_limits_themselves_are_fine() -> None:
    assert open_image(encoded(scenery(16, 16))).image.size == (16, 16)
    assert open_image(encoded(Image.new("L", (16_384, 16)))).image.size == (16_384, 16)


def test_what_is_over_the_limit_in_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 2**20)
    (tmp_path / "big.png").write_bytes(bytes(2**20 + 1))
    for source in (tmp_path / "big.png", bytes(2**20 + 1)):
        with pytest.raises(ValueError, match=r"^This file has 1.1 MB, the limit is 1 MB"):
            open_image(source)


def test_only_the_orientation_is_wanted_of_camera_data() -> None:
    """A resolution stored as text, which Pillow cannot write again, must not matter."""
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
    exif += struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHI4s", 0x011A, 2, 3, b"72\0\0") + bytes(4)
    stored = quadrants().transpose(_TURNS[6])
    opened = open_image(encoded(stored, "JPEG", exif=exif, quality=95))
    assert opened.image.size == (64, 48) and opened.orientation == 6
    assert close_to(opened.image, (8, 8), RED) and close_to(opened.image, (56, 8), GREEN)
    damaged = open_image(encoded(stored, "JPEG", exif=b"Exif\0\0no camera data"))
    assert damaged.image.size == (48, 64) and damaged.orientation == 1


@pytest.mark.parametrize("kind", ["AVIF", "TIFF"])
def test_avif_and_tiff_open_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = open_image(encoded(quadrants().transpose(_TURNS[6]), kind, exif=exif))
    assert opened.image.size == (64, 48) and opened.notices == ()
    for at, colour in (((8, 8), RED), ((56, 8), GREEN), ((8, 40), BLUE), ((56, 40), WHITE)):
        assert close_to(opened.image, at, colour)


def test_phone_pictures_of_two_are_not_animated() -> None:
    data = encoded(quadrants(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), BLUE)], quality=95)
    opened = open_image(data)
    assert opened.notices == () and close_to(opened.image, (8, 8), RED)


@pytest.mark.parametrize(
    "new",
    [
        chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))[:-1] + b"\0",
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 2**21)),
        chunk(b"tEXt", b"Comment\0" + b"x" * 2**26),
        chunk(b"gAMA", struct.pack(">I", 100_000))[:-1] + b"\0",
        chunk(b"sRGB", b""),
        chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2**25))),
    ],
    ids=["wrong checksum", "long packed text", "very long text", "damaged gamma", "empty", "a bomb of a profile"],
)
def test_side_chunks_never_cost_the_picture(new: bytes) -> None:
    opened = open_image(with_chunk(encoded(quadrants()), new)).image
    assert np.array_equal(np.asarray(opened), np.asarray(quadrants()))


def test_a_file_of_nothing_but_chunks_is_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Image, "open", lambda stream, formats: seen.append(len(stream.getvalue())) or 1 / 0)
    with pytest.raises(ValueError, match="damaged"):
        open_image(with_chunk(encoded(quadrants()), chunk(b"IDAT", b"") * 300_000))
    assert seen[0] < 12 * 100_001 + 100


def test_tiles_larger_than_any_picture_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    entries = ((256, 40), (257, 40), (258, 8), (259, 8), (262, 1), (277, 1), (322, 30_000), (323, 30_000))
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*entries, (324, 200), (325, 20)))
    data = b"II*\0" + struct.pack("<IH", 8, len(entries) + 2) + body + bytes(4)
    with pytest.raises(ValueError, match="damaged"):
        open_image(data.ljust(200, b"\0") + zlib.compress(bytes(100)))


# transparency


def grey_png(values: np.ndarray, depth: int, level: int) -> bytes:
    """A grey PNG of 2, 4 or 16 bits in which one level is transparent."""
    height, width = values.shape
    if depth == 16:
        rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        per = 8 // depth
        shifts = np.arange(per)[::-1] * depth
        rows = (values.reshape(height, -1, per) << shifts).sum(axis=-1).astype(np.uint8)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    level_chunk = chunk(b"tRNS", struct.pack(">H", level))
    return b"\x89PNG\r\n\x1a\n" + header + level_chunk + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize("depth", [2, 4, 8, 16])
def test_a_transparent_level_of_grey(depth: int) -> None:
    level, other = 2**depth - 1, (2**depth - 1) // 3
    values = np.full((24, 32), other)
    values[4:12, 8:20] = level
    opened = open_image(grey_png(values, depth, level))
    assert opened.alpha_mask is not None and opened.alpha_mask.getbbox() == (8, 4, 20, 12)
    assert close_to(opened.image, (0, 0), (85, 85, 85), 1) and close_to(opened.image, (9, 5), (255, 255, 255), 0)


def test_a_transparent_colour_of_16_bits() -> None:
    values = np.full((24, 32, 3), 20_000, ">u2")
    values[4:12, 8:20] = (60_000, 300, 5_000)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 16, 2, 0, 0, 0))
    level = chunk(b"tRNS", struct.pack(">3H", 60_000, 300, 5_000))
    opened = open_image(b"\x89PNG\r\n\x1a\n" + header + level + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    assert opened.alpha_mask is not None and opened.alpha_mask.getbbox() == (8, 4, 20, 12)
    assert close_to(opened.image, (0, 0), (78, 78, 78), 1)
    assert any("16 bits" in text for text in opened.notices)


def test_a_palette_with_a_transparent_colour() -> None:
    picture = quadrants().quantize(8)
    index = picture.getpixel((5, 5))
    opened = open_image(encoded(picture, transparency=index))
    assert opened.alpha_mask is not None and opened.alpha_mask.getbbox() == (0, 0, 32, 24)
    assert close_to(opened.image, (56, 8), GREEN) and close_to(opened.image, (5, 5), (255, 255, 255), 0)


def test_half_transparent_colours_are_mixed_with_white() -> None:
    opened = open_image(encoded(Image.new("RGBA", (20, 20), (100, 0, 200, 128))))
    assert close_to(opened.image, (3, 3), (177, 127, 227), 1)


def test_bands_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of many bands, each of another size than the last one."""
    picture = scenery(1500, 1500)
    picture.putalpha(scenery(1500, 1500, 1).convert("L"))
    whole = Image.new("RGBA", picture.size, "white")
    whole.alpha_composite(picture)
    opened = np.asarray(open_image(encoded(picture, "PNG", compress_level=1)).image).astype(int)
    assert np.abs(opened - np.asarray(whole.convert("RGB"))).max() <= 1


# how much at once

MEMORY = """
import io, re, resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image
from var_core.files.images import open_image
from var_core.model.memory import keep_freed_memory

keep_freed_memory()  # as every engine does
buffer = io.BytesIO()
Image.new("RGBA", (8000, 5000), (9, 200, 30, 120)).save(buffer, "PNG", compress_level=1)
now = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20
most = lambda: int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
before = now()
open_image(buffer.getvalue())
one = most() - before
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda data: open_image(data).image.size, [buffer.getvalue()] * 4))
print(one, most() - before, now() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is asked")
def test_forty_megapixels_take_little_memory() -> None:
    """In a process of its own: one opened, the most while four came at once, and what is left of it, in megabytes."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True, check=True)
    one, most, left = map(int, done.stdout.split())
    assert one < 450 and most < 900 and left < 600, "little more than the last two themselves is left"


def test_two_pictures_are_opened_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    decode, inside, most, lock = images._decode, [0], [0], threading.Lock()
    met = threading.Barrier(2)

    def counting(data: bytes, what: str) -> images._Stored:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        met.wait(20)  # two must be here at a time, or nobody goes on
        stored = decode(data, what)
        met.wait(20)
        with lock:
            inside[0] -= 1
        return stored

    monkeypatch.setattr(images, "_decode", counting)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(open_image, [encoded(quadrants())] * 8))
    assert len(opened) == 8 and most[0] == 2
