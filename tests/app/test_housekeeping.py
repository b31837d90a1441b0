"""What gradio would hold for ever."""

from __future__ import annotations

import asyncio
import datetime
import threading
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import StateHolder

from app import housekeeping
from app.engines import Engines
from app.housekeeping import drop_unread, tidy


def test_values_are_forgotten_and_idle_sessions_dropped() -> None:
    with gr.Blocks() as page:
        shown, kept = gr.HTML(), gr.State(1)
    states = StateHolder()
    states.set_blocks(page)
    for name in ("idle", "busy"):
        state = states[name]
        state._update_value_in_config(shown._id, "a large picture")
        state[kept._id] = 2
    states.time_last_used["idle"] -= datetime.timedelta(hours=2)
    tidy(states)
    assert list(states.session_data) == ["busy"] and "idle" not in states.time_last_used
    assert states["busy"][kept._id] == 2, "what the page itself keeps stays"
    assert "large picture" not in str(list(states["busy"].components))
    states["busy"]._update_value_in_config(shown._id, "the next one")


def test_answers_that_nobody_fetches_are_forgotten() -> None:
    with gr.Blocks() as page:
        gr.HTML()
    queue = page._queue
    for name in ("gone", "slow", "listens"):
        queue.pending_messages_per_session[name] = asyncio.Queue()
        queue.pending_messages_per_session[name].put_nowait("a large picture")
    first = drop_unread(queue, {})
    assert set(queue.pending_messages_per_session) == {"gone", "slow", "listens"}
    queue.pending_messages_per_session["listens"].get_nowait()
    queue.pending_messages_per_session["slow"] = asyncio.Queue()
    drop_unread(queue, first)
    assert set(queue.pending_messages_per_session) == {"slow", "listens"}


def test_memory_goes_back_where_much_has_come_and_when_the_server_rests() -> None:
    spare, much = housekeeping.Spare(), housekeeping.SPARE + 1
    assert not spare.is_due(500, 1)
    assert spare.is_due(500 + much, 15), "much has come while it works"
    spare.given_back(500 + much)  # all of it was in use
    assert not spare.is_due(400 + much, 16), "still at work"
    assert spare.is_due(400 + much, 16), "it rests: what is free goes back, though no more came"
    spare.given_back(500)
    assert not spare.is_due(500, 16), "once is enough"
    assert not spare.is_due(600, 30) and spare.is_due(600, 30)


class Served:
    """Somebody asks for something between any two looks, until nobody does."""

    def __init__(self) -> None:
        self.looks, self.anybody = 0, True

    @property
    def worked(self) -> int:
        self.looks += self.anybody
        return self.looks


def test_a_server_gives_back_once_nobody_asks_whatever_its_own_loops_take(monkeypatch: pytest.MonkeyPatch) -> None:
    served: Any = Served()
    given, ending = threading.Event(), threading.Event()
    monkeypatch.setattr(housekeeping, "SECONDS", 0.001)
    monkeypatch.setattr(housekeeping, "resident_bytes", lambda: 500)
    monkeypatch.setattr(housekeeping, "give_back_memory", given.set)
    page: Any = SimpleNamespace(
        app=SimpleNamespace(state_holder=SimpleNamespace(session_data={}, time_last_used={})),
        _queue=SimpleNamespace(pending_messages_per_session={}),
    )
    try:
        housekeeping.start(page, served, ending)
        while served.looks < 20:
            assert not given.is_set(), "somebody is served all the while"
        served.anybody = False
        assert given.wait(30)
    finally:
        ending.set()


def test_what_is_computed_counts() -> None:
    engines = Engines("garden-2")
    assert engines.compute(lambda: 3) == 3 and engines.worked == 1
    engines.close()
