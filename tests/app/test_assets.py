"""What the browser gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app import assets

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "app" / "web").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_browser_code_can_be_read(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 120 and len(lines) <= 400


@pytest.mark.parametrize("name", ["main", "wire"])
def test_modules_come_after_what_they_import(name: str) -> None:
    text = assets.script(name)
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    made = re.findall(r'^modules\["(.+)"\] = ', text, re.MULTILINE)
    assert made[-1] == f"{name}.js" and len(set(made)) == len(made)
    for used, position in ((m[1], m.start()) for m in re.finditer(r'= modules\["(.+)"\];', text)):
        assert text.index(f'modules["{used}"] = ') < position
    assert text.rstrip().endswith(f'modules["{name}.js"].start({{ element, trigger, props, server, upload, watch }});')


def test_every_file_is_used() -> None:
    scripts = "".join(assets.script(name) for name in ("main", "wire"))
    names = [path.relative_to(assets.WEB).as_posix() for path in FILES]
    assert [name for name in names if name.endswith(".js") and f'modules["{name}"]' not in scripts] == []
    assert sorted(path.stem for path in FILES if path.suffix == ".css") == sorted(assets.STYLES)


def test_the_lint_tools_are_pinned_and_name_no_host() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    assert all(re.fullmatch(r"[\d.]+", version) for version in package["devDependencies"].values())
    assert "dependencies" not in package and '"resolved"' not in (ROOT / "package-lock.json").read_text()
