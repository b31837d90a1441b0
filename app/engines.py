"""Which engines are loaded, shared by every visitor: lazy, bounded, loaded in the background."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from var_core import MODELS, EditRequest, Engine, Frame
from var_core.model.registry import download, is_on_disk

from . import zero

T = TypeVar("T")
KEPT = 2  # engines in memory at once


class Engines:
    """Loads each model once, on first use. Switching disturbs nobody: a run keeps the engine it started with, and
    the least recently used one is let go.

    One thread does all the arithmetic, whoever asked for it: OpenMP keeps a team of helpers for every thread that
    calls it, and with a second team in the process every run takes a third longer (measured on two cores)."""

    def __init__(self, default: str) -> None:
        self.default = default
        self._loaded: OrderedDict[str, Engine] = OrderedDict()
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()  # guards the two tables and the count of runs; never held while a model is read
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._reading: dict[str, threading.Lock] = {}
        self._runs = 0
        self._arithmetic = ThreadPoolExecutor(1, "arithmetic")

    def start(self) -> None:
        """Read the default model in the background; the page can be up meanwhile."""
        self._thread = threading.Thread(target=self._warm_up, name="load-model", daemon=True)
        self._thread.start()
        if zero.active():  # the weights must be in place before the first visitor's run
            self._thread.join()

    def close(self) -> None:
        """End what runs in the background."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(30)
        self._arithmetic.shutdown(wait=False, cancel_futures=True)

    def _warm_up(self) -> None:
        """Read the model and draw one picture: the first run of a process is slow, and not a visitor's."""
        try:
            engine = self.get(self.default)
        except (ValueError, OSError):
            return  # the first visitor's request gives the sentence
        if zero.active():
            return
        for frame in self.run(engine, EditRequest(seed=0)):
            if self._closing.is_set():
                return
            if frame.result is not None:
                self.note(self.default, frame.seconds)

    def get(self, name: str | None = None) -> Engine:
        """The engine of a model, read now if it was not yet. ValueError says what is missing."""
        name = name or self.default
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name]
            reading = self._reading.setdefault(name, threading.Lock())
        with reading:  # two visitors never read the same model twice; others are not held up meanwhile
            with self._lock:
                engine = self._loaded.get(name)
            if engine is None:
                with ThreadPoolExecutor(1) as own:  # ends with its helpers; runs go on meanwhile
                    engine = own.submit(Engine.load, name).result()
            with self._lock:
                self._loaded[name] = engine
                self._loaded.move_to_end(name)
                while len(self._loaded) > KEPT:
                    self._loaded.popitem(last=False)
        return engine

    def compute(self, work: Callable[[], T]) -> T:
        """What `work` gives, done by the thread that does the arithmetic. Inside of a function that a Space lends its
        GPU to, which is a process of its own, by this one."""
        return work() if zero.active() else self._arithmetic.submit(work).result()

    def run(self, engine: Engine, request: EditRequest) -> Iterator[Frame]:
        """The frames of `engine.run`. Visitors take turns, a scale each."""
        frames = engine.run(request)
        with self._lock:
            self._runs += 1
        try:
            while (frame := self.compute(lambda: next(frames, None))) is not None:
                yield frame
        finally:
            with self._lock:
                self._runs -= 1

    def prepare(self, engine: Engine, request: EditRequest) -> bool:
        """Encode ahead what `run` will need first; False where somebody's run would have to wait for it."""
        return not self._runs and self.compute(lambda: engine.prepare(request))

    def note(self, name: str, seconds: float) -> None:
        """Remember how long one picture took on this machine; the page tells the next visitor."""
        before = self._seconds.get(name)
        self._seconds[name] = seconds if before is None else 0.7 * before + 0.3 * seconds

    def pace(self, name: str) -> str:
        seconds = self._seconds.get(name)
        return "" if seconds is None else f"a picture takes about {seconds:.1f} s here"

    def missing(self, name: str) -> bool:
        return name in MODELS and not is_on_disk(name)

    def choices(self) -> list[tuple[str, str]]:
        """Every registered model: size, licence, whether it is on disk. A file given at start comes first."""
        found = []
        for info in MODELS.values():
            where = f"{info.size_mb / 1000:.1f} GB to fetch" if self.missing(info.name) else "on disk"
            found.append((f"{info.name} · {info.resolution} px · {info.licence} · {where}", info.name))
        if self.default not in MODELS:
            found.insert(0, (f"{Path(self.default).stem} · your file", self.default))
        return found

    def fetch(self, name: str) -> Iterator[float]:
        """Download a model in a thread, yielding the megabytes that have arrived. ValueError when it fails."""
        if name not in MODELS:
            raise ValueError(f'there is no model "{name}" to fetch')
        failure: list[Exception] = []

        def work() -> None:
            try:
                download(name)
            except Exception as error:
                failure.append(error)

        before = _cache_megabytes()
        thread = threading.Thread(target=work, name=f"fetch-{name}", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
            yield _cache_megabytes() - before
        if failure:
            raise failure[0]


def _cache_megabytes() -> float:
    """Size of the hub's cache, what is still arriving included."""
    from huggingface_hub.constants import HF_HUB_CACHE

    total = 0
    for path in Path(HF_HUB_CACHE).glob("models--*/blobs/*"):
        try:
            total += path.stat().st_size
        except OSError:  # just renamed
            continue
    return total / 1e6
