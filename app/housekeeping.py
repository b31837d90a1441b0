"""In the background: what gradio holds for every session beyond its need is forgotten, idle sessions go after the
hour, and memory that a large run has left behind is given back."""

from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from var_core.model.memory import give_back_memory

from .engines import Engines
from .session import HOURS

SECONDS = 20.0  # between two rounds
SPARE = 2**28  # bytes that may lie free: taking them anew takes time


def tidy(states: Any) -> None:
    """One round over gradio's `StateHolder`. For every session it remembers what each component is and holds, only to
    build the page anew from a link to it, which this page does not offer: megabytes of pictures as text."""
    now = datetime.datetime.now()
    for name, state in list(states.session_data.items()):
        used = states.time_last_used.get(name)
        if used is not None and now - used > datetime.timedelta(hours=HOURS):
            states.session_data.pop(name, None)
            states.time_last_used.pop(name, None)
        else:
            state.config_values.clear()


def drop_unread(queue: Any, before: dict[str, int]) -> dict[str, int]:
    """Forget answers that nobody fetches. How many each session has left unread, for the next round: whoever listens
    has fetched them long before."""
    unread = {name: messages.qsize() for name, messages in list(queue.pending_messages_per_session.items())}
    for name, count in unread.items():
        if count and count >= before.get(name, 0) > 0:
            queue.pending_messages_per_session.pop(name, None)
            queue.pending_event_ids_session.pop(name, None)
    return unread


class Spare:
    """When to give memory back: where much has come on top of the least that was held, and once whenever the server has
    come to rest, for then nothing is in use that only looks like the least."""

    def __init__(self) -> None:
        self.least, self.worked, self.rests = 0, 0, True

    def is_due(self, resident: int, worked: int) -> bool:
        """resident: bytes held now; worked: how often anything was computed since the process began."""
        rested, self.rests = self.rests, worked == self.worked
        self.worked = worked
        self.least = min(self.least or resident, resident)
        return resident > self.least + SPARE or (self.rests and not rested)

    def given_back(self, resident: int) -> None:
        self.least = resident


def start(page: gr.Blocks, engines: Engines, ending: threading.Event) -> None:
    """Rounds in the background, until the server ends."""

    def rounds() -> None:
        spare, unread = Spare(), {}
        while not ending.wait(SECONDS):
            tidy(page.app.state_holder)
            unread = drop_unread(page._queue, unread)
            if spare.is_due(resident_bytes(), engines.worked):
                give_back_memory()
                spare.given_back(resident_bytes())

    threading.Thread(target=rounds, name="housekeeping", daemon=True).start()


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):
        return 0
