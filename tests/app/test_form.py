"""The page's controls and what they come to: every control has an effect, and each its own."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import SIDES, rectangle, scenery

from app.form import (
    ADVANCED,
    AMOUNTS,
    ANCHORS,
    CONTROLS,
    RATIOS,
    RESTORED,
    STOPS,
    Form,
    amounts_of,
    build_chance,
    build_edit,
    declared,
    read_form,
)
from var_core import CHANCE, EDIT, TASKS, Chance, Edit, Engine

PHOTO, MASK = scenery(90, 70), rectangle((90, 70), (20, 20, 50, 50))
OTHER = {  # of every setting a value that is not its default
    "seed": "17", "candidates": 3, "guidance": "2.5", "top_k": "40", "top_p": "0.7", "random_scales": "4",
    "smooth": True, "method": "requantize", "evidence": "3", "fill": "mean", "guess": False, "context": 3.5,
    "feather": "9", "color_match": False, "detail": False, "left": 1, "top": 2, "right": 3, "bottom": "4",
}  # fmt: skip


def form(**changes: Any) -> Form:
    values: dict[str, Any] = dict.fromkeys(CONTROLS, "")
    values |= {"mode": "inpaint", "strength": "layout", "anchor": "centre", "ratio": "by sides", "sketch": False}
    assert set(changes) <= set(values)
    return read_form(values | changes)


def edit(task: str, **changes: Any) -> Edit:
    return build_edit(form(**changes), task, 10, PHOTO, MASK)


def test_what_is_missing_is_as_usual_and_what_is_unknown_is_left_out() -> None:
    for given in (None, [], {}, {"__class__": 1, "stop_scale": 3}):
        made = read_form(given)
        assert [*made.values] == [*CONTROLS] and made["mode"] == "inpaint" and made["sketch"] is False
        assert build_chance(made, "inpaint", 10) == Chance()
    for name, value in (
        ("mode", "draw"),
        ("ratio", 3),
        ("anchor", "up"),
        ("strength", None),
        ("model", 1),
        ("label", []),
    ):
        with pytest.raises(ValueError, match=f"the {name} must be"):
            read_form({name: value})
    assert set(RESTORED) == {*CONTROLS} - {"anchor", "sketch"} and len(set(CONTROLS)) == len(CONTROLS)
    assert {*ADVANCED} == {*EDIT, *CHANCE} - {
        "seed",
        "candidates",
        "left",
        "top",
        "right",
        "bottom",
        "start_scale",
        "stop_scale",
    }


@pytest.mark.parametrize("name", [*ADVANCED, "seed"])
def test_the_page_is_told_all_of_a_setting(name: str) -> None:
    each, told = (EDIT | CHANCE)[name], declared(name)
    assert (told["name"], told["label"], told["default"]) == (name, each.label, each.default)
    assert (told["low"], told["high"]) == (each.low, each.high)
    assert (tuple(told["choices"]), tuple(told["tasks"])) == (tuple(each.choices), tuple(each.tasks))
    assert told["kind"] == ("choice" if each.choices else {bool: "bool", int: "int", float: "float"}[each.kind])
    assert told["help"].lower() == f"{each.help.lower()}." and told["help"][0].isupper() and len(told) == 9


def test_empty_controls_are_the_declared_defaults() -> None:
    assert build_chance(form(), "inpaint", 10) == Chance()
    for task, label in (("inpaint", None), ("edit", "rose"), ("vary", None)):
        made = edit(task, label=label or "")
        plain = Edit(task=task, image=PHOTO, mask=made.mask, label=label, start_scale=int(task == "vary"))  # type: ignore[arg-type]
        assert all(getattr(made, name) == getattr(plain, name) for name in EDIT)
        assert made.image is PHOTO and made.label == label and made.task == task
        assert (made.mask is None) == (task == "vary")


@pytest.mark.parametrize("name", [name for name in CHANCE if name != "stop_scale"])
def test_every_choice_of_chance_arrives(name: str) -> None:
    made, plain = build_chance(form(**{name: OTHER[name]}), "inpaint", 10), Chance()
    assert getattr(made, name) == CHANCE[name].kind(OTHER[name])
    assert [other for other in CHANCE if getattr(made, other) != getattr(plain, other)] == [name]


@pytest.mark.parametrize("task", ["generate", "inpaint", "edit", "outpaint", "vary"])
@pytest.mark.parametrize("name", [name for name in EDIT if name != "start_scale"])
def test_every_setting_of_an_edit_arrives_where_the_task_has_it(task: str, name: str) -> None:
    usual = {"label": "rose", "right": 5}
    made, plain = edit(task, **usual | {name: OTHER[name]}), edit(task, **usual)
    differ = [other for other in EDIT if getattr(made, other) != getattr(plain, other)]
    assert differ == ([name] if task in EDIT[name].tasks else [])
    if differ:
        assert getattr(made, name) == EDIT[name].kind(OTHER[name])


def test_a_class_is_for_every_task_but_inpainting() -> None:
    for task in ("generate", "edit", "outpaint", "vary"):
        assert edit(task, label="rose", right=5).label == "rose"
    assert edit("inpaint", label="rose").label is None
    with pytest.raises(ValueError, match="choose the class"):
        edit("edit")


def test_the_controls_have_the_names_that_the_page_sends() -> None:
    assert STOPS == {"layout": 0.0, "shape": 0.3, "texture": 0.5, "detail": 0.7}
    assert [*RATIOS] == ["1:1", "4:3", "3:2", "16:9", "21:9", "3:4", "2:3", "9:16"]
    assert AMOUNTS == ("left", "top", "right", "bottom") and [*ANCHORS] == ["centre", "left", "right", "top", "bottom"]
    own = ["mode", "model", "label", "strength", "candidates", "seed", "ratio", "anchor", *AMOUNTS, "sketch"]
    assert (*own, *ADVANCED) == CONTROLS and [name for name in [*EDIT, *CHANCE] if name in ADVANCED] == [*ADVANCED]
    usual = {"mode": "inpaint", "model": "", "label": "", "strength": "layout", "ratio": "by sides"}
    usual |= {"anchor": "centre", "sketch": False}
    assert read_form({}).values == dict.fromkeys(CONTROLS) | usual
    for name, known in {"mode": TASKS, "strength": STOPS, "ratio": ("by sides", *RATIOS), "anchor": ANCHORS}.items():
        assert all(read_form({name: value})[name] == value for value in known)
        with pytest.raises(ValueError, match=f"the {name} must be one of {', '.join(known)}: reload the page"):
            read_form({name: "other"})
    assert read_form({"sketch": True})["sketch"] is True and read_form({"sketch": 1})["sketch"] is False
    assert read_form({"model": "m", "label": "l"}).values | usual == read_form({}).values


def test_strength_is_the_share_of_scales_that_stay() -> None:
    for task in ("inpaint", "edit"):
        assert [edit(task, strength=name, label="rose").start_scale for name in STOPS] == [0, 3, 5, 7]
    assert [edit("vary", strength=name).start_scale for name in STOPS] == [1, 3, 5, 7]
    assert [build_edit(form(strength=name), "vary", 6, PHOTO, None).start_scale for name in STOPS] == [1, 2, 3, 4]
    for task in ("generate", "outpaint"):
        assert edit(task, strength="detail", right=5).start_scale == 0


def test_a_sketch_has_six_tenths_of_the_scales() -> None:
    for task, expected in (("generate", 6), ("inpaint", 6), ("edit", 6), ("vary", 6), ("outpaint", None)):
        assert build_chance(form(sketch=True), task, 10).stop_scale == expected
        assert build_chance(form(), task, 10).stop_scale is None
    assert build_chance(form(sketch=True), "vary", 6).stop_scale == 4


def test_pictures_and_masks_are_for_tasks_that_have_them() -> None:
    made = edit("generate")
    assert made.image is None and made.mask is None
    assert edit("outpaint", right=5).mask is None and edit("outpaint", right=5).image is PHOTO
    with pytest.raises(ValueError, match="no picture yet"):
        build_edit(form(), "inpaint", 10, None, None)
    with pytest.raises(ValueError, match="no picture yet"):
        build_edit(form(right=5), "outpaint", 10, None, None)
    with pytest.raises(ValueError, match="mask is empty"):
        build_edit(form(), "inpaint", 10, PHOTO, None)


@pytest.mark.parametrize("name", RATIOS)
def test_a_shape_is_what_its_name_says(name: str) -> None:
    width, height = map(int, name.split(":"))
    size = (300, 300) if width != height else (300, 150)
    found = amounts_of(size, form(ratio=name, left=7))
    new = size[0] + found["left"] + found["right"], size[1] + found["top"] + found["bottom"]
    assert abs(new[0] / new[1] - width / height) < 0.01 and (new[0] == size[0] or new[1] == size[1])
    assert abs(found["left"] - found["right"]) <= 1 and abs(found["top"] - found["bottom"]) <= 1, "in the centre"


@pytest.mark.parametrize(
    ("anchor", "ratio", "expected"),
    [
        ("left", "2:1", None), ("left", "4:3", (0, 0, 100, 0)), ("right", "4:3", (100, 0, 0, 0)),
        ("top", "3:4", (0, 0, 0, 100)), ("bottom", "3:4", (0, 100, 0, 0)), ("top", "4:3", (50, 0, 50, 0)),
        ("left", "3:4", (0, 50, 0, 50)), ("centre", "3:4", (0, 50, 0, 50)),
    ],
)  # fmt: skip
def test_the_picture_lies_where_the_anchor_says(anchor: str, ratio: str, expected) -> None:
    if expected is None:
        assert amounts_of((300, 300), form(anchor=anchor, ratio="by sides", left=7, bottom="8")) == {
            "left": 7,
            "top": 0,
            "right": 0,
            "bottom": 8,
        }
        return
    found = amounts_of((300, 300), form(anchor=anchor, ratio=ratio))
    assert tuple(found.values()) == expected and list(found) == ["left", "top", "right", "bottom"]
    assert len(ANCHORS) == 5


def test_a_shape_that_is_there_already_says_so() -> None:
    with pytest.raises(ValueError, match="already has the shape 1:1"):
        amounts_of((300, 300), form(ratio="1:1"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", "-1"), ("seed", "x"), ("candidates", 0), ("guidance", "21"), ("top_p", 1.5), ("feather", "1.5")],
)
def test_what_is_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"must be .*got .*{value}"):
        build_chance(form(**{name: value}), "inpaint", 10), edit("inpaint", **{name: value})


def test_sketch_and_strength_become_scales() -> None:
    edit = build_edit(form(mode="vary", strength="detail"), "vary", len(SIDES), scenery(60, 60), None)
    assert edit.start_scale == 7
    assert build_chance(form(sketch=True), "generate", len(SIDES)).stop_scale == 6
    assert build_chance(form(sketch=True), "outpaint", len(SIDES)).stop_scale is None
    assert build_chance(form(sketch=True, strength="detail"), "inpaint", 10).stop_scale == 9  # two scales are drawn
    assert build_chance(form(sketch=True, strength="detail"), "inpaint", 6).stop_scale is None  # nothing would be left
    assert build_chance(form(sketch=True, strength="detail"), "generate", 10).stop_scale == 6


def test_a_setting_is_automatic_only_where_nothing_is_said(engine: Engine) -> None:
    usual = engine.defaults("edit").guidance
    assert build_chance(form(guidance=""), "edit", 10).guidance is None
    assert build_chance(form(guidance=f"{usual:g}"), "edit", 10).guidance == usual
