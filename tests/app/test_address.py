"""The page starts under every proxy setting, and says in one sentence where it cannot be served."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_server import ROOT, serve

from app import address


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "GRADIO_SERVER_PORT":
            monkeypatch.delenv(name)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # so that it is put back
    return monkeypatch


def test_what_is_exempt_from_proxies_already_stays_so(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("no_proxy", "intranet,localhost")
    address.go_direct("[::1]")
    assert os.environ["no_proxy"] == "intranet,localhost,127.0.0.1,::1"
    assert os.environ["NO_PROXY"] == "localhost,127.0.0.1,::1"
    address.go_direct("10.1.2.3")
    assert os.environ["no_proxy"] == "intranet,localhost,127.0.0.1,::1,10.1.2.3"


def test_a_socks_proxy_is_left_out_and_named(clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clean.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    clean.setenv("https_proxy", "http://127.0.0.1:9")
    address.go_direct("127.0.0.1")
    assert "ALL_PROXY" not in os.environ and os.environ["https_proxy"] == "http://127.0.0.1:9"
    assert capsys.readouterr().err.splitlines() == [
        "ALL_PROXY is a SOCKS proxy, which is not used here: downloads go without it"
    ]


def test_where_it_cannot_be_served(clean: pytest.MonkeyPatch, taken: int) -> None:
    for host, port, sentence in (
        ("127.0.0.1", taken, f"port {taken} is used by another program"),
        ("127.0.0.1", 0, "from 1 to 65535, got 0"),
        ("127.0.0.1", 2**16, "from 1 to 65535"),
        ("192.0.2.1", None, "no address of this machine"),
        ("no.such.name.invalid", None, "no address of this machine"),
    ):
        with pytest.raises(ValueError, match=sentence):
            address.check(host, port)
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        address.check(host, None)
    clean.setenv("GRADIO_SERVER_PORT", "seven")
    with pytest.raises(ValueError, match="got seven"):
        address.check("127.0.0.1", None)


def test_a_page_for_this_machine_answers_to_its_own_names() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.8.0.1"):
        assert {host.strip("[]"), "localhost", "[::1]"} <= set(address.names(host))
        assert "*" not in address.names(host) and "editor.example" in address.names(host, ["editor.example"])
    for host in ("0.0.0.0", "::", "10.1.2.3", "editor.example"):
        assert address.names(host) == ["*"]


def test_a_port_in_use_is_one_sentence(taken: int, tmp_path: Path) -> None:
    command = [sys.executable, "app.py", "--port", str(taken)]
    settings = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"port {taken} is used by another program" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("proxies", [{"http_proxy": "http://127.0.0.1:9"}, {"ALL_PROXY": "socks5://127.0.0.1:9"}])
def test_the_page_comes_up_under_a_proxy_and_to_its_own_names_only(
    model_file: Path, tmp_path: Path, proxies: dict[str, str]
) -> None:
    with serve(str(model_file), tmp_path, **proxies) as url:
        port = int(url.rsplit(":", 1)[1])
        for host, status in (("localhost", b"200"), (f"127.0.0.1:{port}", b"200"), ("evil.example", b"400")):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(f"GET /config HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                assert connection.recv(64).split()[1] == status
    text = (tmp_path / "log.txt").read_text()
    assert "Traceback" not in text and ("SOCKS" in text) == ("ALL_PROXY" in proxies)
