"""The server ends when it is told to, whatever it does, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gradio_client import Client
from page_server import ROOT, serve

ENDLESS = """
from var_core.engine import Engine
def plan(self, edit):
    open('TMP/busy', 'w').close()
    while True:
        pass
Engine.plan = plan
"""


def test_work_without_end_is_cut_off(model_file: Path, tmp_path: Path) -> None:
    with serve(str(model_file), tmp_path, before=ENDLESS.replace("TMP", str(tmp_path))) as url:
        Client(url, verbose=False).submit(api_name="/generate")
        while not (tmp_path / "busy").exists():
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":  # until it has ended by itself
            time.sleep(0.05)
    assert {path.name for path in tmp_path.iterdir()} == {"busy", "log.txt", "pid"}
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_an_early_end_leaves_no_folder(model_file: Path, tmp_path: Path, order: signal.Signals) -> None:
    start = [sys.executable, "app.py", "--model", str(model_file)]
    server = subprocess.Popen(start, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE)
    while not list(tmp_path.iterdir()):
        assert server.poll() is None, server.communicate()
        time.sleep(0.01)
    server.send_signal(order)
    _, said = server.communicate()
    assert server.returncode == 0 and b"Traceback" not in said
    assert not list(tmp_path.glob("var-editor-*"))
