"""What the page's questions are answered with, and what its runs send, without a browser."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from conftest import SIDES, rectangle, scenery
from PIL import Image
from test_canvas import layer

from app.engines import Engines
from app.examples import examples
from app.form import CONTROLS
from app.handlers import Handlers
from app.session import Session
from app.turns import AT_ONCE, EACH, WAITING
from app.work import Work
from var_core import SETTINGS, Engine

FORM = {
    "mode": "inpaint", "model": "", "label": "", "strength": "layout", "candidates": 1, "seed": "7",
    "ratio": "by sides", "anchor": "centre", "left": 0, "top": 0, "right": 24, "bottom": 0, "sketch": False,
    "feather": "0",
}  # fmt: skip
VISITOR = gr.Request(session_hash="one")


@pytest.fixture
def handlers(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handlers:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # what lies there was uploaded
    return Handlers(Work(Engines(str(model_file))))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    scenery(200, 150).save(path)
    return path


def values(**changes: object) -> dict[str, Any]:
    """What the page sends; an automatic setting is an empty text there."""
    page = {
        name: "" if SETTINGS[name].default is None else SETTINGS[name].default for name in CONTROLS if name in SETTINGS
    }
    return page | FORM | changes


def begun(handlers: Handlers) -> Session:
    return handlers.session(handlers.ask({"do": "hello"})["key"])


def opened(handlers: Handlers, photo: Path, session: Session | None = None) -> tuple[Session, str]:
    session = session or begun(handlers)
    answer = handlers.ask({"do": "open", "key": session.key, "path": str(photo)})
    return session, answer["ref"]


MASK = layer(rectangle((200, 150), (60, 40, 120, 90)))


def stream(handlers: Handlers, session: Session, **given: object) -> Iterator[dict[str, Any]]:
    return handlers.stream({"do": "run", "key": session.key, "run": 1, "form": values(), **given}, VISITOR)


def edited(handlers: Handlers, photo: Path, **changes: object) -> tuple[Session, list[dict[str, Any]]]:
    session, ref = opened(handlers, photo)
    return session, [*stream(handlers, session, ref=ref, mask=MASK, form=values(**changes))]


def test_a_run_streams_every_scale_and_ends_with_the_result(handlers: Handlers, photo: Path) -> None:
    session, steps = edited(handlers, photo, detail=False)
    assert [step["kind"] for step in steps] == ["frame"] * (len(SIDES) - 1) + ["result"]
    assert [step["scale"] for step in steps[:-1]] == list(range(1, len(SIDES)))
    assert "Scale 1 of 10" in steps[0]["text"] and "Done" in steps[-1]["text"]
    assert {step["run"] for step in steps} == {1}
    left, top, right, bottom = steps[0]["box"]
    assert (left, top, right, bottom) == (60 / 200, 40 / 150, 120 / 200, 90 / 150), "only what may change is sent"
    entry, result = steps[-1]["entry"], session.current().result
    assert entry["box"] == [left, top, right, bottom] and entry["size"] == [200, 150]
    assert (entry["base"], entry["mask"], entry["form"]["seed"]) == ("o1", MASK, "7")
    outside = np.asarray(rectangle((200, 150), (60, 40, 120, 90))) == 0
    assert np.array_equal(np.asarray(result.image(0))[outside], np.asarray(scenery(200, 150))[outside])
    saved = handlers.ask({"do": "save", "key": session.key, "ref": "e1.0"})
    path = saved["url"].partition("file=")[2]
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(result.image(0)))
    back = handlers.ask({"do": "frames", "key": session.key, "ref": "e1.0"})
    assert len(back["frames"]) == len(SIDES)
    assert all(frame.startswith("data:image/jpeg") for frame in back["frames"])


def test_detail_sharpens_the_last_scale(handlers: Handlers, photo: Path) -> None:
    session, steps = edited(handlers, photo)
    more = steps[len(SIDES) :]
    assert more and all(f"Detail {n} of {len(more)}" in step["text"] for n, step in enumerate(more[:-1], 1))
    assert {step["scale"] for step in more[:-1]} <= {len(SIDES)}
    assert len(handlers.ask({"do": "frames", "key": session.key, "ref": "e1.0"})["frames"]) == len(SIDES)


def test_an_edit_of_a_result_starts_from_its_very_pixels(handlers: Handlers, photo: Path) -> None:
    session, _ = edited(handlers, photo, candidates=2)
    other = layer(rectangle((200, 150), (10, 10, 40, 40)))
    *_, last = stream(handlers, session, ref="e1.1", mask=other)
    assert last["entry"]["base"] == "e1.1"
    first, second = (np.asarray(session.entry(n).result.image(v)) for n, v in ((1, 1), (2, 0)))
    outside = np.asarray(rectangle((200, 150), (10, 10, 40, 40))) == 0
    assert np.array_equal(first[outside], second[outside])


@pytest.mark.parametrize(("label", "task"), [("", "inpaint"), ("1", "edit")])
def test_a_part_is_varied_in_its_place(handlers: Handlers, photo: Path, label: str, task: str) -> None:
    session, ref = opened(handlers, photo)
    form = values(mode="vary", label=label, strength="layout")
    *_, last = stream(handlers, session, ref=ref, mask=MASK, form=form)
    edit = session.current().result.edit
    assert (edit.task, edit.start_scale) == (task, 1), "something of the source is kept"
    assert last["entry"]["size"] == [200, 150] and last["entry"]["title"] == "1 · varied"
    assert (last["entry"]["task"], last["entry"]["mask"], last["entry"]["form"]["mode"]) == ("vary", MASK, "vary")
    *_, more = handlers.stream({"do": "continue", "key": session.key, "ref": "e1.0", "scale": 4, "form": form}, VISITOR)
    assert more["entry"]["title"] == "2 · varied" and more["entry"]["mask"] == MASK
    *_, whole = stream(handlers, session, ref=ref, form=form)
    assert whole["entry"]["size"] == [48, 48]


@pytest.mark.parametrize(
    ("changes", "mask", "words"),
    [
        ({}, None, "The mask is empty"),
        ({"mode": "edit"}, MASK, "Choose the class"),
        ({"mode": "outpaint", "right": 0}, None, "positive amount"),
        ({"mode": "outpaint", "right": 400_000}, None, "must be a whole number from 0 to 16384, got 400000"),
        ({"mode": "outpaint", "right": 16_000, "bottom": 16_000}, None, "megapixels, the limit is 40"),
        ({"mode": "outpaint", "ratio": "4:3"}, None, "already has the shape 4:3"),
        ({"mode": "paint"}, MASK, "The mode must be one of"),
        ({"strength": 3}, MASK, "The strength must be one of"),
        ({"label": ["rose"]}, MASK, "The label must be a name"),
        ({"seed": "seven"}, MASK, 'The seed must be a whole number from 0 to 4294967295, got "seven"'),
        ({"seed": str(2**40)}, MASK, "The seed must be a whole number"),
        ({"feather": "-3"}, MASK, "The feather must be a whole number"),
        ({"top_p": "2"}, MASK, 'The top-p must be a number from 0 to 1, got "2"'),
    ],
)
def test_what_a_visitor_can_mend_is_said_in_one_sentence(
    handlers: Handlers, photo: Path, changes: dict, mask: str | None, words: str
) -> None:
    session, ref = opened(handlers, photo)
    (said,) = stream(handlers, session, ref=ref, mask=mask, form=values(**changes))
    assert said["kind"] == "failed" and words in said["text"] and "invalid literal" not in said["text"]
    assert not session.entries


def test_no_picture_is_said(handlers: Handlers) -> None:
    session = begun(handlers)
    for ref in (None, "", "o1", "e1.0", "../etc", 7, ["o1"]):
        (said,) = stream(handlers, session, ref=ref, mask=MASK)
        assert said["kind"] == "failed" and ("no picture yet" in said["text"] or "longer" in said["text"])


@pytest.mark.parametrize("key", [None, "", "guessed", 5, {"a": 1}])
def test_nobody_is_answered_without_a_key(handlers: Handlers, photo: Path, key: object) -> None:
    session, _ = edited(handlers, photo)
    assert "no longer on the server" in handlers.ask({"do": "save", "key": key, "ref": "e1.0"})["error"]
    (said,) = handlers.stream({"do": "run", "key": key, "form": values(mode="generate")}, VISITOR)
    assert "no longer on the server" in said["text"] and len(session.entries) == 1


@pytest.mark.parametrize("question", [None, [], "open", {}, {"do": "eval"}, {"do": ["open"]}, {"do": "__init__"}])
def test_other_questions_are_not_answered(handlers: Handlers, question: object) -> None:
    assert "error" in handlers.ask(question)


def test_unexpected_errors_are_logged_and_not_shown(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Engine, *given: object):
        raise RuntimeError("secret detail")
        yield

    monkeypatch.setattr(Engine, "run", broken)
    _, steps = edited(handlers, photo)
    assert "Something went wrong" in steps[-1]["text"]
    assert "secret" not in steps[-1]["text"] and "secret detail" in caplog.text


def test_refused_uploads_are_answered(handlers: Handlers, tmp_path: Path) -> None:
    session = begun(handlers)

    def said(path: object) -> dict:
        return handlers.ask({"do": "open", "key": session.key, "path": path})

    bad, gray = tmp_path / "bad.png", tmp_path / "deep.png"
    bad.write_bytes(b"<svg/>")
    assert "not a " in said(str(bad))["error"]
    for outside in (None, 3, "/etc/passwd", str(tmp_path.parent / "x.png"), f"{tmp_path}/../x.png", "a\0b"):
        assert "did not arrive" in said(outside)["error"]
    Image.fromarray(np.full((30, 40), 40_000, dtype=np.uint16)).save(gray)
    answer = said(str(gray))
    assert answer["size"] == [40, 30] and "16 bits" in answer["notices"][0]
    assert [item["number"] for item in answer["history"]] == [1], "what was refused is not in the history"


def test_what_was_prepared_is_not_encoded_again(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, seen = handlers.engines.get().tokenizer, []
    session, ref = opened(handlers, photo)
    features = tokenizer.features
    monkeypatch.setattr(tokenizer, "features", lambda pixels: seen.append(len(pixels)) or features(pixels))

    def rest(**given: object) -> bool:
        asked = {"do": "rest", "key": session.key, "ref": ref, "mask": MASK, "form": values(), "ahead": True}
        return handlers.ask(asked | given)["prepared"]

    assert not any([rest(mask=None), rest(mask="data:nonsense"), rest(form=values(mode="generate"))])
    assert not rest(ahead=False) and seen == []
    assert rest() and seen == [1]
    for mode, label in (("inpaint", ""), ("edit", "rose")):
        *_, last = stream(handlers, session, ref=ref, mask=MASK, form=values(mode=mode, label=label))
        assert "Done" in last["text"]
    assert seen == [1]


def test_a_picture_is_planned_once_for_looking_preparing_and_running(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, planned = Engine.plan, []
    session, ref = opened(handlers, photo)
    monkeypatch.setattr(Engine, "plan", lambda self, edit: planned.append(edit) or plan(self, edit))
    asked = {"key": session.key, "ref": ref, "mask": MASK}
    handlers.ask({"do": "look", **asked, "form": values()})
    assert handlers.ask({"do": "rest", **asked, "form": values(seed="8"), "ahead": True})["prepared"]
    list(stream(handlers, session, ref=ref, mask=MASK, form=values(seed="9", candidates=2)))
    assert len(planned) == 1
    list(stream(handlers, session, ref=ref, mask=MASK, form=values(context=3.0)))
    assert len(planned) == 2


def test_look_tells_which_tokens_change(handlers: Handlers, photo: Path) -> None:
    session, ref = opened(handlers, photo)
    asked = {"do": "look", "key": session.key, "ref": ref, "form": values(mode="generate")}
    grids = handlers.ask(asked | {"mask": MASK})["windows"][0]["grids"]
    assert [grid["side"] for grid in grids] == list(SIDES)
    assert 0 < grids[-1]["cells"].count("1") < SIDES[-1] ** 2
    assert "mask is empty" in handlers.ask(asked | {"mask": None})["error"]


def test_continuing_keeps_the_scales_of_the_version_shown(handlers: Handlers, photo: Path) -> None:
    session, _ = edited(handlers, photo, candidates=2)
    base = session.current().result
    form = values(candidates=2, seed="")
    *_, last = stream(handlers, session, do="continue", ref="e1.1", scale=5, form=form)
    assert len(session.entries) == 2 and "Done" in last["text"]
    assert (last["entry"]["base"], last["entry"]["mask"], last["entry"]["task"]) == ("o1", MASK, "inpaint")
    pairs = list(zip(base.passes[0].tokens, session.current().result.passes[0].tokens, strict=True))
    assert all((new == old[1]).all() for old, new in pairs[:5])
    assert any((new != old[1]).any() for old, new in pairs[5:])
    (said,) = stream(handlers, session, do="continue", ref="o1", scale=5)
    assert "There is no result yet" in said["text"]


def test_a_stopped_run_is_over_at_once(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, steps = handlers.engines.get(), []
    step = engine.transformer.step
    monkeypatch.setattr(engine.transformer, "step", lambda *a: steps.append(1) or step(*a))
    run = stream(handlers, begun(handlers), form=values(mode="generate", candidates=8))
    for _ in range(3):
        next(run)
    assert len(steps) == 3, "no scale is worked on ahead"
    run.close()  # type: ignore[attr-defined]
    assert len(steps) == 3 and engine._lock.acquire(blocking=False)
    engine._lock.release()


def test_live_drawing_shows_and_keeps_nothing(handlers: Handlers, photo: Path) -> None:
    session, ref = opened(handlers, photo)
    first = [*stream(handlers, session, ref=ref, mask=MASK, live="first")]
    assert [step["kind"] for step in first] == ["frame"] * 5 + ["sketch"] and all(step["live"] for step in first)
    whole = [*stream(handlers, session, ref=ref, mask=MASK, live="whole")]
    assert len(whole) >= len(SIDES) and whole[-1]["kind"] == "sketch"
    assert not session.entries
    *_, last = stream(handlers, session, ref=ref, mask=MASK)
    assert last["entry"]["pictures"] == whole[-1]["pictures"], "the same seed becomes what was seen"


def test_live_drawing_goes_on_in_two_places(handlers: Handlers, tmp_path: Path) -> None:
    scenery(600, 150).save(tmp_path / "wide.png")
    session, ref = opened(handlers, tmp_path / "wide.png")
    mask = rectangle((600, 150), (10, 40, 30, 60))
    mask.paste(255, (560, 40, 580, 60))
    steps = [*stream(handlers, session, ref=ref, mask=layer(mask), live="whole")]
    assert {step.get("windows") for step in steps[:-1]} == {2} and steps[-1]["kind"] == "sketch", steps[-1]
    middles = []
    for at in ([0.03, 0.3], [0.95, 0.3], [0.97, 0.9], "nowhere", None):  # at once, and alone: what the pen is at
        steps = [*stream(handlers, session, ref=ref, mask=layer(mask), live="first", at=at)]
        assert len(steps) == 6 and {step.get("windows") for step in steps[:-1]} == {1}, steps[-1]
        middles.append((steps[0]["box"][0] + steps[0]["box"][2]) / 2)
    assert max(middles[0], *middles[3:]) < 0.2 and min(middles[1:3]) > 0.8


def test_who_waits_is_told_and_then_goes(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.work._LOOK", 0.01)
    before = [handlers.work.turns.join(f"other {number}", None) for number in range(AT_ONCE)]
    for ticket in before:
        ticket.ready(0)
    session = begun(handlers)
    run = stream(handlers, session, form=values(mode="generate"))
    assert "One run comes before yours" in next(run)["text"]
    before[0].leave()
    assert "Done" in [*run][-1]["text"] and session.current().number == 1
    other = handlers.work.turns.join("one", None)
    other.ready(0)
    assert other.wait(0) == 0, "its place is free again"


def test_what_would_take_too_much_memory_is_refused_before_it_begins(
    handlers: Handlers, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.work.MOST", 2**18)
    monkeypatch.setattr(Engine, "run", lambda *given: pytest.fail("it ran"))
    _, steps = edited(handlers, photo, candidates=8)
    assert "change less at once" in steps[0]["text"]


def test_too_many_runs_of_one_visitor_are_refused(handlers: Handlers) -> None:
    for _ in range(EACH + WAITING):
        handlers.work.join(VISITOR)
    (said,) = stream(handlers, begun(handlers), form=values(mode="generate"))
    assert "of your runs are going or waiting already" in said["text"]


def test_a_full_disk_is_said(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    session = begun(handlers)
    list(stream(handlers, session, form=values(mode="generate")))

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.saving.saving.save_result", full)
    assert "The server's disk is full" in handlers.ask({"do": "save", "key": session.key, "ref": "e1.0"})["error"]


def test_sketch_is_finished_with_its_own_seed(handlers: Handlers) -> None:
    whole, session = begun(handlers), begun(handlers)
    list(stream(handlers, whole, form=values(mode="generate")))
    list(stream(handlers, session, form=values(mode="generate", sketch=True)))
    assert session.current().sketch and len(session.current().made.frames) == 6
    list(stream(handlers, session, do="continue", ref="e1.0", scale=6, form=values(mode="generate", sketch=True)))
    entry = session.current()
    assert not entry.sketch and len(entry.made.frames) >= len(SIDES) - 6
    assert np.array_equal(np.asarray(entry.result.image(0)), np.asarray(whole.current().result.image(0)))


def test_a_failed_download_is_one_sentence(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise ValueError("the model hub cannot be reached")

    monkeypatch.setattr("app.engines.download", offline)
    *_, said = stream(handlers, begun(handlers), do="fetch", model="var-d16")
    assert said["kind"] == "failed" and said["text"] == "The model hub cannot be reached."
    (said,) = stream(handlers, begun(handlers), do="fetch", model="../x")
    assert "no such model" in said["text"]


def test_examples_have_pictures_and_masks() -> None:
    assert len(examples()) >= 6
    for example in examples():
        told = example.told()
        assert told["title"] and told["before"].startswith("data:image/jpeg")
        with Image.open(example.picture) as picture:
            assert min(picture.size) >= 16
            if example.mask is not None:
                with Image.open(example.mask) as mask:
                    assert mask.size == picture.size


def test_a_model_that_cannot_be_read_says_so(handlers: Handlers, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")

    def model(of: Handlers, name: str) -> dict:
        return of.ask({"do": "model", "key": begun(of).key, "name": name})

    assert "no model" in model(handlers, str(broken))["error"]
    assert "damaged" in model(Handlers(Work(Engines(str(broken)))), str(broken))["error"]
    answer = model(handlers, handlers.engines.default)
    assert [name for name, _ in answer["classes"]] == ["daisy", "rose", "tulip"] and answer["sides"] == [*SIDES]
    assert answer["automatic"]["guidance"].startswith("automatic: 2")
    assert "not on this machine yet" in model(handlers, "var-d36")["missing"]


def test_a_picture_that_is_gone_says_so(handlers: Handlers, photo: Path) -> None:
    photo.unlink()
    assert "open it again" in handlers.ask({"do": "open", "key": begun(handlers).key, "path": str(photo)})["error"]
