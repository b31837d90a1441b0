"""Faults that people met on an earlier page, each with the behaviour that stands in their place."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image
from playwright.sync_api import Browser, expect
from visitor import Visitor, png

pytestmark = pytest.mark.browser


def test_what_is_enlarged_much_is_said_before_the_run(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url)
    hint = visitor.page.locator(".hint")
    visitor.opened(scenery(900, 600))
    visitor.rectangle(10, 10, 20, 20)
    expect(hint).to_be_empty()
    visitor.rectangle(100, 100, 400, 300)
    expect(hint).to_have_text(re.compile(r"^Drawn \d+\.\d times enlarged: its detail comes from the photo$"))
    visitor.page.click("#settings")
    visitor.page.uncheck("#detail")
    visitor.page.keyboard.press("Escape")
    expect(hint).to_have_text(re.compile(r"^Drawn \d+\.\d times enlarged: softer than the photo$"))
    visitor.mode("Vary")
    expect(hint).to_contain_text("times enlarged")
    expect(visitor.page.locator(".dim")).to_be_hidden()
    visitor.page.click("[data-act=clear]")
    expect(hint).to_have_text("The square becomes a picture of 48 × 48 px: paint to vary a part")
    square, photo = (visitor.page.locator(part).bounding_box() for part in (".square", ".photo"))
    assert square is not None and photo is not None
    assert square["width"] / photo["width"] == pytest.approx(600 / 900, abs=0.01)
    visitor.close()


def test_what_is_drawn_is_as_sharp_as_the_photo(browser: Browser, url: str) -> None:
    """Who touches no setting gets no blurred disc."""
    visitor = Visitor(browser, url)
    photo = scenery(400, 300)
    inside = rectangle(photo.size, (140, 100, 260, 200))
    visitor.opened(photo)
    visitor.rectangle(120, 80, 160, 140)
    visitor.run()
    assert roughness(visitor.result(), inside) == pytest.approx(roughness(photo, inside), rel=0.3)
    visitor.close()


def roughness(picture: Image.Image, where: Image.Image) -> float:
    """How much a pixel there differs from what lies between its neighbours, in grey levels."""
    grey = np.asarray(picture.convert("L")).astype(float)
    return float(np.abs(np.diff(grey, n=2, axis=1))[np.asarray(where)[:, 1:-1] > 0].mean())


def test_what_a_run_made_is_varied_in_its_place(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 90)
    visitor.setting("feather", "0")
    mask = visitor.mask()
    visitor.run()
    first = np.asarray(visitor.result().convert("RGB"))
    visitor.mode("Vary")
    expect(page.locator("#run")).to_have_text("Vary")
    expect(page.locator(".hint")).to_contain_text("What is new here is varied")
    expect(page.locator(".dim")).to_be_hidden()
    visitor.run()
    varied = np.asarray(visitor.result().convert("RGB"))
    assert np.array_equal(varied[~mask], first[~mask]) and not np.array_equal(varied[mask], first[mask])
    expect(page.locator(".history small").last).to_have_text("2 · varied")
    expect(page.locator("#run")).to_have_text("Again")
    visitor.run()  # from the first result again
    again = np.asarray(visitor.result().convert("RGB"))
    assert np.array_equal(again[~mask], first[~mask])
    page.click("[data-act=compare]")
    expect(page.locator("input.divider")).to_be_visible()


def test_a_created_picture_can_be_painted_on(visitor: Visitor) -> None:
    visitor.mode("Create")
    visitor.run()
    visitor.mode("Remove")
    visitor.holds(48, 48)
    visitor.stroke((0.3, 0.3), (0.6, 0.6))
    visitor.run()
    assert visitor.result().size == (48, 48)
    expect(visitor.page.locator("[data-entry]")).to_have_count(2)


def test_versions_are_cropped_to_the_mask(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(900, 600))
    visitor.rectangle(100, 100, 120, 60)
    visitor.setting("feather", "0")
    visitor.versions(2)
    visitor.run()
    sizes = page.evaluate(
        "[...document.querySelectorAll('.versions img')].map((i) => [i.naturalWidth, i.naturalHeight])"
    )
    assert sizes == [[120, 60]] * 2
    sources = page.evaluate("[...document.querySelectorAll('.versions img')].map((i) => i.src)")
    assert sources[0] != sources[1]


LISTEN = """() => { window.heard = { ours: [], others: [] }; const { ours, others } = window.heard;
  const speaks = (e) => e.checkVisibility() && e.innerText?.trim();
  const note = (list, text) => { if (text && !list.includes(text)) list.push(text); };
  const look = () => {
    note(ours, document.querySelector('#status').innerText.trim());
    for (const e of document.body.querySelectorAll(':not(.ed, .ed *, :has(.ed))')) note(others, speaks(e));
    requestAnimationFrame(look); };
  look(); }"""


def test_only_the_page_itself_speaks_of_a_run(visitor: Visitor, url: str) -> None:
    """Gradio has a display of its own for queues and seconds; it says the same in other words."""
    visitor.page.evaluate(LISTEN)
    visitor.mode("Create")
    visitor.versions(8)
    visitor.run()
    visitor.page.wait_for_function("window.heard.ours.at(-1).startsWith('Done')")
    heard = visitor.page.evaluate("window.heard")
    assert heard["others"] == []
    assert len(heard["ours"]) > 3 and not any("queue" in words for words in heard["ours"])
    config = visitor.page.evaluate(
        "window.gradio_config.dependencies.filter((d) => d.outputs.length).map((d) => d.show_progress)"
    )
    assert len(config) > 3 and {*config} == {"hidden"}


def test_a_shortcut_frames_no_room(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.stroke((0.3, 0.5), (0.6, 0.5))
    visitor.page.keyboard.press("]")
    visitor.page.keyboard.press("b")
    outlined = visitor.page.evaluate(
        """[...document.querySelectorAll('.ed, .ed .view, .ed .sheet, .ed .rail')]
          .filter((e) => getComputedStyle(e).outlineStyle !== 'none').length"""
    )
    assert outlined == 0


def test_a_saved_picture_brings_its_mask(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    visitor.rectangle(60, 60, 120, 90)
    visitor.setting("feather", "0")
    visitor.run()
    with open(visitor.result().filename, "rb") as file:  # type: ignore[attr-defined]
        data = file.read()
    visitor.page.evaluate("sessionStorage.clear()")
    visitor.page.reload()
    visitor.ready()
    visitor.upload(data, "saved.png")
    visitor.painted()
    assert np.array_equal(visitor.mask(), np.asarray(rectangle((300, 200), (60, 60, 180, 150))) > 0)
    visitor.run()


def test_a_mask_of_another_shape_is_said(visitor: Visitor) -> None:
    visitor.opened(scenery(300, 200))
    mask = rectangle((100, 100), (0, 0, 50, 100))
    visitor.page.set_input_files("[data-file=mask]", {"name": "mask.png", "mimeType": "image/png", "buffer": png(mask)})
    visitor.painted()
    expect(visitor.status).to_contain_text("another shape")


def test_reduced_motion_is_obeyed(visitor: Visitor) -> None:
    page = visitor.page
    page.emulate_media(reduced_motion="reduce")
    moving = page.evaluate(
        """[...document.querySelectorAll('.ed *')].filter((e) => { const s = getComputedStyle(e);
          return s.animationName !== 'none' || s.scrollBehavior === 'smooth' || parseFloat(s.transitionDuration) > 0; })
          .map((e) => e.outerHTML.slice(0, 60))"""
    )
    assert moving == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_borders_and_selected_tabs_are_three_to_one(browser: Browser, url: str, dark: bool) -> None:
    visitor = Visitor(browser, url, dark=dark)
    pairs = [("--line", "--panel"), ("--line", "--raised"), ("--accent", "--panel"), ("--accent", "--raised")]
    read = "(name) => getComputedStyle(document.documentElement.classList.contains('dark') ? document.documentElement"
    read += " : document.body.classList.contains('dark') ? document.body : document.documentElement)"
    read += ".getPropertyValue(name).trim()"
    for one, other in pairs:
        ratio = contrast(visitor.page.evaluate(read, one), visitor.page.evaluate(read, other))
        assert ratio >= 3, f"{one} on {other}: {ratio:.2f}"
    visitor.close()


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        text = colour.lstrip("#")
        text = "".join(2 * c for c in text) if len(text) == 3 else text
        parts = [int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_transparent_and_turned_pictures_keep_their_size(visitor: Visitor) -> None:
    picture = Image.new("RGBA", (64, 40), (9, 9, 9, 255))
    visitor.upload(png(picture), "plain.png")
    visitor.holds(64, 40)
    expect(visitor.page.locator(".ed[data-painted=yes]")).to_have_count(0)
