"""Memory that was freed is used again by the process itself."""

from __future__ import annotations

import platform

import commands
import pytest

FAULTS = """
import resource
import torch
from var_core.model.memory import keep_freed_memory

keep_freed_memory()
torch.set_num_threads(1)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(20):
    torch.ones(50 * 2**20, dtype=torch.uint8)
print((faults() - before) / (50 * 2**20 / resource.getpagesize()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_large_tensor_takes_the_place_of_one_that_is_gone() -> None:
    """In a process of its own: how many times over twenty of one size take pages from the system."""
    kept = commands.command(commands.PYTHON, "-c", FAULTS)
    assert kept.returncode == 0 and float(kept.stdout) < 10, kept
