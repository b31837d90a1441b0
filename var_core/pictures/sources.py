"""The picture files of a folder or zip: what else lies there is passed over, and no file is read beyond its limit."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ..files.images import MAX_BYTES

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def picture_files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every picture's name below `path`, with / between its parts, in order, and what reads it (any exception there
    is that file's alone). ValueError if `path` is neither a folder nor a whole zip."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if _wanted(name) and file.is_file():  # not a fifo, not a device
                yield name, lambda file=file: _bounded(file.stat().st_size, lambda: file.open("rb"))
        return
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip file")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ValueError(f"the zip file {path} is damaged: {error}") from error
    with archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if _wanted(info.filename):
                yield info.filename, lambda info=info: _bounded(info.file_size, lambda: archive.open(info))


def _wanted(name: str) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    return name.lower().endswith(_ENDINGS) and not hidden


def _bounded(size: int, opening: Callable[[], IO[bytes]]) -> bytes:
    """All of a file of `size` bytes, which may be untrue."""
    if size <= MAX_BYTES:
        with opening() as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) <= MAX_BYTES:
            return data
    raise ValueError(f"it has over {MAX_BYTES // 2**20} MB, the limit")
