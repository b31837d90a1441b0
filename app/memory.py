"""What is kept in memory for visitors, counted in bytes: one budget for the whole server, the oldest goes first."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from PIL import Image

T = TypeVar("T")
BUDGET = 600 * 2**20  # bytes

_clock = itertools.count(1)


class Kept(Generic[T]):
    """Something on a shelf. It goes when its holder does, or earlier, when others need the room."""

    def __init__(self, value: T) -> None:
        self._value: T | None = value
        self.used = next(_clock)
        self.fixed = 0  # bytes that are not there yet, and must not go
        self.held = False  # on its way to somebody: must not go either

    @property
    def value(self) -> T | None:
        """None when it had to go."""
        self.used = next(_clock)
        return self._value

    @property
    def there(self) -> bool:
        return self._value is not None

    @property
    def pieces(self) -> dict[int, int]:
        return {id(self): self.fixed} if self.fixed else weigh(self._value)

    def drop(self) -> None:
        self._value = None


class Shelf:
    """All that is kept. What several hold counts once."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._kept: WeakSet[Kept[Any]] = WeakSet()
        self._lock = threading.Lock()

    def keep(self, value: T) -> Kept[T]:
        """Room for it, whatever must go; the new one itself always stays."""
        new = Kept(value)
        self._make_room(new)
        return new

    @contextmanager
    def delivering(self, value: T) -> Iterator[Kept[T]]:
        """As `keep`; and it does not go before its visitor has it, whoever needs the room."""
        new = Kept(value)
        new.held = True
        self._make_room(new)
        try:
            yield new
        finally:
            new.held = False

    def take(self, nbytes: int) -> Kept[bytes]:
        """Room for what a run will need, until its holder lets go of it."""
        taken = Kept(b"")
        taken.fixed = nbytes
        self._make_room(taken)
        return taken

    def _make_room(self, new: Kept[Any]) -> None:
        with self._lock:
            self._kept.add(new)
            while self.nbytes > self.budget:
                others = [one for one in self._kept if one is not new and one.there and not one.fixed and not one.held]
                if not others:
                    break
                min(others, key=lambda kept: kept.used).drop()

    @property
    def nbytes(self) -> int:
        pieces: dict[int, int] = {}
        for kept in list(self._kept):
            pieces |= kept.pieces
        return sum(pieces.values())


def weigh(value: Any) -> dict[int, int]:
    """The large pieces that a value holds, by identity: pictures, arrays, tensors, texts, in whatever they lie."""
    pieces: dict[int, int] = {}
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Image.Image):
            pieces[id(one)] = (
                one.width * one.height * (4 if one.mode not in ("L", "P", "1") else 1)
            )  # as Pillow lays it
        elif isinstance(one, str | bytes):
            pieces[id(one)] = len(one)
        elif one is None or isinstance(one, int | float | type):
            continue
        elif isinstance(nbytes := getattr(one, "nbytes", None), int) and not is_dataclass(one):
            pieces[id(one)] = nbytes
        else:
            waiting += _parts(one)
    return pieces


def _parts(holder: Any) -> list[Any]:
    if isinstance(holder, dict):
        return [*holder.values()]
    if isinstance(holder, list | tuple):
        return [*holder]
    if is_dataclass(holder):
        named = [getattr(holder, field.name) for field in fields(holder)]
        return named + [part for part in vars(holder).values() if isinstance(part, Image.Image)]  # what it has cached
    return []
