"""Nothing that a visitor made is lost: during a run, by Stop, by a refused file, by undo, by a reload."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image
from playwright.sync_api import Browser, expect
from visitor import Visitor, png

pytestmark = pytest.mark.browser


def begun(visitor: Visitor) -> None:
    """A run that goes on for a while, in the middle."""
    visitor.versions(8)
    visitor.page.click("#run")
    expect(visitor.status).to_contain_text("Scale")


def painted(visitor: Visitor, mask: np.ndarray) -> None:
    visitor.painted()
    assert np.array_equal(visitor.mask(), mask)


def titles(visitor: Visitor, *expected: str) -> None:
    expect(visitor.page.locator(".history small")).to_have_text([*expected])


def test_a_file_dropped_during_a_run_replaces_nothing(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    begun(visitor)
    visitor.dropped(png(scenery(90, 80)), "other.png")
    visitor.page.keyboard.press("Control+z")  # nor does a key take paint away
    visitor.done()
    visitor.holds(300, 200)
    titles(visitor, "Original", "1 · removed")
    visitor.page.click("[data-act=undo]")
    painted(visitor, mask)
    visitor.dropped(png(scenery(90, 80)), "other.png")
    visitor.holds(90, 80)


def test_an_example_clicked_during_a_run_starts_no_other(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    page.evaluate("document.querySelector('#run').click(); document.querySelector('[data-example]').click()")
    visitor.done()
    page.wait_for_timeout(1000)  # a second run would have begun by now
    expect(page.locator("body[data-running=no]")).to_have_count(1)
    expect(page.locator("[data-entry]")).to_have_count(1)
    visitor.holds(300, 200)
    page.click("[data-act=undo]")
    painted(visitor, mask)


def test_a_continuation_cannot_be_begun_twice(visitor: Visitor) -> None:
    page = visitor.page
    visitor.mode("Create")
    visitor.run()
    expect(page.locator("[data-scale='5']")).to_be_enabled()
    page.click("[data-scale='5']")
    page.evaluate("() => { for (let i = 0; i < 3; i++) document.querySelector('#continue').click(); }")
    expect(page.locator("[data-entry]")).to_have_count(2)
    visitor.done()
    page.wait_for_timeout(1000)
    expect(page.locator("[data-entry]")).to_have_count(2)
    expect(page.locator("body[data-running=no]")).to_have_count(1)


def test_stop_leaves_the_last_result_standing(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    visitor.run()
    first = visitor.result()
    visitor.versions(8)
    page.evaluate("() => { window.stopAt = 'running 2'; }")
    page.click("#run")
    expect(visitor.status).to_contain_text("Stopped. Everything is as it was")
    assert page.evaluate("window.editor.board.picture.ref") == "e1.0"
    assert page.evaluate("!document.querySelector('.live').classList.contains('on')")
    expect(page.locator("[data-scale='5']")).to_be_enabled()
    assert np.array_equal(np.asarray(visitor.result()), np.asarray(first))


def test_stop_before_the_first_result_leaves_what_was_there(visitor: Visitor) -> None:
    visitor.mode("Create")
    begun(visitor)
    visitor.page.keyboard.press("Escape")
    expect(visitor.status).to_contain_text("Stopped")
    expect(visitor.page.locator("[data-entry]")).to_have_count(0)
    visitor.run()


@pytest.mark.parametrize("kind", ["too many pixels", "too small", "no picture", "too many bytes"])
def test_a_refused_file_keeps_picture_and_paint(visitor: Visitor, kind: str) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    given, words = {
        "too many pixels": (png(Image.new("1", (8000, 6250))), "50 megapixels"),
        "too small": (png(scenery(40, 12)), "at least 16"),
        "no picture": (b"<svg/>", "not a picture that can be opened"),
        "too many bytes": (b"\x89PNG\r\n\x1a\n", "the limit is 80 MB"),
    }[kind]
    visitor.dropped(given, "bad.png", more=80 * 2**20 if kind == "too many bytes" else 0)
    expect(visitor.status).to_contain_text(words)
    visitor.holds(300, 200)
    painted(visitor, mask)
    visitor.run()
    assert visitor.result().size == (300, 200)


def test_a_picture_that_cannot_be_sent_keeps_the_one_before(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    visitor.page.route("**/upload*", lambda route: route.abort())
    visitor.dropped(png(scenery(90, 80)), "other.png")
    expect(visitor.status).to_contain_text("could not be sent")
    visitor.holds(300, 200)
    painted(visitor, mask)
    assert all("ERR_FAILED" in fault or "upload" in fault.lower() for fault in visitor.faults), visitor.faults
    visitor.faults.clear()


def test_a_run_stopped_while_its_picture_is_on_the_way_never_begins(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(
        """() => { const send = window.fetch; window.fetch = async (where, how) => {
          if (String(where).includes('/upload')) await new Promise((arrived) => { window.arrive = arrived; });
          return send(where, how); }; }"""
    )
    visitor.upload(png(scenery(300, 200)))
    expect(page.locator(".ed[data-state=open]")).to_have_count(1)
    visitor.rectangle(60, 60, 120, 120)
    page.click("#run")
    expect(visitor.status).to_contain_text("Starting")
    page.keyboard.press("Escape")
    expect(visitor.status).to_contain_text("Stopped")
    page.evaluate("window.arrive()")
    expect(page.locator(".ed[data-prepared=yes]")).to_have_count(1)
    page.wait_for_timeout(1000)
    expect(page.locator("[data-entry]")).to_have_count(0)
    visitor.run()
    expect(page.locator("[data-entry]")).to_have_count(1)


def test_undo_goes_through_two_edits_back_to_the_original_with_its_paint(visitor: Visitor) -> None:
    page, photo = visitor.page, scenery(300, 200)
    visitor.opened(photo)
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    visitor.setting("feather", "0")
    visitor.run()
    visitor.painted(False)
    visitor.rectangle(10, 10, 40, 40)
    visitor.run()
    back = ["e1.0", "e1.0", "o1"]  # the result with its new paint, without it, the photo with the first paint
    for ref in back:
        page.keyboard.press("Control+z")
        assert page.evaluate("window.editor.board.picture.ref") == ref
    painted(visitor, mask)
    page.keyboard.press("Control+Shift+z")
    assert page.evaluate("window.editor.board.picture.ref") == "e1.0"
    page.keyboard.press("Control+z")
    visitor.run()
    outside = ~mask
    assert np.array_equal(np.asarray(visitor.result().convert("RGB"))[outside], np.asarray(photo)[outside])
    visitor.opened(scenery(90, 80))
    page.keyboard.press("Control+z")
    visitor.holds(300, 200)
    visitor.mode("Vary")
    page.keyboard.press("Control+Shift+z")
    visitor.holds(90, 80)


def test_the_history_begins_with_the_original_and_reopens_with_its_paint(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    titles(visitor, "Original")
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    visitor.run()
    visitor.mode("Replace")
    visitor.label("rose")
    visitor.rectangle(10, 10, 40, 40)
    visitor.run()
    titles(visitor, "Original", "1 · removed", "2 · rose")
    page.click("[data-original='1']")
    visitor.painted()
    painted(visitor, mask)
    page.click("[data-entry='2']")
    expect(page.locator("[data-entry='2'][aria-pressed=true]")).to_have_count(1)
    visitor.opened(scenery(90, 80))
    titles(visitor, "Original", "1 · removed", "2 · rose", "Original")
    page.click("[data-entry='1']")
    expect(page.locator("#mode [data-mode=inpaint][aria-checked=true]")).to_have_count(1)
    expect(page.locator("#run")).to_have_text("Again")


def test_a_reload_brings_everything_back(visitor: Visitor, browser: Browser, url: str) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.mode("Replace")
    visitor.rectangle(60, 60, 120, 120)
    visitor.label("tulip")
    visitor.versions(2)
    visitor.run()
    page.click("[data-version='1']")
    expect(page.locator("[data-version='1'][aria-pressed=true]")).to_be_visible()
    made = visitor.result()
    visitor.rectangle(5, 5, 30, 30)
    mask = visitor.mask()
    expect(page.locator(".ed[data-kept=yes]")).to_have_count(1)
    for leave in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
        leave()
        visitor.ready()
        visitor.holds(300, 200)
        painted(visitor, mask)
        expect(page.locator("#mode [data-mode=edit][aria-checked=true]")).to_have_count(1)
        expect(page.locator("#label")).to_have_value("tulip")
        expect(page.locator("#candidates")).to_have_value("2")
        expect(page.locator("[data-version='1'][aria-pressed=true]")).to_be_visible()
        titles(visitor, "Original", "1 · tulip")
        expect(page.locator("[data-scale='5']")).to_be_enabled()
        assert np.array_equal(np.asarray(visitor.result()), np.asarray(made))
    page.click("[data-version='0']")  # and what was not fetched yet comes when it is asked for
    page.click("[data-act=before]")
    expect(page.locator(".before")).to_be_visible()
    page.click("[data-act=before]")
    other = Visitor(browser, url, detail=False)  # nobody else finds it
    expect(other.page.locator(".history button")).to_have_count(0)
    expect(other.page.locator(".ed[data-state=empty]")).to_have_count(1)
    other.close()
    visitor.mode("Vary")
    visitor.run()
    expect(page.locator("[data-entry]")).to_have_count(2)


def test_a_reload_in_the_middle_of_a_run_keeps_photo_and_paint(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    expect(visitor.page.locator(".ed[data-kept=yes]")).to_have_count(1)
    begun(visitor)
    visitor.page.reload()
    visitor.ready()
    visitor.faults.clear()  # gradio's own lines about the connection that the page left
    visitor.holds(300, 200)
    painted(visitor, mask)
    visitor.versions(1)
    visitor.run()


def test_a_whole_painted_picture_comes_back_painted(visitor: Visitor) -> None:
    visitor.opened(scenery(120, 80))
    visitor.rectangle(0, 0, 120, 80)
    expect(visitor.page.locator(".ed[data-prepared=yes]")).to_have_count(1)
    visitor.page.reload()
    visitor.ready()
    painted(visitor, np.ones((80, 120), bool))


def test_a_run_that_is_not_taken_says_so(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    busy = {"status": 503, "json": {"detail": "The queue is full."}}
    visitor.page.route("**/queue/join*", lambda route: route.fulfill(**busy))
    visitor.page.click("#run")
    expect(visitor.status).to_contain_text("did not take this")
    expect(visitor.page.locator("body[data-running=no]")).to_have_count(1)
    visitor.page.unroute("**/queue/join*")
    visitor.faults.clear()  # the browser's own line about the refusal
    painted(visitor, mask)
    visitor.opened(scenery(90, 80))
    expect(visitor.status).to_have_text("Ready")
    visitor.page.click("[data-act=undo]")
    painted(visitor, mask)
    visitor.run()


def test_settings_that_cannot_be_are_not_restored(visitor: Visitor, tmp_path) -> None:
    from var_core import save_png

    path = tmp_path / "made elsewhere.png"
    recipe = '{"version": 3, "settings": {"task": "inpaint", "top_k": 2000000}, "seed": 3, "model": "other"}'
    save_png(scenery(96, 80), path, recipe.encode())
    visitor.upload(path.read_bytes(), path.name)
    expect(visitor.page.locator("#seed")).to_have_value("3")
    visitor.rectangle(20, 20, 40, 40)
    mask = visitor.mask()
    assert np.array_equal(mask, np.asarray(rectangle((96, 80), (20, 20, 60, 60))) > 0)
    visitor.run()


def test_each_mode_has_a_class_of_its_own(visitor: Visitor) -> None:
    """What becomes a rose does not let roses grow at the edges of the photo afterwards."""
    field = visitor.page.locator("#label")
    visitor.opened(scenery(120, 90))
    visitor.rectangle(20, 20, 40, 40)
    visitor.mode("Replace")
    visitor.label("rose")
    chosen = field.input_value()
    assert chosen
    for mode in ("Expand", "Vary", "Create"):
        visitor.mode(mode)
        expect(field).to_have_value("")
    visitor.mode("Replace")
    expect(field).to_have_value(chosen)
    visitor.run()
    visitor.mode("Expand")
    visitor.page.locator(".history button").last.click()
    expect(visitor.page.locator("[data-mode=edit][aria-checked=true]")).to_have_count(1)
    expect(field).to_have_value(chosen)
