"""The page in a process of its own, for the browser tests and the screenshots."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def serve(model: str, folder: Path, before: str = "", **environment: str) -> Iterator[str]:
    """Start app.py on a free port, give its address, and end it whatever happens. Its output is folder/log.txt, its
    number folder/pid. `before` is Python to run first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"HF_HUB_OFFLINE": "1", "TMPDIR": str(folder)} | environment
    start = ["-c", f"import runpy\n{before}\nrunpy.run_path('app.py', run_name='__main__')"] if before else ["app.py"]
    command = [sys.executable, "-u", *start, "--model", model, "--port", str(port)]
    with (folder / "log.txt").open("w+") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=os.environ | settings)
        (folder / "pid").write_text(str(server.pid))
        try:
            _wait(f"http://127.0.0.1:{port}", server, folder / "log.txt")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(address: str, server: subprocess.Popen, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(1200):
        assert server.poll() is None, log.read_text()
        try:
            opener.open(address + "/config", timeout=2)
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the page did not come up: " + log.read_text())
