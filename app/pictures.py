"""Pictures on their way in and out: uploads, opened once, and the files that are made of results."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path

from gradio.utils import get_upload_folder
from PIL import Image

from var_core import Result, Upload, open_image
from var_core.files.saving import save_result

from . import canvas
from .memory import Kept, Shelf
from .session import GONE, HOURS, Entry

_NAMES = 1000  # uploads whose opened pictures are looked for on the shelf
_AT_THE_DOOR = 16  # that may wait for being opened: each holds a thread
_opening = threading.BoundedSemaphore(_AT_THE_DOOR)
large = threading.BoundedSemaphore(2)  # whole pictures being put together: 40 megapixels take 0.2 GB


class Pictures:
    """The last opened uploads, by file, so that a run does not decode its picture again. The originals stay on disk
    until the hourly clean-up."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._kept: OrderedDict[str, Kept[Upload]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: str) -> Upload:
        with self._lock:
            kept = self._kept.get(path)
        if kept is not None and (upload := kept.value) is not None:
            return upload
        if not Path(path).is_file():
            raise ValueError(GONE)
        if not _opening.acquire(blocking=False):
            raise ValueError(f"The server is opening {_AT_THE_DOOR} pictures already: open it again in a minute.")
        try:
            upload = open_image(path)
        finally:
            _opening.release()
        with self._lock:
            self._kept[path] = self.shelf.keep(upload)
            self._kept.move_to_end(path)
            while len(self._kept) > _NAMES:
                self._kept.popitem(last=False)
        return upload


class Outbox:
    """Files on their way out. Gradio serves its own copies; ours go after an hour, and all at the end."""

    def __init__(self) -> None:
        uploads = Path(get_upload_folder())  # from where the server sends files
        uploads.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="var-editor-", dir=uploads)

    def place(self) -> Path:
        """A fresh folder for one answer."""
        folder = Path(self._folder.name)
        for old in folder.iterdir():
            try:
                aged = old.stat().st_mtime < time.time() - HOURS * 3600
            except FileNotFoundError:  # another thread removed it
                continue
            if aged:
                shutil.rmtree(old, ignore_errors=True)
        fresh = folder / secrets.token_urlsafe(16)  # nobody guesses where it is
        fresh.mkdir()
        return fresh

    def saved(self, entry: Entry, index: int) -> str:
        """One candidate as a PNG file with its recipe. No model is needed for that."""
        result = entry.result
        path = self.place() / f"{entry.task}-{result.seed}-{index + 1}.png"
        with large:
            save_result(result, path, index)
        return str(path)

    def picture(self, picture: Image.Image, name: str) -> str:
        path = self.place() / name
        picture.save(path)
        return str(path)


def displayed(result: Result, side: int, version: int = 0) -> Image.Image:
    """One version with a long side of so many pixels. One after the other: whole pictures take memory."""
    with large:
        return canvas.shrink(result.image(version), side)
