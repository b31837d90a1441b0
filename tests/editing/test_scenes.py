"""A run told again: what is shown of it, at which size and in which place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import rectangle, scenery, whole_alpha
from PIL import Image

from var_core import Chance, Edit, Engine, Result


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return scenery(300, 200)


@pytest.fixture(scope="module")
def result(engine: Engine, photo: Image.Image) -> Result:
    mask = rectangle(photo.size, (120, 70, 180, 120))
    edit = Edit(task="inpaint", image=photo, mask=mask, feather=4, detail=False)
    return engine.draw(edit, Chance(seed=3, candidates=2))


def near(one: Image.Image, two: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(two)).mean())


def test_scenes_of_any_candidate(engine: Engine, result: Result, photo: Image.Image) -> None:
    for index in range(2):
        scenes = list(engine.scenes(result, index))
        assert len(scenes) == len(engine.sides) + 2 and {scene.size for scene in scenes} == {photo.size}
        assert scenes[0].tobytes() == photo.tobytes() and scenes[-1].tobytes() == result.image(index).tobytes()
        assert near(scenes[-2], scenes[-1]) < 1, "the last scale is the result, but for how it was enlarged"
        still = np.asarray(whole_alpha(result)) == 0
        for scene in scenes:
            assert np.array_equal(np.asarray(scene)[still], np.asarray(photo)[still])
    again = [list(engine.scenes(result, 1))[k].tobytes() for k in (1, 5)]
    assert again == [list(engine.scenes(result, 1))[k].tobytes() for k in (1, 5)], "the same every time"
    with pytest.raises(ValueError, match="there is no number 3"):
        engine.scenes(result, 2)


def test_scenes_of_the_window(engine: Engine, result: Result) -> None:
    scenes = list(engine.scenes(result, 0, 256, window=True))
    box = result.passes[0].box
    assert box is not None and scenes[0].size == (256, 256)
    wanted = result.image(0).crop(box).resize((256, 256), Image.Resampling.LANCZOS)
    assert near(scenes[-1], wanted) < 1 and near(scenes[-2], wanted) < 3 < near(scenes[1], wanted)


def test_scenes_of_a_saved_picture(engine: Engine, result: Result, tmp_path: Path) -> None:
    engine.save(result, tmp_path / "a.png", 1)
    told, saved = list(engine.scenes(result, 1))[1:], list(engine.scenes(tmp_path / "a.png"))
    assert len(saved) == len(told) and max(near(a, b) for a, b in zip(told, saved, strict=True)) < 0.5
    with pytest.raises(ValueError, match="no recipe"):
        scenery(30, 30).save(tmp_path / "b.png")
        engine.scenes(tmp_path / "b.png")


@pytest.mark.parametrize("task", ["generate", "vary", "outpaint"])
def test_scenes_of_every_task(engine: Engine, photo: Image.Image, task: Any) -> None:
    more: dict[str, Any] = {"generate": {}, "vary": {"start_scale": 2}, "outpaint": {"right": 150, "left": 90}}[task]
    edit = Edit(task=task, image=None if task == "generate" else photo, **more)
    result = engine.draw(edit, Chance(seed=3))
    scenes = list(engine.scenes(result, 0, 200))
    assert max(scenes[0].size) == 200 and len({scene.size for scene in scenes}) == 1
    assert len(scenes) == len(engine.sides) + (1 if task == "generate" else 2)
    ratio = result.image(0).width / result.image(0).height
    assert abs(scenes[0].width / scenes[0].height - ratio) < 0.02
    if task == "outpaint":
        assert len(result.passes) > 1, "windows grow side by side"
        assert (np.asarray(scenes[0])[:, :20] == 128).all()
