"""The core does not know the page, and the page does not know torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize(("folder", "forbidden"), [("var_core", "gradio"), ("app", "torch")])
def test_no_file_imports_what_it_must_not_know(folder: str, forbidden: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert len(files) > 3
    assert [str(path) for path in files if forbidden in imported(path)] == []


FLOORS = (  # each may import what stands before it, and nothing of its own floor but itself
    ("settings",), ("request",), ("model",), ("sampling",), ("files",), ("editing",), ("engine",),
    ("pictures",), ("measures",), ("train", "evaluate", "benchmark", "__main__"), ("study",),
)  # fmt: skip


def arrows() -> set[tuple[str, str, str]]:
    """(room, room it imports, file) inside var_core, from the imports as they stand."""
    found = set()
    for path in (ROOT / "var_core").rglob("*.py"):
        parts = path.relative_to(ROOT / "var_core").with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = [*parts[: len(parts) - node.level], *(node.module or "").split(".")]
                targets = [base[0]] if base[0] else [alias.name for alias in node.names]
                found |= {(parts[0], target, str(path.relative_to(ROOT))) for target in targets}
    return {arrow for arrow in found if arrow[0] not in ("__init__", arrow[1])}


def test_arrows_point_down() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    drawn = arrows()
    assert {room for arrow in drawn for room in arrow[:2]} == set(floor), "every room has a floor"
    assert [arrow for arrow in drawn if floor[arrow[1]] >= floor[arrow[0]]] == []


def test_functions_stay_readable() -> None:
    long = []
    for path in (*ROOT.glob("var_core/**/*.py"), *ROOT.glob("app/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                long.append(f"{path.name}: {node.name}")
    assert long == []


def test_the_core_runs_without_gradio() -> None:
    code = "import sys, var_core; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_files_stay_readable() -> None:
    long = [
        path
        for path in (*ROOT.glob("var_core/**/*.py"), *ROOT.glob("app/**/*.py"))
        if len(path.read_text().splitlines()) > 400
    ]
    assert long == []


def test_the_readme_names_every_module() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files = [*ROOT.glob("var_core/**/*.py"), *ROOT.glob("app/**/*.py")]
    assert [path.name for path in files if path.name != "__init__.py" and path.name not in readme] == []


def test_the_readme_runs_the_tests_as_the_checks_of_a_change_do() -> None:
    readme, checks = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    command = re.search(r"^python -m pytest.*$", readme, re.MULTILINE)
    assert command is not None and f"; {command[0]} | tee " in checks
