"""A picture that grows by several windows: one class, one sentence, no seam."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import scenery
from PIL import Image
from test_engine import finish

from var_core.editing.painting import Painting
from var_core.editing.plan import plan_edit
from var_core.request import Edit
from var_core.sampling.guess import ClassGuess

SIDES, RESOLUTION = (1, 2, 3, 4, 6, 8), 128


def guessing(monkeypatch: pytest.MonkeyPatch, *classes: int) -> None:
    """The surroundings of each window suggest another class."""
    numbers = iter(classes)
    monkeypatch.setattr(ClassGuess, "__call__", lambda *given: next(numbers))


def test_what_is_added_is_of_one_class_and_said_once(engine, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    steps = engine._steps
    monkeypatch.setattr(engine, "_steps", lambda start, label, *more: drawn.append(label) or steps(start, label, *more))
    guessing(monkeypatch, 2, 0, 1, 0)
    request = {"task": "outpaint", "image": scenery(48, 48), "right": 72, "seed": 3, "detail": False}
    _, result = finish(engine, **request)
    assert len(result.passes) == 3 and drawn == [2, 2, 2]
    assert result.notices == ("Drawn as tulip, by the surroundings: or choose a class.",)
    drawn.clear()
    _, asked = finish(engine, **request, label="rose")
    assert drawn == [1, 1, 1] and asked.notices == ()


def test_parts_far_apart_may_be_of_several_classes_and_all_are_named(engine, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Image.new("L", (400, 60))
    for left in (10, 180, 350):
        mask.paste(255, (left, 20, left + 20, 40))
    guessing(monkeypatch, 0, 2, 0)
    request = {"task": "inpaint", "image": scenery(400, 60), "mask": mask, "seed": 3, "detail": False}
    _, result = finish(engine, **request)
    assert len(result.passes) == 3
    assert result.notices == ("Drawn as daisy and tulip, by the surroundings: or choose a class.",)


def test_no_seam_stands_between_windows() -> None:
    """Each window comes out lighter or darker than the one before; the picture must not show where they meet."""
    whole = scenery(512, 128)
    edit = Edit(task="outpaint", image=whole.crop((0, 0, 128, 128)), right=384, feather=0)
    plan = plan_edit(edit, SIDES, RESOLUTION)
    painting = Painting.of_plan(plan, 1)
    assert plan.owner is not None and len(plan.boxes) > 3
    for number, box in enumerate(plan.boxes):
        tone = 20 if number % 2 else -20
        patch = np.asarray(whole.crop(box)).astype(int) + tone
        painting.add(number, box, plan.alpha(number), [Image.fromarray(patch.clip(0, 255).astype(np.uint8))])
    made, truth = (np.asarray(picture).astype(float) for picture in (painting.whole(0), whole))
    borders = np.nonzero(np.diff(plan.owner[64].astype(int)))[0]
    assert len(borders) == len(plan.boxes)
    steps = [(p[:, borders + 1] - p[:, borders]).mean(axis=(0, 2)) for p in (made, truth)]
    assert np.abs(steps[0] - steps[1]).max() < 10, "unmatched, they are of 20 and 40 grey levels"
