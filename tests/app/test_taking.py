"""What visitors and programs take away: files of the format they chose, and animations."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from conftest import rectangle, scenery
from gradio.data_classes import FileData
from PIL import Image
from test_colour import tagged

from app.api import Api, _file
from app.engines import Engines
from app.saving import ROUNDED, Saver, animations, photo_of
from app.session import Entry, Made
from app.work import Work
from var_core import ANIMATION, SAVING, Chance, Edit, open_image

SCREEN = tagged(b"RGB ", 1.8, b"an old screen")
PROGRAM: Any = SimpleNamespace(session_hash="one", client=None)


@pytest.fixture(scope="module")
def work(model_file: Path) -> Iterator[Work]:
    made = Work(Engines(str(model_file)))
    yield made
    made.engines.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, exif = tmp_path_factory.mktemp("photo") / "photo.jpg", Image.Exif()
    exif[0x010F] = "Maker"
    scenery(150, 110).save(path, quality=97, exif=exif, icc_profile=SCREEN)
    return path


@pytest.fixture(scope="module")
def entry(work: Work, photo: Path) -> Entry:
    mask = rectangle((150, 110), (50, 40, 90, 70))
    edit = Edit(task="inpaint", image=open_image(photo).image, mask=mask)
    steps = list(work.engines.run(work.engines.default, edit, Chance(seed=5, candidates=2)))
    assert steps[-1].result is not None
    kept = work.shelf.keep(Made(steps[-1].result))
    return Entry(1, "inpaint", work.engines.default, work.engines.get().sides, kept, photo=str(photo))


@pytest.fixture(scope="module")
def saver(work: Work) -> Saver:
    return Saver(work.outbox, work.engines)


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
def test_a_version_as_a_file(saver: Saver, entry: Entry, photo: Path, kind: str, suffix: str) -> None:
    answer = saver.picture(entry, 1, str(photo), {"format": kind, "keep_exif": True, "more": "is not looked at"})
    assert answer["name"] == f"inpaint-5-2{suffix}" and answer["notice"] == ROUNDED.get(kind, "")
    assert answer["bytes"] == Path(answer["path"]).stat().st_size > 1000
    with Image.open(answer["path"]) as opened:
        assert opened.format == kind.upper() and opened.getexif()[0x010F] == "Maker"
        assert (opened.info.get("icc_profile") == SCREEN) == (kind != "png")
    made = np.asarray(open_image(answer["path"]).image).astype(int)
    assert np.abs(made - np.asarray(entry.result.image(1))).mean() < (0.001 if kind == "png" else 6)
    plain = saver.picture(entry, 1, str(photo), {"format": kind, "quality": None})
    assert not Image.open(plain["path"]).getexif() and Path(plain["path"]).parent != Path(answer["path"]).parent


def test_a_photo_that_is_gone_costs_only_its_colours(saver: Saver, entry: Entry, tmp_path: Path) -> None:
    for source in (None, str(tmp_path / "gone.jpg")):
        answer = saver.picture(entry, 0, source, {"format": "jpeg", "keep_exif": True})
        with Image.open(answer["path"]) as opened:
            assert "icc_profile" not in opened.info and not opened.getexif()


def test_a_run_as_an_animation(saver: Saver, entry: Entry) -> None:
    answer = saver.animation(entry, 1, {"format": "gif", "view": "window", "side": 96, "seconds": 2})
    assert answer["name"] == "inpaint-5-2.gif"
    with Image.open(answer["path"]) as opened:
        assert opened.format == "GIF" and max(opened.size) == 96 and opened.n_frames > 10  # type: ignore[attr-defined]
        opened.seek(opened.n_frames - 1)  # type: ignore[attr-defined]
        last = np.asarray(opened.convert("RGB")).astype(int)
    box = entry.result.passes[0].box
    assert box is not None
    wanted = entry.result.image(1).crop(box).resize((96, 96), Image.Resampling.LANCZOS)
    assert np.abs(last - np.asarray(wanted)).mean() < 12


@pytest.mark.parametrize(
    ("version", "given", "words"),
    [
        (2, {}, "there is no number 3"), (-1, {}, "there is no number 0"), (0, {"format": "bmp"}, "must be one of"),
        (0, {"quality": "high"}, "must be a whole number"), (0, {"keep_exif": "yes"}, "must be true or false"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_said(saver: Saver, entry: Entry, version: int, given: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        saver.picture(entry, version, None, given)
    with pytest.raises(ValueError, match=words if version or "format" in given else "must be"):
        saver.animation(entry, version, given | ({} if version or "format" in given else {"side": 5}))


def test_mp4_is_offered_where_it_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert animations() == ("webp", "gif", "mp4")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert animations() == ("webp", "gif")


def test_the_file_that_a_row_of_edits_began_with() -> None:
    named = {"o1": SimpleNamespace(path="photo.jpg"), "e1.0": (SimpleNamespace(base="o1"), 0)}
    named |= {"e2.3": (SimpleNamespace(base="e1.0"), 3), "e9.0": (SimpleNamespace(base=None), 0)}
    named |= {"round": (SimpleNamespace(base="round"), 0)}

    def find(name: str) -> Any:
        if name not in named:
            raise ValueError("gone")
        return named[name]

    assert [photo_of(find, base) for base in ("o1", "e1.0", "e2.3")] == ["photo.jpg"] * 3
    assert [photo_of(find, base) for base in (None, "", "e9.0", "o7", "round")] == [None] * 5


# for programs


def test_the_endpoints_take_what_is_declared() -> None:
    for declared in (SAVING, ANIMATION):
        seen = []

        def write(request: Any, given: dict[str, Any], seen: list = seen) -> FileData:
            seen.append(given)
            return FileData(path="x")

        endpoint = _file("Text.", write, declared)
        arguments = inspect.signature(endpoint).parameters
        assert list(arguments) == ["request", "candidate", *declared] and arguments["candidate"].default == 1
        for name, each in declared.items():
            assert arguments[name].default == each.default and f"{name}: {each.help}" in (endpoint.__doc__ or "")
        endpoint(PROGRAM, *range(1 + len(declared)))
        assert seen == [dict(zip(["candidate", *declared], range(1 + len(declared)), strict=True))]
        for many in (len(declared), len(declared) + 2):
            with pytest.raises(ValueError, match="zip"):
                endpoint(PROGRAM, *range(many))
        assert len(seen) == 1, "one that is given other arguments than it takes writes nothing"


def test_programs_save_their_last_result(work: Work, entry: Entry) -> None:
    api = Api(work)
    with pytest.raises(gr.Error, match="no result yet"):
        api.save(PROGRAM, {"candidate": 1, "format": "jpeg"})
    api._session(PROGRAM).add(entry)
    path = Path(api.save(PROGRAM, {"candidate": 2, "format": "jpeg", "quality": 90, "keep_exif": False}).path)
    assert path.name == "inpaint-5-2.jpg" and Image.open(path).info["icc_profile"] == SCREEN
    path = Path(api.animation(PROGRAM, {"candidate": 1, "format": "webp", "side": 64, "seconds": 1.0}).path)
    assert path.name == "inpaint-5-1.webp" and Image.open(path).n_frames > 10  # type: ignore[attr-defined]
    for given in (
        {"candidate": 3, "format": "png"},
        {"candidate": 0, "format": "png"},
        {"candidate": 1, "format": "x"},
    ):
        with pytest.raises(gr.Error, match=r"there is no number|must be"):
            api.save(PROGRAM, given)
    with pytest.raises(gr.Error, match="no result yet"):
        other: Any = SimpleNamespace(session_hash="another", client=None)
        api.save(other, {"candidate": 1, "format": "jpeg"})
