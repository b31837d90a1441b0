"""The deliberate faults themselves: which ones are made, and that the named ones still fit the code."""

from __future__ import annotations

from mutants import changed_lines, find_mutants
from mutants_named import NAMED
from mutate import ROOT, equivalents, named

SOURCE = '''"""A docstring: 1 + 1."""
__all__ = ["f"]


def f(x: int = 3, *, wide: bool = True) -> str | None:
    """Text."""
    if x < 2 and not wide:
        raise ValueError("less than " + str(2))
    log.info("é: %s", x - 1)
    return names["é"][x:].strip()
'''


def test_a_source_gives_every_kind_of_fault_and_leaves_words_alone() -> None:
    found = {(m.kind, *changed_lines(SOURCE, m.apply(SOURCE))[1:]) for m in find_mutants(SOURCE)}
    for expected in (
        ("constant", "+def f(x: int = 4, *, wide: bool = True) -> str | None:"),
        ("constant", "+def f(x: int = 3, *, wide: bool = False) -> str | None:"),
        ("comparison", "+    if (x <= 2) and not wide:"),
        ("comparison", "+    if (x >= 2) and not wide:"),
        ("and/or", "+    if (x < 2 or not wide):"),
        ("negation dropped", "+    if x < 2 and (wide):"),
        ("always True", "+    if True:"),
        ("always False", "+    if False:"),
        ("returns None", "+    return None"),
        ("key", "+    return names['é_'][x:].strip()"),
        ("slice off by one", '+    return names["é"][(x) + 1:].strip()'),
        ("call dropped", '+    return names["é"][x:]'),
    ):
        assert expected in found
    touched = {m.line for m in find_mutants(SOURCE)}
    assert touched == {5, 7, 10}, "no docstring, annotation, message or __all__"


def test_named_faults_still_fit_the_code() -> None:
    """`named` refuses one whose text is gone; the new text is code, and the tests are there."""
    for fault, item in zip(named(), NAMED, strict=True):
        compile(fault.after, fault.path, "exec")
        assert fault.difference and all((ROOT / test.split("::")[0]).exists() for test in item.tests)


def test_equivalent_faults_name_files_that_exist() -> None:
    assert all((ROOT / path).exists() and old != new for path, old, new in equivalents())
