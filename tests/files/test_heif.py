"""HEIC: opened like any other picture, by the same rules."""

from __future__ import annotations

import builtins
import io
import random
import struct
from typing import Any

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image, ImageCms
from pillow_heif import HeifFile, HeifImageFile, from_pillow
from test_colour import tagged
from test_images import BLUE, GREEN, RED, WHITE, close_to, encoded, quadrants

from var_core import open_image, open_mask
from var_core.files import heif, images

HEVC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def heic(*pictures: Image.Image, **options: Any) -> bytes:
    """A HEIC file of these pictures, stored almost without loss; the main one is `primary_index`."""
    made = HeifFile()
    for picture in pictures:
        made.add_from_pillow(picture)
    buffer = io.BytesIO()
    made.save(buffer, **{"quality": 95, "chroma": 444} | options)
    return buffer.getvalue()


def resized(data: bytes, width: int, height: int) -> bytes:
    """The file, claiming that what is stored in it has another size."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def four_corners(picture: Image.Image) -> bool:
    width, height = picture.size
    places = ((8, 8), (width - 8, 8), (8, height - 8), (width - 8, height - 8))
    return all(close_to(picture, at, colour) for at, colour in zip(places, (RED, GREEN, BLUE, WHITE), strict=True))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_modes(mode: str) -> None:
    opened = open_image(heic(quadrants().convert(mode)))
    assert opened.image.mode == "RGB" and opened.image.size == (64, 48) and opened.notices == ()
    assert opened.alpha_mask is None
    assert close_to(opened.image, (56, 40), WHITE) and (mode in ("L", "LA") or four_corners(opened.image))


_STORED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_once_however_it_is_stored(orientation: int) -> None:
    """Phones write the turn twice, for the file and among the camera data."""
    turn = _STORED[orientation]
    stored = quadrants() if turn is None else quadrants().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = heic(stored, exif=exif.tobytes())
    opened = open_image(data)
    assert opened.image.size == (64, 48) and four_corners(opened.image) and opened.orientation == 1
    mask = open_mask(rectangle((64, 48), (0, 0, 20, 20)), opened.image.size, opened.orientation)
    assert mask.getbbox() == (0, 0, 20, 20)


def test_colour_profiles_are_converted_to_srgb() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = open_image(heic(quadrants(), icc_profile=srgb))
    assert plain.notices == () and four_corners(plain.image)
    broken = open_image(heic(quadrants(), icc_profile=b"no profile at all"))
    assert any("profile" in text for text in broken.notices) and four_corners(broken.image)


def test_a_profile_of_another_curve_is_followed() -> None:
    grey = Image.new("RGB", (32, 32), (100, 100, 100))
    opened = open_image(heic(grey, icc_profile=tagged(b"RGB ", 1.8, b"an old screen")))
    assert opened.notices == ("The colours were converted from the picture's own profile to sRGB.",)
    assert close_to(opened.image, (9, 9), (120, 120, 120), 4)


def test_ten_bits_become_eight() -> None:
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    opened = open_image(heic(Image.fromarray(ramp)))
    values = np.asarray(opened.image)[..., 0].astype(int)
    assert np.abs(values - ramp / 257).max() <= 4
    assert opened.notices == ("This picture has 10 bits per channel: it was reduced to 8.",)


@pytest.mark.parametrize(("primaries", "curve", "told"), [(1, 13, False), (12, 13, True), (9, 16, True), (9, 18, True)])
def test_colours_that_only_numbers_tell(primaries: int, curve: int, told: bool) -> None:
    """A screen of wider colours is told by numbers, without a profile: said, not guessed at."""
    made = heic(quadrants(), color_primaries=primaries, transfer_characteristics=curve)
    words = [text for text in open_image(made).notices if "wider colours" in text]
    assert len(words) == told and open_image(made).image.size == (64, 48)


def test_transparency_becomes_white_and_a_mask() -> None:
    picture = quadrants().convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 20, 20))
    opened = open_image(heic(picture))
    assert close_to(opened.image, (5, 5), (255, 255, 255), 8) and opened.alpha_mask is not None
    assert opened.alpha_mask.getbbox() == (0, 0, 20, 20)
    assert opened.notices == ("Transparent parts were laid on white.",)


def test_the_main_picture_of_a_burst() -> None:
    """Whichever of them it is, and whatever thumbnails lie beside it."""
    others = [Image.new("RGB", (96, 80), colour) for colour in (BLUE, GREEN)]
    for main in range(3):
        pictures = [others[0], others[1]]
        pictures.insert(main, quadrants())
        opened = open_image(heic(*pictures, primary_index=main))
        assert opened.image.size == (64, 48) and four_corners(opened.image)
        assert opened.notices == ("This file holds several pictures: its main picture is used.",)
    small = from_pillow(scenery(200, 160))
    buffer = io.BytesIO()
    small.save(buffer, thumbnails=[64])
    opened = open_image(buffer.getvalue())
    assert opened.image.size == (200, 160) and opened.notices == ()


def test_a_mask_may_be_one() -> None:
    mask = open_mask(heic(rectangle((64, 48), (10, 10, 30, 30))), (64, 48))
    assert mask.mode == "L" and mask.getbbox() == (10, 10, 30, 30)


@pytest.fixture(scope="module")
def whole() -> bytes:
    return heic(scenery(200, 150))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((9_000, 9_000), "81 megapixels, the limit is 40"), ((17_000, 100), "no side may exceed 16384"),
        ((400, 15), "at least 16"), ((400, 300), "damaged"), ((0, 0), "damaged"), ((2**31, 2**31), "no side may"),
    ],
)  # fmt: skip
def test_the_limits_are_asked_before_anything_is_decoded(
    whole: bytes, size: tuple[int, int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words != "damaged":
        monkeypatch.setattr(HeifImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=words):
        open_image(resized(whole, *size))


def test_what_is_shown_of_a_larger_picture_does_not_count(whole: bytes) -> None:
    """Phones store whole blocks and show a part of them: the limits are those of what must be decoded."""
    assert heif.stored_size(whole) == (200, 150)
    assert heif.stored_size(whole[:30]) == (0, 0) and heif.stored_size(b"") == (0, 0)
    assert heif.stored_size(heic(Image.new("RGB", (65, 49)))) >= (65, 49)


def box(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    """A box of a file; with `size` one that says so in 64 bits."""
    if size is None:
        return struct.pack(">I4s", 8 + len(body), kind) + body
    return struct.pack(">I4sQ", 1, kind, size) + body


def shape(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def test_the_largest_picture_that_any_box_tells_of() -> None:
    """Boxes may say their size in 64 bits, or go on to the end of the file; those outside of `meta` do not count."""
    start = box(b"ftyp", b"heic\0\0\0\0")
    assert heif.stored_size(start + box(b"meta", shape(30, 20) + shape(20, 31) + shape(9, 60))) == (20, 31)
    after = box(b"meta", shape(30, 20))
    assert heif.stored_size(start + box(b"free", bytes(4), 20) + after) == (30, 20)
    assert heif.stored_size(start + box(b"meta", shape(40, 50), 16 + 20) + after) == (40, 50)
    assert heif.stored_size(start + box(b"mdat", shape(40, 50)) + after) == (30, 20)
    assert heif.stored_size(start + box(b"meta", b"") + shape(40, 50)) == (0, 0), "beyond its end"
    endless = struct.pack(">I4s", 0, b"meta") + shape(40, 50)
    assert heif.stored_size(start + after + endless) == (40, 50) and heif.stored_size(start + endless) == (40, 50)
    assert heif.stored_size(start + struct.pack(">I4s", 7, b"free") + after) == (0, 0), "no box is as short"
    assert heif.stored_size(start + struct.pack(">I4s", 8, b"free") + after) == (30, 20), "but of nothing"
    assert heif.stored_size(start + after[:-1]) == (0, 0) and heif.stored_size(start + after) == (30, 20)


class Opened:
    """What a picture says of itself."""

    def __init__(self, frames: int = 1, **info: Any) -> None:
        self.n_frames, self.info = frames, info


@pytest.mark.parametrize(
    ("opened", "words"),
    [
        (Opened(), []),
        (Opened(2), ["several pictures"]),
        (Opened(bit_depth=8), []),
        (Opened(bit_depth=9), ["9 bits per channel: it was reduced to 8"]),
        (Opened(2, bit_depth=12), ["its main mask is used", "This mask has 12 bits"]),
        (Opened(nclx_profile=None), []),
        (Opened(nclx_profile={}), []),
        (Opened(nclx_profile={"color_primaries": 9}), ["wider colours"]),
        (Opened(nclx_profile={"transfer_characteristics": 16}), ["wider colours"]),
        (Opened(nclx_profile={"color_primaries": 9, "transfer_characteristics": 16}, icc_profile=b"a profile"), []),
    ],
)
def test_what_is_lost_is_said(opened: Any, words: list[str]) -> None:
    said = heif.notices(opened, "mask")
    assert len(said) == len(words) and all(each in text for each, text in zip(words, said, strict=True))


def test_which_numbers_of_colours_are_near_those_of_screens() -> None:
    """Of ITU-T H.273: primaries of television and screens (or not told); curves of both, or not told."""

    def plain(name: str) -> set[int]:
        return {n for n in range(256) if not heif.notices(Opened(nclx_profile={name: n}), "picture")}  # type: ignore[arg-type]

    assert plain("color_primaries") == {1, 2, 5, 6, 7, 13}
    assert plain("transfer_characteristics") == {1, 2, 4, 5, 6, 7, 13, 14, 15}


@pytest.mark.parametrize("brand", ["heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"])
def test_a_file_says_that_it_is_one(brand: str) -> None:
    data = b"\0\0\0\x18ftyp" + brand.encode()
    assert heif.claims(data) and heif.claims(data + b"\0\0\0\0")
    assert not heif.claims(data[:-1]) and not heif.claims(data[1:]) and not heif.claims(data.replace(b"ftyp", b"free"))
    assert not heif.claims(b"\0\0\0\x18ftypavif")


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 0.9, 0.99])
def test_files_cut_off(whole: bytes, part: float) -> None:
    with pytest.raises(ValueError, match="damaged or cut off"):
        open_image(whole[: int(len(whole) * part)])


def test_damaged_files_are_opened_or_refused(whole: bytes) -> None:
    dice, outcomes = random.Random(1), set()
    for round_number in range(150):
        bad = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            bad[dice.randrange(len(bad) if round_number % 2 else 500)] = dice.randrange(256)
        try:
            outcomes.add(open_image(bytes(bad)).image.mode)
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 200
            outcomes.add("refused")
    assert outcomes == {"RGB", "refused"}


def test_without_the_package_one_sentence_names_the_way_out(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        if name.startswith("pillow_heif"):
            raise ImportError(name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for data, words in ((whole, "picture is a HEIC file.*pillow-heif.*JPEG"), (HEVC + bytes(99), "pillow-heif")):
        with pytest.raises(ValueError, match=words) as error:
            open_image(data)
        assert "\n" not in str(error.value)
    assert open_image(encoded(quadrants())).image.size == (64, 48)
    assert open_image(encoded(quadrants(), "AVIF")).image.size == (64, 48)


def test_only_so_many_bytes_are_read(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", len(whole) - 1)
    with pytest.raises(ValueError, match="the limit is"):
        open_image(whole)
