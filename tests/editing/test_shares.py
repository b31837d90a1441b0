"""The plan: the picture that is worked on, who repaints what, and what is known of each window at every scale."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image

from var_core.editing import geometry
from var_core.editing.plan import Plan, official_keep, plan_edit
from var_core.request import Edit

SIDES, RESOLUTION = (1, 2, 3, 4, 6, 8), 32


def plan(**given: object) -> Plan:
    return plan_edit(Edit(**given), SIDES, RESOLUTION)  # type: ignore[arg-type]


def painted(size: tuple[int, int], *boxes: tuple[int, int, int, int], **given: object) -> Plan:
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, box)
    return plan(**{"task": "inpaint", "image": scenery(*size), "mask": mask} | given)


def test_a_new_picture_is_the_models_square() -> None:
    made = plan()
    assert made.picture.size == (32, 32) and made.boxes == [None] and made.owner is None and made.bounds is None
    assert made.alpha(0) is None and made.mask(0).getcolors() == [(1024, 255)]
    assert [part.all() for part in made.redrawn(0)] == [True] * 6


def test_a_variation_is_of_the_middle_square() -> None:
    for size, box in (((60, 40), (10, 0, 50, 40)), ((41, 60), (0, 9, 41, 50))):
        photo = scenery(*size)
        made = plan(task="vary", image=photo, start_scale=2)
        assert made.picture.tobytes() == geometry.crop(photo, box, 32).tobytes() and made.owner is None
        assert made.notices == ("The picture was cropped to its centre square.",)
    assert plan(task="vary", image=scenery(40, 40)).notices == ()
    kept = plan(task="vary", image=scenery(40, 40), start_scale=2)
    assert [part.any() for part in kept.redrawn(0)] == [False, False, True, True, True, True]
    assert [part.all() for part in kept.redrawn(0, start=4)] == [False] * 4 + [True] * 2
    assert all(part.all() for part in kept.redrawn(0, start=0))
    with pytest.raises(ValueError, match="start scale must be below 6, got 6"):
        plan(task="vary", image=scenery(40, 40), start_scale=6)


def test_where_pixels_may_change() -> None:
    made = painted((64, 48), (20, 12, 30, 22), feather=3)
    assert made.feather == 3 and made.bounds == (17, 9, 33, 25)
    assert painted((64, 48), (0, 0, 10, 10), (60, 40, 64, 48), feather=5).bounds == (0, 0, 64, 48)
    assert painted((64, 48), (1, 2, 10, 11), feather=5).bounds == (0, 0, 15, 16)
    assert painted((64, 48), (50, 30, 62, 46), feather=5).bounds == (45, 25, 64, 48)
    assert painted((64, 48), (10, 10, 60, 20), feather=None).feather == 2
    assert painted((200, 150), (10, 10, 110, 20), feather=None).feather == 4
    alpha = made.alpha(0)
    (box,) = made.boxes
    assert alpha is not None and alpha.size == (32, 32) and box == (9, 1, 41, 33)
    assert alpha.getbbox() == (8, 8, 24, 24) and alpha.point(lambda v: 255 * (v == 255)).getbbox() == (11, 11, 21, 21)


def test_each_window_repaints_its_own() -> None:
    made = painted((400, 60), (10, 10, 30, 30), (300, 20, 340, 40))
    assert len(made.boxes) == 2
    for number, region in enumerate(((10, 10, 30, 30), (300, 20, 340, 40))):
        left, top, *_ = made.boxes[number]
        moved = (region[0] - left, region[1] - top, region[2] - left, region[3] - top)
        assert made.mask(number).getbbox() == moved and made.mask(number).getextrema() == (0, 255)
    out = plan(task="outpaint", image=scenery(32, 32), right=32)
    assert out.picture.size == (64, 32) and out.picture.crop((0, 0, 32, 32)).tobytes() == scenery(32, 32).tobytes()
    assert out.boxes == [(16, 0, 48, 32), (32, 0, 64, 32)]
    assert [out.mask(n).getbbox() for n in (0, 1)] == [(16, 0, 32, 32), (16, 0, 32, 32)]
    assert out.feather == 2


def test_a_window_that_sticks_out_repaints_nothing_beyond() -> None:
    made = painted((20, 60), (2, 2, 18, 58))
    assert made.boxes == [(-18, 2, 38, 58)] and made.mask(0).getbbox() == (20, 0, 36, 56)


def test_shares_are_counted_exactly() -> None:
    """At the model's own size a finest cell is four by four pixels."""
    made = painted((32, 32), (8, 8, 14, 17))
    shares = made.shares(0)
    assert shares.hole.tobytes() == rectangle((32, 32), (8, 8, 14, 17)).tobytes()
    expected = np.ones((8, 8))
    expected[2:4, 2], expected[4, 2] = 0, 0.75
    expected[2:4, 3], expected[4, 3] = 0.5, 1 - 2 / 16
    assert np.allclose(shares.fraction, expected, atol=1e-6)
    assert [part.shape[0] for part in shares.keep] == list(SIDES)
    assert not shares.keep[0].any() and shares.keep[-1].sum() == 64 - 6
    assert shares.keep[1].tolist() == [[False, True], [False, True]]
    assert (shares.keep[-1] == (expected == 1)).all()
    assert [np.array_equal(drawn, ~keep) for drawn, keep in zip(made.redrawn(0), shares.keep, strict=True)] == [
        True
    ] * 6
    assert made.shares(0) is shares


@pytest.mark.parametrize("size", [60, 300, 900, 3000])
def test_a_dot_is_redrawn_however_large_its_window(size: int) -> None:
    """Every scale has a cell that is not kept, the one in which the dot is (two where it is on a border: cells of the
    third and the fifth scale do not end where pixels of the model do), and the hole hides it."""
    made = painted((size, size), (size // 2 + 3, size // 3, size // 2 + 4, size // 3 + 1), context=8)
    big = plan_edit(made.edit, SIDES, RESOLUTION)
    big.boxes = [(0, 0, size, size)]
    shares = big.shares(0)
    counts = [int((~keep).sum()) for keep in shares.keep]
    assert counts[:2] == [1, 1] and counts[3] == counts[5] == 1 and max(counts) <= 2 and min(counts) == 1
    assert 1 <= (np.asarray(shares.hole) > 0).sum() <= 4
    y, x = (~shares.keep[-1]).nonzero()
    assert (x[0], y[0]) == ((size // 2 + 3) * 8 // size, size // 3 * 8 // size)


def test_the_official_rule_is_asked_for_by_name() -> None:
    made = painted((32, 32), (8, 8, 14, 17), method="official")
    solid = (made.shares(0).fraction > 0.5).astype(np.float32)
    expected = official_keep(solid, SIDES)
    assert all(np.array_equal(a, b) for a, b in zip(made.shares(0).keep, expected, strict=True))
    assert made.shares(0).keep[0].all() and solid.sum() == 64 - 4
    for side, kept in zip(SIDES, official_keep(np.zeros((8, 8)), SIDES), strict=True):
        assert kept.shape == (side, side) and kept.all() == (side == 1)


def test_a_pixel_of_the_models_is_a_hole_where_it_covers_a_painted_one() -> None:
    made = painted((96, 96), (20, 24, 53, 61))
    mask = np.asarray(made.mask(0)).astype(np.float32)
    assert len(mask) > RESOLUTION, "smaller for the model"
    share = cv2.resize(mask, (RESOLUTION, RESOLUTION), interpolation=cv2.INTER_AREA)
    hole = np.asarray(made.shares(0).hole) > 0
    assert hole[share > 1].all() and not hole[share < 0.4].any()
