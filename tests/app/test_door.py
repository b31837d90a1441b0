"""Uploads: what breaks off leaves nothing, nobody fills the disk."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse

from app import door
from app.door import Door


def sending(
    app: Door, parts: list[bytes | None], path: str = "/gradio_api/upload", address: str = "1.1.1.1"
) -> tuple[int, str]:
    """Status and text of the answer; None in `parts` is a connection that breaks off."""
    messages, answer = iter(parts), []

    async def receive() -> dict[str, Any]:
        part = next(messages)
        return (
            {"type": "http.disconnect"} if part is None else {"type": "http.request", "body": part, "more_body": True}
        )

    async def send(message: dict[str, Any]) -> None:
        answer.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "client": (address, 1), "headers": []}
    asyncio.run(app(scope, receive, send))
    if not answer:
        return 0, ""
    return answer[0]["status"], answer[-1]["body"].decode()


def writing(folder: Path, parts: int):
    """An application that writes an upload into `folder` as gradio does: in pieces, unnamed until it is whole."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        stream = Request(scope, receive).stream()
        with (folder / f"tmp{len(list(folder.iterdir()))}").open("wb") as file:
            for _ in range(parts):
                file.write(await anext(stream))
        whole = folder / "hash" / "photo.png"
        whole.parent.mkdir(exist_ok=True)
        Path(file.name).rename(whole)
        await PlainTextResponse("there")(scope, receive, send)

    return app


def test_a_whole_upload_stays_and_one_that_broke_off_leaves_nothing(tmp_path: Path) -> None:
    app = Door(writing(tmp_path, 2), tmp_path)
    assert sending(app, [b"one", b"two"]) == (200, "there")
    assert sending(app, [b"one", None]) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["hash"]
    assert (tmp_path / "hash" / "photo.png").read_bytes() == b"onetwo"


def test_nobody_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "OF_ONE", 10)
    monkeypatch.setattr(door, "ALL", 25)
    monkeypatch.setattr(door, "LEAST", 1)
    app = Door(writing(tmp_path, 1), tmp_path)
    assert sending(app, [b"x" * 12])[0] == 200
    status, text = sending(app, [b"x"])
    assert status == 429 and "within the hour" in text
    assert sending(app, [b"x" * 13], address="2.2.2.2")[0] == 200
    status, text = sending(app, [b"x"], address="3.3.3.3")
    assert status == 429 and "no room" in text
    assert sending(app, [b"x"], path="/gradio_api/queue/join")[0] == 200, "only uploads are counted"


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    async def full(scope: Any, receive: Any, send: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    status, text = sending(Door(full, tmp_path), [b"x"])
    assert status == 507 and text == door.DISK_FULL


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise PermissionError("secret")

    with pytest.raises(PermissionError):
        sending(Door(broken, tmp_path), [b"x"])


def test_silence_is_a_connection_that_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "SILENCE", 0)
    gone = []

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anext(Request(scope, receive).stream())
        except ClientDisconnect as error:
            gone.append(error)
            raise

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    app = Door(waiting, tmp_path)
    scope = {"type": "http", "method": "POST", "path": "/upload", "client": None, "headers": []}
    asyncio.run(app(scope, never, never))
    assert gone


def test_no_request_may_be_larger_than_a_painting(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Request(scope, receive).body()
        await PlainTextResponse("whole")(scope, receive, send)

    with pytest.raises(ClientDisconnect):
        sending(Door(app, tmp_path), [b"x" * 2**20] * 20, path="/gradio_api/queue/join")
