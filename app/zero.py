"""ZeroGPU of Hugging Face Spaces: what needs the GPU is marked, where the Space's own package is there."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

SECONDS = 60  # of GPU that one run may take


def ready() -> None:
    """To be called before torch is imported: the package must come first."""
    if importlib.util.find_spec("spaces") is not None:
        importlib.import_module("spaces")


def active() -> bool:
    """Whether the GPU is there only inside of marked functions, so that nothing may compute in between."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def gpu(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, marked where the package is present."""
    if importlib.util.find_spec("spaces") is None:
        return work
    return importlib.import_module("spaces").GPU(duration=SECONDS)(work)
