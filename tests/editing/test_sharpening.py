"""How a painting asks for detail, and what of it is pasted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import SIDES, rectangle, scenery
from PIL import Image

from var_core.editing import detail
from var_core.editing.detail import Steps, _bytes, _hints, _is_matched, _Level
from var_core.editing.painting import Painting, _aside
from var_core.editing.plan import Plan, plan_edit
from var_core.model.superres import bundled_superres
from var_core.request import Edit, Way, seed_of

PHOTO, HOLE = scenery(300, 260), (90, 70, 170, 150)


def planned(**given: object) -> Plan:
    usual = {"task": "inpaint", "image": PHOTO, "mask": rectangle(PHOTO.size, HOLE), "color_match": False}
    return plan_edit(Edit(**usual | given), SIDES, 32)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", [None, "rose"])
def test_a_window_is_sharpened_in_its_own_way(monkeypatch: pytest.MonkeyPatch, label: str | None) -> None:
    plan = planned(task="edit" if label else "inpaint", label=label)
    painting, box, alpha = Painting.of_plan(plan, 2), plan.boxes[0], plan.alpha(0)
    assert box is not None and alpha is not None and len(plan.boxes) == 1
    painting.add(0, box, alpha, [Image.new("RGB", (32, 32), (200, 30, 30)), Image.new("RGB", (32, 32), (30, 200, 30))])
    asked: list[tuple[Any, ...]] = []
    asides: list[tuple[float, float]] = []

    def steps(photo: np.ndarray, *given: Any, **more: Any) -> Steps:
        asked.append((photo, *given))
        asides.append(more.get("aside", (0, 0)))
        height, width = photo.shape[:2]

        def pictures() -> Iterator[np.ndarray]:
            yield np.full((height // 2, width // 2, 3), 90, np.uint8)
            yield np.full((height, width, 3), 60 + 10 * len(asked), np.uint8)

        return Steps(2, pictures())

    def no(*_: Any) -> Steps:
        raise AssertionError("the other way")

    monkeypatch.setattr(detail, "refined" if label else "continued", steps)
    monkeypatch.setattr(detail, "continued" if label else "refined", no)
    drawn = [painting.whole(index).tobytes() for index in range(2)]
    way = plan.way(0)
    assert way == ("refined" if label else "continued")
    count, levels = painting.sharpen(0, box, alpha, way, 5, [0, 3])
    assert count == 4
    first = next(levels)
    assert [one.size for one in first] == [alpha.size] * 2 and first[0].getpixel((9, 9)) == (90, 90, 90)
    assert [painting.whole(index).tobytes() for index in range(2)] == drawn, "pasted only when it is whole"
    next(levels)
    assert [painting.whole(index).tobytes() == drawn[index] for index in range(2)] == [False, True]
    assert len(list(levels)) == 2
    middle = (HOLE[0] + HOLE[2]) // 2, (HOLE[1] + HOLE[3]) // 2
    assert [painting.whole(index).getpixel(middle)[0] for index in range(2)] == [70, 80]  # type: ignore[index]
    changed = np.asarray(painting.whole(0)) != np.asarray(PHOTO)
    assert not changed[np.asarray(plan_alpha(plan, box, alpha)) == 0].any()
    for (photo, soft, hole, known, *rest), seed, colour in zip(
        asked, (5, seed_of(5, 0, 3)), ((200, 30, 30), (30, 200, 30)), strict=True
    ):
        assert photo.shape == soft.shape and photo.shape[:2] == hole.shape == known.shape
        assert rest == ([(box[2] - box[0]) / 32, seed, bundled_superres()] if label else [seed])
        assert not (hole & known).any() and (hole | known).all(), "one window: what is not drawn is known"
        inner = np.argwhere(hole)
        y, x = (inner.min(0) + inner.max(0)) // 2
        assert tuple(soft[y, x]) == colour
        assert int(hole.sum()) == (
            (np.asarray(alpha) > 0).sum() if label else (HOLE[2] - HOLE[0]) * (HOLE[3] - HOLE[1])
        )
        part = np.asarray(PHOTO)[box[1] : box[3], box[0] : box[2]]
        there = (photo.reshape(-1, 3) == part[0, 0]).all(1).any()
        assert there, "it is the photo before the window was drawn"
    assert asides[0] == (0, 0) and (asides[1] == (0, 0)) == bool(label), "only what goes on can go on from elsewhere"


def test_a_plan_says_how_much_gets_detail() -> None:
    """By which way, of how many pixels, and how many of them are repainted: memory is asked for by it."""
    (box,) = planned().boxes
    assert box is not None and (box[2] - box[0]) * (box[3] - box[1]) == 160 * 160
    assert planned().detailed == [("continued", 160 * 160, 80 * 80)]
    assert planned(task="edit", label="rose").detailed == [("refined", 160 * 160, 80 * 80)]
    assert planned(detail=False).detailed == []


def test_further_candidates_go_on_with_other_parts_of_the_photo() -> None:
    around = [_aside(7, candidate) for candidate in range(4)]
    assert around[0] == (0, 0)
    apart = [np.hypot(*np.subtract(a, b)) for i, a in enumerate(around) for b in around[:i]]
    assert min(apart) > 0.25, "each far from all others"
    assert np.hypot(*np.array(around[1:]).T) == pytest.approx(0.3)
    assert _aside(8, 1) != around[1] == _aside(7, 1)


@pytest.mark.parametrize("way", ["continued", "refined"])
def test_what_is_still_to_be_drawn_has_no_influence(way: Way) -> None:
    """There stands the photo in a run, and the finished picture in a replay."""
    owner = np.zeros((100, 120), np.uint8)
    owner[30:60, 40:70], owner[30:60, 70:95] = 1, 2
    alpha, box = Image.new("L", (50, 50)), (30, 20, 80, 70)
    alpha.paste(255, (10, 10, 40, 40))
    made = []
    for other in ((0, 0, 0), (255, 0, 255)):
        picture = scenery(120, 100)
        picture.paste(other, (70, 30, 95, 60))
        painting = Painting(picture, (0, 0, 120, 100), owner, False, 1)
        painting.add(0, box, alpha, [scenery(20, 20, seed=4)])
        _, levels = painting.sharpen(0, box, alpha, way, 3, [1])
        for _ in levels:
            pass
        made.append(painting.whole(0).crop((40, 30, 70, 60)).tobytes())
    assert made[0] == made[1]


def plan_alpha(plan: Plan, box: tuple[int, int, int, int], alpha: Image.Image) -> Image.Image:
    """A window's composite mask in the whole picture."""
    whole = Image.new("L", plan.picture.size)
    whole.paste(alpha, box[:2])
    return whole


def test_values_beyond_those_of_a_picture_are_cut_off() -> None:
    values = np.array([-9.0, -0.4, 0.6, 254.6, 255.4, 255.6, 300.0], np.float32)
    assert _bytes(values).tolist() == [0, 0, 1, 255, 255, 255, 255]


def test_holes_are_matched_up_to_the_bounds_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    hole = np.ones((10, 12), bool)
    monkeypatch.setattr(detail, "_LARGEST", 12)
    monkeypatch.setattr(detail, "_MATCHED", 120)
    assert _is_matched(hole)
    monkeypatch.setattr(detail, "_LARGEST", 11)
    assert not _is_matched(hole)
    monkeypatch.setattr(detail, "_LARGEST", 12)
    monkeypatch.setattr(detail, "_MATCHED", 119)
    assert not _is_matched(hole)


def test_liveliness_is_the_mean_of_what_is_known() -> None:
    known = np.ones((80, 100), bool)
    known[:, 50:] = False
    slopes = np.full((80, 100, 2), 3.0, np.float32)
    slopes[~known] = 99
    level = _Level(np.full((80, 100, 3), 50, np.float32), known, ~known, slopes)
    soft = np.full((80, 100, 3), 200, np.uint8)
    theirs, wanted = _hints(level, soft, 0.0, (0, 0))
    assert np.allclose(theirs[:, :50, :2], 3 * detail._LIVELY**0.5) and np.array_equal(theirs, wanted)
    assert theirs.shape[2] == 4 and theirs[10, 20, 2] < theirs[20, 20, 2] and theirs[10, 20, 3] < theirs[10, 30, 3]
    theirs, wanted = _hints(level, soft, 0.0, (0.1, -0.2))
    aside = (wanted - theirs)[..., 2:]
    assert np.allclose(aside, (10 * (theirs[1, 0, 2] - theirs[0, 0, 2]), -20 * (theirs[0, 1, 3] - theirs[0, 0, 3])))
    theirs, wanted = _hints(level, soft, 0.25, (0, 0))
    assert np.allclose(theirs[20, 20, 4:], 0.5 * 50) and np.allclose(wanted[20, 20, 4:], 0.5 * 200)
