"""What gradio would hold for ever."""

from __future__ import annotations

import asyncio
import datetime

import gradio as gr
from gradio.state_holder import StateHolder

from app import housekeeping
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
    assert not spare.is_due(500, 1.0)
    assert spare.is_due(500 + much, 15.0), "much has come while it works"
    spare.given_back(500 + much)  # all of it was in use
    assert not spare.is_due(400 + much, 30.0), "still at work"
    assert spare.is_due(400 + much, 30.1), "it rests: what is free goes back, though no more came"
    spare.given_back(500)
    assert not spare.is_due(500, 30.2), "once is enough"
    assert not spare.is_due(600, 50.0) and spare.is_due(600, 50.1)
