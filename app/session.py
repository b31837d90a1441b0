"""What one visitor's session holds. All that is large lies on the server's one shelf (`memory`)."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from var_core import Edit, Plan, Result

from . import canvas
from .memory import Kept

HISTORY = 8  # results kept per visitor
MOST = 500  # sessions
_LIKELY_IS_BETTER = ("inpaint", "outpaint")  # measured: python -m var_core.evaluate order
HOURS = 1  # until an idle session is dropped
GONE = f"The picture is no longer on the server, where it is kept for {HOURS} h: open it again."


@dataclass(frozen=True)
class Made:
    """The large part of a finished result. `frames[k]` holds, per candidate, the picture after scale k as a data URI;
    `pictures` the finished ones, per candidate."""

    result: Result
    frames: list[list[str]] = field(default_factory=list)
    thumbs: list[str | None] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    before: str | None = None


@dataclass
class Entry:
    """One finished result. `photo` is the file it came from, for what saving keeps of it."""

    number: int
    task: str
    model: str
    sides: tuple[int, ...]
    kept: Kept[Made]
    sketch: bool = False
    cover: str = ""
    chosen: int = 0
    photo: str | None = None

    @property
    def title(self) -> str:
        names = {"edit": "change class"}
        return f"{self.number} · {'sketch' if self.sketch else names.get(self.task, self.task)}"

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

    def stage(self) -> canvas.Stage:
        made, likeliest = self.made, None
        if self.task in _LIKELY_IS_BETTER and len(made.result.likelihood) > 1:
            likeliest = max(range(len(made.result.likelihood)), key=made.result.likelihood.__getitem__)
        return canvas.Stage(
            self.sides,
            "done",
            made.pictures,
            made.thumbs,
            self.number,
            made.before,
            self.chosen,
            self.sketch,
            likeliest,
        )

    def looking_back(self) -> dict:
        """The chosen candidate's picture after every scale, and what it belongs to."""
        frames = [scale[min(self.chosen, len(scale) - 1)] for scale in self.made.frames]
        return {"result": self.number, "chosen": self.chosen, "frames": frames}


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
    """A visitor's results, oldest first, and the one shown; the pictures they opened; what the painter holds and what
    was last asked. Lives in `gr.State`. Who knows `key` gets it back after a reload."""

    entries: list[Entry] = field(default_factory=list)
    shown: int | None = None
    count: int = 0
    originals: list[Original] = field(default_factory=list)
    source: str | None = None
    mask: Kept[str] | None = None
    mode: str | None = None
    asked: Kept[Asked] | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def add(self, entry: Entry) -> None:
        self.entries = [*self.there(), entry][-HISTORY:]
        self.shown = entry.number

    def there(self) -> list[Entry]:
        """The results that are still kept."""
        return [entry for entry in self.entries if entry.kept.there]

    def begin(self, path: str, cover: str) -> None:
        """The visitor opened a picture. One that nothing was made of is not kept beside it."""
        if any(original.path == path for original in self.originals):
            return
        number = self.originals[-1].number + 1 if self.originals else 1
        if self.originals and self.originals[-1].after == self.count:
            self.originals.pop()
        self.originals = [*self.originals, Original(number, path, cover, self.count)][-HISTORY:]

    def keep(self, path: str | None, mask: Kept[str] | None, mode: str) -> None:
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
        return next((entry for entry in self.there() if entry.number == self.shown), None)

    def current(self) -> Entry:
        """The entry shown. ValueError when there is none (yet, or any more)."""
        entry = self.standing()
        if entry is None:
            raise ValueError("There is no result yet, or it is no longer kept: press Run.")
        return entry

    def pick(self, number: int) -> Entry:
        if all(entry.number != number for entry in self.there()):
            raise ValueError("This result is no longer kept: run it again.")
        self.shown = number
        return self.current()


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
