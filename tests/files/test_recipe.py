"""A saved picture draws itself again, to the byte, and tells its settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image
from test_engine import finish

from var_core import Engine, save_png
from var_core.__main__ import main
from var_core.files import recipe

SIZE = (140, 90)
TWO = rectangle(SIZE, (10, 10, 30, 40))
TWO.paste(255, (100, 50, 130, 80))


@pytest.mark.parametrize(
    "request_",
    [
        dict(label="rose", seed=3, candidates=2),
        dict(task="inpaint", image=scenery(*SIZE), mask=rectangle(SIZE, (30, 20, 70, 60)), seed=1, candidates=2),
        dict(task="edit", label=1, image=scenery(*SIZE), mask=TWO, seed=1, feather=9, context=1.2),
        dict(task="outpaint", image=scenery(60, 50), left=40, top=0, right=90, bottom=12, seed=4),
        dict(task="inpaint", image=scenery(*SIZE), mask=TWO, seed=1, smooth=True, color_match=False),
        dict(task="inpaint", image=Image.new("RGB", SIZE), mask=TWO, seed=4),
        dict(task="vary", image=scenery(70, 70), start_scale=3, seed=1),
    ],
    ids=["generate", "inpaint", "edit", "outpaint", "smooth", "black under the fade", "vary"],
)
def test_replay_to_the_byte(engine: Engine, request_: dict, tmp_path: Path) -> None:
    _, result = finish(engine, **request_)
    for index, image in enumerate(result.images):
        path = tmp_path / f"{index}.png"
        engine.save(result, path, index)
        assert engine.replay(path).tobytes() == image.tobytes()


def test_replay_uses_the_tokens_not_the_picture(engine: Engine, tmp_path: Path) -> None:
    mask = rectangle(SIZE, (30, 20, 70, 60))
    _, result = finish(engine, task="inpaint", image=scenery(*SIZE), mask=mask, seed=1)
    spoiled = result.images[0].copy()
    spoiled.paste((0, 0, 0), mask=result.alpha)
    save_png(spoiled, tmp_path / "s.png", recipe.write(result, 0).encode())
    assert engine.replay(tmp_path / "s.png").tobytes() == result.images[0].tobytes()


def test_settings_come_back(engine: Engine, tmp_path: Path) -> None:
    _, result = finish(engine, label="rose", seed=8, top_k=7, guidance=1.5)
    engine.save(result, tmp_path / "o.png")
    again = recipe.read(tmp_path / "o.png")
    assert (again.seed, again.model, again.settings["label"], again.settings["top_k"]) == (8, "tiny", "rose", 7)
    _, repeated = finish(engine, **again.settings)
    assert repeated.images[0].tobytes() == result.images[0].tobytes()


def test_what_carries_no_recipe_says_so(engine: Engine, tmp_path: Path) -> None:
    scenery(40, 40).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("hello")
    save_png(scenery(40, 40), tmp_path / "odd.png", json.dumps({"version": 1}).encode())
    for name, words in (
        ("plain", "carries no recipe"),
        ("text", "carries no recipe"),
        ("odd", "carries no recipe"),
        ("none", "no file none.png"),
    ):
        with pytest.raises(ValueError, match=words):
            engine.replay(tmp_path / f"{name}.png")
    _, result = finish(engine, label="rose", seed=8)
    save_png(result.images[0], tmp_path / "other.png", recipe.write(replace(result, model="another"), 0).encode())
    with pytest.raises(ValueError, match="made with another"):
        engine.replay(tmp_path / "other.png")


def test_command_line(model_file: Path, tmp_path: Path, capsys) -> None:
    first, again = tmp_path / "a.png", tmp_path / "b.png"
    common = ["--model", str(model_file), "--quiet"]
    assert main(["generate", "--label", "rose", "--out", str(first), *common]) == 0
    assert main(["replay", str(first), "--out", str(again), *common]) == 0
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(again)))
