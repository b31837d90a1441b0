"""A saved picture that is opened again: what its recipe sets on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import scenery
from test_handlers import begun, edited, handlers, photo  # noqa: F401

from app.handlers import Handlers
from var_core import save_png
from var_core.files.recipe import VERSION


def test_recipe_of_a_result_restores_the_controls(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session, _ = edited(handlers, photo, mode="edit", label="tulip", strength="shape", seed="99", random_scales="4")
    url = handlers.ask({"do": "save", "key": session.key, "ref": "e1.0"})["url"]
    answer = handlers.ask({"do": "open", "key": session.key, "path": url.partition("file=")[2]})
    found = answer["form"]
    assert (found["mode"], found["strength"], found["seed"]) == ("edit", "shape", "99")
    assert found["label"] == "tulip" and "restored" in answer["notices"][-1]
    assert found["random_scales"] == "4" and found["feather"] == "0"


def saved(path: Path, **document: object) -> str:
    """A picture with a recipe of these entries."""
    settings = {"task": "inpaint", "label": None}
    text = json.dumps({"version": VERSION, "model": "tiny", "seed": 3, "candidate": 0, "settings": settings} | document)
    save_png(scenery(40, 40), path, text.encode())
    return str(path)


def controls(handlers: Handlers, path: str) -> tuple[dict, dict]:  # noqa: F811
    answer = handlers.ask({"do": "open", "key": begun(handlers).key, "path": path})
    return answer, answer["form"]


def test_a_recipe_is_restored_for_its_own_model_only(handlers: Handlers, tmp_path: Path) -> None:  # noqa: F811
    handlers.engines.get()
    settings = {"task": "edit", "label": "tulip", "start_scale": 5}
    answer, found = controls(handlers, saved(tmp_path / "a.png", model="another", settings=settings))
    assert found["mode"] == "edit" and "label" not in found and "model" not in found
    assert "model is not here" in answer["notices"][-1]
    _, found = controls(handlers, saved(tmp_path / "b.png", settings=settings))
    assert found["label"] == "tulip" and found["model"] == handlers.engines.default
    _, found = controls(handlers, saved(tmp_path / "c.png", settings=settings | {"label": "ash"}))
    assert found["label"] == "" and found["strength"] == "texture", "an unknown class keeps the rest"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"settings": 3}', '{"version": 3, "settings": "x"}'])
def test_odd_recipes_are_ignored(handlers: Handlers, tmp_path: Path, text: str) -> None:  # noqa: F811
    path = tmp_path / "odd.png"
    save_png(scenery(20, 20), path, text.encode())
    answer, found = controls(handlers, str(path))
    assert set(found) <= {"label", "model"} and "error" not in answer


def test_a_recipe_sets_only_what_fits(handlers: Handlers, tmp_path: Path) -> None:  # noqa: F811
    settings = {"task": "vary", "guidance": 99, "top_p": 0.5, "smooth": 1, "left": -4, "top": 3, "method": "x"}
    _, found = controls(handlers, saved(tmp_path / "odd.png", settings=settings, seed=True, candidate=2))
    assert found["mode"] == "vary" and found["top_p"] == "0.5" and found["candidates"] == 4
    assert not {"guidance", "smooth", "seed", "method"} & set(found)
    assert (found["ratio"], found["left"], found["top"]) == ("by sides", 0, 3)
