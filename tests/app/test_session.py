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
def test_the_likeliest_candidate_is_marked(task: str, likelihood: tuple[float, ...], expected: int | None) -> None:
    made = Made(SimpleNamespace(likelihood=likelihood), pictures=["a", "b", "c"], thumbs=["x"], before="before")  # type: ignore[arg-type]
    entry = Entry(7, task, "tiny", (1, 2), Shelf().keep(made), sketch=True, chosen=1)
    stage = entry.stage()
    assert stage.likeliest == expected
    assert (stage.pictures, stage.thumbs, stage.before, stage.chosen, stage.result) == (
        ["a", "b", "c"],
        ["x"],
        "before",
        1,
        7,
    )
    assert stage.sides == (1, 2) and stage.sketch
