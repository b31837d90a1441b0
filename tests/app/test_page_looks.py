"""What can be said about the looks without eyes: contrast of every text, names of every control, nothing cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import scenery
from playwright.sync_api import Browser, Page, expect
from visitor import Visitor

pytestmark = pytest.mark.browser

SCRIPT = (Path(__file__).parent / "looks.js").read_text()


CUT = """() => { const pen = document.createElement('canvas').getContext('2d');
  return [...document.querySelectorAll('.bar select')].filter((e) => e.checkVisibility()).filter((e) => {
    const style = getComputedStyle(e), room = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
    pen.font = style.font;
    const longest = Math.max(...[...e.options].map((o) => pen.measureText(o.text).width));
    return longest > e.clientWidth - room + 0.5;
  }).map((e) => e.id); }"""


def look(page: Page, what: str) -> list[str]:
    """What `looks.js` finds: "pale" texts or "nameless" controls."""
    return page.evaluate(f"{{ {SCRIPT}; looks.{what}() }}")


def test_a_tool_that_is_on_looks_so_under_the_pointer(visitor: Visitor) -> None:
    """Its icon has the colour for the accent, which could not be seen on any other ground."""
    colours = "e => { const { color, backgroundColor } = getComputedStyle(e); return [color, backgroundColor]; }"
    visitor.opened(scenery(120, 90))
    tool = visitor.page.locator("[data-tool=brush][aria-pressed=true]")
    on = tool.evaluate(colours)
    tool.hover()
    assert tool.evaluate(colours) == on
    other = visitor.page.locator("[data-tool=lasso]")
    away = other.evaluate(colours)
    other.hover()
    assert other.evaluate(colours)[1] != away[1], "the others show that they are pointed at"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_text_can_be_read_and_every_control_has_a_name(
    browser: Browser, url: str, width: int, dark: bool
) -> None:
    visitor = Visitor(browser, url, width, 900, dark=dark, detail=False)
    page = visitor.page
    assert page.evaluate("document.body.classList.contains('dark')") == dark

    def check(state: str) -> None:
        for _ in range(10):  # colours and messages fade in
            page.wait_for_timeout(300)
            if not (pale := look(page, "pale")):
                break
        assert pale == [], state
        assert look(page, "nameless") == [], state
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state

    check("idle")
    visitor.opened(scenery(300, 200))
    visitor.rectangle(20, 20, 100, 100)
    check("painted")
    visitor.versions(2)
    visitor.run()
    check("done")
    page.click("#settings")
    check("settings")
    page.keyboard.press("Escape")
    for mode in ("Replace", "Expand", "Vary", "Create"):
        visitor.mode(mode)
        check(mode)
    visitor.mode("Replace")
    page.click("#run")
    expect(visitor.status).to_contain_text("Choose what it becomes")
    check("failed")
    visitor.close()


def test_the_judge_of_contrast_is_not_blind(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url, detail=False)
    visitor.page.evaluate("document.documentElement.style.setProperty('--soft', '#aaa')")
    assert len(look(visitor.page, "pale")) > 1
    visitor.page.evaluate("document.querySelector('.brand').style.opacity = '0.3'")
    visitor.page.evaluate(
        "document.body.append(Object.assign(document.createElement('button'), { style: 'width: 9px' }))"
    )
    assert len(look(visitor.page, "nameless")) == 1
    assert any("Next-scale" in text for text in look(visitor.page, "pale"))
    visitor.close()


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1440, 900)])
def test_the_canvas_has_the_window(browser: Browser, url: str, width: int, height: int) -> None:
    visitor = Visitor(browser, url, width, height, detail=False)
    page, whole = visitor.page, width * height

    def share(part: str) -> float:
        box = page.locator(part).bounding_box()
        assert box is not None
        return box["width"] * box["height"] / whole

    assert share(".view") >= 0.65
    visitor.opened(scenery(400, 300))
    for mode in ("Remove", "Replace", "Expand", "Vary", "Create"):
        visitor.mode(mode)
        assert share(".view") >= 0.65, mode
    visitor.mode("Remove")
    assert share(".photo") >= 0.45
    visitor.rectangle(100, 100, 80, 80)
    visitor.versions(4)
    visitor.run()
    assert share(".view") >= 0.65 and share(".photo") >= 0.45
    visitor.close()


@pytest.mark.parametrize(
    ("width", "height"), [(1920, 1080), (1440, 900), (1024, 768), (820, 1180), (800, 600), (390, 844), (390, 664)]
)
def test_run_is_in_sight_and_no_toolbar_wraps(browser: Browser, url: str, width: int, height: int) -> None:
    visitor = Visitor(browser, url, width, height, detail=False)
    page = visitor.page

    def inside(part: str) -> None:
        box = page.locator(part).bounding_box()
        assert box is not None and box["x"] >= 0 and box["y"] >= 0, part
        assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, part

    visitor.opened(scenery(300, 200))
    visitor.rectangle(20, 20, 250, 160)
    for mode in ("Remove", "Replace", "Expand", "Vary", "Create"):
        visitor.mode(mode)
        page.wait_for_timeout(100)
        inside("#run")
        inside(".top")
        assert page.evaluate(CUT) == [], "every word of the bar can be read"
        tops = page.evaluate("[...document.querySelectorAll('#mode button')].map((b) => b.getBoundingClientRect().top)")
        assert len(set(tops)) == 1, "the modes stand in one row"
        page.click("#settings")
        page.wait_for_timeout(100)
        inside("#run")
        box = page.locator("#run").bounding_box()
        assert box is not None
        seen = page.evaluate(
            "([x, y]) => document.elementFromPoint(x, y).id",
            [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2],
        )
        assert seen == "run", "nothing lies over it"
        page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    visitor.close()


def test_what_is_touched_is_large_enough(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url, 390, 844, touch=True, detail=False)
    visitor.opened(scenery(300, 200))
    visitor.page.touchscreen.tap(*visitor.at(0.5, 0.5))
    visitor.painted()
    visitor.run()
    small = visitor.page.evaluate(
        """[...document.querySelectorAll('.ed :is(button, select, input:not([type=range], [type=file]))')]
          .filter((e) => e.checkVisibility() && !e.closest('#scales'))
          .map((e) => [e.getBoundingClientRect(), e]).filter(([b]) => b.width && Math.min(b.width, b.height) < 43.5)
          .map(([b, e]) => `${b.width}x${b.height} ${e.outerHTML.slice(0, 60)}`)"""
    )
    assert small == []
    visitor.close()
