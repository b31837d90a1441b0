"""A run in pieces: a run folder to files of bounded size, and back to the byte.

Machines lent for a while often pass files of a few megabytes only. `split_run` writes numbered parts and a manifest
with the SHA-256 of every file; `join_run` refuses anything that does not add up.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

_MANIFEST = "manifest.json"
_REBUILT = ("train-tokens.npy", "val-tokens.npy")  # a run makes them again from the data and the tokenizer


def split_run(run: Path, out: Path, part_mib: float = 16.0, caches: bool = False) -> list[Path]:
    """Write the files of `run` as parts of at most `part_mib` MiB into `out`; returns all files written, the
    manifest last. Token caches stay behind unless `caches`. ValueError if there is no run, or parts lie in `out`."""
    if not (run / "state.pt").is_file():
        raise ValueError(f"there is no run at {run}: expected a folder with state.pt")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: give a new folder for the parts")
    size = int(part_mib * 2**20)
    if size < 1:
        raise ValueError("a part must hold at least one byte: raise --part-mib")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    manifest = []
    for file in sorted(path for path in run.iterdir() if path.is_file() and path.suffix != ".partial"):
        if file.name in _REBUILT and not caches:
            continue
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
    """Put the files of a split run together in `run` (files there are replaced once the new ones are verified).
    ValueError names the part that is missing or the file that is damaged; then `run` is untouched."""
    if not (parts / _MANIFEST).is_file():
        raise ValueError(f"there is no split run at {parts}: expected {_MANIFEST} and numbered parts")
    manifest = json.loads((parts / _MANIFEST).read_text())
    run.mkdir(parents=True, exist_ok=True)
    ready: list[tuple[Path, Path]] = []
    try:
        for entry in manifest:
            name = Path(entry["name"]).name
            partial, digest = run / f"{name}.partial", hashlib.sha256()
            ready.append((partial, run / name))
            with partial.open("wb") as target:
                for part in entry["parts"]:
                    path = parts / Path(part).name
                    if not path.is_file():
                        raise ValueError(f"the part {path.name} is missing from {parts}")
                    chunk = path.read_bytes()
                    digest.update(chunk)
                    target.write(chunk)
            if digest.hexdigest() != entry["sha256"]:
                raise ValueError(f"{name} does not add up: copy its parts again")
        for partial, target in ready:
            os.replace(partial, target)
    finally:
        for partial, _ in ready:
            partial.unlink(missing_ok=True)
    return [target for _, target in ready]
