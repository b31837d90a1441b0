"""Sketches: runs that end early, and what becomes of them when they are finished."""

from __future__ import annotations

import pytest
import torch
from conftest import rectangle, scenery
from test_engine import finish, told


@pytest.mark.parametrize("task", ["generate", "inpaint", "edit"])
@pytest.mark.parametrize("chance", [None, 3])
def test_a_finished_sketch_is_what_it_would_have_become(engine, task: str, chance: int | None) -> None:
    request = dict(label="daisy", seed=11, random_scales=chance)
    if task != "generate":
        mask = rectangle((80, 60), (20, 10, 50, 40))
        request = dict(request, task=task, image=scenery(80, 60), mask=mask)
    _, whole = finish(engine, **request)
    _, sketch = finish(engine, **dict(request, stop_scale=6))
    assert len(sketch.passes[0].tokens) == 6
    _, finished = told(engine.finish(sketch, 0))
    assert finished.images[0].tobytes() == whole.images[0].tobytes()


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("fill", ["telea", "none"])
def test_sketches_are_finished_for_every_setting(engine, smooth: bool, start: int, fill: str) -> None:
    request = {
        "task": "inpaint", "image": scenery(80, 60), "mask": rectangle((80, 60), (20, 10, 50, 40)), "seed": 11,
        "smooth": smooth, "start_scale": start, "fill": fill,
    }  # fmt: skip
    _, whole = finish(engine, **request)
    _, sketch = finish(engine, **request, stop_scale=6)
    assert told(engine.finish(sketch, 0))[1].images[0].tobytes() == whole.images[0].tobytes()
    with pytest.raises(ValueError, match="finished already"):
        engine.finish(whole, 0)


def test_another_candidate_of_a_sketch_is_finished_as_itself(engine) -> None:
    _, whole = finish(engine, label="daisy", seed=11, candidates=3)
    _, sketch = finish(engine, label="daisy", seed=11, candidates=3, stop_scale=6)
    _, finished = told(engine.finish(sketch, 2))
    for ours, theirs in zip(finished.passes[0].tokens, whole.passes[0].tokens, strict=True):
        assert torch.equal(ours[0], theirs[2])
    assert finished.first == 2


@pytest.mark.parametrize(("start", "stop"), [(0, 11), (7, 6), (7, 7)])
def test_a_sketch_that_would_draw_nothing_is_refused(engine, start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="a sketch must end after scale"):
        finish(engine, task="vary", image=scenery(60, 60), start_scale=start, stop_scale=stop)


def test_a_sketch_of_two_parts_is_refused(engine) -> None:
    mask = rectangle((600, 100), (10, 10, 40, 40))
    mask.paste(255, (540, 50, 580, 80))
    with pytest.raises(ValueError, match="of one part, this edit has 2"):
        finish(engine, task="inpaint", image=scenery(600, 100), mask=mask, stop_scale=6)
