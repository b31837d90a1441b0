"""Detail in whole runs: its frames, and the same bytes whatever way leads there."""

from __future__ import annotations

import pytest
from conftest import SIDES, rectangle, scenery, whole_alpha
from test_engine import finish, outside_is_equal, told

from var_core import Chance
from var_core.model import superres
from var_core.request import requested

LARGE = (300, 260)


def painted(**settings) -> dict:
    usual = dict(task="inpaint", image=scenery(*LARGE), mask=rectangle(LARGE, (90, 70, 200, 180)), seed=5)
    return usual | settings


@pytest.mark.parametrize("task", ["inpaint", "edit"])
def test_detail_follows_the_last_scale(engine, task: str) -> None:
    request = painted(task=task, label="rose" if task == "edit" else None, candidates=2)
    frames, result = finish(engine, **request)
    drawn, sharper = frames[: len(SIDES)], frames[len(SIDES) :]
    assert [frame.scale for frame in drawn] == list(range(1, len(SIDES) + 1)) and not any(f.detail for f in drawn)
    assert [(frame.scale, frame.detail) for frame in sharper] == [
        (len(SIDES), n) for n in range(1, sharper[0].details + 1)
    ]
    assert len(result.previews) == len(SIDES) and all(len(frame.previews) == 2 for frame in frames)
    assert result.previews[-1].tobytes() == sharper[-1].previews[0].tobytes()
    assert result.images[0].tobytes() != result.images[1].tobytes()
    for image in result.images:
        outside_is_equal(request["image"], image, whole_alpha(result))
    plain = finish(engine, **request, detail=False)
    assert len(plain[0]) == len(SIDES) and plain[1].images[0].tobytes() != result.images[0].tobytes()


def test_detail_is_the_same_whatever_way_it_was_reached(engine) -> None:
    _, whole = finish(engine, **painted(candidates=2))
    frames, sketch = finish(engine, **painted(candidates=2, stop_scale=5))
    assert not any(frame.detail for frame in frames)
    for index, image in enumerate(whole.images):
        assert told(engine.finish(sketch, index))[1].images[0].tobytes() == image.tobytes()
        branched = told(engine.branch(whole, index, 6, Chance(seed=whole.seed)))[1]
        assert branched.images[0].tobytes() == image.tobytes()


def test_no_detail_where_the_window_is_no_larger_than_the_models_square(engine) -> None:
    frames, _ = finish(engine, **painted(mask=rectangle(LARGE, (90, 70, 110, 90))))
    assert len(frames) == len(SIDES)


def test_no_class_is_told_where_the_surroundings_go_on(engine) -> None:
    told_class = {
        words: any(notice.startswith("Drawn as ") for notice in finish(engine, **painted(**asked))[1].notices)
        for words, asked in {"detail": {}, "without": {"detail": False}, "sketch": {"stop_scale": 5}}.items()
    }
    assert told_class == {"detail": False, "without": True, "sketch": True}


def test_a_missing_network_is_said_before_the_run(engine, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superres, "FILE", tmp_path / "superres.safetensors")
    superres.bundled_superres.cache_clear()
    asked = painted(task="edit", label="rose")
    with pytest.raises(ValueError, match=r"there is no model file at .*superres\.safetensors"):
        engine.run(*requested(**asked))
    assert finish(engine, **asked, detail=False)[1].images and finish(engine, **painted())[1].images
