"""Pictures out: whole or not at all, nothing of the camera's, and readable by every program."""

from __future__ import annotations

import io
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import scenery
from PIL import Image
from test_images import chunk, encoded, with_chunk

from var_core import open_image, save_png
from var_core.files import png
from var_core.files.images import read_private


def test_saved_files_hold_pixels_and_our_words_only(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera Maker"
    exif.get_ifd(0x8825)[1] = "N"
    opened = open_image(encoded(scenery(60, 40), "JPEG", exif=exif)).image
    opened.info["comment"] = "a place"
    save_png(opened, tmp_path / "o.png", b"recipe")
    kinds = [kind for kind, _ in png.chunks((tmp_path / "o.png").read_bytes())]
    assert set(kinds) == {b"IHDR", b"vsEd", b"IDAT", b"IEND"}
    assert read_private(tmp_path / "o.png") == b"recipe"
    with Image.open(tmp_path / "o.png") as again:
        assert again.info == {} and np.array_equal(np.asarray(again), np.asarray(opened))


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20, 11 * 2**20])
def test_every_program_opens_it_whatever_we_say(tmp_path: Path, size: int) -> None:
    """Random bytes, which do not pack: 11 MB make three chunks, each below what libpng takes."""
    private = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
    picture, path = scenery(60, 40), tmp_path / "o.png"
    save_png(picture, path, private)
    assert read_private(path) == private
    with Image.open(path) as opened:
        assert np.array_equal(np.asarray(opened), np.asarray(picture))
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], np.asarray(picture))
    assert np.array_equal(np.asarray(open_image(path).image), np.asarray(picture))
    parts = [whole for kind, whole in png.chunks(path.read_bytes()) if kind == png.PRIVATE]
    assert len(parts) == max(1, -(-size // (4 * 2**20))) and max(map(len, parts)) < 8_000_000


def test_our_chunk_is_named_by_the_rules() -> None:
    ancillary, private, reserved, copied = (letter & 32 != 0 for letter in png.PRIVATE)
    assert (ancillary, private, reserved, copied) == (True, True, False, True)


LEAST = {b"tRNS": 1, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"eXIf": 8, b"acTL": 8, b"fcTL": 26, b"fdAT": 4}


def names(data: bytes) -> list[bytes]:
    return [kind for kind, _ in png.chunks(data)]


def test_chunks_that_decide_pixels_are_shown_and_no_others() -> None:
    """All that are critical, whoever made them up; of the side ones those that are known and long enough."""
    plain = encoded(scenery(20, 20))
    usual = [b"IHDR", b"IDAT", b"IEND"]
    assert png.shown(plain) == (plain, None) and names(plain) == usual
    for kind in (b"PLTE", b"CgBI", b"ZZZZ"):
        for body in (b"", bytes(40)):
            data = with_chunk(plain, chunk(kind, body))
            assert png.shown(data) == (data, None), kind
            damaged = with_chunk(plain, chunk(kind, body)[:-1] + b"\1")
            assert png.shown(damaged) == (damaged, None), "whether that matters, Pillow says"
    for kind, least in LEAST.items():
        for length in (0, least - 1, least, least + 1, 100):
            data = with_chunk(plain, chunk(kind, bytes(length)))
            assert png.shown(data) == (data if length >= least else plain, None), (kind, length)
        assert png.shown(with_chunk(plain, chunk(kind, bytes(40))[:-1] + b"\1")) == (plain, None)
    for kind in (b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"tIME", b"caBX", b"vsEd"):
        assert png.shown(with_chunk(plain, chunk(kind, bytes(40)))) == (plain, None), kind


def test_a_profile_is_taken_out_and_unpacked() -> None:
    plain = encoded(scenery(20, 20))
    for packed, profile in (
        (b"name\0\0" + zlib.compress(b"profile\0of\0colours"), b"profile\0of\0colours"),
        (b"name\0\0" + zlib.compress(bytes(2**24)), bytes(2**24)),
        (b"name\0\0" + zlib.compress(bytes(2**24 + 1)), b""),
        (b"name\0\0" + zlib.compress(b"profile" * 9)[:-3], b""),
        (b"name", b""),
        (b"", b""),
    ):
        assert png.shown(with_chunk(plain, chunk(b"iCCP", packed))) == (plain, profile)


def test_chunks_are_read_as_far_as_the_file_goes() -> None:
    plain = encoded(scenery(20, 20))
    assert names(plain + chunk(b"tEXt", b"more")) == names(plain), "what lies behind the end is none of it"
    assert names(plain[:-12]) == [b"IHDR", b"IDAT"]
    assert names(plain[:8]) == [] and names(plain[:20]) == [b"IHDR"]
    assert b"".join(bytes(whole) for _, whole in png.chunks(plain)) == plain[8:]
    many = plain[:33] + chunk(b"IDAT", b"") * 100_010
    assert len(names(many)) == 100_000, "the header among them"


def test_what_says_nothing_gives_nothing(tmp_path: Path) -> None:
    save_png(scenery(20, 20), tmp_path / "plain.png")
    (tmp_path / "photo.jpg").write_bytes(encoded(scenery(20, 20), "JPEG"))
    assert read_private(tmp_path / "plain.png") is None and read_private(tmp_path / "photo.jpg") is None
    with pytest.raises(ValueError, match=r"no file none\.png"):
        read_private(tmp_path / "none.png")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "MAX_PRIVATE", 2**20)
    path = tmp_path / "o.png"
    save_png(scenery(20, 20), path, bytes(2**20))
    assert read_private(path) == bytes(2**20)
    bomb = zlib.compress(bytes(2**25))
    for packed in (zlib.compress(bytes(2**20 + 1)), bomb, b"nothing packed", zlib.compress(b"cut off" * 99)[:-9]):
        path.write_bytes(with_chunk(encoded(scenery(20, 20)), chunk(png.PRIVATE, packed)))
        with pytest.raises(ValueError, match="damaged"):
            read_private(path)
    assert png.unpack(bomb, 2**25) is not None and png.unpack(bomb, 2**25 - 1) is None
    tracemalloc.start()
    assert png.unpack(bomb, 2**20) is None
    assert tracemalloc.get_traced_memory()[1] < 2**22, "of 32 MB"
    tracemalloc.stop()


@pytest.mark.parametrize("exception", [KeyboardInterrupt, OSError("no space left"), SystemExit])
def test_an_interruption_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exception: BaseException
) -> None:
    """As it is written; nothing of the name of a result may ever be half of one."""
    path = tmp_path / "new" / "o.png"
    save_png(scenery(20, 20), path)
    before = path.read_bytes()

    def interrupted(self: Image.Image, where: str | Path | io.IOBase, **options: object) -> None:
        Path(where).write_bytes(b"half a picture")  # pyright: ignore[reportArgumentType]
        assert Path(where).parent == path.parent and Path(where).suffix != ".png"  # pyright: ignore
        raise exception

    monkeypatch.setattr(Image.Image, "save", interrupted)
    for target in (path, path.with_name("other.png")):
        with pytest.raises((KeyboardInterrupt, OSError, SystemExit)):
            save_png(scenery(20, 20, 1), target)
    assert [found.name for found in path.parent.iterdir()] == ["o.png"] and path.read_bytes() == before
