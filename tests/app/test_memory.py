"""One budget for all that is kept, counted as it lies in memory."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SIDES, rectangle, scenery
from PIL import Image

from app.memory import Shelf, weigh
from app.pictures import Outbox, Pictures
from app.session import HISTORY, Entry, Made, Session, Sessions
from app.work import MOST, cost
from var_core import Chance, Edit, Result, open_image
from var_core.editing.plan import plan_edit


def result_of(width: int, height: int) -> Result:
    picture = Image.new("RGB", (width, height))
    return Result(
        model="m", precision="", edit=Edit(), chance=Chance(seed=1), picture=picture, patches=[picture], at=(0, 0),
        passes=[], previews=[],
    )  # fmt: skip


def entry(shelf: Shelf, number: int, side: int = 100) -> Entry:
    return Entry(number, "generate", "m", (1, 2), shelf.keep(Made(result_of(side, side))))


def test_what_several_hold_counts_once_and_all_they_hold_counts() -> None:
    photo, other = Image.new("RGB", (100, 50)), Image.new("L", (100, 50))
    assert sum(weigh([photo, {"again": photo}, (other, other)]).values()) == 100 * 50 * 5
    assert sum(weigh(["four", np.zeros(10), b"123"]).values()) == 4 + 80 + 3
    made = Made(result_of(60, 60), frames=[["x" * 1000]])
    assert sum(weigh(made).values()) >= 4 * 60 * 60 + 1000


def test_the_oldest_goes_when_others_need_the_room() -> None:
    shelf = Shelf(100_000)
    first, second = shelf.keep(Image.new("RGB", (100, 100))), shelf.keep(Image.new("RGB", (100, 100)))
    assert first.value is not None
    third = shelf.keep(Image.new("RGB", (100, 100)))
    assert not second.there and first.there and third.there and shelf.nbytes <= shelf.budget
    large = shelf.keep(Image.new("RGB", (1000, 1000)))
    assert large.there and not first.there and not third.there, "the newest always stays"


def test_what_is_on_its_way_to_a_visitor_does_not_go() -> None:
    shelf = Shelf(10_000)
    with shelf.delivering(Image.new("RGB", (100, 100))) as mine:
        others = [shelf.keep(Image.new("RGB", (100, 100))) for _ in range(2)]
        assert mine.there and not others[0].there and others[1].there
    other = shelf.keep(Image.new("RGB", (100, 100)))
    assert not mine.there and other.there, "afterwards it goes like all else"


def test_what_nobody_holds_any_more_does_not_count() -> None:
    shelf = Shelf()
    kept = shelf.keep(Image.new("RGB", (100, 100)))
    assert shelf.nbytes == 40_000
    del kept
    gc.collect()
    assert shelf.nbytes == 0


def test_a_run_takes_its_room_from_what_is_kept() -> None:
    shelf = Shelf(100_000)
    kept = shelf.keep(Image.new("RGB", (100, 100)))
    taken = shelf.take(80_000)
    assert not kept.there
    assert shelf.keep(Image.new("RGB", (60, 60))).there and shelf.nbytes >= 80_000
    del taken
    gc.collect()
    assert shelf.nbytes < 80_000


def test_many_visitors_share_one_budget() -> None:
    shelf = Shelf(10 * 40_000)
    visitors = [Session() for _ in range(15)]
    for number in range(1, 4):
        for visitor in visitors:
            visitor.add(entry(shelf, number))
    assert shelf.nbytes <= shelf.budget
    with pytest.raises(ValueError, match="no longer kept"):
        visitors[0].current()
    assert visitors[-1].current().number == 3


def test_a_session_is_bounded_by_count() -> None:
    session, shelf = Session(), Shelf()
    for number in range(1, HISTORY + 7):
        session.add(entry(shelf, number))
    assert [kept.number for kept in session.there()] == list(range(7, HISTORY + 7))
    with pytest.raises(ValueError, match="no longer kept"):
        session.entry(3)
    assert session.entry(9).number == 9


def test_sessions_are_found_by_their_name_only_and_bounded() -> None:
    sessions = Sessions()
    mine = Session()
    sessions.put(mine.key, mine)
    assert sessions.find(mine.key) is mine and sessions.find("") is None and sessions.find("other") is None
    for number in range(600):
        sessions.put(str(number), Session())
    assert sessions.find(mine.key) is None and sessions.find("599") is not None


def test_opened_pictures_are_kept_within_the_budget(tmp_path: Path) -> None:
    pictures = Pictures(Shelf(60_000))
    paths = []
    for number in range(4):
        paths.append(str(tmp_path / f"{number}.png"))
        scenery(100, 60, seed=number).save(paths[-1])
    first = pictures.open(paths[0])
    assert pictures.open(paths[0]) is first
    for path in paths[1:]:
        pictures.open(path)
    assert pictures.open(paths[0]) is not first


def test_files_on_their_way_out_do_not_pile_up() -> None:
    outbox = Outbox()
    old, young = outbox.place(), outbox.place()
    (old / "result.png").write_bytes(b"picture")
    os.utime(old, (time.time() - 7200,) * 2)
    newest = outbox.place()
    assert not old.exists() and young.exists() and newest.exists()


def test_many_threads_clean_up_at_once() -> None:
    outbox, failed = Outbox(), []
    for _ in range(300):
        os.utime(outbox.place(), (time.time() - 7200,) * 2)
    ready = threading.Barrier(12)

    def work() -> None:
        ready.wait()
        try:
            outbox.place()
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_only_so_many_wait_for_their_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenery(60, 60).save(tmp_path / "photo.png")
    pictures = Pictures(Shelf())
    monkeypatch.setattr("app.pictures._opening", threading.BoundedSemaphore(1))
    opened = open_image

    def crowded(path: str) -> object:
        with pytest.raises(ValueError, match="is opening"):
            pictures.open(path)
        return opened(path)

    monkeypatch.setattr("app.pictures.open_image", crowded)
    assert pictures.open(str(tmp_path / "photo.png")).image.size == (60, 60)
    monkeypatch.setattr("app.pictures.open_image", opened)
    Pictures(Shelf()).open(str(tmp_path / "photo.png"))


def test_surroundings_may_go_on_into_a_hole_of_most_of_a_photo() -> None:
    picture, mask = Image.new("RGB", (4000, 3000)), rectangle((4000, 3000), (500, 50, 3400, 2950))
    plan = plan_edit(Edit(task="inpaint", image=picture, mask=mask), SIDES, 128)
    assert plan.way(0) == "continued" and cost(plan, 1) < cost(plan, 4) < MOST
    assert cost(plan_edit(Edit(task="inpaint", image=picture, mask=mask, detail=False), SIDES, 128), 1) < MOST / 5
