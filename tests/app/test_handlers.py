"""What the page's events do, without a browser."""

from __future__ import annotations

import errno
import html
import json
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from conftest import SIDES, rectangle, scenery
from PIL import Image
from test_canvas import layer

from app.engines import Engines
from app.examples import examples, examples_html
from app.form import CONTROLS, RESTORED, Form, build_chance, build_edit
from app.handlers import Handlers
from app.session import Session
from app.turns import AT_ONCE, EACH, WAITING
from app.work import Work
from var_core import SETTINGS, Engine, save_png
from var_core.files.recipe import VERSION

FORM = {
    "mode": "inpaint", "model": "", "label": "", "strength": "layout", "candidates": 1, "seed": "7",
    "ratio": "by sides", "anchor": "centre", "left": 0, "top": 0, "right": 24, "bottom": 0, "sketch": False,
    "feather": "0",
}  # fmt: skip
VISITOR = gr.Request(session_hash="one")


@pytest.fixture
def handlers(model_file: Path) -> Handlers:
    return Handlers(Work(Engines(str(model_file))))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    scenery(200, 150).save(path)
    return path


def values(**changes: object) -> tuple[object, ...]:
    """What the page passes; an automatic setting is an empty text there."""
    page = {
        name: "" if SETTINGS[name].default is None else SETTINGS[name].default for name in CONTROLS if name in SETTINGS
    }
    return tuple((page | FORM | changes)[name] for name in CONTROLS)


def form(**changes: object) -> Form:
    return Form(dict(zip(CONTROLS, values(**changes), strict=True)))


def finish(steps: Iterator[tuple]) -> list[tuple]:
    """All updates of a run; the last one changes nothing, since the server sends it twice."""
    *found, last = steps
    assert all(part == gr.skip() for part in last)
    return found


MASK = layer(rectangle((200, 150), (60, 40, 120, 90)))


def test_run_streams_every_scale_and_ends_with_the_result(handlers: Handlers, photo: Path) -> None:
    session = Session()
    steps = finish(handlers.run(VISITOR, str(photo), MASK, session, *values(detail=False)))
    assert len(steps) == len(SIDES)
    assert ["Scale 1 of 10" in steps[0][1], "Done" in steps[-1][1]] == [True, True]
    assert [stage.count('<img alt="" src=') for stage, *_ in steps[:-1]] == list(range(1, len(SIDES)))
    result = session.current().result
    outside = np.asarray(rectangle((200, 150), (60, 40, 120, 90))) == 0
    assert np.array_equal(np.asarray(result.image(0))[outside], np.asarray(scenery(200, 150))[outside])
    saved = Image.open(handlers.write(session)["value"])
    assert np.array_equal(np.asarray(saved), np.asarray(result.image(0)))
    back = handlers.frames(session)
    assert back["result"] == 1 and len(back["frames"]) == len(SIDES)
    assert all(frame.startswith("data:image/jpeg") for frame in back["frames"])
    assert len(steps[-1][0]) < sum(map(len, back["frames"])), "the result does not wait for them"


def test_detail_sharpens_the_last_scale(handlers: Handlers, photo: Path) -> None:
    session = Session()
    steps = finish(handlers.run(VISITOR, str(photo), MASK, session, *values()))
    more = steps[len(SIDES) :]
    assert more and all(f"Detail {n} of {len(more)}" in step[1] for n, step in enumerate(more[:-1], 1))
    assert {stage.count('<img alt="" src=') for stage, *_ in more[:-1]} <= {len(SIDES)}
    assert len(handlers.frames(session)["frames"]) == len(SIDES)


@pytest.mark.parametrize(
    ("changes", "mask", "words"),
    [
        ({}, None, "The mask is empty"),
        ({"mode": "edit"}, MASK, "Choose the class"),
        ({"mode": "outpaint", "right": 0}, None, "positive amount"),
        ({"mode": "outpaint", "right": 400_000}, None, "must be a whole number from 0 to 16384, got 400000"),
        ({"mode": "outpaint", "right": 16_000, "bottom": 16_000}, None, "megapixels, the limit is 40"),
        ({"mode": "outpaint", "ratio": "4:3"}, None, "already has the shape 4:3"),
        ({"seed": "seven"}, MASK, 'The seed must be a whole number from 0 to 4294967295, got "seven"'),
        ({"seed": str(2**40)}, MASK, "The seed must be a whole number"),
        ({"feather": "-3"}, MASK, "The feather must be a whole number"),
        ({"top_p": "2"}, MASK, 'The top-p must be a number from 0 to 1, got "2"'),
    ],
)
def test_what_a_visitor_can_mend_is_said_in_one_sentence(
    handlers: Handlers, photo: Path, changes: dict, mask: str | None, words: str
) -> None:
    session = Session()
    said: list[str] = []
    with pytest.raises(gr.Error) as error:
        said += [status for _, status, *_ in handlers.run(VISITOR, str(photo), mask, session, *values(**changes))]
    assert words in html.unescape(str(error.value)) and "invalid literal" not in str(error.value)
    assert not session.entries


def test_after_a_refusal_the_status_says_so(handlers: Handlers) -> None:
    run = handlers.run(VISITOR, None, None, Session(), *values())
    _, status, *_ = next(run)
    assert 'data-kind="failed"' in status and "no picture yet" in status


def test_no_picture_is_said(handlers: Handlers) -> None:
    with pytest.raises(gr.Error, match="no picture yet"):
        list(handlers.run(VISITOR, None, None, Session(), *values()))


def test_unexpected_errors_are_logged_and_not_shown(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Engine, *given: object):
        raise RuntimeError("secret detail")
        yield

    monkeypatch.setattr(Engine, "run", broken)
    with pytest.raises(gr.Error, match="Something went wrong") as caught:
        list(handlers.run(VISITOR, str(photo), MASK, Session(), *values()))
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
    tokenizer, seen, visitor = handlers.engines.get().tokenizer, [], Session()
    features = tokenizer.features
    monkeypatch.setattr(tokenizer, "features", lambda pixels: seen.append(len(pixels)) or features(pixels))
    for given in ((None, None), (str(photo), None), (str(photo), "data:nonsense"), (str(photo.with_name("x")), MASK)):
        assert handlers.prepare(*given, visitor, *values()) is False
    assert handlers.prepare(str(photo), MASK, visitor, *values(mode="generate")) is False and seen == []
    assert handlers.prepare(str(photo), MASK, visitor, *values()) is True and seen == [1]
    for mode, label in (("inpaint", ""), ("edit", "rose")):
        run = handlers.run(VISITOR, str(photo), MASK, visitor, *values(mode=mode, label=label))
        assert "Done" in finish(run)[-1][1]
    assert seen == [1]


def test_a_picture_is_planned_once_for_looking_preparing_and_running(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, planned, visitor = Engine.plan, [], Session()
    monkeypatch.setattr(Engine, "plan", lambda self, edit: planned.append(edit) or plan(self, edit))
    handlers.look(str(photo), MASK, visitor, *values())
    assert handlers.prepare(str(photo), MASK, visitor, *values(seed="8"))
    finish(handlers.run(VISITOR, str(photo), MASK, visitor, *values(seed="9", candidates=2)))
    assert len(planned) == 1
    finish(handlers.run(VISITOR, str(photo), MASK, visitor, *values(context=3.0)))
    assert len(planned) == 2


def test_look_tells_which_tokens_change(handlers: Handlers, photo: Path) -> None:
    answer = handlers.look(str(photo), MASK, Session(), *values(mode="generate"))
    grids = answer["windows"][0]["grids"]
    assert [grid["side"] for grid in grids] == list(SIDES)
    assert 0 < grids[-1]["cells"].count("1") < SIDES[-1] ** 2
    assert "mask is empty" in handlers.look(str(photo), None, Session(), *values())["error"]


def test_branch_continues_the_chosen_candidate(handlers: Handlers, photo: Path) -> None:
    session = Session()
    list(handlers.run(VISITOR, str(photo), MASK, session, *values(candidates=2)))
    session.current().chosen = 1
    base = session.current().result
    steps = finish(handlers.branch(VISITOR, 5, session, *values(candidates=2, seed="")))
    assert len(session.entries) == 2 and "Done" in steps[-1][1]
    found = session.current().result
    assert session.current().title == "2 · branch"
    pairs = list(zip(base.passes[0].tokens, found.passes[0].tokens, strict=True))
    assert all((new == old[1]).all() for old, new in pairs[:5])
    assert any((new != old[1]).any() for old, new in pairs[5:])
    with pytest.raises(gr.Error, match="There is no result yet"):
        list(handlers.branch(VISITOR, 5, Session(), *values()))


def test_a_stopped_run_is_over_at_once(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, steps = handlers.engines.get(), []
    step = engine.transformer.step
    monkeypatch.setattr(engine.transformer, "step", lambda *a: steps.append(1) or step(*a))
    run = handlers.run(VISITOR, None, None, Session(), *values(mode="generate", candidates=8))
    for _ in range(3):
        next(run)
    assert len(steps) == 3, "no scale is worked on ahead"
    run.close()
    assert len(steps) == 3 and engine._lock.acquire(blocking=False)
    engine._lock.release()


def test_who_waits_is_told_and_then_goes(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.work._LOOK", 0.01)
    before = [handlers.work.turns.join(f"other {number}", None) for number in range(AT_ONCE)]
    for ticket in before:
        ticket.ready(0)
    session = Session()
    run = handlers.run(VISITOR, None, None, session, *values(mode="generate"))
    assert "One run comes before yours" in next(run)[1]
    before[0].leave()
    assert "Done" in finish(run)[-1][1] and session.current().number == 1
    other = handlers.work.turns.join("one", None)
    other.ready(0)
    assert other.wait(0) == 0, "its place is free again"


def test_what_would_take_too_much_memory_is_refused_before_it_begins(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.work.MOST", 2**18)
    monkeypatch.setattr(Engine, "run", lambda *given: pytest.fail("it ran"))
    run = handlers.run(VISITOR, str(photo), MASK, Session(), *values(candidates=8))
    assert "change less at once" in next(run)[1]


def test_too_many_runs_of_one_visitor_are_refused_in_the_status(handlers: Handlers) -> None:
    for _ in range(EACH + WAITING):
        handlers.work.join(VISITOR)
    run = handlers.run(VISITOR, None, None, Session(), *values(mode="generate"))
    assert "of your runs are going or waiting already" in next(run)[1]


def test_what_is_said_is_no_html(handlers: Handlers) -> None:
    with pytest.raises(gr.Error) as error:
        list(handlers.run(VISITOR, None, None, Session(), *values(mode="generate", seed="<img src=x>")))
    assert "<img" not in str(error.value) and "&lt;img src=x&gt;" in str(error.value)


def test_a_full_disk_is_said(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    finish(handlers.run(VISITOR, None, None, session, *values(mode="generate")))

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.pictures.save_result", full)
    with pytest.raises(gr.Error, match="The server's disk is full"):
        handlers.write(session)


def test_sketch_is_finished_with_its_own_seed(handlers: Handlers) -> None:
    whole_run, session = Session(), Session()
    list(handlers.run(VISITOR, None, None, whole_run, *values(mode="generate")))
    list(handlers.run(VISITOR, None, None, session, *values(mode="generate", sketch=True)))
    assert session.current().sketch and len(session.current().made.frames) == 6
    list(handlers.branch(VISITOR, 6, session, *values(mode="generate", sketch=True)))
    entry = session.current()
    assert not entry.sketch and len(entry.made.frames) == len(SIDES)
    assert np.array_equal(np.asarray(entry.result.image(0)), np.asarray(whole_run.current().result.image(0)))


def test_recipe_of_a_result_restores_the_controls(handlers: Handlers, photo: Path) -> None:
    session = Session()
    list(
        handlers.run(
            VISITOR,
            str(photo),
            MASK,
            session,
            *values(mode="edit", label=2, strength="shape", seed="99", random_scales="4"),
        )
    )
    path = handlers.write(session)["value"]
    answer, *controls = handlers.opened(path)
    found = dict(zip(RESTORED, controls, strict=True))
    assert (found["mode"], found["strength"], found["seed"]) == ("edit", "shape", "99")
    assert found["label"]["value"] == "tulip" and "restored" in answer["notices"][-1]
    assert found["random_scales"] == "4" and found["feather"] == "0"


def saved(path: Path, **document: object) -> str:
    """A picture with a recipe of these entries."""
    settings = {"task": "inpaint", "label": None}
    text = json.dumps({"version": VERSION, "model": "tiny", "seed": 3, "candidate": 0, "settings": settings} | document)
    save_png(scenery(40, 40), path, text.encode())
    return str(path)


def controls(handlers: Handlers, path: str) -> tuple[dict, dict]:
    answer, *found = handlers.opened(path)
    return answer, {n: v for n, v in zip(RESTORED, found, strict=True) if v != gr.skip()}


def test_a_recipe_is_restored_for_its_own_model_only(handlers: Handlers, tmp_path: Path) -> None:
    handlers.engines.get()
    settings = {"task": "edit", "label": "tulip", "start_scale": 5}
    answer, found = controls(handlers, saved(tmp_path / "a.png", model="another", settings=settings))
    assert found["mode"] == "edit" and "label" not in found and "model" not in found
    assert "model is not here" in answer["notices"][-1]
    _, found = controls(handlers, saved(tmp_path / "b.png", settings=settings))
    assert found["label"]["value"] == "tulip" and found["model"] == handlers.engines.default
    _, found = controls(handlers, saved(tmp_path / "c.png", settings=settings | {"label": "ash"}))
    assert found["label"]["value"] == "" and found["strength"] == "texture", "an unknown class keeps the rest"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"settings": 3}', '{"version": 3, "settings": "x"}'])
def test_odd_recipes_are_ignored(handlers: Handlers, tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.png"
    save_png(scenery(20, 20), path, text.encode())
    answer, found = controls(handlers, str(path))
    assert set(found) <= {"label", "model"} and "error" not in answer


def test_a_recipe_sets_only_what_fits(handlers: Handlers, tmp_path: Path) -> None:
    settings = {"task": "vary", "guidance": 99, "top_p": 0.5, "smooth": 1, "left": -4, "top": 3, "method": "x"}
    _, found = controls(handlers, saved(tmp_path / "odd.png", settings=settings, seed=True, candidate=2))
    assert found["mode"] == "vary" and found["top_p"] == "0.5" and found["candidates"] == 4
    assert not {"guidance", "smooth", "seed", "method"} & set(found)
    assert (found["ratio"], found["left"], found["top"]) == ("by sides", 0, 3)


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


def test_a_failed_download_is_one_sentence(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise ValueError("the model hub cannot be reached")

    monkeypatch.setattr("app.engines.download", offline)
    with pytest.raises(gr.Error, match="The model hub cannot be reached"):
        list(handlers.fetch("var-d16"))


def test_sketch_and_strength_become_scales() -> None:
    edit = build_edit(form(mode="vary", strength="detail"), "vary", len(SIDES), scenery(60, 60), None)
    assert edit.start_scale == 7
    assert build_chance(form(sketch=True), "generate", len(SIDES)).stop_scale == 6
    assert build_chance(form(sketch=True), "outpaint", len(SIDES)).stop_scale is None
    assert build_chance(form(sketch=True, strength="detail"), "inpaint", 10).stop_scale == 9  # two scales are drawn
    assert build_chance(form(sketch=True, strength="detail"), "inpaint", 6).stop_scale is None  # nothing would be left
    assert build_chance(form(sketch=True, strength="detail"), "generate", 10).stop_scale == 6


def test_a_setting_is_automatic_only_where_nothing_is_said(engine: Engine) -> None:
    usual = engine.defaults("edit").guidance
    assert build_chance(form(guidance=""), "edit", 10).guidance is None
    assert build_chance(form(guidance=f"{usual:g}"), "edit", 10).guidance == usual


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
    assert "no model" in handlers.choose_model(str(broken), "")[4]
    assert "damaged" in Handlers(Work(Engines(str(broken)))).choose_model(str(broken), "")[4]
    classes, *_, status, _ = handlers.choose_model(handlers.engines.default, "rose")
    assert [name for name, _ in classes["choices"]] == ["No class", "daisy", "rose", "tulip"] and "Ready" in status
    assert classes["value"] == "rose" and handlers.choose_model(handlers.engines.default, "ash")[0]["value"] == ""
    assert "not on this machine yet" in handlers.choose_model("var-d36", "")[4]


def test_a_picture_that_is_gone_says_so(handlers: Handlers, photo: Path) -> None:
    photo.unlink()
    assert "open it again" in handlers.opened(str(photo))[0]["error"]
