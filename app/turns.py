"""Whose run may go now: a few at once, no visitor's second before another's first, and nobody's crowd before all."""

from __future__ import annotations

import threading
from collections import Counter

AT_ONCE = 4  # runs that take turns, a scale each
EACH = 2  # of one visitor among them
WAITING = 4  # of one visitor, waiting
OF_ONE_ADDRESS = 32  # going and waiting
OF_ALL = 64
BYTES = 300 * 2**20  # of pictures in all runs that go, but for one that is larger by itself


class Turns:
    """Shared by all visitors."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: list[Ticket] = []  # in the order in which they came

    def join(self, visitor: str, address: str | None) -> Ticket:
        """A place for one more run, before anything is done for it. `address`: where the visitor comes from, None
        where that says nothing. ValueError says that there are too many."""
        with self._changed:
            mine = sum(ticket.visitor == visitor for ticket in self._tickets)
            near = sum(ticket.address == address for ticket in self._tickets if address is not None)
            if mine >= EACH + WAITING or near >= OF_ONE_ADDRESS:
                count = mine if mine >= EACH + WAITING else near
                raise ValueError(f"{count} of your runs are going or waiting already: wait for one, or stop one")
            if len(self._tickets) >= OF_ALL:
                raise ValueError(f"the server is busy with {OF_ALL} runs: try again in a minute")
            ticket = Ticket(self, visitor, address)
            self._tickets.append(ticket)
            return ticket

    def _start(self) -> None:
        """Let run what may: first who has the fewest runs going, then who came first. Under the lock."""
        while True:
            going = [ticket for ticket in self._tickets if ticket.going]
            of = Counter(ticket.visitor for ticket in going)
            waiting = [ticket for ticket in self._tickets if ticket.nbytes is not None and not ticket.going]
            ready = [ticket for ticket in waiting if of[ticket.visitor] < EACH and _fits(ticket, going)]
            if not ready or len(going) >= AT_ONCE:
                return
            min(ready, key=lambda ticket: of[ticket.visitor]).going = True
            self._changed.notify_all()


def _fits(ticket: Ticket, going: list[Ticket]) -> bool:
    """Whether there is room beside those that go: for one large run, and for small ones together."""
    assert ticket.nbytes is not None
    beside = [other.nbytes or 0 for other in going]
    if ticket.nbytes > BYTES:
        return all(nbytes <= BYTES for nbytes in beside)
    return ticket.nbytes + sum(nbytes for nbytes in beside if nbytes <= BYTES) <= BYTES


class Ticket:
    """One run's place, from `join` until `leave`."""

    def __init__(self, turns: Turns, visitor: str, address: str | None) -> None:
        self.visitor, self.address = visitor, address
        self.nbytes: int | None = None  # not known: not ready
        self.going = False
        self.room: object = None  # what it holds while it goes
        self._turns = turns

    def ready(self, nbytes: int) -> None:
        """It could go now, and will hold as many bytes."""
        with self._turns._changed:
            self.nbytes = nbytes
            self._turns._start()

    def wait(self, seconds: float) -> int:
        """Wait so long at most; how many runs come before it, 0 = it goes."""
        with self._turns._changed:
            self._turns._changed.wait_for(lambda: self.going, seconds)
            tickets = self._turns._tickets
            before = tickets[: tickets.index(self)]
            return 0 if self.going else 1 + sum(ticket.nbytes is not None and not ticket.going for ticket in before)

    def leave(self) -> None:
        self.room = None
        with self._turns._changed:
            if self in self._turns._tickets:
                self._turns._tickets.remove(self)
                self._turns._start()
