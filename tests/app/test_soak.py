"""Two hundred requests from four programs at once, fifty stops: no fault, flat memory, nothing left on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_server import serve
from soak import soak


@pytest.mark.slow
def test_many_requests_and_many_stops(model_file: Path, tmp_path: Path) -> None:
    server, own = tmp_path / "server", tmp_path / "clients"
    server.mkdir()
    own.mkdir()
    with serve(str(model_file), server) as url:
        found = soak(url, int((server / "pid").read_text()), own)
    assert found["faults"] == [] and found["requests"] == 200
    assert found["late_mb"] < 1.1 * found["early_mb"] and found["after_stops_mb"] < 1.1 * found["early_mb"], found
    left = {path.name for path in server.iterdir() if not path.name.startswith("torchinductor")}
    assert left == {"log.txt", "pid"}
    assert "Traceback" not in (server / "log.txt").read_text()
