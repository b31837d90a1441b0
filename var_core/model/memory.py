"""What the process keeps: answers that it has given, and freed memory.

glibc gives every large block back to the system at once, so each new tensor costs page faults again: in virtual
machines that was measured at half of all processor time, in training as in inference. Kept blocks lie in pools that
glibc makes for every few threads; in a server, whose threads come and go, two pools keep the memory flat where sixteen
grow for hundreds of requests.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable

from torch import Tensor

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # numbers of malloc.h


class Remembered:
    """The last answers, by a digest of everything that went into them, up to `limit` bytes; the very last one always
    stays. Answers are not to be written to."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[bytes, tuple[Tensor, ...]] = OrderedDict()

    def __call__(self, asked: Iterable[Tensor], compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `compute` gives for these tensors, or once gave for equal ones."""
        digest = hashlib.blake2b(digest_size=20)
        for part in asked:
            digest.update(repr(tuple(part.shape)).encode() + part.cpu().numpy().tobytes())
        key = digest.digest()
        if key not in self._kept:
            self._kept[key] = compute()
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self.held > self.limit:
            self._kept.popitem(last=False)
        return self._kept[key]

    @property
    def held(self) -> int:
        """Bytes remembered."""
        return sum(part.nbytes for answer in self._kept.values() for part in answer)


def keep_freed_memory() -> None:
    """Tell glibc to reuse blocks of up to 1 GiB, from two pools."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other C libraries have no such setting
        for choice in ((_MMAP_THRESHOLD, 2**30), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 2)):
            ctypes.CDLL(None).mallopt(*choice)


def give_back_memory() -> None:
    """Return to the system what is free now: after something large that need not happen again."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
