"""Which engines are loaded, shared by every visitor: lazy, bounded, loaded in the background."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from var_core import MODELS, Chance, Edit, Engine, Frame, Plan, Result
from var_core.model.registry import download, is_on_disk

from . import zero

T = TypeVar("T")
KEPT = 2  # engines in memory at once
PATIENCE = 30.0  # seconds that one waits for others' plans
ENDING = "the server is ending: start it again, then try once more"


class Engines:
    """Loads each model once, on first use. Switching disturbs nobody: a run keeps the engine it started with, and
    the least recently used one is let go. Only registered models and `default` can be had, by name.

    One thread does all the arithmetic, whoever asked for it: OpenMP keeps a team of helpers for every thread that
    calls it, and with a second team in the process every run takes a third longer (measured on two cores). Runs take
    turns on it, a scale each."""

    def __init__(self, default: str) -> None:
        self.default = default
        self._loaded: OrderedDict[str, Engine] = OrderedDict()
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()  # guards the two tables and the count of runs; never held while a model is read
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._reading = {name: threading.Lock() for name in (default, *MODELS)}
        self._runs = 0
        self.worked = 0  # how often anything was computed
        self._arithmetic = ThreadPoolExecutor(1, "arithmetic")
        self._planning = threading.Semaphore(2)  # a plan of a large picture takes memory while it is made
        self._lent = zero.gpu(self._steps)
        self.replay = zero.gpu(self._replay)

    def start(self) -> None:
        """Read the default model in the background; the page can be up meanwhile."""
        self._thread = threading.Thread(target=self._warm_up, name="load-model", daemon=True)
        self._thread.start()
        if zero.active():  # the weights must be in place before the first visitor's run
            self._thread.join()

    def close(self) -> None:
        """End what runs in the background: no step begins any more, whoever waits for one is told."""
        self._closing.set()
        self._arithmetic.shutdown(wait=False, cancel_futures=True)

    def _warm_up(self) -> None:
        """Read the model and draw one picture: the first run of a process is slow, and not a visitor's."""
        try:
            self.get()
            if zero.active():
                return
            for frame in self.run(self.default, Edit(), Chance(seed=0)):
                if frame.result is not None:
                    self.note(self.default, frame.seconds)
        except (ValueError, OSError):
            return  # the first visitor's request gives the sentence, or the server is ending

    def check(self, name: str) -> None:
        """ValueError unless a model may be had by that name; whether it is on disk is another matter."""
        if name not in self._reading:
            raise ValueError(f'there is no model "{name[:40]}" here: use one of {", ".join(MODELS)}')

    def get(self, name: str | None = None) -> Engine:
        """The engine of a model, read now if it was not yet. ValueError says what is missing."""
        name = name or self.default
        self.check(name)
        with self._reading[name]:  # two visitors never read the same model twice; others are not held up meanwhile
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

    def name_of(self, model: str) -> str | None:
        """By which name a model is had here that calls itself `model`; None where there is none."""
        if model in MODELS:
            return model
        with self._lock:
            own = self._loaded.get(self.default)
        return self.default if own is not None and own.name == model else None

    def compute(self, work: Callable[[], T]) -> T:
        """What `work` gives, done by the thread that does the arithmetic. Inside of a function that a Space lends its
        GPU to, which is a process of its own, by this one."""
        self.worked += 1
        if zero.active():
            return work()
        try:
            return self._arithmetic.submit(work).result()
        except (CancelledError, RuntimeError) as error:
            if self._closing.is_set():
                raise ValueError(ENDING) from error
            raise

    def plan(self, name: str, edit: Edit) -> Plan:
        """What the edit comes down to, for that model. ValueError says what is too much."""
        engine = self.get(name)
        self.worked += 1
        if not self._planning.acquire(timeout=PATIENCE):
            raise ValueError("the server is busy with other people's large pictures: try again in a minute")
        try:
            return engine.plan(edit)
        finally:
            self._planning.release()

    def run(self, name: str, edit: Edit, chance: Chance, plan: Plan | None = None) -> Iterator[Frame]:
        return self._lent(name, "run", edit, chance, plan)

    def branch(self, name: str, result: Result, index: int, scale: int, chance: Chance, label: Any) -> Iterator[Frame]:
        return self._lent(name, "branch", result, index, scale, chance, label)

    def finish(self, name: str, result: Result, index: int) -> Iterator[Frame]:
        """The chosen candidate of a sketch, finished."""
        return self._lent(name, "finish", result, index)

    def scenes(self, name: str, result: Result, index: int, side: int, window: bool) -> Iterator[Image.Image]:
        """A candidate's run told again (`Engine.scenes`)."""
        return self._lent(name, "scenes", result, index, side, window)

    def _steps(self, name: str, kind: str, *arguments: Any) -> Iterator[Any]:
        """What an engine's method gives, step by step. Every scale is a turn of its own."""
        frames = getattr(self.get(name), kind)(*arguments)
        with self._lock:
            self._runs += 1
        try:
            while (frame := self.compute(lambda: next(frames, None))) is not None:
                yield frame
        finally:
            with self._lock:
                self._runs -= 1

    def _replay(self, name: str, path: str) -> Image.Image:
        """The picture of a saved PNG again."""
        engine = self.get(name)
        return self.compute(lambda: engine.replay(path))

    @property
    def busy(self) -> bool:
        """Whether a run is going, which what is only prepared would hold up."""
        return self._runs > 0

    def prepare(self, name: str, plan: Plan) -> bool:
        """Encode ahead what `run` will need first; False where somebody's run would have to wait for it."""
        engine = self.get(name)
        return not self.busy and self.compute(lambda: engine.prepare(plan))

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
