"""Training pictures: folders and zips, with all that lies about in other people's."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shapes import draw, folder

from var_core.pictures.data import Pictures, load_pictures, stack, to_model


def png(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


GOOD = png(draw("box", 3))


def zipped(path: Path, **members: bytes) -> Path:
    """Two good pictures in train/box and one in val/box, and `members` in train/box."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train/box/a.png", "train/box/z.png", "val/box/b.png"):
            archive.writestr(name, GOOD)
        for name, content in members.items():
            archive.writestr(f"train/box/{name}.png", content)
    return path


def test_a_zip_is_the_same_as_its_folder(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", ("disc", "box"), 40)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted(data.rglob("*.png")):
            archive.write(file, file.relative_to(data))
    one, other = load_pictures(data, "train", 32), load_pictures(tmp_path / "data.zip", "train", 32)
    assert one.names == other.names and one.class_names == other.class_names
    assert all(np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True))


def test_pictures_are_as_large_as_training_needs(tmp_path: Path) -> None:
    for name, size in {"large": (400, 300), "small": (20, 30), "right": (35, 40)}.items():
        (tmp_path / "train" / "box").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 10, 10)).save(tmp_path / "train" / "box" / f"{name}.png")
    found = load_pictures(tmp_path, "train", 32)
    sizes = {name.split("/")[-1]: array.shape for name, array in zip(found.names, found.arrays, strict=True)}
    assert sizes == {"large.png": (36, 48, 3), "small.png": (48, 32, 3), "right.png": (40, 35, 3)}


def test_without_a_val_folder_one_file_in_twenty_is_for_validation(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    for i in range(200):
        (tmp_path / "box" / f"{i}.png").write_bytes(GOOD)
    train, val = (load_pictures(tmp_path, split, 32) for split in ("train", "val"))
    assert not set(train.names) & set(val.names) and len(train) + len(val) == 200 and 4 <= len(val) <= 18


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("a.png", "b.png", "c.png"), ("picture",)),
        (("train/a.png", "train/b.png", "val/c.png"), ("picture",)),
        (("mine/rose/a.png", "mine/rose/b.png", "mine/tulip/c.png", "cover.png"), ("rose", "tulip")),
        (("train/a.png", "car/b.png", "car/c.png"), ("car", "train")),
    ],
    ids=["no folders", "a split without classes", "few pictures, one beside the classes", "a class named train"],
)
def test_any_folder_will_do(names: tuple[str, ...], classes: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(GOOD)
    train, val = (load_pictures(tmp_path, split, 32) for split in ("train", "val"))
    assert train.class_names == val.class_names == classes and (len(train), len(val)) == (2, 1)
    assert {*train.names, *val.names} == set(names) - {"cover.png"}


def test_a_phone_picture_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "train" / "box").mkdir(parents=True)
    Image.new("RGB", (64, 40)).save(tmp_path / "train" / "box" / "a.jpg", exif=exif)
    assert load_pictures(tmp_path, "train", 40).arrays[0].shape == (64, 40, 3)


def test_a_bomb_in_a_zip_takes_no_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = zipped(tmp_path / "data.zip")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("train/box/bomb.png", "w") as file,
    ):
        for _ in range(20):
            file.write(bytes(2**23))
    tracemalloc.start()
    found = load_pictures(path, "train", 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 2 and peak < 50 * 2**20
    assert "train/box/bomb.png" in caplog.text and "limit" in caplog.text


def flip(path: Path, at: bytes, offset: int, value: int) -> None:
    """Change one byte of every header that begins with `at` and belongs to bad.png."""
    data, place = bytearray(path.read_bytes()), -1
    while (place := data.find(at, place + 1)) >= 0:
        if b"bad.png" in data[place : place + 80]:
            data[place + offset] = value
    path.write_bytes(data)


def encrypted(path: Path) -> None:
    flip(path, b"PK\x03\x04", 6, 1)
    flip(path, b"PK\x01\x02", 8, 1)


def oddly_compressed(path: Path) -> None:
    flip(path, b"PK\x03\x04", 8, 99)
    flip(path, b"PK\x01\x02", 10, 99)


def wrong_checksum(path: Path) -> None:
    flip(path, b"PK\x03\x04", 14, 77)
    flip(path, b"PK\x01\x02", 16, 77)


def damaged_stream(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("train/box/bad.png")
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + 20] = bytes([255]) * 20
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [encrypted, oddly_compressed, wrong_checksum, damaged_stream])
def test_a_bad_member_is_left_out_and_named(damage: Callable[[Path], None], tmp_path: Path, caplog) -> None:
    path = zipped(tmp_path / "data.zip", bad=GOOD)
    damage(path)
    assert load_pictures(path, "train", 32).names == ("train/box/a.png", "train/box/z.png")
    assert "train/box/bad.png" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", GOOD[:-40], GOOD[:60], png(Image.new("1", (9000, 9000))), png(Image.new("L", (16, 900)))],
    ids=["empty", "text", "cut off", "header only", "too many pixels", "too thin"],
)
def test_a_bad_picture_is_left_out_and_named(content: bytes, tmp_path: Path, caplog) -> None:
    path = zipped(tmp_path / "data.zip", bad=content)
    assert load_pictures(path, "train", 32).names == ("train/box/a.png", "train/box/z.png")
    assert "train/box/bad.png" in caplog.text and len(caplog.records) == 1
    (tmp_path / "data" / "train" / "box").mkdir(parents=True)
    (tmp_path / "data" / "train" / "box" / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"no usable train pictures.*bad\.png"):
        load_pictures(tmp_path / "data", "train", 32)


def test_what_a_mac_leaves_behind_is_no_picture_and_no_class(tmp_path: Path, caplog) -> None:
    path = zipped(tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("__MACOSX/train/box/._a.png", "train/box/._a.png", "train/.cache/x.png", "train/box/d.png/"):
            archive.writestr(name, b"\0\5\x16\7")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "data")
    for place in (path, tmp_path / "data"):
        found = load_pictures(place, "train", 32)
        assert (len(found), found.class_names, caplog.text) == (2, ("box",), "")


def test_both_forms_of_an_accent_are_one_class(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("train/r\u00e9glisse/a.png", GOOD)
        archive.writestr("train/re\u0301glisse/b.png", GOOD)
    found = load_pictures(tmp_path / "data.zip", "train", 32)
    assert found.class_names == ("r\u00e9glisse",) and len(found) == 2


def test_a_damaged_zip_is_one_sentence(tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.zip")
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x01\x02")] = 0
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"data\.zip.*damaged"):
        load_pictures(path, "train", 32)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no fifos")
def test_nothing_that_never_ends_is_read(tmp_path: Path) -> None:
    """A fifo hangs whoever opens it, an endless device fills the memory: in a process of its own, which may die."""
    place = tmp_path / "data" / "train" / "box"
    place.mkdir(parents=True)
    (place / "a.png").write_bytes(GOOD)
    os.mkfifo(place / "fifo.png")
    os.mkfifo(tmp_path / "fifo.zip")
    (place / "zero.png").symlink_to("/dev/zero")
    (place / "gone.png").symlink_to(tmp_path / "gone")
    code = "import sys; from var_core.pictures.data import load_pictures; "
    code += "print(len(load_pictures(sys.argv[1], 'train', 32)))\n"
    code += "for path in (sys.argv[2], '/dev/zero'):\n  try: load_pictures(path, 'train', 32)\n"
    code += "  except ValueError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data"), str(tmp_path / "fifo.zip")],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1" and len(lines) == 3 and all("neither a folder nor a zip" in line for line in lines[1:])


def of_two_classes() -> Pictures:
    """Nine pictures of one class and one of the other, told by their brightness."""
    arrays = [np.full((40, 50, 3), 20 * i, dtype=np.uint8) for i in range(10)]
    return Pictures(arrays, np.array([0] * 9 + [1]), ("a-x", "b"), tuple(map(str, range(10))))


def test_the_balance_weighs_classes_as_told() -> None:
    pictures = of_two_classes()
    assert pictures.weights(0) == pytest.approx(np.full(10, 0.1))
    assert pictures.weights(1) == pytest.approx([1 / 18] * 9 + [1 / 2])
    assert pictures.weights(0.5) == pytest.approx([3**-1 / 4] * 9 + [1 / 4])  # 9 ** -0.5 to 1, of 4 in all


def test_crops_move_mirror_and_zoom() -> None:
    ramp = np.zeros((40, 60, 3), dtype=np.uint8)
    ramp[...] = 4 * np.arange(60)[None, :, None]
    pictures, rng = Pictures([ramp], np.zeros(1, dtype=np.int64), ("a",), ("0",)), np.random.default_rng(0)
    crops = [pictures.crop(0, 16, rng) for _ in range(400)]
    slopes = np.array([(int(c[0, -1, 0]) - int(c[0, 0, 0])) / 15 for c in crops])
    assert 150 < (slopes < 0).sum() < 250
    assert 0.4 < (abs(slopes) == 4).mean() < 0.6  # the other half is shrunk
    assert abs(slopes).max() > 9 and abs(slopes).min() >= 4
    lefts = {int(c[0].min()) // 4 for c, slope in zip(crops, slopes, strict=True) if abs(slope) == 4}
    assert min(lefts) == 0 and max(lefts) == 44 and len(lefts) > 40  # every place
    assert pictures.centre(0, 40)[0, 0, 0] == 40 and pictures.centre(0, 40)[0, -1, 0] == 4 * 49


def test_the_model_sees_values_from_minus_one_to_one() -> None:
    squares = [np.zeros((2, 3, 3), dtype=np.uint8), np.full((2, 3, 3), 255, dtype=np.uint8)]
    squares[0][1, 2] = (255, 0, 51)
    image = to_model(stack(squares), torch.device("cpu"))
    assert image.shape == (2, 3, 2, 3) and image.min() == -1 and image.max() == 1
    assert image[0, :, 1, 2].tolist() == pytest.approx([1, -1, -0.6])
    assert of_two_classes().kind(0) == "a" and of_two_classes().kind(9) == "b"
