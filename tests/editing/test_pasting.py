"""Finished windows in the picture: for a run, for its candidates, and again from what a recipe holds."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import scenery
from PIL import Image

from var_core.editing.compositing import match_surroundings
from var_core.editing.painting import Painting
from var_core.editing.plan import Plan, plan_edit
from var_core.request import Edit, Pass

SIDES, RESOLUTION = (1, 2, 3, 4, 6, 8), 32


def plan(**given: object) -> Plan:
    mask = Image.new("L", (200, 60))
    for box in ((10, 10, 30, 30), (150, 20, 170, 44)):
        mask.paste(255, box)
    usual = {"task": "inpaint", "image": scenery(200, 60), "mask": mask, "feather": 4, "color_match": False}
    return plan_edit(Edit(**usual | given), SIDES, RESOLUTION)  # type: ignore[arg-type]


def patch(*colour: int) -> Image.Image:
    return Image.new("RGB", (RESOLUTION, RESOLUTION), colour)


RED, GREEN, BLUE = patch(255, 0, 0), patch(0, 255, 0), patch(0, 0, 255)


def blended(picture: Image.Image, made: Plan, patches: list[tuple[int, tuple[int, int, int]]]) -> np.ndarray:
    """What flat patches must give, slowly and in one go."""
    out = np.asarray(picture).astype(float)
    for number, colour in patches:
        left, top, right, bottom = made.boxes[number]
        alpha = np.zeros((bottom - top, right - left, 1))
        alpha[..., 0] = np.asarray(made.alpha(number)) / 255
        ys, xs = slice(max(top, 0), min(bottom, picture.height)), slice(max(left, 0), min(right, picture.width))
        weight = alpha[ys.start - top : ys.stop - top, xs.start - left : xs.stop - left]
        out[ys, xs] = np.round(out[ys, xs] + (np.array(colour) - out[ys, xs]) * weight)
    return out


def test_windows_are_pasted_where_they_belong() -> None:
    made = plan()
    painting = Painting.of_plan(made, 2)
    assert painting.alike and len(painting.small()) == 1 and painting.whole(1).tobytes() == made.picture.tobytes()
    painting.add(0, made.boxes[0], made.alpha(0), [RED, GREEN])
    painting.add(1, made.boxes[1], made.alpha(1), [BLUE, BLUE])
    assert not painting.alike and len(painting.small()) == 2
    for i, colour in enumerate(((255, 0, 0), (0, 255, 0))):
        expected = blended(made.picture, made, [(0, colour), (1, (0, 0, 255))])
        assert np.array_equal(np.asarray(painting.whole(i)), expected)
        assert painting.parts[i].size == (174 - 6, 48 - 6), "only what may change is held"
    assert made.picture.tobytes() == scenery(200, 60).tobytes()


def test_a_window_sees_what_earlier_ones_painted() -> None:
    made = plan_edit(Edit(task="outpaint", image=scenery(32, 32), right=48, color_match=False), SIDES, RESOLUTION)
    painting = Painting.of_plan(made, 2)
    assert len(made.boxes) >= 3
    one = painting.crops(made.boxes[0], RESOLUTION)
    assert len(one) == 1 and one[0].tobytes() == made.picture.crop(made.boxes[0]).tobytes()
    painting.add(0, made.boxes[0], made.alpha(0), [RED, GREEN])
    for i, seen in enumerate(painting.crops(made.boxes[1], RESOLUTION)):
        assert seen.tobytes() == painting.whole(i).crop(made.boxes[1]).tobytes()
    assert len(painting.crops(made.boxes[1], 16)) == 2 and painting.crops(made.boxes[1], 16)[1].size == (16, 16)
    owned = np.asarray(made.owner) == 1
    assert (np.asarray(painting.whole(1))[owned] == (0, 255, 0)).all()


@pytest.mark.parametrize("box", [(-14, 0, 46, 60), (150, -20, 230, 60), (170, 5, 225, 60)])
def test_crops_stick_out_by_repeating_the_picture(box) -> None:
    made = plan()
    painting = Painting.of_plan(made, 1)
    painting.add(0, made.boxes[0], made.alpha(0), [RED])
    whole = np.asarray(painting.whole(0))
    rows, columns = np.arange(box[1], box[3]).clip(0, 59), np.arange(box[0], box[2]).clip(0, 199)
    (seen,) = painting.crops(box, box[2] - box[0])
    assert np.array_equal(np.asarray(seen), whole[rows][:, columns])


def test_a_picture_without_windows_is_painted_over() -> None:
    made = plan_edit(Edit(), SIDES, RESOLUTION)
    painting = Painting.of_plan(made, 2)
    assert painting.crops(None, RESOLUTION)[0].size == (32, 32)
    painting.add(0, None, None, [RED, BLUE])
    assert painting.whole(0) is RED and painting.whole(1) is BLUE and not painting.alike


def test_tones_are_matched_to_what_no_window_still_draws() -> None:
    """The first window may not look at pixels that the second one will draw; the second may look at the first's."""
    photo = scenery(32, 32)
    made = plan_edit(Edit(task="outpaint", image=photo, right=48, feather=2), SIDES, RESOLUTION)
    painting = Painting.of_plan(made, 1)
    before = painting.whole(0)
    for number in range(2):
        box = made.boxes[number]
        left, top, right, bottom = box
        still = Image.fromarray((made.owner[top:bottom, left:right] > number) * np.uint8(255))
        matched = match_surroundings(BLUE, before.crop(box), still)
        assert np.abs(np.asarray(matched).astype(int) - np.asarray(BLUE)).max() > 20
        painting.add(number, box, made.alpha(number), [BLUE])
        alpha = np.asarray(made.alpha(number))
        found, was = np.asarray(painting.whole(0).crop(box)), np.asarray(before.crop(box))
        assert np.array_equal(found[alpha == 255], np.asarray(matched)[alpha == 255])
        assert np.array_equal(found[alpha == 0], was[alpha == 0])
        before = painting.whole(0)
    plain = Painting(made.picture, made.bounds, made.owner, False, 1)
    plain.add(0, made.boxes[0], made.alpha(0), [BLUE])
    owned = np.asarray(made.owner) == 1
    assert (np.asarray(plain.whole(0))[owned] == (0, 0, 255)).all()


@pytest.mark.parametrize("match", [False, True])
def test_a_replay_pastes_as_the_run_did(match: bool) -> None:
    """Who repaints what is read from the windows' masks; both pictures are the same to the byte."""
    for made in (
        plan(color_match=match),
        plan_edit(
            Edit(task="outpaint", image=scenery(40, 32), right=40, bottom=9, color_match=match), SIDES, RESOLUTION
        ),
    ):
        patches = [scenery(RESOLUTION, RESOLUTION, seed=n) for n in range(len(made.boxes))]
        passes = [Pass([], box=made.boxes[n], alpha=made.alpha(n)) for n in range(len(made.boxes))]
        run, again = Painting.of_plan(made, 1), Painting.of_passes(made.picture, passes, match)
        assert np.array_equal(run.owner, again.owner)
        for number, drawn in enumerate(patches):
            run.add(number, made.boxes[number], made.alpha(number), [drawn])
            again.add(number, passes[number].box, passes[number].alpha, [drawn])
        assert run.whole(0).tobytes() == again.whole(0).tobytes()
