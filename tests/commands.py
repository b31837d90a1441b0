"""Commands in processes of their own, as somebody types them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
SHARED = (PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")  # a free port of its own


def command(*words: object, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run to the end, in the checkout. One that is not there by `seconds` has hung: the test fails with what it said.

    What it says goes to files, not pipes, which a process that is left over could hold open for ever.
    """
    line, settings = [str(word) for word in words], os.environ | environment
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(line, cwd=ROOT, stdout=out, stderr=err, env=settings, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            pytest.fail(f"{' '.join(line)}\nhung, and was ended after {seconds:g} s:\n{_said(out)}{_said(err)}")
        return subprocess.CompletedProcess(line, code, _said(out), _said(err))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Politely first, so that it ends its own (torchrun's are in groups of their own)."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
