"""Nothing that a visitor made is lost: during a run, by Stop, by a refused file, by undo, by a reload."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image
from playwright.sync_api import Browser, expect
from test_page_models import fresh, hub, official  # noqa: F401
from visitor import Visitor, png

pytestmark = pytest.mark.browser


@pytest.fixture
def visitor(browser: Browser, url: str) -> Iterator[Visitor]:
    one = Visitor(browser, url)
    yield one
    one.close()


def begun(visitor: Visitor) -> None:
    """A run that goes on for a while, in the middle."""
    visitor.page.locator("#candidates label", has_text="8").click()
    visitor.page.click("#run")
    expect(visitor.status).to_contain_text("Scale")


def is_open(visitor: Visitor, width: int, height: int) -> None:
    expect(visitor.page.locator(f".mp[data-original='{width}x{height}']")).to_have_count(1)


def painted(visitor: Visitor, mask: np.ndarray) -> None:
    expect(visitor.page.locator(".mp[data-painted=yes]")).to_have_count(1)
    assert np.array_equal(visitor.mask(), mask)


def test_a_file_dropped_during_a_run_replaces_nothing(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    begun(visitor)
    visitor.dropped(png(scenery(90, 80)), "other.png")
    expect(visitor.page.locator(".mp-note")).to_contain_text("A run is going")
    visitor.page.keyboard.press("Control+z")  # nor does a key take paint away
    visitor.done()
    is_open(visitor, 300, 200)
    painted(visitor, mask)
    visitor.dropped(png(scenery(90, 80)), "other.png")
    is_open(visitor, 90, 80)
    expect(visitor.page.locator(".mp-note")).to_be_empty()


def test_an_example_clicked_during_a_run_starts_no_other(browser: Browser, fresh: str) -> None:  # noqa: F811
    visitor = Visitor(browser, fresh)
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    page.evaluate("document.querySelector('#run').click(); document.querySelector('[data-example]').click()")
    visitor.done()
    page.wait_for_timeout(1000)  # a second run would have begun by now
    expect(page.locator("body[data-running=no]")).to_have_count(1)
    expect(page.locator("[data-entry]")).to_have_count(1)
    is_open(visitor, 300, 200)
    painted(visitor, mask)
    visitor.close()


def test_a_branch_cannot_be_begun_twice(visitor: Visitor) -> None:
    page = visitor.page
    visitor.mode("Generate")
    visitor.run()
    page.click("[data-scale='5']")
    page.evaluate("() => { for (let i = 0; i < 3; i++) document.querySelector('.vs-branch').click(); }")
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
    shown = page.locator(".vs-after").get_attribute("src")
    page.locator("#candidates label", has_text="8").click()
    page.evaluate("() => { window.seen = []; window.stopAt = 'running 2'; }")
    page.click("#run")
    expect(visitor.status).to_contain_text("Stopped. Everything is as it was")
    expect(page.locator(".vs[data-state=done][data-result='1']")).to_have_count(1)
    assert page.locator(".vs-after").get_attribute("src") == shown
    expect(page.locator("[data-scale='5']")).to_be_enabled()
    page.click("[data-scale='5']")
    expect(page.locator(".vs-back")).to_be_visible()
    again = visitor.result()
    assert np.array_equal(np.asarray(again), np.asarray(first))


def test_stop_before_the_first_result_leaves_an_empty_stage(visitor: Visitor) -> None:
    visitor.mode("Generate")
    begun(visitor)
    visitor.page.keyboard.press("Escape")
    expect(visitor.status).to_contain_text("Stopped")
    expect(visitor.page.locator(".vs[data-state=empty]")).to_have_count(1)


@pytest.mark.parametrize("kind", ["too many pixels", "too small", "no picture", "too many bytes"])
def test_a_refused_file_keeps_picture_and_paint(visitor: Visitor, kind: str) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    given, words = {
        "too many pixels": (png(Image.new("1", (8000, 6250))), "50 megapixels"),
        "too small": (png(scenery(40, 12)), "at least 16"),
        "no picture": (b"<svg/>", "not a PNG, JPEG or WebP"),
        "too many bytes": (b"\x89PNG\r\n\x1a\n", "the limit is 80 MB"),
    }[kind]
    visitor.dropped(given, "bad.png", more=80 * 2**20 if kind == "too many bytes" else 0)
    expect(visitor.page.locator(".mp-note")).to_contain_text(words)
    is_open(visitor, 300, 200)
    painted(visitor, mask)
    visitor.run()
    assert visitor.result().size == (300, 200)


def test_a_picture_that_cannot_be_sent_keeps_the_one_before(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    visitor.page.route("**/upload*", lambda route: route.abort())
    visitor.dropped(png(scenery(90, 80)), "other.png")
    expect(visitor.page.locator(".mp-note")).to_contain_text("could not be sent")
    is_open(visitor, 300, 200)
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
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 120)
    page.click("#run")
    expect(visitor.status).to_contain_text("Starting")
    page.keyboard.press("Escape")
    expect(visitor.status).to_contain_text("Stopped")
    page.evaluate("window.arrive()")
    expect(page.locator(".mp[data-prepared=yes]")).to_have_count(1)
    page.wait_for_timeout(1000)
    expect(page.locator(".vs[data-state=empty]")).to_have_count(1)
    visitor.run()
    expect(page.locator("[data-entry]")).to_have_count(1)


def test_undo_brings_back_the_picture_before_with_its_paint(visitor: Visitor) -> None:
    page = visitor.page
    photo = scenery(300, 200)
    visitor.opened(photo)
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    visitor.feather("0")
    visitor.run()
    page.click("#use")
    expect(page.locator(".mp[data-painted=no]")).to_have_count(1)
    page.locator("[data-act=undo]").click()
    painted(visitor, mask)
    visitor.run()
    outside = ~mask
    assert np.array_equal(np.asarray(visitor.result().convert("RGB"))[outside], np.asarray(photo)[outside])
    visitor.opened(scenery(90, 80))
    page.locator("#strength").click(position={"x": 2, "y": 2})  # no field has the keys
    page.keyboard.press("Control+z")
    is_open(visitor, 300, 200)
    painted(visitor, mask)
    page.keyboard.press("Control+Shift+z")
    is_open(visitor, 90, 80)
    expect(page.locator(".mp[data-painted=no]")).to_have_count(1)
    visitor.mode("Vary")
    page.keyboard.press("Control+z")
    is_open(visitor, 300, 200)


def test_the_history_begins_with_the_original(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    expect(page.locator(".history button")).to_have_count(1)
    visitor.rectangle(60, 60, 120, 120)
    mask = visitor.mask()
    visitor.run()
    page.click("#use")
    expect(page.locator(".mp[data-painted=no]")).to_have_count(1)
    visitor.rectangle(10, 10, 40, 40)
    visitor.run()
    expect(page.locator(".history small")).to_have_text(["Original", "1 · inpaint", "2 · inpaint"])
    page.click("[data-act=clear]")
    expect(page.locator(".mp[data-painted=no]")).to_have_count(1)
    page.click("[data-original='1']")
    painted(visitor, mask)
    visitor.opened(scenery(90, 80))
    expect(page.locator(".history small")).to_have_text(["Original", "1 · inpaint", "2 · inpaint", "Original"])
    visitor.opened(scenery(80, 90))
    expect(page.locator(".mp[data-original='80x90']")).to_have_count(1)
    expect(page.locator(".history [data-original]")).to_have_count(2)  # one that nothing was made of makes room


def test_a_reload_brings_everything_back(visitor: Visitor, browser: Browser, url: str) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.mode("Change class")
    visitor.rectangle(60, 60, 120, 120)
    page.locator("#label input").scroll_into_view_if_needed()
    page.fill("#label input", "tul")
    page.locator("ul[role=listbox] li", has_text="tulip").first.click()
    page.locator("#candidates label", has_text="2").click()
    visitor.run()
    page.click("[data-candidate='1']")
    expect(page.locator("[data-candidate='1'][aria-pressed=true]")).to_be_visible()
    made = visitor.result()
    page.click("[data-act=grow]")
    mask = visitor.mask()
    expect(page.locator(".mp[data-prepared=yes]")).to_have_count(1)
    for leave in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
        leave()
        is_open(visitor, 300, 200)
        painted(visitor, mask)
        expect(page.locator("#mode input[value=edit]")).to_be_checked()
        expect(page.locator("[data-candidate='1'][aria-pressed=true]")).to_be_visible()
        expect(page.locator(".history small")).to_have_text(["Original", "1 · change class"])
        expect(page.locator("[data-scale='5']")).to_be_enabled()
        assert np.array_equal(np.asarray(visitor.result()), np.asarray(made))
    other = Visitor(browser, url)  # nobody else finds it
    expect(other.page.locator(".history button")).to_have_count(0)
    expect(other.page.locator(".mp[data-ready]")).to_have_count(0)
    other.close()
    visitor.mode("Vary")
    visitor.run()
    expect(page.locator("[data-entry]")).to_have_count(2)


def test_a_whole_painted_picture_comes_back_painted(visitor: Visitor) -> None:
    visitor.opened(scenery(120, 80))
    visitor.rectangle(0, 0, 120, 80)
    expect(visitor.page.locator(".mp[data-prepared=yes]")).to_have_count(1)
    visitor.page.reload()
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
    expect(visitor.page.locator("#seed :is(input, textarea)")).to_have_value("3")
    visitor.rectangle(20, 20, 40, 40)
    visitor.run()
    assert np.array_equal(visitor.mask(), np.asarray(rectangle((96, 80), (20, 20, 60, 60))) > 0)
