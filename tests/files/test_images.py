"""Uploads of every kind: defined results, and one sentence for what is refused."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image, ImageCms

from var_core import open_image, open_mask, save_png
from var_core.files.images import MAX_BYTES

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
    assert opened.notices
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


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


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
        (png_header(17_000, 100), "no side may exceed 16384"),
        (encoded(scenery(15, 400)), "at least 16"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES), "20 MB"),
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


def test_masks_of_another_size_are_scaled_with_nearest(tmp_path: Path) -> None:
    mask = open_mask(rectangle((40, 30), (10, 10, 20, 20)), (80, 90))
    assert mask.size == (80, 90) and mask.getbbox() == (20, 30, 40, 60)
    assert set(np.unique(np.asarray(mask))) == {0, 255}
    layer = Image.new("RGBA", (40, 30))
    layer.paste((255, 45, 135, 255), (10, 10, 20, 20))
    assert open_mask(encoded(layer), (40, 30)).getbbox() == (10, 10, 20, 20)
    with pytest.raises(ValueError, match="PNG, JPEG or WebP"):
        open_mask(b"not a mask", (40, 30))


def test_saved_files_hold_pixels_and_our_text_only(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera Maker"
    exif.get_ifd(0x8825)[1] = "N"
    opened = open_image(encoded(scenery(60, 40), "JPEG", exif=exif)).image
    save_png(opened, tmp_path / "o.png", {"var-editor": "recipe"})
    raw = (tmp_path / "o.png").read_bytes()
    assert b"Camera Maker" not in raw and b"eXIf" not in raw
    with Image.open(tmp_path / "o.png") as again:
        assert again.info == {"var-editor": "recipe"}
        assert np.array_equal(np.asarray(again), np.asarray(opened))
