"""Keeping freed memory in the process.

glibc gives every large block back to the system at once, so each new tensor costs page faults again: in virtual
machines that was measured at half of all processor time, in training as in inference. Kept blocks lie in pools that
glibc makes for every few threads; in a server, whose threads come and go, two pools keep the memory flat where sixteen
grow for hundreds of requests.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # numbers of malloc.h
_POOLS = 2
_LARGEST_KEPT = 2**30  # bytes; larger blocks still go back at once


def keep_freed_memory() -> bool:
    """Tell glibc to reuse blocks of up to 1 GiB, from two pools. False where the C library has no such setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    choices = ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, _POOLS))
    return all([mallopt(*choice) for choice in choices])


def give_back_memory() -> None:
    """Return to the system what is free now: after something large that need not happen again."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)
