"""Results as files: what JPEG and WebP keep of the photo, and what no file ever says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image
from PIL.JpegImagePlugin import get_sampling
from PIL.TiffImagePlugin import IFDRational
from test_colour import tagged
from test_images import encoded, quadrants

from var_core import SAVING, Chance, Edit, Engine, Result, Saving, open_image
from var_core.files.images import open_own
from var_core.files.saving import format_of, in_own_colours, save_picture, save_result

SCREEN = tagged(b"RGB ", 1.8, b"an old screen")
KINDS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
GENERAL, CAMERA, PLACE = 0x0112, 0x8769, 0x8825
SECRETS = ("Nikosia", "SN-4711", "Zaphod", "maker's own", "a comment of mine", "PLACE+02:00")


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded(scenery(150, 110), "PNG", icc_profile=SCREEN)


@pytest.fixture(scope="module")
def result(engine: Engine, photo: bytes) -> Result:
    mask = rectangle((150, 110), (60, 40, 100, 80))
    edit = Edit(task="inpaint", image=open_image(photo).image, mask=mask, feather=6)
    return engine.draw(edit, Chance(seed=1, candidates=2))


def far(one: Image.Image, two: Image.Image) -> float:
    return float(np.abs(np.asarray(one.convert("RGB")).astype(int) - np.asarray(two.convert("RGB"))).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_opens_elsewhere(result: Result, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "name.whatever"
    save_result(result, path, 1, Saving(format=kind))
    with Image.open(path) as opened:
        assert opened.format == KINDS[kind] and opened.size == (150, 110) and opened.mode == "RGB"
        assert far(opened, result.image(1)) <= (0 if kind == "png" else 6)
        assert not opened.getexif() and "icc_profile" not in opened.info
    assert [each.name for each in path.parent.iterdir()] == ["name.whatever"], "nothing is left beside it"


def test_a_better_quality_is_nearer_and_larger(result: Result, tmp_path: Path) -> None:
    for kind in ("jpeg", "webp"):
        sizes, distances = [], []
        for quality in (20, 60, 100):
            save_result(result, tmp_path / "a", 0, Saving(format=kind, quality=quality))
            sizes.append((tmp_path / "a").stat().st_size)
            distances.append(far(Image.open(tmp_path / "a"), result.image(0)))
        assert sizes == sorted(sizes) and distances == sorted(distances, reverse=True)


def test_settings_are_declared_once() -> None:
    assert Saving() == Saving(format="png", quality=92, keep_exif=False)
    assert SAVING["quality"].default == 92 and all(each.label and each.help for each in SAVING.values())
    for wrong in ({"format": "bmp"}, {"quality": 0}, {"quality": 101}, {"keep_exif": 1}):
        with pytest.raises(ValueError, match="must be") as error:
            Saving(**wrong)
        assert "\n" not in str(error.value)
    assert Saving(quality=1).quality == 1 and Saving(quality=100).quality == 100, "the bounds themselves are fine"


def test_colours_of_a_fine_jpeg_are_as_sharp_as_its_brightness(result: Result, tmp_path: Path) -> None:
    for quality, sampling in ((89, 2), (90, 0)):
        save_result(result, tmp_path / "a", 0, Saving(format="jpeg", quality=quality))
        with Image.open(tmp_path / "a") as opened:
            assert get_sampling(opened) == sampling


@pytest.mark.parametrize(
    ("name", "kind"), [("a.PNG", "png"), ("b.jpg", "jpeg"), ("c.JPEG", "jpeg"), ("d.webp", "webp")]
)
def test_a_name_says_the_format(name: str, kind: str) -> None:
    assert format_of(name) == kind
    for wrong in ("a", "a.gif", "a.jpg.txt"):
        with pytest.raises(ValueError, match=r"PNG, JPEG or WebP, so end it in"):
            format_of(wrong)


# the photo's colours


def test_what_the_edit_left_is_the_photos_own_value(result: Result, photo: bytes) -> None:
    """In the photo's colours, not a copy of its copy in sRGB: to the byte, before a format rounds it."""
    own, stored = open_own(photo), np.asarray(scenery(150, 110))
    made, profile = in_own_colours(result.image(0), own)
    changed = (np.asarray(result.image(0)) != np.asarray(open_image(photo).image)).any(axis=2)
    assert profile == SCREEN and 800 < changed.sum() < 5000
    assert np.array_equal(np.asarray(made)[~changed], stored[~changed])
    again = open_image(encoded(made, "PNG", icc_profile=profile)).image
    assert np.array_equal(np.asarray(again)[~changed], np.asarray(result.image(0))[~changed])
    off = np.abs(np.asarray(again).astype(int) - np.asarray(result.image(0)))[changed]
    assert off.max() <= 4 and off.mean() < 1, "what is drawn looks as it did"


def test_bands_join(result: Result, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = in_own_colours(result.image(0), open_own(photo))
    monkeypatch.setattr("var_core.files.saving._ROWS", 17)
    assert in_own_colours(result.image(0), open_own(photo))[0].tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_the_profile_goes_with_the_file(result: Result, photo: bytes, kind: str, tmp_path: Path) -> None:
    save_result(result, tmp_path / "a", 0, Saving(format=kind), photo)
    assert Image.open(tmp_path / "a").info["icc_profile"] == SCREEN
    assert far(open_image(tmp_path / "a").image, result.image(0)) < 6
    (tmp_path / "photo").write_bytes(photo)
    save_result(result, tmp_path / "b", 0, Saving(format=kind), tmp_path / "photo")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_png_stays_what_it_was(result: Result, photo: bytes, tmp_path: Path) -> None:
    """Its pixels are those of the recipe: sRGB, whatever the photo was in."""
    save_result(result, tmp_path / "a.png", 0, None, photo)
    save_result(result, tmp_path / "b.png", 0)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert open_image(tmp_path / "a.png").image.tobytes() == result.image(0).tobytes()


def test_pictures_of_another_size_and_kind(result: Result, photo: bytes) -> None:
    """Enlarged, every pixel is converted; grey, CMYK and what cannot be said backwards stay sRGB."""
    larger = Image.new("RGB", (170, 110), "white")
    larger.paste(result.image(0))
    made, profile = in_own_colours(larger, open_own(photo))
    assert profile == SCREEN and made.size == larger.size
    assert far(open_image(encoded(made, "PNG", icc_profile=profile)).image, larger) < 1
    grey = encoded(scenery(150, 110).convert("L"), "PNG", icc_profile=tagged(b"GRAY", 1.8, b"grey"))
    bad = encoded(scenery(150, 110), "PNG", icc_profile=b"no profile at all")
    for data in (grey, bad, encoded(scenery(150, 110))):
        made, profile = in_own_colours(result.image(0), open_own(data))
        assert made is result.image(0) or made.tobytes() == result.image(0).tobytes()
        assert profile is None


def test_turned_and_transparent_photos(engine: Engine) -> None:
    stored = scenery(60, 80)
    exif = Image.Exif()
    exif[GENERAL] = 6
    data = encoded(stored, "PNG", icc_profile=SCREEN, exif=exif)
    upright = open_image(data).image
    made, _ = in_own_colours(upright, open_own(data))
    assert made.size == (80, 60) and made.tobytes() == stored.transpose(Image.Transpose.ROTATE_270).tobytes()
    clear = stored.convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 20, 20))
    data = encoded(clear, "PNG", icc_profile=SCREEN)
    made, _ = in_own_colours(open_image(data).image, open_own(data))
    assert np.asarray(made)[:20, :20].min() == 255 and np.array_equal(np.asarray(made)[20:], np.asarray(stored)[20:])
    own = open_own(data).picture
    assert own is not None and np.asarray(own)[:20, :20].min() == 255, "white is behind it in its own colours too"


# camera data


def talkative() -> bytes:
    """A photo that says all a camera can say."""
    exif = Image.Exif()
    exif.update({GENERAL: 6, 0x010F: "Maker", 0x0110: "Model 1", 0x0132: "2024:05:01 10:00:00", 0x8298: "(c) Ada"})
    exif.update({0x010E: "near Nikosia", 0x013C: "Zaphod's phone", 0x9C9C: "a comment of mine".encode("utf-16-le")})
    camera = exif.get_ifd(CAMERA)
    camera.update(
        {
            0x829A: IFDRational(1, 250),
            0x829D: IFDRational(28, 10),
            0x8827: 400,
            0x9003: "2024:05:01 10:00:00",
            0xA434: "A lens",
        }
    )
    camera.update({0x927C: b"maker's own", 0xA431: "SN-4711", 0xA430: "Zaphod", 0x9286: b"ASCII\0\0\0Nikosia"})
    camera.update({0x9010: "PLACE+02:00", 0xA002: 9999, 0xA003: 8888})
    exif.get_ifd(PLACE).update({1: "N", 2: (35.0, 10.0, 0.0), 29: "2024:05:01"})
    return encoded(quadrants(110, 150), "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize("kind", KINDS)
def test_camera_data_go_only_if_asked_and_never_the_place(engine: Engine, kind: str, tmp_path: Path) -> None:
    photo = talkative()
    assert sum(secret.encode() in photo for secret in SECRETS) >= 5, "the photo does say it"
    image = open_image(photo).image
    result = engine.draw(
        Edit(task="inpaint", image=image, mask=rectangle(image.size, (20, 20, 60, 60))), Chance(seed=1)
    )
    save_result(result, tmp_path / "plain", 0, Saving(format=kind), photo)
    with Image.open(tmp_path / "plain") as opened:
        assert not opened.getexif()
    save_result(result, tmp_path / "told", 0, Saving(format=kind, keep_exif=True), photo)
    with Image.open(tmp_path / "told") as opened:
        exif, camera = opened.getexif(), opened.getexif().get_ifd(CAMERA)
        assert set(exif) == {GENERAL, CAMERA, 0x010F, 0x0110, 0x0132, 0x8298}
        assert exif[GENERAL] == 1 and exif[0x010F] == "Maker" and exif[0x8298] == "(c) Ada"
        assert set(camera) == {0x829A, 0x829D, 0x8827, 0x9003, 0xA434, 0xA002, 0xA003}
        assert camera[0x829A] == 1 / 250 and (camera[0xA002], camera[0xA003]) == opened.size == (150, 110)
        assert not exif.get_ifd(PLACE)
    for name in ("plain", "told"):
        data = (tmp_path / name).read_bytes()
        assert not re.search("|".join(SECRETS).encode(), data) and b"Nikosia".decode().encode("utf-16-le") not in data
    assert open_image(tmp_path / "told").image.size == (150, 110), "upright as it is, not turned once more"


def test_camera_data_that_cannot_be_read_cost_nothing(result: Result, tmp_path: Path) -> None:
    damaged = encoded(scenery(150, 110), "JPEG", exif=b"Exif\0\0no camera data")
    for data in (damaged, encoded(scenery(150, 110))):
        save_result(result, tmp_path / "a", 0, Saving(format="jpeg", keep_exif=True), data)
        assert not Image.open(tmp_path / "a").getexif()


# what is refused


def test_a_side_too_long_for_a_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16384 x 16 pixels, too long a side for WEBP: save it as PNG"):
        save_picture(Image.new("RGB", (16_384, 16)), tmp_path / "a", Saving(format="webp"))
    save_picture(Image.new("RGB", (16_384, 16)), tmp_path / "b", Saving(format="jpeg"))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_interrupted_file_is_not_there(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: Image.Image, path: Path, *more: object, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", cut)
    for kind in ("jpeg", "webp"):
        with pytest.raises(OSError, match="disk full"):
            save_result(result, tmp_path / "a", 0, Saving(format=kind))
    assert not list(tmp_path.iterdir())
