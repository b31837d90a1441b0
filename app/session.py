"""What one visitor's session holds, and its bounds."""

from __future__ import annotations

import secrets
import shutil
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from threading import Lock

from PIL import Image

from var_core import Result, Upload, open_image

from . import canvas

HISTORY = 8  # results kept per visitor
HISTORY_PIXELS = 64_000_000  # and their pixels in all, about 200 MB
_LIKELY_IS_BETTER = ("inpaint", "outpaint")  # measured: python -m var_core.evaluate order
HOURS = 1  # until an idle session is dropped
GONE = f"The picture is no longer on the server, where it is kept for {HOURS} h: open it again."


@dataclass
class Entry:
    """One finished result. `frames[k]` holds, per candidate, the picture after scale k as a data URI."""

    number: int
    result: Result
    task: str
    model: str
    sides: tuple[int, ...]
    frames: list[list[str]]
    before: str | None
    sketch: bool
    thumbs: list[str | None] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    chosen: int = 0
    cover: str = ""

    @property
    def title(self) -> str:
        names = {"edit": "change class"}
        return f"{self.number} · {'sketch' if self.sketch else names.get(self.task, self.task)}"

    @property
    def pixels(self) -> int:
        source = self.result.request.image
        own = sum(image.width * image.height for image in self.result.images)
        return own + (source.width * source.height if source is not None else 0)

    def stage(self) -> canvas.Stage:
        likeliest = None
        if self.task in _LIKELY_IS_BETTER and len(self.result.likelihood) > 1:
            likeliest = max(range(len(self.result.likelihood)), key=self.result.likelihood.__getitem__)
        return canvas.Stage(
            self.sides,
            "done",
            self.pictures,
            self.thumbs,
            self.number,
            self.before,
            self.chosen,
            self.sketch,
            likeliest,
        )

    def looking_back(self) -> dict:
        """The chosen candidate's picture after every scale, and what it belongs to."""
        frames = [scale[min(self.chosen, len(scale) - 1)] for scale in self.frames]
        return {"result": self.number, "chosen": self.chosen, "frames": frames}


@dataclass
class Original:
    """A picture that the visitor opened, and the paint last seen on it. `after` results came before it."""

    number: int
    path: str
    cover: str
    after: int
    mask: str | None = None


@dataclass
class Session:
    """A visitor's results, oldest first, and the one shown; the pictures they opened; and what the painter holds.
    Lives in `gr.State`. Who knows `key` gets it back after a reload."""

    entries: list[Entry] = field(default_factory=list)
    shown: int | None = None
    count: int = 0
    originals: list[Original] = field(default_factory=list)
    source: str | None = None
    mask: str | None = None
    mode: str | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.shown = entry.number
        while len(self.entries) > 1 and (
            len(self.entries) > HISTORY or sum(kept.pixels for kept in self.entries) > HISTORY_PIXELS
        ):
            self.entries.pop(0)

    def begin(self, path: str, cover: str) -> None:
        """The visitor opened a picture. One that nothing was made of is not kept beside it."""
        if any(original.path == path for original in self.originals):
            return
        number = self.originals[-1].number + 1 if self.originals else 1
        if self.originals and self.originals[-1].after == self.count:
            self.originals.pop()
        self.originals = [*self.originals, Original(number, path, cover, self.count)][-HISTORY:]

    def keep(self, path: str | None, mask: str | None, mode: str) -> None:
        """What the painter holds now."""
        self.mode = mode
        if path is None:
            return
        self.source, self.mask = path, mask
        for original in self.originals:
            if original.path == path:
                original.mask = mask

    def original(self, number: int) -> Original:
        for original in self.originals:
            if original.number == number and Path(original.path).is_file():
                return original
        raise ValueError(GONE)

    def standing(self) -> Entry | None:
        """The entry shown, if there is one."""
        return next((entry for entry in self.entries if entry.number == self.shown), None)

    def current(self) -> Entry:
        """The entry shown. ValueError when there is none (yet, or any more)."""
        entry = self.standing()
        if entry is None:
            raise ValueError("There is no result yet: press Run first.")
        return entry

    def pick(self, number: int) -> Entry:
        if all(entry.number != number for entry in self.entries):
            raise ValueError("This result is no longer kept: run it again.")
        self.shown = number
        return self.current()


class Pictures:
    """The last opened uploads, by file, so that a run does not decode its picture again. Bounded for all visitors
    together; the originals stay on disk until the hourly clean-up."""

    def __init__(self, pixels: int = 120_000_000) -> None:
        self.limit = pixels
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._lock = Lock()

    def open(self, path: str) -> Upload:
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        if not Path(path).is_file():
            raise ValueError(GONE)
        upload = open_image(path)
        with self._lock:
            self._kept[path] = upload
            while len(self._kept) > 1 and sum(_pixels(kept.image) for kept in self._kept.values()) > self.limit:
                self._kept.popitem(last=False)
        return upload


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


class Outbox:
    """Files on their way out. Gradio serves its own copies; ours go after an hour, and all at the end."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="var-editor-")

    def place(self) -> Path:
        """A fresh folder for one answer."""
        folder = Path(self._folder.name)
        for old in folder.iterdir():
            if old.stat().st_mtime < time.time() - HOURS * 3600:
                shutil.rmtree(old, ignore_errors=True)
        return Path(mkdtemp(dir=folder))
