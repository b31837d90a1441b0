"""What the server keeps for a visitor, without a browser."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from conftest import rectangle
from test_canvas import layer
from test_handlers import MASK, VISITOR, finish, handlers, photo, values  # noqa: F401

from app.handlers import Handlers
from app.session import HISTORY, Session
from var_core import Engine

OTHER = layer(rectangle((200, 150), (10, 10, 40, 40)))


class Click(gr.EventData):
    """A click in the history."""

    def __init__(self, **data: int) -> None:
        super().__init__(None, data)


def worked(handlers: Handlers, photo: Path) -> Session:  # noqa: F811
    session = handlers.resume(None)[0]
    handlers.began(str(photo), session)
    finish(handlers.run(VISITOR, str(photo), MASK, session, *values(candidates=2)))
    return session


def test_a_session_is_found_by_its_key_alone(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session = worked(handlers, photo)
    handlers.keep(str(photo), OTHER, "edit", session)
    again, answer, source, mode, stage, history = handlers.resume(session.key)
    assert again is session and (source, mode) == (str(photo), "edit")
    assert answer == {"key": session.key, "mask": OTHER}
    assert 'data-state="done" data-result="1"' in stage
    assert history.index('data-original="1"') < history.index('data-entry="1"')
    for key in ("", None, "guessed", session.key[:-1]):
        stranger, answer, source, _, stage, history = handlers.resume(key)
        assert stranger.key != session.key and len(stranger.key) >= 32 and not stranger.entries
        assert source is None and answer["mask"] is None and stage == gr.skip() and "data-" not in history


def test_a_session_is_forgotten_after_its_hour(
    handlers: Handlers,  # noqa: F811
    photo: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = worked(handlers, photo)
    assert handlers.resume(session.key)[0] is session
    monkeypatch.setattr("app.session.HOURS", -1)
    assert handlers.resume(session.key)[0] is not session


def test_what_is_no_longer_on_disk_is_not_offered(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session = worked(handlers, photo)
    photo.unlink()
    assert handlers.resume(session.key)[2] is None
    with pytest.raises(gr.Error, match="no longer on the server"):
        handlers.reopen(session, Click(original=1))


def test_an_original_comes_back_with_the_paint_last_seen_on_it(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session = worked(handlers, photo)
    handlers.keep(str(photo), OTHER, "inpaint", session)
    assert session.mask is not None and session.mask.value == OTHER
    handlers.keep("/the/result.png", None, "inpaint", session)
    assert handlers.reopen(session, Click(original=1)) == (str(photo), {"mask": OTHER})
    assert (session.source, session.mask) == ("/the/result.png", None)
    handlers.keep(None, None, "generate", session)  # no picture is sent there; the painter holds it still
    assert (session.source, session.mode) == ("/the/result.png", "generate")


def test_originals_are_bounded_and_those_without_a_result_make_room() -> None:
    session = Session()
    for number in range(3):
        session.begin(f"/{number}.png", "")
    assert [(one.number, one.path) for one in session.originals] == [(3, "/2.png")]
    session.begin("/2.png", "")
    for number in range(20):
        session.count += 1
        session.begin(f"/more-{number}.png", "")
    assert len(session.originals) == HISTORY and session.originals[-1].path == "/more-19.png"


def test_stop_and_failure_leave_the_last_result(
    handlers: Handlers,  # noqa: F811
    photo: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = worked(handlers, photo)
    run = handlers.run(VISITOR, str(photo), MASK, session, *values(candidates=2))
    assert 'data-state="running"' in next(run)[0]
    run.close()
    stage, status = handlers.stopped(session)
    assert 'data-state="done" data-result="1"' in stage and "Everything is as it was" in status
    assert 'data-state="empty"' in handlers.stopped(Session())[0]
    whole = Engine.run

    def breaks(self: Engine, *given):
        frames = whole(self, *given)
        yield next(frames)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(Engine, "run", breaks)
    steps = []
    with pytest.raises(gr.Error) as caught:
        for step in handlers.run(VISITOR, str(photo), MASK, session, *values()):
            steps.append(step)
    assert 'data-state="done" data-result="1"' in steps[-1][0] and "Something went wrong" in steps[-1][1]
    assert not caught.value.visible, "the status has said it"
