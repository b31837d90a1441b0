"""What is written, to the byte."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import rectangle, scenery
from PIL import Image, ImageCms

from var_core import Chance, Edit, Engine
from var_core.files import png
from var_core.files.images import read_private, save_png, to_pictures


def kinds(path: Path) -> set[bytes]:
    return {kind for kind, _ in png.chunks(path.read_bytes())}


def test_a_saved_picture_carries_nothing_of_the_opened_one(tmp_path: Path) -> None:
    """Colour profile, camera, place, resolution, gamma and comments stay behind, transparency of a colour as well."""
    picture = scenery(30, 20)
    exif = Image.Exif()
    exif[0x010F], exif[0x8825] = "CameraMaker", {1: "N"}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.info |= {
        "icc_profile": profile, "exif": exif.tobytes(), "dpi": (300, 300), "gamma": 0.45, "comment": "me",
        "transparency": (1, 2, 3),
    }  # fmt: skip
    save_png(picture, tmp_path / "new" / "folder" / "a.png")
    assert kinds(tmp_path / "new" / "folder" / "a.png") == {b"IHDR", b"IDAT", b"IEND"}
    save_png(picture, tmp_path / "b.png", b"told")
    assert kinds(tmp_path / "b.png") == {b"IHDR", b"IDAT", b"IEND", png.PRIVATE}
    assert read_private(tmp_path / "b.png") == b"told" and read_private(tmp_path / "new" / "folder" / "a.png") is None
    for path in (tmp_path / "new" / "folder" / "a.png", tmp_path / "b.png"):
        with Image.open(path) as again:
            assert again.tobytes() == picture.tobytes() and again.mode == "RGB"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "new"], "nothing is left beside it"


def test_values_between_minus_one_and_one_become_bytes() -> None:
    pixels = torch.zeros(2, 3, 2, 4)
    pixels[0, 0, 1] = torch.tensor([-1.0, 1.0, 0.5, 1.7])
    pixels[1, 2, 0] = torch.tensor([-3.0, -0.5, 0.004, -0.004])
    first, second = (np.asarray(picture) for picture in to_pictures(pixels))
    assert first.shape == (2, 4, 3) and first[1, :, 0].tolist() == [0, 255, 191, 255]
    assert second[0, :, 2].tolist() == [0, 64, 128, 127] and (first[0] == 128).all()


@pytest.mark.parametrize("size", [0, 1, 4 * 2**20, 9 * 2**20])
def test_private_bytes_come_back_whatever_their_size(tmp_path: Path, size: int) -> None:
    told = np.random.default_rng(0).bytes(size)
    save_png(scenery(20, 20), tmp_path / "a.png", told)
    assert read_private(tmp_path / "a.png") == told
    longest = max(len(chunk) for _, chunk in png.chunks((tmp_path / "a.png").read_bytes()))
    assert longest <= 4 * 2**20 + 12


def test_words_take_no_more_room_than_what_they_stand_for(tmp_path: Path) -> None:
    """Tokens and masks are packed bytes, written as text that takes four thirds of them."""
    told = np.random.default_rng(0).bytes(300_000)
    save_png(scenery(20, 20), tmp_path / "plain.png")
    save_png(scenery(20, 20), tmp_path / "a.png", base64.b64encode(told))
    assert (tmp_path / "a.png").stat().st_size - (tmp_path / "plain.png").stat().st_size < 1.02 * len(told)


def packed_quickly(data: bytes, kind: bytes) -> bool:
    """Whether what those chunks of a PNG hold was packed by one of zlib's quick levels, as it says itself (RFC 1950):
    the usual one takes a photo of 12 megapixels three times as long and hardly makes it smaller."""
    first = next(chunk for found, chunk in png.chunks(data) if found == kind)
    return first[9] >> 6 < 2


def test_results_are_packed_quickly(engine: Engine, tmp_path: Path) -> None:
    """The picture, what it says of how it was made, and therein the photo's pixels under the fade."""
    size = (300, 200)
    edit = Edit(task="inpaint", image=scenery(*size), mask=rectangle(size, (100, 60, 180, 130)), feather=12)
    engine.save(engine.draw(edit, Chance(seed=1)), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert packed_quickly(data, b"IDAT") and packed_quickly(data, png.PRIVATE)
    (fade,) = json.loads(read_private(tmp_path / "a.png") or b"")["fades"]
    assert packed_quickly(base64.b64decode(fade["pixels"]), b"IDAT")
    Image.open(tmp_path / "a.png").save(tmp_path / "usual.png")
    assert not packed_quickly((tmp_path / "usual.png").read_bytes(), b"IDAT")
