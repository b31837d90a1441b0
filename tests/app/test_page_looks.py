"""What can be said about the looks without eyes: contrast of every text, names of every control, nothing cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import scenery
from playwright.sync_api import Browser, Page, expect
from visitor import Visitor

pytestmark = pytest.mark.browser

SCRIPT = (Path(__file__).parent / "looks.js").read_text()


def look(page: Page, what: str) -> list[str]:
    """What `looks.js` finds: "pale" texts or "nameless" controls."""
    return page.evaluate(f"{{ {SCRIPT}; looks.{what}() }}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_text_can_be_read_and_every_control_has_a_name(
    browser: Browser, url: str, width: int, dark: bool
) -> None:
    visitor = Visitor(browser, url, width, 900, dark=dark)
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
    page.locator("#advanced button").first.click()
    check("painting")
    page.locator("#candidates label", has_text="2").click()
    visitor.run()
    expect(page.locator("#download")).to_be_enabled()
    check("done")
    for mode in ("Change class", "Outpaint", "Vary", "Generate"):
        visitor.mode(mode)
        check(mode)
    visitor.mode("Change class")
    page.click("#run")
    expect(visitor.status).to_contain_text("Choose the class")
    check("failed")
    visitor.close()


def test_the_judge_of_contrast_is_not_blind(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url)
    visitor.page.evaluate("document.documentElement.style.setProperty('--soft', '#aaa')")
    assert len(look(visitor.page, "pale")) > 5
    visitor.page.evaluate("document.querySelector('#head').style.opacity = '0.3'")
    visitor.page.evaluate(
        "document.body.append(Object.assign(document.createElement('button'), { style: 'width: 9px' }))"
    )
    assert len(look(visitor.page, "nameless")) == 1
    assert any("Next-scale" in text for text in look(visitor.page, "pale"))
    visitor.close()
