"""Runs as moving pictures."""

from __future__ import annotations

import builtins
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import scenery
from imageio_ffmpeg import read_frames
from PIL import Image

from var_core import ANIMATION, Animation, save_animation
from var_core.files import animation
from var_core.files.animation import format_of, frames

SECONDS = 3.0


def growing(count: int = 5, size: tuple[int, int] = (120, 90)) -> list[Image.Image]:
    """A grey square that gets lighter in a picture that stays."""
    pictures = []
    for i in range(count):
        picture = scenery(*size)
        picture.paste((40 * i,) * 3, (30, 20, 70, 60))
        pictures.append(picture)
    return pictures


def read(path: Path) -> tuple[list[np.ndarray], float]:
    """The frames of an animation and how long all of them last, in seconds."""
    shown, lasting = [], 0.0
    with Image.open(path) as opened:
        for i in range(getattr(opened, "n_frames", 1)):
            opened.seek(i)
            shown.append(np.asarray(opened.convert("RGB")).astype(int))
            lasting += opened.info["duration"] / 1000
    return shown, lasting


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_an_animation_opens_elsewhere(kind: str, tmp_path: Path) -> None:
    """From the first picture to the last one, over what lies between; the end is held; it begins again."""
    pictures = growing()
    save_animation(pictures, tmp_path / "new" / "a", Animation(format=kind, seconds=SECONDS))
    shown, lasting = read(tmp_path / "new" / "a")
    assert shown[0].shape == (90, 120, 3) and len(shown) > 3 * len(pictures) and abs(lasting - SECONDS) < 0.4
    for mine, first in ((shown[0], pictures[0]), (shown[-1], pictures[-1])):
        assert np.abs(mine - np.asarray(first)).mean() < 12
    inside = [frame[25:55, 35:65].mean() for frame in shown]
    assert all(later > earlier - 3 for earlier, later in pairwise(inside)), "ever lighter"
    with Image.open(tmp_path / "new" / "a") as opened:
        assert opened.format == kind.upper() and opened.info["loop"] == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_what_stays_stays_in_a_gif(tmp_path: Path) -> None:
    save_animation(growing(), tmp_path / "a", Animation(format="gif", seconds=SECONDS))
    shown, _ = read(tmp_path / "a")
    still = np.ones((90, 120), bool)
    still[20:60, 30:70] = False
    assert all((frame[still] == shown[0][still]).all() for frame in shown), "no grain that flickers"
    with Image.open(tmp_path / "a") as opened:
        for number in range(len(shown)):
            opened.seek(number)
            assert opened.disposal_method == 1, "each stays till the next one is drawn over it"  # type: ignore[attr-defined]


def test_a_film(tmp_path: Path) -> None:
    """Of a size that films do not have: one line and one column less."""
    save_animation(growing(size=(121, 91)), tmp_path / "a", Animation(format="mp4", seconds=SECONDS))
    film = read_frames(str(tmp_path / "a"))
    about = next(film)
    frames_of = [np.frombuffer(data, np.uint8).reshape(90, 120, 3) for data in film]
    assert about["size"] == (120, 90) and about["codec"] == "h264" and about["pix_fmt"].startswith("yuv420p")
    assert about["fps"] == 20
    assert abs(about["duration"] - SECONDS) < 0.3 and len(frames_of) > 50
    assert np.abs(frames_of[-1].astype(int) - np.asarray(growing(size=(121, 91))[-1])[:90, :120]).mean() < 12
    assert (tmp_path / "a").read_bytes()[4:8] == b"ftyp"


def test_without_the_package_one_sentence_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        if name.startswith("imageio_ffmpeg"):
            raise ImportError(name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match="install the package imageio-ffmpeg, or save WebP or GIF"):
        save_animation(growing(), tmp_path / "a", Animation(format="mp4"))
    assert not list(tmp_path.iterdir())


def test_frames_and_their_times() -> None:
    pictures = growing(11)
    for seconds in (1.0, 6.0, 30.0):
        shown, lasting = frames(pictures, seconds)
        assert len(shown) == len(lasting) and shown[-1] is pictures[-1] and lasting[-1] >= 1000
        assert all(time >= 20 and time % 10 == 0 for time in lasting)
        assert [picture for picture in shown if any(picture is one for one in pictures)] == pictures
        assert abs(sum(lasting) / 1000 - max(seconds, 1.2)) < 0.4
    assert [len(part) for part in frames(pictures[:1], 3.0)] == [1, 1]
    assert set(frames(pictures, 1.0)[1][:-1]) == {20}, "as short as a GIF shows them"


def test_a_third_of_the_time_each_picture_rests() -> None:
    """The end is held for a quarter, a second at least; of the rest two thirds are for fading, in whole hundredths."""
    for count, seconds, rest, beat, fading, hold in (
        (2, 6.0, 4500 - 8 * 330, 330, 8, 1500),  # no more than eight between two
        (11, 6.0, 210, 40, 6, 1500),
        (4, 2.0, 330 - 4 * 40, 40, 4, 1000),
        (3, 6.0, 2250 - 8 * 170, 170, 8, 1500),
        (11, 1.2, 20, 0, 0, 1000),
    ):
        shown, lasting = frames(growing(count, (20, 16)), seconds)
        assert lasting == [*[rest, *[beat] * fading] * (count - 1), hold] and len(shown) == len(lasting)


def test_a_fade_begins_as_slowly_as_it_ends() -> None:
    shown, _ = frames([Image.new("RGB", (8, 8), grey) for grey in ("black", "white")], 6.0)
    greys = [picture.getpixel((4, 4))[0] for picture in shown]  # type: ignore[index]
    assert len(greys) >= 10 and (greys[0], greys[-1]) == (0, 255)
    assert all(abs(one + other - 255) <= 1 for one, other in zip(greys, reversed(greys), strict=True))


def test_what_is_held_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "_MOST_PIXELS", 20 * 120 * 90)
    shown, _ = frames(growing(11), 6.0)
    assert 11 <= len(shown) <= 21
    monkeypatch.setattr(animation, "_MOST_PIXELS", 6 * 120 * 90)
    assert len(frames(growing(2), 6.0)[0]) == 2 + 5, "one step takes all of the room"


def test_a_film_keeps_time() -> None:
    (picture,) = growing(1)
    shown = list(animation._steadily([picture] * 3, [20_010, 20_010, 20_000]))
    assert len(shown) == round(60.02 * animation._RATE)


def test_a_file_is_no_larger_than_what_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_animation(growing(), tmp_path / "a", Animation(seconds=SECONDS))
    most = (tmp_path / "a").stat().st_size // 3
    monkeypatch.setattr(animation, "MOST_BYTES", most)
    save_animation(growing(), tmp_path / "b", Animation(seconds=SECONDS))
    assert (tmp_path / "b").stat().st_size <= most
    with Image.open(tmp_path / "b") as opened:
        assert 30 < opened.width < 120 and abs(opened.width / opened.height - 4 / 3) < 0.1


def test_what_does_not_get_small_enough_is_tried_four_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time at nine tenths of the side that would do, two pixels at least: films need as many."""
    tried: list[tuple[int, int]] = []

    def write(shown: list[Image.Image], lasting: list[int], path: Path) -> None:
        tried.append(shown[0].size)
        path.write_bytes(bytes(animation.MOST_BYTES * 4 if len(tried) < 3 else animation.MOST_BYTES + 1))

    monkeypatch.setattr(animation, "_webp", write)
    save_animation(growing(2, (120, 9)), tmp_path / "a")
    assert tried == [(120, 9), (54, 4), (24, 2), (21, 2)] and (tmp_path / "a").exists()
    assert animation._smaller(scenery(9, 120), 0.01).size == (2, 2)
    assert animation.MOST_BYTES == 8 * 1024 * 1024, "what chats and issue trackers take"


def test_settings_and_names() -> None:
    assert Animation() == Animation(**{name: each.default for name, each in ANIMATION.items()})
    assert (Animation().format, Animation().view, Animation().side, Animation().seconds) == ("webp", "photo", 640, 6.0)
    least, most = Animation(side=64, seconds=1), Animation(side=1280, seconds=30)
    assert (least.side, most.side, least.seconds, most.seconds) == (64, 1280, 1, 30), "the bounds themselves are fine"
    assert all(each.label and each.help for each in ANIMATION.values())
    for wrong in ({"side": 63}, {"side": 1281}, {"seconds": 0.99}, {"seconds": 30.01}):
        with pytest.raises(ValueError, match="must be"):
            Animation(**wrong)
    for wrong in ({"format": "avi"}, {"side": 32}, {"side": 5000}, {"seconds": 0}, {"seconds": 31}, {"view": "moon"}):
        with pytest.raises(ValueError, match="must be"):
            Animation(**wrong)
    assert [format_of(f"a{end}") for end in (".webp", ".GIF", ".mp4")] == ["webp", "gif", "mp4"]
    with pytest.raises(ValueError, match=r"end it in .webp, .gif or .mp4"):
        format_of("a.png")
