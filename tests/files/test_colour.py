"""Colours as the file means them, and bytes untouched where it means sRGB."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from conftest import scenery
from PIL import Image, ImageCms
from test_images import BLUE, GREEN, RED, chunk, close_to, encoded, quadrants, with_chunk

from var_core import open_image
from var_core.files import colour

SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ROOM = (0.3457, 0.3585, *SRGB[2:])  # sRGB's corners with another white


def tagged(space: bytes, exponent: float, name: bytes, corners: tuple[float, ...] = SRGB) -> bytes:
    """An ICC profile of one exponent, for grey or RGB, under any name; 0 is sRGB's own curve."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))

    curve = struct.pack(">4s4xIHxx", b"curv", 1, round(exponent * 256))
    if exponent == 0:
        steps = np.linspace(0, 1, 1024)
        light = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
        curve = struct.pack(">4s4xI1024H", b"curv", 1024, *(round(value * 65535) for value in light))
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + bytes(1 + 4 + 4 + 2 + 1 + 67)}
    tags[b"wtpt"] = xyz((0.9642, 1, 0.8249))
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:  # columns under D50, as the specification of sRGB lists them
        columns = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
        for letter, column in zip((b"r", b"g", b"b"), columns, strict=True):
            tags |= {letter + b"XYZ": xyz(column), letter + b"TRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        value += bytes(-len(value) % 4)
        table += struct.pack(">4sII", tag, 132 + 12 * len(tags) + len(body), len(value))
        body += value
    kinds = (b"mntr", space, b"XYZ ", b"acsp", xyz((0.9642, 1, 0.8249))[8:])
    size = 128 + len(table) + len(body)
    return struct.pack(">I4xI4s4s4s12x4s28x12s48x", size, 0x02400000, *kinds) + table + body


def linear(picture: Image.Image) -> Image.Image:
    """sRGB -> linear light, 8 bits."""
    values = np.asarray(picture) / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return Image.fromarray((light * 255).round().astype(np.uint8))


def bright() -> Image.Image:
    """Without the darks, of which 8 bits of linear light hold too few."""
    return Image.fromarray((np.asarray(scenery(60, 40)) // 2 + 120).astype(np.uint8))


def off(one: Image.Image, two: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(two)).max())


def test_a_profile_is_srgb_by_what_it_does_not_by_its_name() -> None:
    named = tagged(b"RGB ", 1.0, b"GIMP built-in Linear sRGB")
    opened = open_image(encoded(linear(bright()), icc_profile=named))
    assert off(opened.image, bright()) <= 2 and any("own profile" in text for text in opened.notices)
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert srgb.count("sRGB".encode("utf-16-be")) >= 1
    unnamed = bytes(srgb.replace("sRGB".encode("utf-16-be"), "Home".encode("utf-16-be")))
    opened = open_image(encoded(quadrants(), icc_profile=unnamed))
    assert opened.notices == () and opened.image.tobytes() == quadrants().tobytes()


@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "1"])
def test_a_profile_of_grey(mode: str) -> None:
    grey = bright().convert("L")
    light = linear(grey)
    if mode == "I;16":
        light = Image.fromarray(np.asarray(light).astype(np.uint16) * 257)
    elif mode == "1":
        grey = light = grey.point(lambda value: 255 * (value > 180)).convert("1")
    else:
        light = light.convert(mode)
    opened = open_image(encoded(light, icc_profile=tagged(b"GRAY", 1.0, b"linear grey")))
    assert off(opened.image, grey.convert("RGB")) <= 2
    assert not any("could not" in text for text in opened.notices)


def test_a_profile_of_grey_where_parts_are_transparent() -> None:
    light = linear(bright().convert("L")).convert("LA")
    light.paste((0, 0), (0, 0, 20, 20))
    opened = open_image(encoded(light, icc_profile=tagged(b"GRAY", 1.0, b"linear grey")))
    assert opened.alpha_mask is not None and opened.alpha_mask.getbbox() == (0, 0, 20, 20)
    assert close_to(opened.image, (5, 5), (255, 255, 255), 0)
    assert off(opened.image.crop((20, 0, 60, 40)), bright().convert("L").convert("RGB").crop((20, 0, 60, 40))) <= 2


def test_a_profile_of_colours_on_a_grey_picture_counts_too() -> None:
    grey = bright().convert("L")
    opened = open_image(encoded(linear(grey), icc_profile=tagged(b"RGB ", 1.0, b"linear")))
    assert off(opened.image, grey.convert("RGB")) <= 2


def test_a_profile_of_grey_that_means_srgb_changes_nothing() -> None:
    grey = bright().convert("L")
    opened = open_image(encoded(grey, icc_profile=tagged(b"GRAY", 0, b"grey of screens")))
    assert opened.image.tobytes() == grey.convert("RGB").tobytes() and opened.notices == ()


@pytest.mark.parametrize("space", [b"GRAY", b"CMYK"])
def test_a_profile_of_another_kind_is_left_out_and_said(space: bytes) -> None:
    opened = open_image(encoded(quadrants(), icc_profile=tagged(b"GRAY", 1.0, b"x").replace(b"GRAY", space)))
    assert opened.image.tobytes() == quadrants().tobytes()
    assert opened.notices == ("The colour profile of this picture could not be read: colours may differ a little.",)


def gamma_chunk(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def corner_chunk(corners: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in corners)))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_gamma(mode: str) -> None:
    picture = linear(bright()).quantize(256) if mode == "P" else linear(bright()).convert(mode)
    opened = open_image(with_chunk(encoded(picture), gamma_chunk(1.0)))
    stored = np.asarray(picture.convert("RGB")) / 255
    expected = np.where(stored <= 0.0031308, 12.92 * stored, 1.055 * stored ** (1 / 2.4) - 0.055) * 255
    assert np.abs(np.asarray(opened.image) - expected).max() <= 1
    assert any("gamma" in text for text in opened.notices)


def test_chromaticities() -> None:
    data = encoded(quadrants())
    opened = open_image(with_chunk(with_chunk(data, corner_chunk(P3)), gamma_chunk(0.45455)))
    # from Display P3, as CSS Color 4 has it
    matrix = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    for at, stored in (((8, 8), RED), ((56, 8), GREEN), ((8, 40), BLUE)):
        light = (matrix @ (np.array(stored) / 255) ** 2.2).clip(0, 1)
        expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
        assert close_to(opened.image, at, tuple(expected), 1)
    white = open_image(with_chunk(encoded(Image.new("RGB", (20, 20), "white")), corner_chunk(ROOM)))
    assert close_to(white.image, (3, 3), (255, 255, 255), 0), "white stays white under any light"


@pytest.mark.parametrize(
    "chunks",
    [
        gamma_chunk(0.45455),
        gamma_chunk(0.45455) + corner_chunk(SRGB),
        chunk(b"sRGB", b"\0") + gamma_chunk(1.0),
        gamma_chunk(0.0),
        gamma_chunk(21_000.0),
        corner_chunk((0.0,) * 8),
        corner_chunk((0.3,) * 8),
    ],
    ids=["2.2", "2.2 and corners", "sRGB says more", "none", "nonsense", "no corners", "one corner"],
)
def test_what_is_srgb_or_makes_no_sense_stays_as_it_is(chunks: bytes) -> None:
    opened = open_image(with_chunk(encoded(quadrants()), chunks))
    assert opened.image.tobytes() == quadrants().tobytes() and opened.notices == ()


def test_full_colours_of_a_wider_screen_are_full_ones() -> None:
    """What sRGB cannot show is cut at its edge: no colour wraps around to its opposite."""
    picture = Image.new("RGB", (24, 16), (255, 0, 0))
    picture.paste((0, 255, 0), (8, 0, 16, 16))
    picture.paste((0, 0, 255), (16, 0, 24, 16))
    opened = np.asarray(open_image(with_chunk(encoded(picture), corner_chunk(P3))).image)
    assert opened[3, 4].tolist() == [255, 0, 0] and opened[3, 12].tolist() == [0, 255, 0]
    assert opened[3, 20, :2].tolist() == [0, 0] and opened[3, 20, 2] == 255


@pytest.mark.parametrize(
    ("info", "converted"),
    [
        ({}, False), ({"gamma": 0.1}, False), ({"gamma": 0.101}, True), ({"gamma": 10}, False), ({"gamma": 9.9}, True),
        ({"gamma": 0.45455 * 1.019}, False), ({"gamma": 0.45455 * 1.021}, True),
        ({"gamma": 0.45455 * 0.981}, False), ({"gamma": 0.45455 * 0.979}, True),
        ({"gamma": 1.0, "srgb": 0}, False), ({"gamma": 1.0, "chromaticity": SRGB[:7]}, False),
        ({"chromaticity": (*SRGB[:2], 0.6419, *SRGB[3:])}, False),
        ({"chromaticity": (*SRGB[:2], 0.6421, *SRGB[3:])}, True),
        ({"chromaticity": (*SRGB[:2], 0.6381, *SRGB[3:])}, False),
        ({"chromaticity": (*SRGB[:2], 0.6379, *SRGB[3:])}, True),
        ({"chromaticity": (*SRGB[:7], 0.0)}, False), ({"chromaticity": (*SRGB[:6], 0.0, 0.06)}, True),
        ({"chromaticity": (*SRGB[:3], -0.33, *SRGB[4:])}, False), ({"chromaticity": P3}, True),
        ({"gamma": 1.0, "chromaticity": (0.3, 0.33) * 4}, False),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_file_says_of_its_colours_counts_within_reason(info: dict, converted: bool) -> None:
    convert, notice = colour.described(info)
    assert (convert is not colour.plain) == converted
    assert notice == ("The colours were converted from the picture's own gamma to sRGB." if converted else "")


def test_a_profile_is_tried_on_colours_from_corner_to_corner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six steps of each colour; two grey levels of rounding are sRGB all the same, three are not."""
    tried: list[Image.Image] = []
    for more, same in ((0, True), (2, True), (3, False)):

        def rounded(picture: Image.Image, _: object, more: int = more) -> Image.Image:
            tried.append(picture)
            return Image.fromarray(np.maximum(np.asarray(picture), more) - np.uint8(more))

        monkeypatch.setattr(ImageCms, "applyTransform", rounded)
        convert, notice = colour.to_srgb(tagged(b"RGB ", 1.8, b"an old screen"), "RGB")
        assert (convert is colour.plain) == same == (notice == "")
    steps = range(0, 256, 51)
    assert {tuple(pixel) for pixel in np.asarray(tried[0]).reshape(-1, 3).tolist()} == {
        (red, green, blue) for red in steps for green in steps for blue in steps
    }


def test_colours_of_a_profile_and_back() -> None:
    profile = tagged(b"RGB ", 1.8, b"an old screen")
    there, back = colour.to_srgb(profile, "RGB")[0], colour.from_srgb(profile)
    assert back is not None and off(there(back(scenery(60, 40))), scenery(60, 40)) <= 3
    assert off(back(scenery(60, 40)), scenery(60, 40)) > 10
    assert colour.from_srgb(b"no profile at all") is None


def test_a_profile_says_more_than_gamma() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    opened = open_image(with_chunk(encoded(quadrants(), icc_profile=srgb), gamma_chunk(1.0)))
    assert opened.image.tobytes() == quadrants().tobytes()


def test_cmyk_without_a_profile() -> None:
    opened = open_image(encoded(quadrants().convert("CMYK"), "TIFF"))
    assert close_to(opened.image, (8, 8), RED, 3) and opened.notices == ()
