"""Blending, fading, filling and tones, in numbers that can be worked out by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from conftest import scenery
from PIL import Image

from var_core.editing import compositing


def flat(size: tuple[int, int], *colour: int) -> Image.Image:
    return Image.new("RGB" if len(colour) == 3 else "L", size, colour if len(colour) == 3 else colour[0])


@pytest.mark.parametrize(
    ("across", "down", "expected"), [(100, 40, 4), (40, 100, 4), (12, 9, 2), (130, 1, 5), (1000, 1, 40)]
)
def test_the_usual_feather_is_a_25th_of_what_is_painted(across: int, down: int, expected: int) -> None:
    owner = np.zeros((1200, 1100), dtype=np.uint8)
    owner[5 : 5 + down, 7 : 7 + across] = 3
    assert compositing.usual_feather(owner) == expected


@pytest.mark.parametrize("feather", [0, 1, 3, 8])
def test_the_fade_is_a_smooth_step(feather: int) -> None:
    mask = np.zeros((41, 41), dtype=np.uint8)
    mask[20, 20] = 255
    mask[0, 0] = 127
    alpha = np.asarray(compositing.composite_alpha(Image.fromarray(mask), feather))
    assert alpha[0, 0] == 0, "half is not painted"
    for x in range(41):
        for y in (20, 23):
            distance = math.hypot(x - 20, y - 20)
            t = max(0.0, 1 - distance / (feather + 1)) if distance <= feather else 0.0
            below = 255 * t * t * (3 - 2 * t) - int(alpha[y, x])  # rounded down
            assert -1e-3 < below < 1 + 1e-3 if distance else alpha[y, x] == 255


def test_only_what_is_painted_is_opaque_however_slow_the_fade() -> None:
    painted = np.zeros((3, 400), dtype=bool)
    painted[:, 0] = True
    alpha = np.asarray(compositing.composite_alpha(Image.fromarray(painted * np.uint8(255)), 300))
    assert np.array_equal(alpha == 255, painted) and (alpha[:, 1] == 254).all()
    assert np.array_equal(compositing._fade(painted, 300), alpha)


def test_painted_is_what_is_above_127() -> None:
    levels = Image.fromarray(np.array([[0, 1, 127, 128, 255]], dtype=np.uint8))
    assert np.asarray(compositing.composite_alpha(levels, 0)).tolist() == [[0, 0, 0, 255, 255]]


@pytest.mark.parametrize(("method", "flag"), [("telea", cv2.INPAINT_TELEA), ("navier-stokes", cv2.INPAINT_NS)])
def test_a_hole_is_filled_in_the_way_that_is_named(method: compositing.Fill, flag: int) -> None:
    picture, hole = scenery(64, 64), np.zeros((64, 64), np.uint8)
    hole[20:44, 20:44] = 255
    expected = cv2.inpaint(np.asarray(picture), hole, 3, flag)
    assert np.array_equal(np.asarray(compositing.fill_hole(picture, Image.fromarray(hole), method)), expected)


@pytest.mark.parametrize("row", [0, 1000, 1020, 1023, 1024, 1030, 2047, 2048, 2099])
def test_bands_do_not_show_in_a_fade(row: int) -> None:
    """Work goes on in bands of 1024 rows."""
    mask = np.zeros((2100, 12), dtype=np.uint8)
    mask[row, 6] = 255
    alpha = np.asarray(compositing.composite_alpha(Image.fromarray(mask), 9))
    expected = compositing._fade(mask > 0, 9)
    expected[row, 6] = 255
    assert np.array_equal(alpha, expected)
    mask[row] = 255  # the whole row
    mask[row, 3] = 0
    mask[row + 1 :] = 255
    alpha = np.asarray(compositing.composite_alpha(Image.fromarray(mask), 9))
    expected = np.where(mask > 0, 255, compositing._fade(mask > 0, 9))
    assert np.array_equal(alpha, expected) and 0 < alpha[row, 3] < 255
    whole = Image.new("L", (9, 1100), 255)
    assert compositing.composite_alpha(whole, 9).tobytes() == whole.tobytes()


def test_blending_rounds_and_leaves_what_is_outside() -> None:
    below, above = flat((4, 3), 100, 0, 255), flat((4, 3), 200, 255, 0)
    weights = np.array([[0, 1, 127, 128]] * 2 + [[254, 255, 0, 64]], dtype=np.uint8)
    found = np.asarray(compositing.blend(below, above, Image.fromarray(weights))).astype(int)
    share = weights[..., None] / 255
    expected = np.array([100, 0, 255]) * (1 - share) + np.array([200, 255, 0]) * share
    assert np.abs(found - expected).max() <= 0.5 + 1e-4 and found[2, 1].tolist() == [200, 255, 0]
    assert found[0, 0].tolist() == [100, 0, 255]
    tall, other = scenery(3, 2500), scenery(3, 2500, seed=1)
    rows = Image.fromarray((np.arange(2500) % 7 * 40).astype(np.uint8)[:, None].repeat(3, 1))
    made = np.asarray(compositing.blend(tall, other, rows)).astype(float)
    share = np.asarray(rows)[..., None] / 255
    assert np.abs(made - (np.asarray(tall) * (1 - share) + np.asarray(other) * share)).max() <= 0.51


def test_a_hole_is_filled_by_what_surrounds_it() -> None:
    picture = scenery(40, 40)
    hole = Image.new("L", (40, 40))
    hole.paste(1, (10, 10, 20, 22))
    inside = np.asarray(hole) > 0
    outside = np.asarray(picture)[~inside]
    found = {
        name: np.asarray(compositing.fill_hole(picture, hole, name)) for name in ("telea", "navier-stokes", "mean")
    }
    for made in found.values():
        assert np.array_equal(made[~inside], outside) and not np.array_equal(made[inside], np.asarray(picture)[inside])
    assert (np.abs(found["mean"][inside].astype(float) - outside.mean(axis=0)) <= 1).all()
    assert np.abs(found["telea"][9:11, 15].astype(int) - np.asarray(picture)[9, 15]).max() < 40
    assert not np.array_equal(found["telea"], found["navier-stokes"])
    assert compositing.fill_hole(picture, hole, "none") is picture
    nothing, everything = Image.new("L", (40, 40)), Image.new("L", (40, 40), 255)
    assert compositing.fill_hole(picture, nothing, "mean") is picture
    for name in ("telea", "navier-stokes", "mean"):
        assert compositing.fill_hole(picture, everything, name).getcolors() == [(1600, (128, 128, 128))]


def test_a_surface_joins_what_is_known() -> None:
    """Between two walls it is a ramp, beside one wall level; nothing known is 0."""
    values, known = np.zeros((33, 33, 2), dtype=np.float32), np.zeros((33, 33), dtype=bool)
    known[:, 0] = known[:, 32] = True
    values[:, 0], values[:, 32], values[5, 5] = (10, -10), (42, 10), (999, 999)
    found = compositing.fill_smoothly(values, known)
    ramp = np.linspace(0, 1, 33)[None, :, None]
    assert np.abs(found - ((1 - ramp) * (10, -10) + ramp * (42, 10))).max() < 1.5
    known[:, 32] = False
    level = compositing.fill_smoothly(values, known)
    assert np.abs(level - (10, -10)).max() < 0.6
    assert not compositing.fill_smoothly(values, np.zeros((33, 33), dtype=bool)).any()
    assert np.array_equal(compositing.fill_smoothly(values, np.ones((33, 33), dtype=bool)), values)


@pytest.mark.parametrize("size", [(40, 24), (31, 57), (5, 3), (2, 90)])
def test_a_surface_is_the_same_from_any_side(size: tuple[int, int]) -> None:
    """Turned over, what is known gives the same surface turned over: neither way is preferred."""
    rng = np.random.default_rng(0)
    values, known = rng.random((*size, 2)).astype(np.float32), rng.random(size) < 0.05
    known[-1, 0] = True
    found = compositing.fill_smoothly(values, known)
    other = compositing.fill_smoothly(np.ascontiguousarray(values.transpose(1, 0, 2)), np.ascontiguousarray(known.T))
    assert np.allclose(found, other.transpose(1, 0, 2), atol=1e-4)


def test_tones_reach_a_32nd_of_the_side_into_what_is_drawn() -> None:
    """A patch 40 levels too bright, its right part painted: known pixels become the photo's, and inside the difference
    fades by exp(-distance / 2)."""
    photo, patch = flat((64, 64), 100, 90, 80), flat((64, 64), 140, 90, 60)
    painted = Image.new("L", (64, 64))
    painted.paste(255, (30, 0, 64, 64))
    found = np.asarray(compositing.match_surroundings(patch, photo, painted)).astype(float)
    assert (found[:, :30] == (100, 90, 80)).all()
    for x in range(30, 64):
        share = math.exp(-(x - 29) / 2)
        assert np.abs(found[20:44, x] - (140 - 40 * share, 90, 60 + 20 * share)).max() < 1.2
    larger = compositing.match_surroundings(patch, photo.resize((128, 128)), painted.resize((128, 128)))
    assert np.abs(np.asarray(larger).astype(int) - found).max() <= 2, "the photo may be larger than the patch"
    under = photo.copy()
    under.paste((255, 0, 255), (30, 0, 64, 64))
    assert np.array_equal(np.asarray(compositing.match_surroundings(patch, under, painted)), found)
    stripes = np.asarray(photo.resize((192, 192))).astype(int)
    stripes[:, 1::3] += 30
    stripes[:, 2::3] -= 30
    large = painted.resize((192, 192), Image.Resampling.NEAREST)
    fine = compositing.match_surroundings(patch, Image.fromarray(stripes.astype(np.uint8)), large)
    assert np.abs(np.asarray(fine).astype(int) - found).max() <= 2, "of a finer photo the mean counts"
