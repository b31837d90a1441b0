"""What the server keeps for a visitor, without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import rectangle
from test_canvas import layer
from test_handlers import MASK, VISITOR, begun, edited, handlers, photo, stream, values  # noqa: F401

from app.handlers import Handlers
from app.session import HISTORY, Session
from var_core import Engine

OTHER = layer(rectangle((200, 150), (10, 10, 40, 40)))


def rest(handlers: Handlers, session: Session, **given: object) -> None:  # noqa: F811
    assert "error" not in handlers.ask({"do": "rest", "key": session.key, "form": values(), **given})


def test_a_session_is_found_by_its_key_alone(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session, _ = edited(handlers, photo, candidates=2)
    rest(handlers, session, ref="e1.1", mask=OTHER, form=values(mode="edit", label="tulip"))
    answer = handlers.ask({"do": "hello", "key": session.key})
    assert answer["key"] == session.key and answer["form"]["mode"] == "edit" and answer["form"]["label"] == "tulip"
    held = answer["canvas"]
    assert (held["ref"], held["mask"], held["size"]) == ("e1.1", OTHER, [200, 150])
    assert held["entry"]["number"] == 1 and held["entry"]["base"] == "o1"
    assert [(item["kind"], item["number"]) for item in answer["history"]] == [("original", 1), ("entry", 1)]
    for key in ("", None, "guessed", session.key[:-1]):
        stranger = handlers.ask({"do": "hello", "key": key})
        assert stranger["key"] != session.key and len(stranger["key"]) >= 32
        assert not stranger["history"] and "canvas" not in stranger and not stranger["form"]


def test_a_session_is_forgotten_after_its_hour(
    handlers: Handlers,  # noqa: F811
    photo: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, _ = edited(handlers, photo)
    assert handlers.session(session.key) is session
    monkeypatch.setattr("app.session.HOURS", -1)
    assert handlers.ask({"do": "hello", "key": session.key})["key"] != session.key


def test_what_is_no_longer_on_disk_is_not_offered(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session, _ = edited(handlers, photo)
    rest(handlers, session, ref="o1", mask=MASK)
    photo.unlink()
    answer = handlers.ask({"do": "hello", "key": session.key})
    assert "canvas" not in answer and answer["gone"]
    assert [item["kind"] for item in answer["history"]] == ["entry"]
    gone = handlers.ask({"do": "entry", "key": session.key, "kind": "original", "number": 1})
    assert "no longer on the server" in gone["error"]


def test_an_original_comes_back_with_the_paint_last_seen_on_it(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session, _ = edited(handlers, photo)
    rest(handlers, session, ref="o1", mask=OTHER)
    rest(handlers, session, ref="e1.0", mask=None)
    back = handlers.ask({"do": "entry", "key": session.key, "kind": "original", "number": 1})
    assert (back["ref"], back["mask"], back["size"]) == ("o1", OTHER, [200, 150])
    assert (session.source, session.mask) == ("e1.0", None)


def test_a_result_is_reopened_with_its_mask_and_settings(handlers: Handlers, photo: Path) -> None:  # noqa: F811
    session, _ = edited(handlers, photo, mode="edit", label="rose", candidates=2)
    handlers.ask({"do": "pick", "key": session.key, "ref": "e1.1"})
    back = handlers.ask({"do": "entry", "key": session.key, "kind": "entry", "number": 1})
    assert back["ref"] == "e1.1" and back["entry"]["mask"] == MASK
    assert (back["entry"]["form"]["label"], back["entry"]["form"]["mode"]) == ("rose", "edit")
    assert back["entry"]["title"] == "1 · rose" and len(back["entry"]["pictures"]) == 2


def test_originals_are_bounded() -> None:
    session = Session()
    assert session.begin("/2.png", "").number == 1
    assert session.begin("/2.png", "").number == 1, "the same file is the same picture"
    for number in range(HISTORY + 4):
        session.begin(f"/more-{number}.png", "")
    assert len(session.originals) == HISTORY and session.originals[-1].path == f"/more-{HISTORY + 3}.png"


def test_form_values_of_any_size_and_kind_are_not_kept(handlers: Handlers) -> None:  # noqa: F811
    session = begun(handlers)
    rest(handlers, session, ref=None, form={"mode": "vary", "seed": "x" * 999, "label": ["a"], "__class__": 1})
    assert session.form == {"mode": "vary"}


def test_a_failure_in_the_middle_leaves_the_last_result(
    handlers: Handlers,  # noqa: F811
    photo: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, _ = edited(handlers, photo)
    run = stream(handlers, session, ref="o1", mask=MASK)
    assert next(run)["kind"] == "frame"
    run.close()  # type: ignore[attr-defined]
    assert session.current().number == 1
    whole = Engine.run

    def breaks(self: Engine, *given):
        frames = whole(self, *given)
        yield next(frames)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(Engine, "run", breaks)
    steps = [*stream(handlers, session, ref="o1", mask=MASK)]
    assert steps[-1]["kind"] == "failed" and "Something went wrong" in steps[-1]["text"]
    assert session.current().number == 1
