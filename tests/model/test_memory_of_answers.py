"""What is remembered: answers by all that went into them, the last ones, up to a number of bytes."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest
import torch

from var_core.model import memory
from var_core.model.memory import Remembered


class Asking:
    """Answers of 100 bytes each, and which had to be computed."""

    def __init__(self, limit: int) -> None:
        self.remembered, self.computed = Remembered(limit), []

    def __call__(self, *asked: torch.Tensor) -> int:
        """How many answers have been computed by now."""

        def compute() -> tuple[torch.Tensor, ...]:
            self.computed.append(asked)
            number = len(self.computed)
            return torch.full((60,), number, dtype=torch.uint8), torch.full((40,), number, dtype=torch.uint8)

        before = len(self.computed)
        answer = self.remembered(asked, compute)
        assert [part.numel() for part in answer] == [60, 40] and answer[0][0] == answer[1][0]
        assert len(self.computed) == before or answer[0][0] == before + 1
        return len(self.computed)


def test_the_last_answers_are_kept_as_far_as_they_fit() -> None:
    one, two, three, four = (torch.tensor([value]) for value in range(4))
    ask = Asking(300)
    assert [ask(one), ask(two), ask(three), ask.remembered.held] == [1, 2, 3, 300], "the limit itself fits"
    assert [ask(one), ask(two), ask(three)] == [3, 3, 3]
    assert ask(one) == 3 and ask(four) == 4 and ask.remembered.held == 300
    assert [ask(one), ask(three)] == [4, 4], "asked for again, an answer is young again"
    assert ask(two) == 5, "what nobody has asked for longest is gone"


@pytest.mark.parametrize("limit", [0, 99, 100, 199])
def test_the_very_last_answer_always_stays(limit: int) -> None:
    ask = Asking(limit)
    assert ask(torch.tensor([1])) == ask(torch.tensor([1])) == 1 and ask.remembered.held == 100
    assert ask(torch.tensor([2])) == ask(torch.tensor([2])) == 2 and ask.remembered.held == 100
    assert ask(torch.tensor([1])) == 3


def test_everything_that_is_asked_counts() -> None:
    """Values, shapes and order, of each part: not only the bytes one after the other."""
    ask, values = Asking(10**6), torch.arange(6, dtype=torch.int32)
    different = [
        (values,), (values.view(2, 3),), (values.view(3, 2),), (values + 1,), (values[:3], values[3:]),
        (values[3:], values[:3]), (values, values), (),
    ]  # fmt: skip
    for number, asked in enumerate(different, 1):
        assert ask(*asked) == number
    for asked in different:
        assert ask(*(part.clone() for part in asked)) == len(different)


def test_what_glibc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the numbers of its malloc.h: M_MMAP_THRESHOLD -3, M_TRIM_THRESHOLD -1, M_ARENA_MAX -8."""
    said: list[tuple[int, ...]] = []

    def told(*choice: int) -> int:
        said.append(choice)
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=told, malloc_trim=told))
    memory.keep_freed_memory()
    assert said == [(-3, 2**30), (-1, 2**31 - 1), (-8, 2)]
    memory.give_back_memory()
    assert said[3:] == [(0,)]


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_other_c_libraries_are_left_alone(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no such functions, or there is none to be asked at all."""
    asked: list[str | None] = []

    def library(name: str | None) -> None:
        asked.append(name)
        raise error

    monkeypatch.setattr(ctypes, "CDLL", library)
    memory.keep_freed_memory(), memory.give_back_memory()
    assert asked == [None, None]
