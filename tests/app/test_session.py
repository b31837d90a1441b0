"""What a visitor's results say of themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app.memory import Shelf
from app.session import Entry, Made


@pytest.mark.parametrize(
    ("task", "likelihood", "expected"),
    [
        ("inpaint", (-50.0, -30.0, -70.0), 1),
        ("outpaint", (-3.0, -30.0, -70.0), 0),
        ("inpaint", (-80.0, -30.0, -7.0), 2),
        ("inpaint", (-3.0,), None),  # nothing to choose from
        ("edit", (-50.0, -30.0), None),  # where it was measured to help only
        ("generate", (-50.0, -30.0), None),
        ("vary", (-50.0, -30.0), None),
    ],
)
def test_the_likeliest_version_is_marked(task: str, likelihood: tuple[float, ...], expected: int | None) -> None:
    made = Made(SimpleNamespace(likelihood=likelihood), pictures=["a", "b", "c"], thumbs=["x"])  # type: ignore[arg-type]
    entry = Entry(7, task, "tiny", (1, 2), Shelf().keep(made), sketch=True, chosen=1)
    assert entry.likeliest == expected


@pytest.mark.parametrize(
    ("task", "label", "title"),
    [
        ("inpaint", "", "3 · removed"), ("edit", "flower-rose", "3 · flower rose"), ("outpaint", "x", "3 · expanded"),
        ("vary", "", "3 · varied"), ("generate", "", "3 · created"), ("branch", "", "3 · replaced"),
    ],
)  # fmt: skip
def test_a_title_says_what_was_done(task: str, label: str, title: str) -> None:
    kept = Shelf().keep(Made(SimpleNamespace(likelihood=())))  # type: ignore[arg-type]
    assert Entry(3, task, "tiny", (1, 2), kept, form={"label": label}).title == title
