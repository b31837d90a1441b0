"""A run travels in parts to the byte, and parts that do not add up leave the run there untouched."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from var_core.train.__main__ import main
from var_core.train.travel import join_run, split_run

STATE, LOG = bytes(range(256)) * 5, b"step,loss\n"
Entries = list[dict]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    files = {"state.pt": STATE, "log.csv": LOG, "empty.txt": b"", "state.partial": b"x"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def parts(run: Path, tmp_path: Path) -> Path:
    split_run(run, tmp_path / "parts", 500 / 2**20)
    (tmp_path / "parts" / "x.000").write_bytes(STATE)
    return tmp_path / "parts"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_run_travels_to_the_byte(run: Path, parts: Path, tmp_path: Path, capsys) -> None:
    assert {part.name for part in parts.glob("state.pt.*")} == {"state.pt.000", "state.pt.001", "state.pt.002"}
    assert max(part.stat().st_size for part in parts.glob("state.pt.*")) == 500
    assert main(["join", str(parts), "--out", str(tmp_path / "back")]) == 0
    assert contents(tmp_path / "back") == {"state.pt": STATE, "log.csv": LOG, "empty.txt": b""}
    said = json.loads(capsys.readouterr().out)
    assert len(said["files"]) == 3 and said["bytes"] == len(STATE) + len(LOG)
    assert main(["split", str(run), "--out", str(tmp_path / "more")]) == 0


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "1e-9"])
def test_a_part_has_a_size(size: str, run: Path, tmp_path: Path, capsys) -> None:
    assert main(["split", str(run), "--out", str(tmp_path / "out"), "--part-mib", size]) == 1
    assert "--part-mib" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_split_wants_a_run_and_a_new_folder(run: Path, parts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not empty"):
        split_run(run, parts)
    with pytest.raises(ValueError, match="no run"):
        split_run(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="not a folder"):
        split_run(run, run / "state.pt")


def refused(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    """`join` says one sentence, and what lay there before lies there still, with nothing beside it."""
    there = tmp_path / "there"
    there.mkdir(exist_ok=True)
    (there / "state.pt").write_bytes(b"older")
    capsys.readouterr()
    assert main(["join", str(parts), "--out", str(there)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and word in said, said
    assert contents(there) == {"state.pt": b"older"}


def entry(name: object, **others: object) -> dict:
    """What a manifest says of a file that lies in x.000."""
    known = {"name": name, "bytes": len(STATE), "sha256": hashlib.sha256(STATE).hexdigest(), "parts": ["x.000"]}
    return known | others


MANIFESTS: dict[str, Callable[[Entries], object]] = {
    "no list": lambda found: {"files": found},
    "a number": lambda found: 7,
    "null": lambda found: None,
    "entries of text": lambda found: [*found, "state.pt"],
    "no name": lambda found: [*found, {key: value for key, value in entry("x").items() if key != "name"}],
    "no checksum": lambda found: [*found, {key: value for key, value in entry("x").items() if key != "sha256"}],
    "a name that is a number": lambda found: [*found, entry(3)],
    "an empty name": lambda found: [*found, entry("")],
    "a name above": lambda found: [*found, entry("../x")],
    "dots": lambda found: [*found, entry("..")],
    "an absolute name": lambda found: [*found, entry("/tmp/x")],
    "a name of Windows": lambda found: [*found, entry("a\\b")],
    "a name with a zero": lambda found: [*found, entry("a\0b")],
    "a name too long": lambda found: [*found, entry("x" * 300)],
    "the same name twice": lambda found: [*found, entry("state.pt")],
    "the same name in capitals": lambda found: [*found, entry("STATE.pt")],
    "a name of our own": lambda found: [*found, entry("log.csv.partial")],
    "parts that are text": lambda found: [*found, entry("x", parts="x.000")],
    "parts that are numbers": lambda found: [*found, entry("x", parts=[0])],
    "a part above": lambda found: [*found, entry("x", parts=["../run/state.pt"])],
    "no parts": lambda found: [*found, entry("x", parts=None)],
    "bytes that are text": lambda found: [*found, entry("x", bytes="500")],
    "a part twice": lambda found: [*found, entry("x"), entry("y")],
    "a size that is wrong": lambda found: [*found, entry("x", bytes=499)],
    "a checksum that is a number": lambda found: [*found, entry("x", sha256=5)],
    "a checksum that is wrong": lambda found: [*found, entry("x", sha256="0" * 64)],
    "a part that is missing": lambda found: [*found, entry("x", parts=["y.000"])],
    "no state": lambda found: [one for one in found if one["name"] != "state.pt"],
    "nothing": lambda found: [],
}


OTHER_WORDS = {
    "a size that is wrong": "x does not add up",
    "a checksum that is wrong": "x does not add up",
    "a part that is missing": "y.000 is missing",
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_does_not_add_up_is_one_sentence(what: str, parts: Path, tmp_path: Path, capsys) -> None:
    manifest = parts / "manifest.json"
    manifest.write_text(json.dumps(MANIFESTS[what](json.loads(manifest.read_text()))))
    refused(parts, tmp_path, capsys, OTHER_WORDS.get(what, "manifest.json"))


def test_another_entry_is_fine(parts: Path, tmp_path: Path) -> None:
    manifest = parts / "manifest.json"
    manifest.write_text(json.dumps([*json.loads(manifest.read_text()), entry("x")]))
    join_run(parts, tmp_path / "back")
    assert (tmp_path / "back" / "x").read_bytes() == STATE


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[1e999999999999]", b"x" * 100])
def test_a_manifest_that_is_no_document_is_one_sentence(text: bytes, parts: Path, tmp_path: Path, capsys) -> None:
    (parts / "manifest.json").write_bytes(text)
    refused(parts, tmp_path, capsys, "manifest.json")


def test_damaged_and_missing_parts_are_named(parts: Path, tmp_path: Path, capsys) -> None:
    part = parts / "state.pt.001"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(parts, tmp_path, capsys, "state.pt does not add up")
    part.write_bytes(whole[:-1])
    refused(parts, tmp_path, capsys, "state.pt")
    part.unlink()
    refused(parts, tmp_path, capsys, "state.pt.001 is missing")
    if sys.platform != "win32":
        os.mkfifo(part)
        refused(parts, tmp_path, capsys, "state.pt.001 is missing")


def test_a_folder_in_the_way_is_seen_before_anything_is_replaced(parts: Path, tmp_path: Path, capsys) -> None:
    there = tmp_path / "there"
    (there / "log.csv").mkdir(parents=True)
    (there / "empty.txt").write_bytes(b"older")
    assert main(["join", str(parts), "--out", str(there)]) == 1
    assert "log.csv" in capsys.readouterr().err
    assert (there / "empty.txt").read_bytes() == b"older" and not (there / "state.pt").exists()
    (tmp_path / "file").write_bytes(b"")
    assert main(["join", str(parts), "--out", str(tmp_path / "file")]) == 1
    assert "not a folder" in capsys.readouterr().err
