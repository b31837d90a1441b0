"""What counts in a mask: brightness, opacity, bits, shape."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image
from test_images import _TURNS, encoded, png_header

from var_core import open_image, open_mask

SIZE, BOX = (40, 30), (10, 10, 20, 20)
PINK = (255, 45, 135)


def layer(ground: tuple[int, ...], paint: tuple[int, ...], mode: str = "RGBA") -> Image.Image:
    picture = Image.new(mode, SIZE, ground)
    picture.paste(paint, BOX)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        layer((0, 0, 0, 255), (255, 255, 255, 255)),
        layer((0, 255), (255, 255), "LA"),
        layer((60, 0, 0, 255), (200, 200, 255, 255)),
        layer((0, 0, 0, 0), (*PINK, 255)),
        layer((0, 0, 0, 0), (0, 0, 0, 255)),
        layer((255, 255, 255, 0), (255, 255, 255, 255)),
        layer((0, 0), (90, 200), "LA"),
        layer((0, 0, 0, 0), (*PINK, 200)),
        rectangle(SIZE, BOX),
        rectangle(SIZE, BOX).convert("1"),
        rectangle(SIZE, BOX).convert("CMYK"),
        rectangle(SIZE, BOX).convert("RGB").quantize(2),
    ],
    ids=lambda picture: f"{picture.mode} {picture.getpixel((0, 0))} {picture.getpixel((12, 12))}",
)
def test_what_is_painted(picture: Image.Image) -> None:
    """Brightness where nothing is transparent; what is visible where that is all the mask says."""
    expected = np.asarray(rectangle(SIZE, BOX))
    assert np.array_equal(np.asarray(open_mask(picture, SIZE)), expected)
    kind = "TIFF" if picture.mode == "CMYK" else "PNG"
    assert np.array_equal(np.asarray(open_mask(encoded(picture, kind), SIZE)), expected)


def test_black_and_white_with_a_transparent_corner() -> None:
    """Both brightnesses are visible, so brightness counts, and nothing that is invisible."""
    picture = layer((0, 0, 0, 255), (255, 255, 255, 255))
    picture.paste((255, 255, 255, 0), (0, 0, 5, 5))
    assert open_mask(picture, SIZE).getbbox() == BOX


def test_soft_edges_are_cut_at_half() -> None:
    ramp = np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1))
    opaque = np.dstack((ramp, np.full_like(ramp, 255)))
    stroke = np.dstack((np.full_like(ramp, 255), ramp))
    for values in (ramp, opaque, stroke):
        assert open_mask(Image.fromarray(values), SIZE).getbbox() == (22, 0, 40, 30)


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_premultiplied_masks(mode: str) -> None:
    picture = layer((0, 0, 0, 0), (*PINK, 200)).convert("RGBA" if mode == "RGBa" else "LA").convert(mode)
    assert open_mask(picture, SIZE).getbbox() == BOX


def test_nothing_visible_is_nothing_painted() -> None:
    assert open_mask(Image.new("RGBA", SIZE), SIZE).getbbox() is None


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.full((30, 40), 1200, np.uint16)
    values[10:20, 10:20] = 65_000
    assert open_mask(encoded(Image.fromarray(values)), SIZE).getbbox() == BOX
    assert open_mask(Image.fromarray(values), SIZE).getbbox() == BOX


def test_masks_of_another_size_are_scaled_with_nearest() -> None:
    mask = open_mask(rectangle(SIZE, BOX), (80, 60))
    assert mask.size == (80, 60) and mask.getbbox() == (20, 20, 40, 40)
    assert set(np.unique(np.asarray(mask))) == {0, 255}


@pytest.mark.parametrize("size", [(301, 203), (3000, 2023), (100, 67), (100, 68), (8, 5)])
def test_a_side_may_be_rounded(size: tuple[int, int]) -> None:
    assert open_mask(Image.new("L", size, 255), (301, 203)).size == (301, 203)


@pytest.mark.parametrize("size", [(203, 301), (512, 512), (301, 208), (602, 400)])
def test_a_mask_of_another_shape_is_not_stretched(size: tuple[int, int]) -> None:
    words = rf"^This mask is {size[0]} x {size[1]} pixels, the picture 301 x 203: give one of the picture's shape\.$"
    with pytest.raises(ValueError, match=words):
        open_mask(Image.new("L", size, 255), (301, 203))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_photo(orientation: int) -> None:
    """Painted over the photo as it is stored, without the camera's word on which side is up."""
    upright = rectangle(SIZE, (1, 2, 12, 7))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = _TURNS.get(orientation)
    stored = [picture if turn is None else picture.transpose(turn) for picture in (scenery(*SIZE), upright)]
    photo = open_image(encoded(stored[0], "JPEG", exif=exif))
    told = open_mask(encoded(stored[1], exif=exif), photo.image.size)
    assert np.array_equal(np.asarray(told), np.asarray(upright)), "by what the mask's own file says"
    if orientation > 4:
        silent = open_mask(encoded(stored[1]), photo.image.size, photo.orientation)
        assert np.array_equal(np.asarray(silent), np.asarray(upright)), "by what the photo's file says"
        with pytest.raises(ValueError, match="shape"):
            open_mask(encoded(stored[1]), photo.image.size)
    seen = open_mask(encoded(upright), photo.image.size, photo.orientation)
    assert np.array_equal(np.asarray(seen), np.asarray(upright)), "upright ones stay upright"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a mask", "not a PNG, JPEG or WebP"),
        (encoded(scenery(200, 150))[:3000], "This mask is damaged or cut off"),
        (png_header(30_000, 30_000), "This mask has over 40 megapixels"),
        (png_header(30_000, 40), "This mask is 30000 x 40 pixels: no side may exceed 16384"),
        (png_header(9_000, 9_000), "This mask has 81 megapixels, the limit is 40"),
    ],
)
def test_refused_masks(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_mask(data, SIZE)
