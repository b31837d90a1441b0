"""Where the page can be reached: its own address without a proxy, a port that is free, and the names it answers to."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence

_PROXIES = ("all_proxy", "http_proxy", "https_proxy")


def go_direct(host: str) -> None:
    """See to it that this process reaches its own page whatever proxy is set: gradio asks for it once at start."""
    own = ["localhost", "127.0.0.1", "::1", host.strip("[]")]
    for name in ("no_proxy", "NO_PROXY"):  # either is read by some
        os.environ[name] = ",".join(dict.fromkeys([*filter(None, os.environ.get(name, "").split(",")), *own]))
    if importlib.util.find_spec("socksio") is not None:
        return
    for name in [name for name in os.environ if name.lower() in _PROXIES]:
        if os.environ[name].lower().startswith("socks"):
            del os.environ[name]
            print(f"{name} is a SOCKS proxy, which is not used here: downloads go without it", file=sys.stderr)


def check(host: str, port: int | None) -> None:
    """ValueError with one sentence unless the page can be served there; port None: the first free one is taken."""
    first = os.environ.get("GRADIO_SERVER_PORT", "7860") if port is None else str(port)
    if not first.isdecimal() or not 0 < int(first) < 2**16:
        raise ValueError(f"the port must be a number from 1 to 65535, got {first}")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} is used by another program: choose another with --port") from error
        if error.errno == errno.EACCES:
            raise ValueError(f"port {port} needs an administrator: choose one from 1024 on with --port") from error
        raise ValueError(f"{host} is no address of this machine: choose another with --host") from error


def names(host: str, more: Sequence[str] = ()) -> list[str]:
    """The names that a browser may ask for. A page for this machine alone answers to its own only, since any site could
    lead its visitors' browsers here under the site's name; a page for a network answers to all."""
    bare = host.strip("[]")
    try:
        alone = bare == "localhost" or ipaddress.ip_address(bare).is_loopback
    except ValueError:  # a name
        alone = False
    return ["localhost", "127.0.0.1", "[::1]", "::1", bare, *more] if alone else ["*"]
