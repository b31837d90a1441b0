"""Masks and pictures between the browser and the engine."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image

from app import canvas


def layer(mask: Image.Image, kind: str = "PNG") -> str:
    """A paint layer as the painter sends it: opaque where painted."""
    picture = Image.new("RGBA", mask.size, (240, 37, 124, 0))
    picture.putalpha(mask)
    buffer = io.BytesIO()
    picture.convert("RGB" if kind == "JPEG" else "RGBA").save(buffer, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


def test_mask_comes_back_at_the_size_of_the_picture() -> None:
    painted = rectangle((100, 80), (10, 20, 50, 60))
    found = canvas.parse_mask(layer(painted), (1000, 800))
    assert found is not None and found.mode == "L" and found.size == (1000, 800)
    assert np.array_equal(np.asarray(found), np.asarray(rectangle((1000, 800), (100, 200, 500, 600))))


def test_soft_edges_become_hard() -> None:
    soft = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (4, 1)))
    found = canvas.parse_mask(layer(soft), soft.size)
    assert found is not None
    assert np.array_equal(np.asarray(found)[0], np.where(np.arange(256) > 127, 255, 0))


@pytest.mark.parametrize("url", [None, "", layer(Image.new("L", (20, 20)))])
def test_nothing_painted_is_none(url: str | None) -> None:
    assert canvas.parse_mask(url, (20, 20)) is None


def test_what_is_no_layer_is_refused() -> None:
    painted = rectangle((40, 40), (0, 0, 20, 20))
    cut = layer(painted)
    broken = [
        layer(painted, "JPEG"),
        "data:image/png;base64,!!!!",
        "data:image/png;base64," + base64.b64encode(b"no picture").decode(),
        cut[: len(cut) // 2 // 4 * 4],
        layer(rectangle((4000, 20), (0, 0, 20, 20))),
        "data:image/png;base64," + "A" * (5 * 2**20),
    ]
    for url in broken:
        with pytest.raises(ValueError, match="paint it again"):
            canvas.parse_mask(url, (40, 40))


def test_shrink_keeps_the_shape_and_never_enlarges() -> None:
    picture = scenery(1600, 1200)
    assert canvas.shrink(picture, 1024).size == (1024, 768)
    assert canvas.shrink(picture, 2000) is picture
    assert canvas.shrink(Image.new("RGB", (5000, 16)), 1024).size == (1024, 3)


def test_data_uri_holds_the_picture() -> None:
    picture = scenery(64, 48)
    uri = canvas.data_uri(picture, 95)
    again = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert again.format == "JPEG" and again.size == picture.size
    assert np.abs(np.asarray(again, int) - np.asarray(picture, int)).mean() < 6


@pytest.mark.parametrize("box", [(0, 0, 20, 20), (500, 300, 700, 380), (799, 599, 800, 600), (0, 0, 800, 600)])
def test_a_part_is_what_the_box_holds(box: tuple[int, int, int, int]) -> None:
    picture = scenery(800, 600)
    shares = canvas.shares(box, picture.size)
    assert canvas.part(picture, shares).tobytes() == picture.crop(box).tobytes()
    small = canvas.part(scenery(40, 30), shares)
    assert min(small.size) >= 1, "a dot is shown as one pixel"
    thumb = Image.open(io.BytesIO(base64.b64decode(canvas.thumb(picture).split(",")[1])))
    assert max(thumb.size) == canvas.THUMB_SIDE


def test_a_mask_becomes_a_layer_and_comes_back() -> None:
    for size in ((100, 80), (3000, 2000)):
        mask = rectangle(size, (size[0] // 10, size[1] // 4, size[0] // 2, size[1] // 2))
        found = canvas.parse_mask(canvas.layer_uri(mask), size)
        assert found is not None and np.mean(np.asarray(found) != np.asarray(mask)) < 0.002


def test_cells_are_shares_of_the_picture() -> None:
    grid = np.array([[True, False], [False, True]])
    found = canvas.cells([((10, 20, 60, 70), [grid])], (100, 200))
    assert found["windows"][0]["box"] == [0.1, 0.1, 0.6, 0.35]
    assert found["windows"][0]["grids"] == [{"side": 2, "cells": "1001"}]
