"""Whose run may go."""

from __future__ import annotations

import pytest

from app.turns import AT_ONCE, BYTES, EACH, OF_ALL, OF_ONE_ADDRESS, WAITING, Turns


def going(tickets: list) -> list[bool]:
    return [ticket.wait(0) == 0 for ticket in tickets]


def test_one_client_locks_nobody_out() -> None:
    turns, mine = Turns(), []
    refused = 0
    for _ in range(33):
        try:
            mine.append(turns.join("one", "1.1.1.1"))
            mine[-1].ready(0)
        except ValueError as error:
            assert "your runs" in str(error)
            refused += 1
    assert len(mine) == EACH + WAITING and refused == 33 - len(mine)
    assert going(mine) == [True] * EACH + [False] * WAITING
    other = turns.join("two", "2.2.2.2")
    other.ready(0)
    assert other.wait(0) == 0, "another visitor goes at once"


def test_a_place_is_given_back() -> None:
    turns = Turns()
    tickets = [turns.join("one", None) for _ in range(EACH + 1)]
    for ticket in tickets:
        ticket.ready(0)
    assert tickets[-1].wait(0) == 1
    tickets[0].leave()
    tickets[0].leave()
    assert tickets[-1].wait(0) == 0


def test_a_second_run_comes_after_others_first() -> None:
    turns = Turns()
    busy = [turns.join(f"busy {number}", None) for number in range(AT_ONCE)]
    for ticket in busy:
        ticket.ready(0)
    second, first = turns.join("busy 1", None), turns.join("new", None)
    second.ready(0)
    first.ready(0)
    busy[0].leave()
    assert going([second, first]) == [False, True]


def test_who_is_not_ready_holds_nobody_up() -> None:
    turns = Turns()
    turns.join("slow", None)
    quick = turns.join("quick", None)
    quick.ready(0)
    assert quick.wait(0) == 0


def test_large_runs_go_one_after_the_other_and_hold_up_no_small_one() -> None:
    turns = Turns()
    first, second, small = (turns.join(name, None) for name in ("one", "two", "three"))
    first.ready(2 * BYTES)
    second.ready(3 * BYTES)
    small.ready(BYTES)
    assert going([first, second, small]) == [True, False, True], "a large one may be as large as it is"
    another = turns.join("four", None)
    another.ready(1)
    assert another.wait(0) > 0, "small ones share their room"
    first.leave()
    assert going([second, another]) == [True, False]
    small.leave()
    assert another.wait(0) == 0


def test_an_address_and_the_server_have_a_limit() -> None:
    turns = Turns()
    for number in range(OF_ONE_ADDRESS):
        turns.join(f"session {number}", "1.1.1.1")
    with pytest.raises(ValueError, match="your runs"):
        turns.join("one more session", "1.1.1.1")
    for number in range(OF_ALL - OF_ONE_ADDRESS):
        turns.join(f"elsewhere {number}", None)
    with pytest.raises(ValueError, match="the server is busy"):
        turns.join("another", "2.2.2.2")
