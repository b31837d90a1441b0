"""What the page's events do, without a browser."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from conftest import SIDES, rectangle, scenery
from PIL import Image
from test_canvas import layer
from test_engine import count_encoding

from app.engines import Engines
from app.examples import examples, examples_html
from app.form import RESTORED, Form, build_request, whole
from app.handlers import Handlers
from app.recipe import read_recipe
from app.session import HISTORY, Entry, Outbox, Pictures, Session
from var_core import EditRequest, Engine, Result

FORM = Form(
    mode="inpaint", model="", label=-1, strength="layout", candidates=1, seed="7", ratio="by sides", anchor="centre",
    left=0, top=0, right=24, bottom=0, method="evidence", guidance=2.0, top_k=20, top_p=0.9,
    random_scales="", smooth=False, context=2.0,
    feather="0", color_match=True, sketch=False,
)  # fmt: skip


@pytest.fixture
def handlers(model_file: Path) -> Handlers:
    return Handlers(Engines(str(model_file)))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    scenery(200, 150).save(path)
    return path


def values(**changes: object) -> tuple[object, ...]:
    return tuple(asdict(replace(FORM, **changes)).values())  # type: ignore[arg-type]


def finish(steps: Iterator[tuple]) -> list[tuple]:
    """All updates of a run; the last one changes nothing, since the server sends it twice."""
    *found, last = steps
    assert all(part == gr.skip() for part in last)
    return found


MASK = layer(rectangle((200, 150), (60, 40, 120, 90)))


def test_run_streams_every_scale_and_ends_with_the_result(handlers: Handlers, photo: Path) -> None:
    session = Session()
    steps = finish(handlers.run(str(photo), MASK, session, *values()))
    assert len(steps) == len(SIDES)
    assert ["Scale 1 of 10" in steps[0][1], "Done" in steps[-1][1]] == [True, True]
    assert [stage.count('<img alt="" src=') for stage, *_ in steps[:-1]] == list(range(1, len(SIDES)))
    result = session.current().result
    outside = np.asarray(rectangle((200, 150), (60, 40, 120, 90))) == 0
    assert np.array_equal(np.asarray(result.images[0])[outside], np.asarray(scenery(200, 150))[outside])
    saved = Image.open(handlers.write(session)["value"])
    assert np.array_equal(np.asarray(saved), np.asarray(result.images[0]))
    back = handlers.frames(session)
    assert back["result"] == 1 and len(back["frames"]) == len(SIDES)
    assert all(frame.startswith("data:image/jpeg") for frame in back["frames"])
    assert len(steps[-1][0]) < sum(map(len, back["frames"])), "the result does not wait for them"


@pytest.mark.parametrize(
    ("changes", "mask", "words"),
    [
        ({}, None, "Nothing is painted yet"),
        ({"mode": "edit"}, MASK, "Choose a class first"),
        ({"mode": "outpaint", "right": 0}, None, "positive amount"),
        ({"mode": "outpaint", "right": 400_000}, None, "40 megapixels"),
        ({"mode": "outpaint", "ratio": "4:3"}, None, "already has the shape 4:3"),
        ({"seed": "seven"}, MASK, "must be a whole number or empty"),
        ({"seed": str(2**40)}, MASK, "seed must be"),
        ({"feather": "-3"}, MASK, "feather must be a whole number"),
    ],
)
def test_what_a_visitor_can_mend_is_said_in_one_sentence(
    handlers: Handlers, photo: Path, changes: dict, mask: str | None, words: str
) -> None:
    session = Session()
    with pytest.raises(gr.Error, match=words):
        list(handlers.run(str(photo), mask, session, *values(**changes)))
    assert not session.entries


def test_no_picture_is_said(handlers: Handlers) -> None:
    with pytest.raises(gr.Error, match="no picture yet"):
        list(handlers.run(None, None, Session(), *values()))


def test_unexpected_errors_are_logged_and_not_shown(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Engine, request: EditRequest):
        raise RuntimeError("secret detail")
        yield

    monkeypatch.setattr(Engine, "run", broken)
    with pytest.raises(gr.Error, match="Something went wrong") as caught:
        list(handlers.run(str(photo), MASK, Session(), *values()))
    assert "secret" not in str(caught.value) and "secret detail" in caplog.text


def test_refused_uploads_are_answered(handlers: Handlers, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"<svg/>")
    assert "not a PNG" in handlers.opened(str(bad))[0]["error"]
    assert "did not arrive" in handlers.opened(None)[0]["error"]
    gray = tmp_path / "deep.png"
    Image.fromarray(np.full((30, 40), 40_000, dtype=np.uint16)).save(gray)
    answer = handlers.opened(str(gray))[0]
    assert answer["size"] == [40, 30] and "16 bits" in answer["notices"][0]


def test_what_was_prepared_is_not_encoded_again(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_encoding(handlers.engines.get(), monkeypatch)
    for given in ((None, None), (str(photo), None), (str(photo), "data:nonsense"), (str(photo.with_name("x")), MASK)):
        assert handlers.prepare(*given, *values()) is False
    assert handlers.prepare(str(photo), MASK, *values(mode="generate")) is False and seen == []
    assert handlers.prepare(str(photo), MASK, *values()) is True and seen == [1]
    for mode, label in (("inpaint", -1), ("edit", 1)):
        assert "Done" in finish(handlers.run(str(photo), MASK, Session(), *values(mode=mode, label=label)))[-1][1]
    assert seen == [1]


def test_look_tells_which_tokens_change(handlers: Handlers, photo: Path) -> None:
    answer = handlers.look(str(photo), MASK, *values(mode="generate"))
    grids = answer["windows"][0]["grids"]
    assert [grid["side"] for grid in grids] == list(SIDES)
    assert 0 < grids[-1]["cells"].count("1") < SIDES[-1] ** 2
    assert "painted" in handlers.look(str(photo), None, *values())["error"]


def test_branch_continues_the_chosen_candidate(handlers: Handlers, photo: Path) -> None:
    session = Session()
    list(handlers.run(str(photo), MASK, session, *values(candidates=2)))
    session.current().chosen = 1
    base = session.current().result
    steps = finish(handlers.branch(5, session, *values(candidates=2, seed="")))
    assert len(session.entries) == 2 and "Done" in steps[-1][1]
    found = session.current().result
    assert found.request.start_scale == 5 and session.current().title == "2 · branch"
    pairs = list(zip(base.passes[0].tokens, found.passes[0].tokens, strict=True))
    assert all((new == old[1]).all() for old, new in pairs[:5])
    assert any((new != old[1]).any() for old, new in pairs[5:])
    with pytest.raises(gr.Error, match="no result yet"):
        list(handlers.branch(5, Session(), *values()))


def test_a_stopped_run_is_over_at_once(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, steps = handlers.engines.get(), []
    step = engine.transformer.step
    monkeypatch.setattr(engine.transformer, "step", lambda *a: steps.append(1) or step(*a))
    run = handlers.run(None, None, Session(), *values(mode="generate", candidates=8))
    for _ in range(3):
        next(run)
    assert len(steps) == 3, "no scale is worked on ahead"
    run.close()
    assert len(steps) == 3 and engine._lock.acquire(blocking=False)
    engine._lock.release()


def test_sketch_is_finished_with_its_own_seed(handlers: Handlers) -> None:
    whole_run, session = Session(), Session()
    list(handlers.run(None, None, whole_run, *values(mode="generate")))
    list(handlers.run(None, None, session, *values(mode="generate", sketch=True)))
    assert session.current().sketch and len(session.current().frames) == 6
    list(handlers.branch(6, session, *values(mode="generate", sketch=True)))
    entry = session.current()
    assert not entry.sketch and len(entry.frames) == len(SIDES)
    assert np.array_equal(np.asarray(entry.result.images[0]), np.asarray(whole_run.current().result.images[0]))


def test_recipe_of_a_result_restores_the_controls(handlers: Handlers, photo: Path) -> None:
    session = Session()
    list(
        handlers.run(
            str(photo), MASK, session, *values(mode="edit", label=2, strength="shape", seed="99", random_scales="4")
        )
    )
    path = handlers.write(session)["value"]
    answer, mode, label, strength, *_ = handlers.opened(path)
    assert (mode, label, strength) == ("edit", 2, "shape") and "restored" in answer["notices"][-1]
    restored = dict(zip(RESTORED, handlers.opened(path)[1:], strict=True))
    assert restored["random_scales"] == "4" and restored["seed"] == "99"
    assert read_recipe(path)["seed"] == 99 and read_recipe(path)["feather"] == 0


@pytest.mark.parametrize("text", ["", "[]", "{", '{"settings": 3}', '{"settings": {"guidance": "high", "task": "x"}}'])
def test_odd_recipes_are_ignored(tmp_path: Path, text: str) -> None:
    from var_core import save_png

    path = tmp_path / "odd.png"
    save_png(scenery(20, 20), path, text.encode())
    assert read_recipe(path) == {}
    scenery(20, 20).save(tmp_path / "plain.jpg")
    assert read_recipe(tmp_path / "plain.jpg") == {}


def test_recipe_takes_only_what_fits(tmp_path: Path) -> None:
    from var_core import save_png

    settings = {"task": "vary", "guidance": 99, "top_p": 0.5, "smooth": 1, "outpaint": [1, 2, 3, -4]}
    document = {"settings": settings, "seed": True, "model": "m", "candidate": 2}
    save_png(scenery(20, 20), tmp_path / "odd.png", json.dumps(document).encode())
    assert read_recipe(tmp_path / "odd.png") == {"task": "vary", "top_p": 0.5, "model": "m", "candidates": 4}


def result_of(width: int, height: int) -> Result:
    blank = Result.__new__(Result)
    object.__setattr__(blank, "images", [Image.new("L", (width, height))])
    object.__setattr__(blank, "request", EditRequest())
    return blank


def test_a_session_is_bounded_by_count_and_by_pixels() -> None:
    session = Session()
    for number in range(1, 15):
        session.add(Entry(number, result_of(100, 100), "generate", "m", SIDES, [], None, False))
    assert [entry.number for entry in session.entries] == list(range(15 - HISTORY, 15))
    for number in range(15, 18):
        session.add(Entry(number, result_of(6000, 6000), "generate", "m", SIDES, [], None, False))
    assert [entry.number for entry in session.entries] == [17]
    assert session.current().number == 17
    with pytest.raises(ValueError, match="no longer kept"):
        session.pick(3)


def test_opened_pictures_are_kept_within_a_bound(tmp_path: Path) -> None:
    pictures = Pictures(pixels=15_000)
    paths = []
    for number in range(4):
        paths.append(str(tmp_path / f"{number}.png"))
        scenery(100, 60, seed=number).save(paths[-1])
    first = pictures.open(paths[0])
    assert pictures.open(paths[0]) is first
    for path in paths[1:]:
        pictures.open(path)
    assert pictures.open(paths[0]) is not first


def test_engines_are_read_once_and_let_go(model_file: Path, tmp_path: Path) -> None:
    copies = []
    for number in range(3):
        copies.append(str(tmp_path / f"{number}.safetensors"))
        Path(copies[-1]).write_bytes(model_file.read_bytes())
    engines = Engines(copies[0])
    first = engines.get()
    assert engines.get(copies[0]) is first
    engines.get(copies[1])
    engines.get(copies[2])
    assert engines.get(copies[0]) is not first
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


def test_a_failed_download_is_one_sentence(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise ValueError("the model hub cannot be reached")

    monkeypatch.setattr("app.engines.download", offline)
    with pytest.raises(gr.Error, match="The model hub cannot be reached"):
        list(handlers.fetch("var-d16"))


def test_whole_numbers() -> None:
    assert [whole(text, "it") for text in ("", None, " 12 ", 5)] == [None, None, 12, 5]
    for text in ("1.5", "-1", "x", "²"):
        with pytest.raises(ValueError, match="whole number"):
            whole(text, "it")


def test_sketch_and_strength_become_scales(engine: Engine) -> None:
    request = build_request(engine, scenery(60, 60), None, replace(FORM, mode="vary", strength="detail"), "vary")
    assert request.start_scale == 7
    assert build_request(engine, None, None, replace(FORM, sketch=True), "generate").stop_scale == 6


def test_examples_have_pictures_and_masks() -> None:
    for example in examples():
        with Image.open(example.picture) as picture:
            assert min(picture.size) >= 16
            if example.mask is not None:
                with Image.open(example.mask) as mask:
                    assert mask.size == picture.size
    assert examples_html([]) == ""


def test_a_model_that_cannot_be_read_says_so(handlers: Handlers, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    assert "damaged" in handlers.choose_model(str(broken))[4]
    classes, *_, status, _ = handlers.choose_model(handlers.engines.default)
    assert [name for name, _ in classes["choices"]] == ["No class", "daisy", "rose", "tulip"] and "Ready" in status
    assert "not on this machine yet" in handlers.choose_model("var-d36")[4]


def test_files_on_their_way_out_do_not_pile_up() -> None:
    outbox = Outbox()
    old, young = outbox.place(), outbox.place()
    (old / "result.png").write_bytes(b"picture")
    os.utime(old, (time.time() - 7200,) * 2)
    newest = outbox.place()
    assert not old.exists() and young.exists() and newest.exists()


def test_a_picture_that_is_gone_says_so(handlers: Handlers, photo: Path) -> None:
    photo.unlink()
    assert "open it again" in handlers.opened(str(photo))[0]["error"]
