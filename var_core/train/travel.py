"""A run in pieces: a run folder to files of bounded size, and back to the byte.

Machines lent for a while often pass files of a few megabytes only. `split_run` writes numbered parts and a manifest
with the SHA-256 of every file; `join_run` refuses anything that does not add up.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

_MANIFEST = "manifest.json"
_LONGEST = 200  # bytes of a name


def split_run(run: Path, out: Path, part_mib: float = 16.0) -> list[Path]:
    """Write the files of `run` as parts of at most `part_mib` MiB into `out`; returns all files written, the
    manifest last. ValueError if there is no run, or parts lie in `out`."""
    if not (run / "state.pt").is_file():
        raise ValueError(f"there is no run at {run}: expected a folder with state.pt")
    if not 1 <= part_mib * 2**20 < math.inf:
        raise ValueError(f"a part of {part_mib} MiB cannot be written: give --part-mib a size from one byte on")
    size = int(part_mib * 2**20)
    _new_folder(out)
    if any(out.iterdir()):
        raise ValueError(f"{out} is not empty: give a new folder for the parts")
    written: list[Path] = []
    manifest = []
    for file in sorted(path for path in run.iterdir() if path.is_file() and path.suffix != ".partial"):
        parts, digest = [], hashlib.sha256()
        with file.open("rb") as source:
            while (chunk := source.read(size)) or not parts:
                part = out / f"{file.name}.{len(parts):03d}"
                part.write_bytes(chunk)
                digest.update(chunk)
                parts.append(part.name)
                written.append(part)
        manifest.append({"name": file.name, "bytes": file.stat().st_size, "sha256": digest.hexdigest(), "parts": parts})
    (out / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    return [*written, out / _MANIFEST]


def join_run(parts: Path, run: Path) -> list[Path]:
    """Put the files of a split run together in `run` (files there are replaced once all new ones are verified).
    ValueError says what is missing, damaged or in the way; then the files in `run` are untouched."""
    if not (parts / _MANIFEST).is_file():
        raise ValueError(f"there is no split run at {parts}: expected {_MANIFEST} and numbered parts")
    entries = _read_manifest(parts)
    _new_folder(run)
    for entry in entries:
        if (run / entry.name).is_dir():
            raise ValueError(f"{run / entry.name} is a folder: move it away")
    partials = [run / f"{entry.name}.partial" for entry in entries]
    try:
        for entry, partial in zip(entries, partials, strict=True):
            digest = hashlib.sha256()
            with partial.open("wb") as target:
                for part in entry.parts:
                    with (parts / part).open("rb") as source:
                        while chunk := source.read(2**20):
                            digest.update(chunk)
                            target.write(chunk)
            if digest.hexdigest() != entry.sha256:
                raise ValueError(f"{entry.name} does not add up: copy its parts again")
        return [partial.replace(run / entry.name) for entry, partial in zip(entries, partials, strict=True)]
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Entry:
    """What the manifest says of one file; ValueError where that cannot be."""

    name: str
    bytes: int
    sha256: str
    parts: list[str]

    def __post_init__(self) -> None:
        if not (_plain(self.name) and isinstance(self.parts, list) and all(map(_plain, self.parts))):
            raise ValueError(f"the name {self.name!r:.80} or one of its parts is no file name")
        if type(self.bytes) is not int or not isinstance(self.sha256, str):
            raise ValueError(f"the size or the checksum of {self.name} is none")


def _plain(name: object) -> bool:
    """Whether this names a file in a folder, on every system, and not one of our own."""
    if not isinstance(name, str) or not name.isprintable() or name in ("", ".", ".."):
        return False
    return len(name.encode()) <= _LONGEST and not set(name) & set("/\\:") and not name.endswith(".partial")


def _read_manifest(folder: Path) -> list[_Entry]:
    """The entries, whose parts are all there, each used once, and of the right size in all."""
    try:
        entries = [_Entry(**entry) for entry in json.loads((folder / _MANIFEST).read_bytes())]
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / _MANIFEST} is not what split wrote ({error}): copy it again") from error
    names, parts = [entry.name.casefold() for entry in entries], [part for entry in entries for part in entry.parts]
    if "state.pt" not in names or len(set(names)) < len(names) or len(set(parts)) < len(parts):
        raise ValueError(f"{folder / _MANIFEST} names a file or a part twice, or no state.pt: copy it again")
    for entry in entries:
        for part in entry.parts:
            if not (folder / part).is_file():
                raise ValueError(f"the part {part} is missing from {folder}")
        if sum((folder / part).stat().st_size for part in entry.parts) != entry.bytes:
            raise ValueError(f"{entry.name} does not add up: copy its parts again")
    return entries


def _new_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is not a folder: give another --out")
    path.mkdir(parents=True, exist_ok=True)
