"""Which engines are loaded, shared by every visitor: lazy, bounded, loaded in the background."""

from __future__ import annotations

import threading
from collections import OrderedDict

from var_core import Engine

KEPT = 2  # engines in memory at once


class Engines:
    """Loads each model once, on first use. `loaded` runs switch models without disturbing each other: a run keeps
    the engine it started with, and the least recently used one is let go."""

    def __init__(self, default: str) -> None:
        self.default = default
        self._loaded: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()  # held while a model is read, so that two visitors never read it twice

    def start(self) -> None:
        """Read the default model in the background; the page can be up meanwhile."""
        threading.Thread(target=self._quietly, name="load-model", daemon=True).start()

    def _quietly(self) -> None:
        try:
            self.get(self.default)
        except (ValueError, OSError):
            return  # the first visitor's request gives the sentence

    def get(self, name: str | None = None) -> Engine:
        """The engine of a model, read now if it was not yet. ValueError says what is missing."""
        name = name or self.default
        with self._lock:
            engine = self._loaded.get(name)
            if engine is None:
                engine = Engine.load(name)
            self._loaded[name] = engine
            self._loaded.move_to_end(name)
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
        return engine
