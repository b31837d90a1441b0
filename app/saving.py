"""What a visitor takes away: one version as a file of the format they chose, or its run as an animation."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from var_core import ANIMATION, SAVING, Animation, Saving, Setting, save_animation
from var_core.files import animation, saving

from .engines import Engines
from .pictures import Outbox, large
from .session import Entry

ROUNDED = {
    "jpeg": "JPEG rounds every pixel a little, also where nothing was drawn: PNG keeps them, and how it was made.",
    "webp": "WebP rounds every pixel a little, also where nothing was drawn: PNG keeps them, and how it was made.",
}
_moving = threading.BoundedSemaphore(1)  # an animation holds 90 MB while it is written


class Saver:
    """Writes files into the outbox. Whose result it is, the caller has made sure of. `given` are the settings by their
    names in `var_core.SAVING` or `var_core.ANIMATION`, what else it holds is not looked at; each method answers with
    {"path", "name", "bytes"} and, for `picture`, "notice", a sentence or "". ValueError with one sentence."""

    def __init__(self, outbox: Outbox, engines: Engines) -> None:
        self.outbox, self.engines = outbox, engines

    def picture(self, entry: Entry, version: int, photo: str | None, given: dict[str, Any]) -> dict[str, Any]:
        """One version as PNG, JPEG or WebP. `photo`: the file that the visitor opened and this came from (see
        `photo_of`), whose colours, and camera data if asked for, go with it; None: none, or no longer there."""
        how = Saving(**_given(SAVING, given))
        path = self._place(entry, version, saving.SUFFIXES, how.format)
        source = photo if photo is not None and Path(photo).is_file() else None
        with large:
            saving.save_result(entry.result, path, version, how, source)
        return _told(path) | {"notice": ROUNDED.get(how.format, "")}

    def animation(self, entry: Entry, version: int, given: dict[str, Any]) -> dict[str, Any]:
        """One version's run, coarse to fine. Its model is read again if it had to go."""
        how = Animation(**_given(ANIMATION, given))
        path = self._place(entry, version, animation.SUFFIXES, how.format)
        with _moving:
            scenes = self.engines.scenes(entry.model, entry.result, version, how.side, how.view == "window")
            save_animation([*scenes], path, how)
        return _told(path)

    def _place(self, entry: Entry, version: int, suffixes: dict[str, str], kind: str) -> Path:
        suffix = next(suffix for suffix, of in suffixes.items() if of == kind)
        return self.outbox.place() / f"{entry.task}-{entry.result.seed}-{version + 1}{suffix}"


def animations() -> tuple[str, ...]:
    """The kinds of animation that can be written here: MP4 needs a package of its own."""
    film = importlib.util.find_spec("imageio_ffmpeg") is not None
    return tuple(kind for kind in ANIMATION["format"].choices if film or kind != "mp4")


def photo_of(named: Callable[[str], Any], base: str | None) -> str | None:
    """The file that a row of edits began with: `base` names what an entry was made from, `named` finds what a name
    stands for, an original (with `path`) or (entry with `base`, version). None where it is no longer known."""
    for _ in range(100):
        try:
            found = named(base) if base else None
        except ValueError:
            return None
        if not isinstance(found, tuple):
            return getattr(found, "path", None)
        base = found[0].base
    return None


def _given(declared: dict[str, Setting], given: dict[str, Any]) -> dict[str, Any]:
    return {name: each.read(given[name]) for name, each in declared.items() if given.get(name) is not None}


def _told(path: Path) -> dict[str, Any]:
    return {"path": str(path), "name": path.name, "bytes": path.stat().st_size}
