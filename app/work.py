"""What the page and the named endpoints do alike: plan in time, wait for a turn, run, keep what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import gradio as gr

from var_core import Edit, Frame, Plan, Result
from var_core.request import Box, Way

from .door import behind_proxy
from .engines import Engines
from .memory import Shelf
from .pictures import Outbox, Pictures
from .saving import Saver
from .session import Asked, Session, Sessions
from .tiles import Tiles
from .turns import BYTES, Ticket, Turns

MOST = 1200 * 2**20  # bytes of one run
_LOOK = 0.5  # seconds between two looks at the queue: how long a stopped visitor still stands in it


@dataclass(frozen=True)
class Waiting:
    """So many runs come first."""

    ahead: int


class Work:
    """Shared by all visitors of one server."""

    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        self.shelf = Shelf()
        self.pictures = Pictures(self.shelf)
        self.outbox = Outbox()
        self.tiles = Tiles(self.pictures)
        self.saver = Saver(self.outbox, engines)
        self.turns = Turns()
        self.sessions = Sessions()

    def join(self, request: gr.Request | None) -> Ticket:
        """A place in the queue. ValueError where this visitor, or everybody, has too many."""
        session = request.session_hash if request is not None else None
        client = getattr(request, "client", None) if request is not None else None
        return self.turns.join(session or "", None if client is None or behind_proxy() else client.host)

    def plan(self, session: Session, model: str, edit: Edit, painted: str | None = None) -> Plan:
        """The plan of an edit, made once while the visitor asks the same. ValueError says what is too much."""
        last = session.asked.value if session.asked is not None else None
        if last is not None and last.model == model and last.edit.same(edit):
            return last.plan
        plan = self.engines.plan(model, edit)
        session.asked = self.shelf.keep(Asked(model, painted, edit, plan))
        return plan

    def drawing(self, model: str, candidates: int) -> int:
        """Bytes that the model holds for a run. However large it is, the run counts as one that goes alone, no more:
        nobody is refused a model that the server was given."""
        return min(self.engines.get(model).held(candidates), BYTES)

    def turn(self, ticket: Ticket, nbytes: int) -> Iterator[Waiting]:
        """Until a run that will hold so many bytes may go; before that, how many runs come first. ValueError for more
        than any run may hold."""
        if nbytes > MOST:
            raise ValueError(
                f"this would hold {nbytes >> 20} MB of memory, one run is given {MOST >> 20} at most: "
                "change less at once, or ask for fewer candidates"
            )
        ticket.ready(nbytes)
        while ahead := ticket.wait(_LOOK):
            yield Waiting(ahead)
        ticket.room = self.shelf.take(nbytes)

    def frames(
        self, ticket: Ticket, model: str, nbytes: int, candidates: int, steps: Callable[[], Iterator[Frame]]
    ) -> Iterator[Frame | Waiting]:
        """A run's frames, once its turn has come; nbytes: of its pictures (`cost`). The caller lets the ticket go."""
        yield from self.turn(ticket, nbytes + self.drawing(model, candidates))
        for frame in steps():
            if frame.result is not None:
                ticket.room = None  # from here on it counts as what is kept
            yield frame


def cost(plan: Plan, candidates: int) -> int:
    """Bytes that a run of this plan holds: the picture and what its mask comes down to once, every window's own mask,
    what is drawn for every candidate, and twice more while it is put in; and what detail works on."""
    left, top, right, bottom = plan.bounds or (0, 0, *plan.picture.size)
    detail = max((_detail(*each) for each in plan.detailed), default=0)
    return _bytes(plan.picture.size, (right - left) * (bottom - top), plan.boxes, candidates) + detail


def cost_again(result: Result, candidates: int) -> int:
    """The same of a branch, which plans anew what its base was asked."""
    width, height = result.patches[0].size
    boxes = [done.box for done in result.passes]
    many = (
        _detail(done.detail, _area(done.box), min(_area(done.box), width * height))
        for done in result.passes
        if done.detail is not None
    )
    detail = max(many, default=0)
    return _bytes(result.picture.size, width * height, boxes, candidates) + detail


def _bytes(size: tuple[int, int], drawn: int, boxes: Sequence[Box | None], candidates: int) -> int:
    return 6 * size[0] * size[1] + sum(map(_area, boxes)) + 4 * drawn * (candidates + 2)


def _area(box: Box | None) -> int:
    return 0 if box is None else (box[2] - box[0]) * (box[3] - box[1])


def _detail(way: Way, pixels: int, painted: int) -> int:
    """Bytes that detail takes for a window of so many pixels, which looks a little further around where it is small:
    measured on windows of 9 megapixels. What continues the surroundings matches no more than 1600 pixels square, and
    holds larger windows in parts."""
    if way == "refined":
        return 30 * pixels + 70 * painted + 80_000_000
    if pixels > 1600**2:
        return 40 * pixels + 35 * painted + 280_000_000
    return 75 * max(pixels, min(9 * pixels // 4, 1280**2)) + 170 * painted
