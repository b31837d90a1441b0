"""Squares around what is painted and around an enlargement, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SIDES, scenery
from PIL import Image

from var_core.editing import geometry
from var_core.editing.plan import plan_edit
from var_core.request import Edit


def mask(size: tuple[int, int], *regions: tuple[int, int, int, int]) -> np.ndarray:
    out = np.zeros(size[::-1], dtype=np.uint8)
    for left, top, right, bottom in regions:
        out[top:bottom, left:right] = 255
    return out


@pytest.mark.parametrize(
    ("size", "region", "resolution", "context", "expected"),
    [
        ((200, 100), (50, 40, 70, 50), 32, 2.0, (40, 25, 80, 65)),  # twice the longer side, around the middle
        ((200, 100), (50, 40, 70, 50), 32, 3.0, (30, 15, 90, 75)),
        ((200, 100), (60, 30, 70, 50), 32, 2.0, (45, 20, 85, 60)),  # upright
        ((200, 100), (50, 40, 70, 50), 64, 2.0, (28, 13, 92, 77)),  # never less than the model's own square
        ((200, 100), (0, 0, 20, 10), 32, 2.0, (0, 0, 40, 40)),  # moved into the picture
        ((200, 100), (180, 95, 200, 100), 32, 2.0, (160, 60, 200, 100)),
        ((200, 100), (20, 10, 90, 90), 32, 2.0, (5, 0, 105, 100)),  # no larger than the picture's short side
        ((200, 100), (0, 0, 150, 100), 32, 2.0, (0, -25, 150, 125)),  # but for a region that is: then it sticks out
        ((100, 200), (0, 0, 100, 150), 32, 8.0, (-25, 0, 125, 150)),
        ((20, 20), (5, 5, 9, 9), 32, 2.0, (0, 0, 20, 20)),  # no larger than a small picture
        ((20, 30), (5, 5, 9, 9), 64, 2.0, (-5, 0, 25, 30)),
        ((21, 31), (5, 5, 9, 9), 64, 1.0, (-5, 0, 26, 31)),
    ],
)
def test_the_square_of_a_region(size, region, resolution: int, context: float, expected) -> None:
    painted = mask(size, region)
    boxes, owner = geometry.painted_windows(painted, resolution, context)
    assert boxes == [expected]
    assert np.array_equal(owner, (painted > 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((165, 100, 175, 110), 1),  # 75 pixels from end to end, three quarters of a square of 100
        ((166, 100, 176, 110), 2),
        ((100, 165, 110, 175), 1),
        ((100, 166, 110, 176), 2),
        ((300, 300, 310, 310), 2),
    ],
)
def test_regions_share_a_square_up_to_three_quarters_of_it(other, expected: int) -> None:
    painted = mask((400, 400), (100, 100, 110, 110), other)
    boxes, owner = geometry.painted_windows(painted, 100, 2.0)
    assert len(boxes) == expected == owner.max()
    assert owner[105, 105] == 1 and owner[other[1], other[0]] == expected and ((owner > 0) == (painted > 0)).all()
    if expected == 1:
        assert (boxes[0][0] + boxes[0][2]) / 2 == (100 + other[2]) / 2 or (boxes[0][1] + boxes[0][3]) / 2 == (
            100 + other[3]
        ) / 2


def test_what_lies_in_the_first_ones_square_shares_it() -> None:
    """At the picture's edge the square is moved: the second region is further off than three quarters, but inside."""
    assert geometry.painted_windows(mask((600, 600), (0, 200, 100, 300), (190, 240, 199, 249)), 32, 2.0)[0] == [
        (0, 51, 398, 449)
    ]
    assert len(geometry.painted_windows(mask((600, 600), (0, 200, 100, 300), (190, 240, 201, 251)), 32, 2.0)[0]) == 2


def test_three_in_a_row_join_one_after_another() -> None:
    """The joint square of the first two is larger than each one's own, and the third fits that."""
    painted = mask((600, 200), (100, 50, 110, 60), (160, 50, 170, 60), (195, 50, 205, 60), (500, 50, 510, 60))
    boxes, owner = geometry.painted_windows(painted, 100, 2.0)
    assert boxes == [(52, 0, 252, 200), (455, 5, 555, 105)]
    assert owner[55, 105] == owner[55, 165] == owner[55, 200] == 1 and owner[55, 505] == 2


def test_a_pixel_belongs_to_the_first_window_that_holds_it() -> None:
    """The second region lies in the bounding box of the first, an L, and is far larger squares apart."""
    painted = mask((900, 900), (0, 0, 20, 800), (0, 780, 800, 800), (600, 100, 640, 140))
    boxes, owner = geometry.painted_windows(painted, 64, 1.0)
    assert len(boxes) == 1 and ((owner == 1) == (painted > 0)).all()


def test_the_window_at_a_pixel_is_its_painter_or_the_nearest() -> None:
    picture, painted = scenery(900, 200), np.zeros((200, 900), np.uint8)
    painted[80:120, 20:60] = painted[80:120, 820:860] = 255
    edit = Edit(task="inpaint", image=picture, mask=Image.fromarray(painted))
    plan = plan_edit(edit, SIDES, 64)
    assert plan.owner is not None and len(plan.boxes) == 2
    left, right = (int(plan.owner[100, x]) - 1 for x in (40, 840))
    assert {left, right} == {0, 1}
    for x, y, number in ((40, 100, left), (840, 119.9, right), (460, 10, right), (430, 199, left), (-5, 1e9, left)):
        assert plan.window_at(x, y) == number, (x, y)
    assert plan.window_at(float("nan"), 3) in (0, 1)
    assert plan_edit(Edit(task="generate"), SIDES, 64).window_at(3, 3) == 0


def test_regions_are_found_to_the_pixel_in_large_masks() -> None:
    """Looked for at a third of the size."""
    painted = mask((1300, 1100), (100, 200, 151, 233), (700, 901, 702, 1002), (1299, 1099, 1300, 1100))
    assert sorted(geometry.regions(painted)) == [(100, 200, 151, 233), (700, 901, 702, 1002), (1299, 1099, 1300, 1100)]
    diagonal = mask((60, 60), (10, 10, 20, 20), (20, 20, 30, 30))
    assert geometry.regions(diagonal) == [(10, 10, 30, 30)], "corners touch"


def test_many_dots_are_gathered() -> None:
    few = mask((500, 500), *((x, y, x + 2, y + 2) for x in range(0, 480, 120) for y in range(0, 480, 60)))
    assert len(geometry.regions(few)) == 32
    many = mask(
        (500, 500), *((x, y, x + 2, y + 2) for x in range(0, 500, 20) for y in range(0, 500, 20)), (499, 499, 500, 500)
    )
    found = geometry.regions(many)
    assert 1 <= len(found) <= 32
    assert min(box[0] for box in found) == 0 and max(box[2] for box in found) == max(box[3] for box in found) == 500
    boxes, owner = geometry.painted_windows(many, 64, 2.0)
    assert ((owner > 0) == (many > 0)).all() and len(boxes) == owner.max()


def test_many_dots_are_gathered_no_further_than_needed() -> None:
    """Forty dots in pairs: those of a pair are five apart, the pairs seven, which one more step would join as well."""
    dots = [(x, y, x + 1, y + 1) for y in (50, 150) for at in range(10, 130, 12) for x in (at, at + 5)]
    found = sorted(geometry.regions(mask((200, 200), *dots)))
    assert found == [(at, y, at + 6, y + 1) for at in range(10, 130, 12) for y in (50, 150)]


def test_what_others_have_painted_already_has_no_window() -> None:
    """A bar whose upper end lies within one angle's bounds and whose lower end within another's."""
    first, second = [(0, 100, 100, 101), (0, 100, 1, 160)], [(0, 259, 100, 260), (99, 155, 100, 260)]
    painted = mask((100, 300), *first, *second, (45, 130, 55, 190))
    assert len(geometry.regions(painted)) == 3
    boxes, owner = geometry.painted_windows(painted, 16, 1.0)
    assert len(boxes) == owner.max() == 2 and ((owner > 0) == (painted > 0)).all()


# crops


@pytest.mark.parametrize(
    "box", [(5, 3, 25, 23), (-6, 2, 14, 22), (30, 2, 50, 22), (4, -7, 24, 13), (4, 18, 24, 38), (-5, -5, 45, 45)]
)
def test_a_crop_is_the_picture_and_repeats_its_edge(box) -> None:
    picture = scenery(40, 30)
    left, top, right, bottom = box
    rows, columns = np.arange(top, bottom).clip(0, 29), np.arange(left, right).clip(0, 39)
    expected = np.asarray(picture)[rows][:, columns]
    assert np.array_equal(np.asarray(geometry.crop(picture, box, right - left)), expected)
    grey = picture.convert("L")
    assert np.array_equal(np.asarray(geometry.crop(grey, box, right - left)), np.asarray(grey)[rows][:, columns])
    assert geometry.crop(picture, box, 16).size == (16, 16)


# enlargement


@pytest.mark.parametrize(
    ("size", "ratio", "anchor", "expected"),
    [
        ((100, 50), 4.0, (0.25, 0.5), (25, 0, 75, 0)),
        ((100, 50), 0.5, (0.5, 0.1), (0, 15, 0, 135)),
        ((100, 100), 1.234, (1.0, 0.0), (23, 0, 0, 0)),
        ((100, 100), 20.0, (0.0, 0.0), (0, 0, 1900, 0)),
        ((100, 100), 0.05, (0.0, 0.0), (0, 0, 0, 1900)),
    ],
)
def test_amounts_for_a_shape(size, ratio: float, anchor, expected) -> None:
    assert geometry.outpaint_amounts(size, ratio, anchor) == expected


def test_a_picture_is_enlarged_around_its_middle_where_nothing_is_said() -> None:
    assert geometry.outpaint_amounts((100, 100), 2.0) == (50, 0, 50, 0)
    assert geometry.outpaint_amounts((100, 100), 0.5) == (0, 50, 0, 50)


@pytest.mark.parametrize("ratio", [0.049, 20.1, -1.0])
def test_shapes_have_limits(ratio: float) -> None:
    with pytest.raises(ValueError, match="between 1:20 and 20:1"):
        geometry.outpaint_amounts((100, 100), ratio)


def test_an_enlarged_picture_repeats_its_edge() -> None:
    picture = scenery(20, 16)
    found = np.asarray(geometry.enlarged(picture, (3, 1, 2, 4)))
    rows, columns = np.arange(-1, 20).clip(0, 15), np.arange(-3, 22).clip(0, 19)
    assert np.array_equal(found, np.asarray(picture)[rows][:, columns])


@pytest.mark.parametrize(
    ("size", "amounts", "resolution", "expected"),
    [
        ((64, 64), (0, 0, 64, 0), 64, [(32, 0, 96, 64), (64, 0, 128, 64)]),  # half of each window is known
        ((64, 64), (40, 0, 0, 0), 64, [(8, 0, 72, 64), (0, 0, 64, 64)]),
        ((64, 64), (0, 40, 0, 0), 64, [(0, 8, 64, 72), (0, 0, 64, 64)]),
        ((64, 64), (0, 0, 0, 20), 64, [(0, 20, 64, 84)]),
        ((64, 32), (0, 0, 0, 32), 64, [(0, 0, 64, 64)]),  # a square as large as the model's
        ((200, 100), (0, 0, 30, 0), 64, [(130, 0, 230, 100)]),  # or as the picture
        ((64, 64), (10, 10, 0, 0), 64, [(10, 0, 74, 64), (0, 0, 64, 64), (0, 10, 64, 74)]),
    ],
)
def test_windows_of_an_enlargement(size, amounts, resolution: int, expected) -> None:
    boxes, owner = geometry.outpaint_windows(size, amounts, resolution)
    assert boxes == expected
    left, top, right, bottom = amounts
    assert owner.shape == (size[1] + top + bottom, size[0] + left + right)
    inside = np.zeros(owner.shape, dtype=bool)
    inside[top : top + size[1], left : left + size[0]] = True
    assert ((owner == 0) == inside).all(), "all that is new has one owner, and nothing else"
    for number, (x, y, x2, y2) in enumerate(boxes, 1):
        mine = np.zeros(owner.shape, dtype=bool)
        mine[y:y2, x:x2] = True
        assert not (owner == number)[~mine].any()
        assert ((owner[y:y2, x:x2] == number) | (owner[y:y2, x:x2] < number)).all(), "the first to come draws"


def test_an_enlargement_has_at_most_a_hundred_windows() -> None:
    boxes, _ = geometry.outpaint_windows((64, 64), (0, 0, 32 * 100, 0), 64)
    assert len(boxes) == 100
    with pytest.raises(ValueError, match="takes 101 passes of the model, at most 100"):
        geometry.outpaint_windows((64, 64), (0, 0, 32 * 101, 0), 64)
    with pytest.raises(ValueError, match="at most 100"):
        geometry.outpaint_windows((64, 64), (4000, 4000, 4000, 4000), 64)
