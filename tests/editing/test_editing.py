"""Geometry: properties over sizes and masks, and the reference's mask rule."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import rectangle, scenery
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reference import GOLDEN
from safetensors import safe_open

from var_core.editing import compositing, geometry
from var_core.editing.painting import Painting
from var_core.editing.plan import Plan, keep_maps, known_fraction, official_keep, plan_edit
from var_core.request import Edit, inside

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("steady")

SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


@st.composite
def painted(draw) -> tuple[tuple[int, int], Image.Image]:
    """A size and a mask of one to three rectangles."""
    width, height = draw(st.integers(16, 400)), draw(st.integers(16, 400))
    mask = Image.new("L", (width, height))
    for _ in range(draw(st.integers(1, 3))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
        mask.paste(255, (left, top, right, bottom))
    return (width, height), mask


@given(painted(), st.integers(0, 40))
def test_alpha_is_opaque_inside_and_nothing_beyond_the_fade(case, feather: int) -> None:
    _, mask = case
    alpha = np.asarray(compositing.composite_alpha(mask, feather))
    inside = np.asarray(mask) > 0
    assert (alpha[inside] == 255).all()
    distance = torch.from_numpy(inside.astype(np.float32))[None, None]
    reach = F.max_pool2d(distance, 2 * feather + 1, 1, feather)[0, 0].numpy() > 0
    assert (alpha[~reach] == 0).all()
    if feather == 0:
        assert (alpha[~inside] == 0).all()


def planned(mask: Image.Image, resolution: int, context: float, **settings) -> Plan:
    edit = Edit(task="inpaint", image=scenery(*mask.size), mask=mask, context=context, **settings)
    return plan_edit(edit, SIDES, resolution)


@given(painted(), st.integers(0, 30), st.sampled_from([16, 48, 128]), st.floats(1, 4))
def test_outside_the_alpha_bytes_stay(case, feather: int, resolution: int, context: float) -> None:
    size, mask = case
    plan = planned(mask, resolution, context, feather=feather, color_match=False)
    painting = Painting.of_plan(plan, 2)
    whole = np.zeros((size[1], size[0]), dtype=np.uint8)
    for number, box in enumerate(plan.boxes):
        alpha, magenta = plan.alpha(number), Image.new("RGB", (resolution, resolution), (255, 0, 255))
        painting.add(number, box, alpha, [magenta, magenta])
        inner, local = inside(box, size)
        view = whole[inner[1] : inner[3], inner[0] : inner[2]]
        np.maximum(view, np.asarray(alpha.crop(local)), out=view)
    out, picture = np.asarray(painting.whole(1)), np.asarray(scenery(*size))
    assert np.array_equal(out[whole == 0], picture[whole == 0])
    assert (out[np.asarray(mask) > 0] == (255, 0, 255)).all() and (whole[np.asarray(mask) > 0] == 255).all()
    left, top, right, bottom = plan.bounds
    touched = cv2.boundingRect(whole)
    assert left <= touched[0] and top <= touched[1]
    assert right >= touched[0] + touched[2] and bottom >= touched[1] + touched[3]


@given(painted(), st.sampled_from([16, 48, 128]), st.floats(1, 4))
def test_windows_cover_the_mask_exactly_once(case, resolution: int, context: float) -> None:
    size, mask = case
    plan = planned(mask, resolution, context)
    count = np.zeros((size[1], size[0]), dtype=int)
    for number, (left, top, right, bottom) in enumerate(plan.boxes):
        own = plan.mask(number)
        assert right - left == bottom - top == own.width == own.height
        inner = (max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1]))
        part = np.asarray(own)[inner[1] - top : inner[3] - top, inner[0] - left : inner[2] - left] > 0
        assert part.sum() == (np.asarray(own) > 0).sum()
        count[inner[1] : inner[3], inner[0] : inner[2]] += part
        if right - left <= size[0]:
            assert left >= 0 and right <= size[0]
        if bottom - top <= size[1]:
            assert top >= 0 and bottom <= size[1]
    assert np.array_equal(count, (np.asarray(mask) > 0).astype(int))


@given(painted(), st.floats(1, 3))
def test_an_identity_model_moves_nothing(case, context: float) -> None:
    """Crop at native size, paste back: not a byte differs."""
    size, mask = case
    plan = planned(mask, 16, context, feather=7)
    painting = Painting.of_plan(plan, 1)
    for number, box in enumerate(plan.boxes):
        painting.add(number, box, plan.alpha(number), painting.crops(box, box[2] - box[0]))
    assert painting.whole(0).tobytes() == scenery(*size).tobytes()


amounts = st.tuples(*[st.integers(0, 150)] * 4).filter(any)


@given(st.integers(16, 120), st.integers(16, 120), amounts, st.sampled_from([16, 64, 128]))
def test_outpainting_windows_cover_the_new_area_once(width: int, height: int, sides, resolution: int) -> None:
    left, top, right, bottom = sides
    picture = scenery(width, height)
    edit = Edit(task="outpaint", image=picture, left=left, top=top, right=right, bottom=bottom)
    try:
        plan = plan_edit(edit, SIDES, resolution)
    except ValueError as error:
        assert "go in steps" in str(error)
        return
    size = width + left + right, height + top + bottom
    assert plan.picture.size == size == edit.enlarged
    assert plan.picture.crop((left, top, left + width, top + height)).tobytes() == picture.tobytes()
    known = np.zeros((size[1], size[0]), dtype=bool)
    known[top : top + height, left : left + width] = True
    wanted, count = ~known, np.zeros((size[1], size[0]), dtype=int)
    for number, (x, y, right, bottom) in enumerate(plan.boxes):
        assert x >= 0 and y >= 0 and right <= size[0] and bottom <= size[1]
        part = np.asarray(plan.mask(number)) > 0
        assert part.any() and known[y:bottom, x:right].any(), "every window draws something and sees something known"
        count[y:bottom, x:right] += part
        known[y:bottom, x:right] |= part
    assert np.array_equal(count, wanted.astype(int))


def test_growth_far_beyond_the_square_goes_window_by_window() -> None:
    boxes, owner = geometry.outpaint_windows((64, 64), (0, 0, 512, 0), 64)
    assert owner.shape == (64, 576) and len(boxes) >= 8
    starts = [box[0] for box in boxes]
    assert starts == sorted(starts), "from the picture outwards"


@pytest.mark.parametrize("sides", [(0, 0, 4000, 4000), (2000, 2000, 2000, 2000), (0, 0, 16_384, 0)])
def test_more_windows_than_anyone_waits_for_are_refused_before_planning(sides, monkeypatch) -> None:
    monkeypatch.setattr(geometry, "_by_known_content", lambda *_: pytest.fail("planned"))
    with pytest.raises(ValueError, match="passes of the model, at most 100 are drawn at once"):
        geometry.outpaint_windows((64, 64), sides, 128)


def test_dots_everywhere_are_a_few_windows() -> None:
    mask = np.zeros((3000, 3000), dtype=np.uint8)
    mask[::128, ::128] = 255
    assert len(geometry.regions(mask)) <= 32
    boxes, owner = geometry.painted_windows(mask, 128, 2.0)
    assert 1 <= len(boxes) <= 32
    for n, (left, top, right, bottom) in enumerate(boxes, 1):
        ys, xs = np.nonzero(owner == n)
        assert len(xs) and xs.min() >= left and ys.min() >= top and xs.max() < right and ys.max() < bottom
    assert np.array_equal(owner > 0, mask > 0)


@pytest.mark.parametrize("dots", [32, 33])
def test_up_to_32_dots_are_regions_of_their_own(dots: int) -> None:
    mask = np.zeros((10, 500), dtype=np.uint8)
    mask[5, 4 : 4 + 14 * dots : 14] = 255
    assert len(geometry.regions(mask)) == (32 if dots == 32 else 1)


def test_a_dot_in_a_large_window_is_seen() -> None:
    """Its share of a cell is less than one grey level: it must still be drawn, and hidden from the encoder."""
    mask = rectangle((4000, 4000), (10, 10, 11, 11))
    mask.paste(255, (3980, 3980, 3981, 3981))
    mask.paste(255, (100, 1000, 3900, 1001))
    shares = planned(mask, 32, 1.0).shares(0)
    assert np.asarray(shares.hole).any()
    assert (shares.fraction < 1).any() and not shares.keep[-1].all()


@pytest.mark.parametrize(
    ("size", "ratio", "anchor", "expected"),
    [
        ((90, 90), 16 / 9, (0.5, 0.5), (35, 0, 35, 0)),
        ((90, 90), 16 / 9, (0.0, 0.5), (0, 0, 70, 0)),
        ((160, 90), 1.0, (0.5, 1.0), (0, 70, 0, 0)),
        ((160, 90), 16 / 9, (0.5, 0.5), (0, 0, 0, 0)),
    ],
)
def test_amounts_for_a_ratio(size, ratio: float, anchor, expected) -> None:
    assert geometry.outpaint_amounts(size, ratio, anchor) == expected


def test_an_impossible_ratio_says_so() -> None:
    with pytest.raises(ValueError, match="between 1:20 and 20:1"):
        geometry.outpaint_amounts((90, 90), 40.0)


def test_near_regions_share_a_window_and_far_ones_do_not() -> None:
    near = rectangle((800, 400), (100, 100, 140, 140))
    near.paste(255, (150, 100, 190, 140))
    assert len(planned(near, 128, 2.0).boxes) == 1
    near.paste(255, (700, 300, 740, 340))
    assert len(planned(near, 128, 2.0).boxes) == 2


@given(painted(), st.sampled_from(SIDES))
def test_known_fraction_is_the_area_average(case, side: int) -> None:
    _, mask = case
    known = torch.from_numpy((np.asarray(mask) == 0).astype(np.float32))[None, None]
    expected = F.adaptive_avg_pool2d(known, side)[0, 0].numpy()
    assert np.allclose(known_fraction(np.asarray(mask), side), expected, atol=1e-6)


def test_the_default_rule_regenerates_wherever_the_mask_reaches() -> None:
    fraction = np.ones((16, 16), dtype=np.float32)
    fraction[6:10, 6:10] = 0
    maps = keep_maps(fraction, SIDES)
    assert not maps[0].any() and not maps[1].any()
    assert (~maps[-1]).sum() == 16


def test_the_official_rule() -> None:
    with safe_open(GOLDEN / "tiny.safetensors", "pt") as file:
        keep = official_keep(file.get_tensor("edit.keep_mask").numpy(), (1, 2, 3, 4))
        for k in range(4):
            assert np.array_equal(keep[k], file.get_tensor(f"edit.keep.{k}")[0].numpy().astype(bool))
    hole = np.ones((16, 16), dtype=np.float32)
    hole[6:10, 6:10] = 0
    assert all(kept.all() for kept in official_keep(hole, SIDES)[:2]), "coarse scales keep the object"


@pytest.mark.parametrize("method", ["telea", "navier-stokes", "mean"])
def test_filling_hides_what_was_there(method: str) -> None:
    mask = rectangle((64, 64), (20, 20, 44, 44))
    first, second = scenery(64, 64), scenery(64, 64)
    second.paste((255, 0, 0), (20, 20, 44, 44))
    filled = [compositing.fill_hole(p, mask, method) for p in (first, second)]  # type: ignore[arg-type]
    assert filled[0].tobytes() == filled[1].tobytes()
    outside = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(filled[0])[outside], np.asarray(first)[outside])


def test_a_patch_is_matched_to_its_surroundings() -> None:
    picture = scenery(64, 64)
    painted = Image.new("L", (64, 64))
    painted.paste(255, (20, 20, 44, 64))  # down to the picture's edge
    real = np.asarray(picture).astype(int)
    slope = np.linspace(-20, 20, 64)[None, :, None] * np.array([1, -0.5, 0.3])
    cast = Image.fromarray((real + slope).round().clip(0, 255).astype(np.uint8))
    matched = np.asarray(compositing.match_surroundings(cast, picture, painted)).astype(int)
    known = np.asarray(painted) == 0
    assert np.array_equal(matched[known], real[known])
    inside = np.zeros((64, 64), dtype=bool)
    inside[21:, 20:44] = True
    border = inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
    assert np.abs(matched - real)[border].mean() < 0.5 * np.abs(np.asarray(cast) - real)[border].mean()
    assert np.abs(matched - np.asarray(cast))[50:, 31:33].max() <= 2  # far inside it stays as drawn
    assert compositing.match_surroundings(picture, picture, painted).tobytes() == picture.tobytes()
    nothing_known = Image.new("L", (64, 64), 255)
    assert compositing.match_surroundings(cast, picture, nothing_known).tobytes() == cast.tobytes()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_what_is_filled_smoothly_stays_between_what_is_known(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-50, 50, (height, width, 3)).astype(np.float32)
    known = rng.random((height, width)) < rng.random()
    filled = compositing.fill_smoothly(values, known)
    assert filled.shape == values.shape and np.array_equal(filled[known], values[known])
    low, high = (values[known].min(axis=0), values[known].max(axis=0)) if known.any() else (np.zeros(3), np.zeros(3))
    assert (filled >= low - 1e-3).all() and (filled <= high + 1e-3).all()


def test_crops_repeat_the_edge_where_they_stick_out() -> None:
    picture = scenery(40, 20)
    square = geometry.crop(picture, (0, -10, 40, 30), 40)
    array = np.asarray(square)
    assert np.array_equal(array[10:30], np.asarray(picture))
    assert np.array_equal(array[0], array[10]) and np.array_equal(array[39], array[29])
