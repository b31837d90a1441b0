"""Tiles: the pixels of the file, wherever one looks."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image

from app.memory import Shelf
from app.pictures import Pictures
from app.tiles import SIDE, Tiles, box_of, cut, size_of
from var_core import Chance, Edit, Engine, Result


def opened(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return scenery(1100, 700)


@pytest.fixture(scope="module")
def result(engine: Engine, photo: Image.Image) -> Result:
    mask = rectangle(photo.size, (460, 470, 640, 560))  # over the corner of four tiles
    return engine.draw(Edit(task="inpaint", image=photo, mask=mask), Chance(seed=2, candidates=2))


def test_tiles_together_are_the_picture(result: Result, photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "photo.png", compress_level=1)
    tiles = Tiles(Pictures(Shelf()))
    for source, whole in ((str(tmp_path / "photo.png"), photo), ((result, 1), result.image(1))):
        made = np.zeros((700, 1100, 3), np.uint8)
        for column in range(3):
            for row in range(2):
                left, top, right, bottom = box_of(column, row, whole.size)
                made[top:bottom, left:right] = opened(tiles.of(source, column, row))
        assert np.array_equal(made, np.asarray(whole))
    assert not np.array_equal(opened(tiles.of((result, 0), 0, 0)), opened(tiles.of((result, 1), 0, 0)))


def test_nothing_whole_is_put_together(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Result, "image", lambda self, index: pytest.fail("put together"))
    monkeypatch.setattr(Image.Image, "copy", lambda self: pytest.fail("copied"))
    assert opened(Tiles(Pictures(Shelf())).of((result, 0), 1, 1)).shape == (700 - SIDE, SIDE, 3)


@pytest.mark.parametrize("task", ["generate", "vary", "outpaint"])
def test_cut_out_of_every_task(engine: Engine, photo: Image.Image, task: Any) -> None:
    more: dict[str, Any] = {"generate": {}, "vary": {"start_scale": 3}, "outpaint": {"left": 60, "top": 30}}[task]
    small = photo.crop((0, 0, 200, 150))
    result = engine.draw(Edit(task=task, image=None if task == "generate" else small, **more), Chance(seed=1))
    whole = result.image(0)
    assert size_of(result, 0) == whole.size
    for box in ((0, 0, *whole.size), (10, 20, 40, 70), (0, 0, 5, 5)):
        assert cut(result, 0, box).tobytes() == whole.crop(box).tobytes()


@pytest.mark.parametrize(
    "place", [(3, 0), (0, 2), (-1, 0), (0, -1), (0.0, 0), (None, 0), ("0", 0), (True, 0), (10**9, 0)]
)
def test_what_is_no_tile(result: Result, place: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="this part of the picture is not there"):
        Tiles(Pictures(Shelf())).of((result, 0), *place)


def test_what_is_no_longer_there(result: Result, tmp_path: Path) -> None:
    for source, words in (
        ((result, 2), "there is no number 3"),
        (str(tmp_path / "gone.png"), "no longer on the server"),
    ):
        with pytest.raises(ValueError, match=words):
            Tiles(Pictures(Shelf())).of(source, 0, 0)
