"""What comes in: uploads that break off leave nothing, nobody fills the disk or the memory, and a full disk is one
sentence."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

ALL = 2 * 2**30  # bytes of everybody's uploads, within SECONDS
OF_ONE = 2**29  # of one address
LEAST = 2**16  # bytes that an upload counts: many small ones fill a disk too
BODY = 2**23  # bytes of any other request
SECONDS = 3600
SILENCE = 60  # seconds after which an upload that sends nothing has broken off
DISK_FULL = "The server's disk is full: nothing was lost; try again in some minutes."


class Door:
    """ASGI middleware around the whole page. `folder` is where gradio writes uploads."""

    def __init__(self, app: Callable[..., Any], folder: Path) -> None:
        self.app, self.folder = app, folder
        self._seen: deque[tuple[float, str, int]] = deque()  # when, from where, how many bytes
        self._open = 0

    async def __call__(self, scope: dict, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif scope["path"].endswith("/upload"):
            await self._admit(scope, receive, send)
        else:
            await self.app(scope, _Counted(receive, BODY), send)

    async def _admit(self, scope: dict, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        address = (scope.get("client") or ("",))[0]
        if refusal := self._refusal(address):
            await PlainTextResponse(refusal, 429)(scope, receive, send)
            return
        self._open += 1
        try:
            await self._upload(scope, receive, send, address)
        finally:
            self._open -= 1
            self._sweep()

    async def _upload(self, scope: dict, receive: Callable, send: Callable, address: str) -> None:
        counted = _Counted(receive, ALL)
        try:
            await self.app(scope, counted, send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            await PlainTextResponse(DISK_FULL, 507)(scope, receive, send)
        finally:
            self._seen.append((time.monotonic(), address, max(counted.arrived, LEAST)))

    def _refusal(self, address: str) -> str:
        """Why no more comes in now; empty: it may."""
        while self._seen and self._seen[0][0] < time.monotonic() - SECONDS:
            self._seen.popleft()
        if not behind_proxy() and sum(size for _, of, size in self._seen if of == address) >= OF_ONE:
            return f"You have sent {OF_ONE // 2**20} MB within the hour: go on later."
        if sum(size for _, _, size in self._seen) >= ALL or shutil.disk_usage(_there(self.folder)).free < 2**27:
            return "The server has no room for more pictures now: try again in some minutes."
        return ""

    def _sweep(self) -> None:
        """Remove what uploads that broke off have left: finished ones lie in folders of their own."""
        if not self.folder.is_dir():
            return
        for left in self.folder.iterdir():
            try:
                if left.is_file() and (not self._open or left.stat().st_mtime < time.time() - 2 * SILENCE):
                    left.unlink()
            except FileNotFoundError:  # another request was faster
                continue


def behind_proxy() -> bool:
    """Whether all visitors seem to come from one address: in a Space."""
    return bool(os.environ.get("SPACE_ID"))


class _Counted:
    """Receives a request's body. Who falls silent, or sends more than `most` bytes, is taken for gone."""

    def __init__(self, receive: Callable[..., Any], most: int) -> None:
        self.receive, self.most, self.arrived, self.whole = receive, most, 0, False

    async def __call__(self) -> dict[str, Any]:
        if self.whole:
            return await self.receive()
        if self.arrived > self.most:
            return {"type": "http.disconnect"}
        try:
            message = await asyncio.wait_for(self.receive(), SILENCE)
        except TimeoutError:
            return {"type": "http.disconnect"}
        self.arrived += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message


def _there(folder: Path) -> Path:
    """The nearest folder that is there already."""
    return folder if folder.is_dir() else _there(folder.parent)
