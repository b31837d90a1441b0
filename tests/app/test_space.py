"""The head of the README is a Space's configuration: it must agree with what is pinned and with what is there."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml
from screenshots import names

from app import zero
from app.engines import Engines
from var_core.model.registry import MODELS, REPOSITORY

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> dict:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines)


def test_the_versions_are_the_pinned_ones(head: dict) -> None:
    assert head["sdk"] == "gradio" and head["sdk_version"] == pinned()["gradio"]
    project = (ROOT / "pyproject.toml").read_text()
    assert f'pythonVersion = "{head["python_version"]}"' in project


def test_what_it_names_is_there(head: dict) -> None:
    assert (ROOT / head["app_file"]).is_file()
    assert head["license"].upper() in (ROOT / "LICENSE").read_text()
    assert Path(head["thumbnail"]).parent == Path("assets/docs") and Path(head["thumbnail"]).name in names()
    assert head["title"] and head["emoji"] and {head["colorFrom"], head["colorTo"]} <= {"green", "pink"}
    assert 0 < len(head["short_description"]) <= 60 and len(head["tags"]) >= 3
    assert head["models"] == [REPOSITORY]


def test_what_is_preloaded_is_what_a_model_needs(head: dict) -> None:
    repository, files = head["preload_from_hub"][0].split()
    assert repository == REPOSITORY and tuple(files.split(",")) == MODELS["var-d16"].files


def test_publishing_is_one_command() -> None:
    command = re.search(r"^hf upload .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert command is not None
    program = Path(sys.executable).with_name("hf")
    done = subprocess.run([program, "upload", "--help"], capture_output=True, text=True, timeout=120, check=True)
    for option in re.findall(r"--[a-z-]+", command[0]):
        assert option in done.stdout


def test_runs_are_marked_only_where_the_package_is(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import ui

    def plain(x: int) -> int:
        return x

    assert zero.gpu(plain) is plain  # the package is on Spaces only
    marked: list[str] = []
    package = types.ModuleType("spaces")
    package.__spec__ = types.SimpleNamespace(name="spaces")  # type: ignore[assignment]

    def mark(duration: int):
        assert 0 < duration <= 120
        return lambda work: marked.append(work.__name__) or work

    package.GPU = mark  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", package)
    ui.build(Engines(str(model_file)))
    assert marked == ["_steps", "_replay"], "what needs the GPU, and nothing that a visitor's session is in"


def test_nothing_computes_between_runs_on_zero(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    engines = Engines(str(model_file))
    engines.start()
    assert engines.pace(str(model_file)) == "", "the engine ran"
    assert str(model_file) in engines._loaded
    engines.close()
