"""What one visitor's session holds. All that is large lies on the server's one shelf (`memory`)."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from var_core import Edit, Plan, Result

from . import canvas
from .memory import Kept, Shelf

HISTORY = 16  # results kept per visitor
MOST = 500  # sessions
_LIKELY_IS_BETTER = ("inpaint", "outpaint")  # measured: python -m var_core.evaluate order
HOURS = 1  # until an idle session is dropped
_ORIGINAL, _VERSION = re.compile(r"o(\d{1,9})"), re.compile(r"e(\d{1,9})\.(\d{1,2})")
GONE = f"The picture is no longer on the server, where it is kept for {HOURS} h: open it again."


@dataclass(frozen=True)
class Made:
    """The large part of a finished result. `frames[k]` holds, per version, what stood in the result's place after scale
    k as a data URI; `pictures` what stands there now, per version; `mask` the painted layer it was made with."""

    result: Result
    frames: list[list[str]] = field(default_factory=list)
    thumbs: list[str | None] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    mask: str | None = None


@dataclass
class Entry:
    """One finished result. `base` names the picture it was made from (`Session.named`), `form` how it was asked;
    `photo` is the file that a program's result came from."""

    number: int
    task: str
    model: str
    sides: tuple[int, ...]
    kept: Kept[Made]
    sketch: bool = False
    cover: str = ""
    chosen: int = 0
    photo: str | None = None
    base: str | None = None
    form: dict[str, Any] = field(default_factory=dict)
    whole: dict[int, Kept[Image.Image]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        names = {"inpaint": "removed", "outpaint": "expanded", "vary": "varied", "generate": "created"}
        label = str(self.form.get("label") or "").replace("_", " ").replace("-", " ")
        name = names.get(self.task) or label or "replaced"
        return f"{self.number} · {name}{' (sketch)' if self.sketch else ''}"

    @property
    def made(self) -> Made:
        """ValueError when others needed the room."""
        made = self.kept.value
        if made is None:
            raise ValueError("This result is no longer kept: run it again.")
        return made

    @property
    def result(self) -> Result:
        return self.made.result

    @property
    def likeliest(self) -> int | None:
        """The version that the model finds likeliest, where that is worth a hint."""
        found = self.result.likelihood
        if self.task not in _LIKELY_IS_BETTER or len(found) < 2:
            return None
        return max(range(len(found)), key=found.__getitem__)

    def image(self, version: int, shelf: Shelf) -> Image.Image:
        """One version's picture; the same object while there is room for it."""
        kept = self.whole.get(version)
        image = kept.value if kept is not None else None
        if image is None:
            image = self.result.image(version)
            self.whole[version] = shelf.keep(image)
        return image

    def told(self) -> dict[str, Any]:
        """What the browser needs to show it and to ask for it again."""
        made, result = self.made, self.result
        edit = result.edit
        return {
            "number": self.number, "task": self.task, "title": self.title, "cover": self.cover, "model": self.model,
            "sides": [*self.sides], "sketch": self.sketch, "seed": result.seed, "base": self.base, "mask": made.mask,
            "form": self.form, "size": [*canvas.size_of(result)], "box": [*canvas.place_of(result)],
            "grown": [*edit.outpaint] if edit.task == "outpaint" else [0, 0, 0, 0], "pictures": made.pictures,
            "thumbs": made.thumbs, "chosen": self.chosen, "likeliest": self.likeliest,
            "notices": [*result.notices],
        }  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What was last planned for a visitor: looking, preparing and running ask the same. `painted` is the painter's
    layer that the edit's mask was made from."""

    model: str
    painted: str | None
    edit: Edit
    plan: Plan


@dataclass
class Original:
    """A picture that the visitor opened, and the paint last seen on it. `after` results came before it."""

    number: int
    path: str
    cover: str
    after: int
    mask: Kept[str] | None = None


@dataclass
class Session:
    """A visitor's results, oldest first, and the one shown; the pictures they opened; what the canvas holds and what
    was last asked. Who knows `key` has it, also after a reload."""

    entries: list[Entry] = field(default_factory=list)
    shown: int | None = None
    count: int = 0
    originals: list[Original] = field(default_factory=list)
    opened: int = 0
    source: str | None = None  # what the canvas holds, by name
    mask: Kept[str] | None = None
    form: dict[str, Any] = field(default_factory=dict)
    asked: Kept[Asked] | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def add(self, entry: Entry) -> None:
        self.entries = [*self.there(), entry][-HISTORY:]
        self.shown = entry.number

    def there(self) -> list[Entry]:
        """The results that are still kept."""
        return [entry for entry in self.entries if entry.kept.there]

    def begin(self, path: str, cover: str) -> Original:
        """The visitor opened a picture. One that nothing was made of is not kept beside it for long."""
        for original in self.originals:
            if original.path == path:
                return original
        self.opened += 1
        new = Original(self.opened, path, cover, self.count)
        self.originals = [*self.originals, new][-HISTORY:]
        return new

    def keep(self, source: str | None, mask: Kept[str] | None, form: dict[str, Any]) -> None:
        """What the canvas holds now."""
        self.form, self.source, self.mask = form, source, mask
        found = _ORIGINAL.fullmatch(source or "")
        for original in self.originals if found else ():
            if found and original.number == int(found[1]):
                original.mask = mask

    def original(self, number: int) -> Original:
        for original in self.originals:
            if original.number == number and Path(original.path).is_file():
                return original
        raise ValueError(GONE)

    def entry(self, number: int) -> Entry:
        """ValueError when it is gone."""
        for entry in self.there():
            if entry.number == number:
                return entry
        raise ValueError("This result is no longer kept: run it again.")

    def named(self, name: Any) -> Original | tuple[Entry, int]:
        """What a name stands for: "o3" is the third picture opened, "e2.1" the second version of result 2.
        ValueError when it is gone, or no name."""
        text = name if isinstance(name, str) and len(name) < 30 else ""
        if found := _ORIGINAL.fullmatch(text):
            return self.original(int(found[1]))
        if found := _VERSION.fullmatch(text):
            entry, version = self.entry(int(found[1])), int(found[2])
            if version < len(entry.result.patches):
                return entry, version
        raise ValueError("there is no picture yet: open one first" if not name else GONE)

    def standing(self) -> Entry | None:
        """The entry shown, if there is one."""
        return next((entry for entry in self.there() if entry.number == self.shown), None)

    def current(self) -> Entry:
        """The entry shown. ValueError when there is none (yet, or any more)."""
        entry = self.standing()
        if entry is None:
            raise ValueError("There is no result yet, or it is no longer kept: press Run.")
        return entry


class Sessions:
    """Sessions by a name that only their visitor knows: a key, or what gradio calls a program's session. Bounded in
    number and time."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, name: str) -> Session | None:
        with self._lock:
            while self._known and next(iter(self._known.values()))[0] < time.monotonic() - HOURS * 3600:
                self._known.popitem(last=False)
            found = self._known.get(name)
        if found is None:
            return None
        self.put(name, found[1])
        return found[1]

    def put(self, name: str, session: Session) -> None:
        with self._lock:
            self._known[name] = (time.monotonic(), session)
            self._known.move_to_end(name)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
