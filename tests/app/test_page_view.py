"""Looking: zoom, the real pixels, before and after, the scales again; and drawing while one paints."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import scenery
from PIL import Image
from playwright.sync_api import expect
from visitor import Visitor, pixels

pytestmark = pytest.mark.browser

PIXELS = """async () => {
  const all = await Promise.all([...document.querySelectorAll('.tiles img')].map(async (image) => {
    await image.decode();
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const c = Object.assign(document.createElement('canvas'), { width, height });
    const pen = c.getContext('2d');
    pen.drawImage(image, 0, 0);
    const size = window.editor.board.picture.size;
    const at = ['left', 'top'].map((edge, i) => Math.round(parseFloat(image.style[edge]) * size[i] / 100));
    return [...at, c.toDataURL('image/png')];
  }));
  return all; }"""


def tiles(visitor: Visitor, count: int) -> list[tuple[int, int, np.ndarray]]:
    visitor.page.wait_for_function(f"document.querySelectorAll('.tiles img').length >= {count}")
    return [(x, y, pixels(data)) for x, y, data in visitor.page.evaluate(PIXELS)]


def test_at_100_percent_the_bytes_of_the_file_are_shown(visitor: Visitor) -> None:
    page, photo = visitor.page, scenery(600, 500)
    visitor.opened(photo)
    page.click("[data-act=real]")
    expect(page.locator("#zoom")).to_have_text("100 %")
    for x, y, seen in tiles(visitor, 2):
        assert np.array_equal(seen, np.asarray(photo)[y : y + seen.shape[0], x : x + seen.shape[1]])
    visitor.rectangle(100, 100, 80, 60)
    visitor.run()
    made = np.asarray(visitor.result().convert("RGB"))
    for x, y, seen in tiles(visitor, 2):
        assert np.array_equal(seen, made[y : y + seen.shape[0], x : x + seen.shape[1]])
    page.click("[data-act=fit]")
    expect(page.locator(".tiles")).to_have_count(1)


def test_100_percent_goes_to_the_edit_and_no_farther_than_the_picture(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(4000, 3000))
    visitor.rectangle(2400, 1200, 200, 100)
    view = page.locator(".view").bounding_box()
    assert view is not None
    page.click("[data-act=real]")
    expect(page.locator("#zoom")).to_have_text("100 %")
    middle = (view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
    assert visitor.at(2500 / 4000, 1250 / 3000) == pytest.approx(middle, abs=1.5)
    page.mouse.move(*middle)
    page.mouse.wheel(0, 100)
    page.click("[data-act=real]")
    near = visitor.at(2500 / 4000, 1250 / 3000)
    assert near == pytest.approx(middle, abs=20), "who looks somewhere already stays there"
    page.click("[data-act=clear]")
    visitor.rectangle(3900, 2950, 100, 50)
    page.click("[data-act=fit]")
    page.click("[data-act=real]")
    assert visitor.at(1, 1) == pytest.approx((view["x"] + view["width"], view["y"] + view["height"]), abs=1.5)


def test_the_wheel_zooms_at_the_pointer_and_space_moves(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(400, 300))
    x, y = visitor.at(0.25, 0.25)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(100)
    u, v = visitor.at(0.25, 0.25)
    assert (u, v) == pytest.approx((x, y), abs=1.5), "the point under the pointer stays there"
    page.keyboard.down(" ")
    page.mouse.down()
    page.mouse.move(x + 50, y + 20, steps=3)
    page.mouse.up()
    page.keyboard.up(" ")
    assert visitor.at(0.25, 0.25) == pytest.approx((x + 50, y + 20), abs=1.5)
    assert not visitor.mask().any()
    for _ in range(40):  # and never out of sight
        page.mouse.wheel(0, -400)
    page.keyboard.press("h")
    for _ in range(6):
        page.mouse.move(900, 300)
        page.mouse.down()
        page.mouse.move(200, 300, steps=2)
        page.mouse.up()
    box, view = page.locator(".photo").bounding_box(), page.locator(".view").bounding_box()
    assert box is not None and view is not None and box["x"] + box["width"] > view["x"] + 40
    page.keyboard.press("0")
    assert visitor.at(0.5, 0.5)[0] == pytest.approx(view["x"] + view["width"] / 2, abs=1.5)


def test_before_is_seen_while_the_key_is_held_and_the_divider_never_hides_the_edit(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.rectangle(30, 60, 60, 60)
    visitor.run()
    before = page.locator(".before")
    expect(before).to_be_hidden()
    page.keyboard.down("c")
    expect(before).to_be_visible()
    expect(page.locator(".tag")).to_have_text("Before")
    page.keyboard.up("c")
    expect(before).to_be_hidden()
    page.keyboard.press("d")
    expect(page.locator("input.divider")).to_be_visible()
    cut = float(before.evaluate("(e) => parseFloat(e.style.clipPath.match(/inset\\(0[a-z%]* ([\\d.]+)%/)[1])"))
    left = page.evaluate("window.editor.board.picture.entry.box[0]")
    assert cut == pytest.approx(100 * (1 - left), abs=0.5), "before ends where the edit begins"
    page.locator("input.divider").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("d")
    expect(before).to_be_hidden()


def test_scales_are_scrubbed_and_played_in_the_picture(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 90)
    visitor.run()
    live = page.locator(".live.on")
    expect(page.locator("#scrub")).to_be_enabled()
    expect(live).to_have_count(0)
    page.fill("#scrub", "3")
    expect(live).to_have_count(1)
    expect(page.locator("[data-scale='3'][aria-pressed=true]")).to_have_count(1)
    box, photo = page.locator(".live").bounding_box(), page.locator(".photo").bounding_box()
    assert box is not None and photo is not None
    assert box["width"] / photo["width"] == pytest.approx(page.evaluate(
        "(([l, , r]) => r - l)(window.editor.board.picture.entry.box)"), abs=0.01)  # fmt: skip
    page.fill("#scrub", "10")
    expect(live).to_have_count(0)
    page.evaluate(
        """() => { window.seen = []; const look = () => window.seen.push(document.querySelector('#scrub').value);
        new MutationObserver(look).observe(document.querySelector('#scales'), { subtree: true, attributes: true }); }"""
    )
    page.keyboard.press("p")
    page.wait_for_function("window.seen.includes('2') && window.seen.includes('9') && window.seen.at(-1) === '10'")
    expect(live).to_have_count(0)


def test_live_draws_what_the_pen_has_painted_last(visitor: Visitor) -> None:
    """Far from what is being drawn: that one gives way, and the first picture is of the new place alone."""
    page, live = visitor.page, visitor.page.locator(".live.on")
    visitor.opened(scenery(600, 150))
    page.click("[data-act=live]")
    middle = """() => { const place = (one) => document.querySelector(one).getBoundingClientRect();
      const [a, b] = [place('.live'), place('.photo')]; return (a.left + a.width / 2 - b.left) / b.width; }"""
    visitor.stroke((0.05, 0.4), (0.08, 0.5))
    expect(live).to_have_count(1)
    assert page.evaluate(middle) < 0.3
    page.wait_for_timeout(300)  # the rest follows
    visitor.stroke((0.92, 0.4), (0.95, 0.5))
    page.wait_for_function(f"document.querySelector('.ed').dataset.livepicture && ({middle})() > 0.7")
    expect(page.locator(".ed[data-live=done]")).to_have_count(1)
    assert 0.3 < page.evaluate(middle) < 0.7, "at last all of it"


def test_live_draws_while_the_pen_rests_and_keeps_nothing(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    page.click("[data-act=live]")
    visitor.stroke((0.3, 0.5), (0.5, 0.5))
    expect(page.locator(".ed[data-livepicture]")).to_have_count(1)
    visitor.stroke((0.6, 0.3), (0.7, 0.4))  # the newest paint is what is drawn
    expect(page.locator(".ed[data-live=done]")).to_have_count(1)
    expect(page.locator("[data-entry]")).to_have_count(0)
    seed = page.locator("#seed").input_value()
    assert seed.isdigit()
    page.click("[data-act=live]")
    expect(page.locator(".live.on")).to_have_count(0)
    visitor.run()
    expect(visitor.status).to_contain_text(f"seed {seed}")


def test_nothing_is_enabled_that_can_do_nothing(visitor: Visitor) -> None:
    page = visitor.page

    def enabled() -> list[str]:
        return page.evaluate(
            "[...document.querySelectorAll('.rail button:not(:disabled)')].map((b) => b.dataset.tool || b.dataset.act)"
        )

    assert enabled() == []
    expect(page.locator(".ring")).to_be_hidden()
    visitor.opened(scenery(120, 90))
    assert enabled() == ["brush", "erase", "lasso", "box", "hand", "more", "fit", "real"]
    visitor.stroke((0.4, 0.4), (0.6, 0.6))
    assert {"undo", "clear"} <= {*enabled()}
    visitor.mode("Expand")
    assert "brush" not in enabled() and "clear" not in enabled()
    page.wait_for_timeout(500)


def test_each_group_is_one_tab_stop_with_arrows_inside(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(120, 90))
    stops = page.evaluate(
        """['.modes', '.rail', '.history', '#scales'].map((g) => [...document.querySelectorAll(`${g} button`)]
          .filter((b) => !b.disabled && b.checkVisibility() && b.tabIndex === 0).length)"""
    )
    assert stops[:3] == [1, 1, 1], stops
    page.locator("#mode [aria-checked=true]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#mode [data-mode=edit][aria-checked=true]")).to_be_focused()
    page.locator("[data-tool=brush]").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-tool=erase]")).to_be_focused()
    page.click("#settings")
    expect(page.locator("#model")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#seed")).to_be_focused()  # a list opens by no tab, and closes nothing behind it
    page.keyboard.press("Escape")
    expect(page.locator("#sheet")).to_be_hidden()
    expect(page.locator("#settings")).to_be_focused()


def test_a_run_is_saved_as_an_animation(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 90)
    visitor.run()
    page.keyboard.press("Control+s")
    page.click("#saving [data-kind=animation]")
    page.select_option("#animation-format", "gif")
    page.select_option("#animation-view", "window")
    page.fill("#animation-seconds", "2")
    with page.expect_download() as waiting:
        page.click("#savefile")
    with Image.open(waiting.value.path()) as film:
        assert film.format == "GIF" and film.n_frames >= 10  # type: ignore[attr-defined]
    expect(page.locator("#saving")).to_be_hidden()


def test_a_result_is_saved_as_jpeg_and_webp(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 90)
    visitor.run()
    exact = np.asarray(visitor.result().convert("RGB")).astype(int)
    for kind in ("jpeg", "webp"):
        found = visitor.result(kind)
        assert found.format == kind.upper() and found.size == (300, 200)
        assert np.abs(np.asarray(found.convert("RGB")) - exact).mean() < 6
