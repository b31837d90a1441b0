"""The same request gives the same bytes in every process: nothing is decided by how fast the machine happens to be."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import rectangle, scenery

from var_core.benchmark.measure import random_model
from var_core.model.checkpoints import save_model

ROOT = Path(__file__).parents[2]
PROCESSES = 10
REQUESTS = {
    "inpaint": ["--seed", "3"],
    "outpaint": ["--seed", "4", "--right", "60"],
    "edit": ["--seed", "5", "--label", "1"],
}


def digests(folder: Path, model: str, tasks: list[str]) -> dict[str, str]:
    """The sha256 of every task's PNG, recipe included, all drawn by one new process."""
    commands = []
    for task in tasks:
        mask = [] if task == "outpaint" else ["--mask", str(folder / "mask.png")]
        out = ["--out", str(folder / f"{task}.png"), "--model", model, "--device", "cpu", "--quiet"]
        commands.append([task, str(folder / "photo.png"), *mask, *REQUESTS[task], *out])
    code = f"from var_core.__main__ import main\nassert [main(words) for words in {commands!r}] == {[0] * len(tasks)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {task: hashlib.sha256((folder / f"{task}.png").read_bytes()).hexdigest() for task in tasks}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scenery(200, 150).save(tmp_path / "photo.png")
    rectangle((200, 150), (60, 40, 120, 90)).save(tmp_path / "mask.png")
    return tmp_path


@pytest.mark.slow
def test_the_bundled_model_in_ten_processes(folder: Path) -> None:
    first, *others = (digests(folder, "garden-2", list(REQUESTS)) for _ in range(PROCESSES))
    assert others == [first] * (PROCESSES - 1) and len(set(first.values())) == len(REQUESTS)


@pytest.mark.slow
def test_a_model_of_full_size_in_ten_processes(folder: Path) -> None:
    model = folder / "var-d16.safetensors"
    save_model(random_model("var-d16"), model, torch.bfloat16)
    first, *others = (digests(folder, str(model), ["inpaint"]) for _ in range(PROCESSES))
    assert others == [first] * (PROCESSES - 1)
