"""Edit and Chance check themselves once; settings say the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image

from var_core.request import CHANCE, EDIT, SETTINGS, Chance, Edit, Pass, Result, described, inside, requested
from var_core.settings import TASKS, find_class, readable

PHOTO, MASK = scenery(40, 30), rectangle((40, 30), (5, 5, 20, 20))


@pytest.mark.parametrize(("name", "each"), SETTINGS.items())
def test_every_setting_holds_its_own_range(name: str, each) -> None:
    assert each.name == name and each.label and each.help and set(each.tasks) <= set(TASKS)
    assert each.read(each.default) == each.default and each.parse("") == each.default
    assert each.allows(None) is (each.default is None)
    for edge in (each.low, each.high):
        if edge is not None:
            assert each.read(edge) == edge and type(each.read(edge)) is each.kind
            assert each.parse(f"{edge:.10g}") == edge
    if each.low is not None:
        assert not each.allows(each.low - 1) and not each.allows(float("nan"))
    if each.high is not None:
        assert not each.allows(each.high + 1) and not each.allows(float("inf"))
    for choice in each.choices:
        assert each.parse(choice) == choice
    for wrong in ([], {}, "wrong", b"1", 1j):
        with pytest.raises(ValueError, match=f"the {each.label[:1].lower()}"):
            each.read(wrong)
    assert each.flag == ("--no-" if each.default is True else "--") + name.replace("_", "-")


def test_numbers_are_read_as_their_own_kind() -> None:
    assert CHANCE["top_k"].read(7.0) == 7 and type(CHANCE["top_k"].read(7.0)) is int
    assert EDIT["context"].read(3) == 3.0 and type(EDIT["context"].read(3)) is float
    for wrong in (7.5, True, "7", 10**400, float("nan")):
        assert not CHANCE["top_k"].allows(wrong)
    assert not CHANCE["smooth"].allows(1) and CHANCE["smooth"].parse("true") is True
    with pytest.raises(ValueError, match=r'the guidance must be a number from 0 to 20, got "much"'):
        CHANCE["guidance"].parse("much")
    with pytest.raises(ValueError, match=r'got "x{56}[.]{3}$'):
        CHANCE["seed"].read("x" * 1000)
    with pytest.raises(ValueError, match="the seed must be a whole number from 0 to 4294967295, got -1"):
        Chance(seed=-1)
    with pytest.raises(ValueError, match="the method must be one of evidence, requantize, official"):
        Edit(method="wish")  # type: ignore[arg-type]


def test_of_a_files_settings_only_allowed_ones_come_back() -> None:
    given = {"top_k": 2000, "top_p": 7, "guidance": None, "context": "wide", "smooth": True, "unknown": 1, "left": 12}
    assert readable(SETTINGS, given) == {"top_k": 2000, "guidance": None, "smooth": True, "left": 12}
    for wrong in (None, [], "text", 3):
        assert readable(SETTINGS, wrong) == {}


def test_what_is_described_can_be_asked_again() -> None:
    edit = Edit(task="outpaint", image=PHOTO, left=3, bottom=9, label="rose", feather=4)
    told = described(edit, Chance(seed=5, top_p=0.5))
    again, chance = requested(**told | {"image": PHOTO})
    assert again.same(edit) and chance == Chance(seed=5, top_p=0.5)


def test_a_mask_is_brought_to_the_picture() -> None:
    assert Edit(task="inpaint", image=PHOTO, mask=MASK).mask is MASK
    half = Edit(task="inpaint", image=PHOTO, mask=MASK.resize((20, 15)).convert("RGB")).mask
    assert half is not None and half.size == PHOTO.size and half.mode == "L"
    for empty in (None, Image.new("L", (40, 30)), Image.new("L", (40, 30), 127)):
        with pytest.raises(ValueError, match="mask is empty"):
            Edit(task="edit", label=1, image=PHOTO, mask=empty)
    Edit(task="inpaint", image=PHOTO, mask=Image.new("L", (40, 30), 128))
    grey = Edit(task="vary", image=PHOTO.convert("L"))
    assert grey.image is not None and grey.image.mode == "RGB"


def test_edits_are_the_same_by_settings_and_by_the_very_pictures() -> None:
    edit = Edit(task="inpaint", image=PHOTO, mask=MASK)
    assert edit.same(Edit(task="inpaint", image=PHOTO, mask=MASK))
    assert edit != Edit(task="inpaint", image=PHOTO, mask=MASK)  # never compared by pixels
    for other in (
        Edit(task="inpaint", image=PHOTO.copy(), mask=MASK),
        Edit(task="inpaint", image=PHOTO, mask=MASK.copy()),
        Edit(task="inpaint", image=PHOTO, mask=MASK, context=3),
        Edit(task="edit", label=2, image=PHOTO, mask=MASK),
    ):
        assert not edit.same(other)


def test_enlargements_are_bounded_before_anything_is_made() -> None:
    with pytest.raises(ValueError, match=r"would have \d+ megapixels, the limit is 40: add less"):
        Edit(task="outpaint", image=PHOTO, right=16_000, bottom=16_000)
    with pytest.raises(ValueError, match="the left must be a whole number from 0 to 16384, got 60000"):
        Edit(task="outpaint", image=PHOTO, left=60_000)
    edit = Edit(task="outpaint", image=PHOTO, left=1, top=2, right=3, bottom=4)
    assert edit.enlarged == (44, 36) and edit.outpaint == (1, 2, 3, 4)


def test_classes_by_name_and_number() -> None:
    names = ("daisy", "rose", "tulip")
    assert [find_class(label, names, "m") for label in ("Rose", "2", 0)] == [1, 2, 0]
    for wrong, words in ((3, "0 to 2"), (-1, "0 to 2"), ("rosé", "did you mean rose"), ("²", "has no class")):
        with pytest.raises(ValueError, match=words):
            find_class(wrong, names, "m")


def test_a_result_puts_its_pictures_together() -> None:
    patch = Image.new("RGB", (10, 8), "red")
    alpha = Image.new("L", (12, 12), 255)
    edit = Edit(task="inpaint", image=PHOTO, mask=MASK)
    result = Result(
        model="m", precision="", edit=edit, chance=Chance(seed=1), picture=PHOTO, patches=[patch, patch], at=(4, 6),
        passes=[Pass([], None, (-2, 3, 10, 15), alpha)], previews=[],
    )  # fmt: skip
    made = np.asarray(result.image(1))
    assert (made[6:14, 4:14] == (255, 0, 0)).all()
    made = made.copy()
    made[6:14, 4:14] = np.asarray(PHOTO)[6:14, 4:14]
    assert np.array_equal(made, np.asarray(PHOTO))
    with pytest.raises(ValueError, match="has 2 candidates, there is no number 3"):
        result.image(2)


def test_boxes_and_pictures_meet() -> None:
    assert inside((-3, 2, 7, 12), (5, 9)) == ((0, 2, 5, 9), (3, 0, 8, 7))
