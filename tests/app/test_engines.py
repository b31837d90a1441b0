"""Which models can be had, and how a server ends."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest

from app.engines import Engines
from app.memory import Shelf
from app.pictures import Outbox
from app.session import Entry, Made
from var_core import Chance, Edit, Engine
from var_core.model.registry import MODELS


def test_no_path_is_a_model_except_the_one_given_at_start(model_file: Path, tmp_path: Path) -> None:
    uploaded = tmp_path / "uploaded.safetensors"
    uploaded.write_bytes(model_file.read_bytes())
    engines = Engines(str(model_file))
    for name in (str(uploaded), "/etc/passwd", "x" * 10_000_000):
        with pytest.raises(ValueError, match="no model") as error:
            engines.get(name)
        assert len(str(error.value)) < 200
    assert len(engines._reading) == 1 + len(MODELS), "unknown names are not remembered"
    assert engines.get(str(model_file)) is engines.get()


def test_the_least_recently_used_model_is_let_go(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines, read = Engines(str(model_file)), []
    own = engines.get()
    monkeypatch.setattr(Engine, "load", lambda name: read.append(name) or object())
    other = engines.get("garden-2")
    assert engines.get() is own and engines.get("garden-2") is other
    engines.get("var-d16")
    assert engines.get() is not own and read == ["garden-2", "var-d16", str(model_file)]


def test_a_result_is_written_without_its_model(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines(str(model_file))
    result = [frame.result for frame in engines.run(str(model_file), Edit(), Chance(seed=1))][-1]
    assert result is not None
    entry = Entry(1, "generate", str(model_file), (1,), Shelf().keep(Made(result)))
    monkeypatch.setattr(Engine, "load", lambda name: pytest.fail("a model was read"))
    engines._loaded.clear()
    path = Outbox().saved(entry, 0)
    assert Path(path).name == "generate-1-1.png"


def test_runs_take_turns_a_scale_each(model_file: Path) -> None:
    engines, order = Engines(str(model_file)), []
    name = str(model_file)
    engines.get()
    ready = threading.Barrier(2)

    def work(number: int) -> None:
        ready.wait()
        for _ in engines.run(name, Edit(), Chance(seed=number, candidates=4)):
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes = sum(before != after for before, after in pairwise(order))
    assert len(order) == 20 and changes >= 8, order


def test_no_step_begins_once_the_server_ends(model_file: Path) -> None:
    engines = Engines(str(model_file))
    run = engines.run(str(model_file), Edit(), Chance(seed=1))
    next(run)
    engines.close()
    with pytest.raises(ValueError, match="the server is ending"):
        next(run)


def test_whoever_waits_for_a_step_is_told_that_the_server_ends(model_file: Path) -> None:
    engines, told = Engines(str(model_file)), []
    hold, held = threading.Event(), threading.Event()
    first = threading.Thread(target=lambda: engines.compute(lambda: held.set() or hold.wait()))
    first.start()
    held.wait()

    def wait() -> None:
        try:
            engines.compute(lambda: None)
        except ValueError as error:
            told.append(str(error))

    second = threading.Thread(target=wait)
    second.start()
    while engines._arithmetic._work_queue.empty():
        pass
    engines.close()
    hold.set()
    first.join()
    second.join()
    assert told and "ending" in told[0]


def test_engines_are_read_once(model_file: Path) -> None:
    copies = [str(model_file)]
    engines = Engines(copies[0])
    first = engines.get()
    assert engines.get(copies[0]) is first
    with pytest.raises(ValueError, match="no model"):
        engines.get("var-d99")
    assert engines.missing("var-d99") is False
    engines.note("a", 2.0)
    assert engines.pace("a") == "a picture takes about 2.0 s here" and engines.pace("b") == ""


def test_the_default_model_is_read_in_the_background(model_file: Path) -> None:
    engines = Engines(str(model_file))
    engines.close()
    engines = Engines(str(model_file))
    engines.start()
    assert engines._thread is not None
    engines._thread.join()
    assert "a picture takes about" in engines.pace(str(model_file))
    engines.close()
