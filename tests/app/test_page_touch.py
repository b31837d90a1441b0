"""The page on a phone, by finger."""

from __future__ import annotations

import pytest
from conftest import scenery
from playwright.sync_api import Browser
from visitor import Visitor

pytestmark = pytest.mark.browser


def test_phone_paints_with_a_finger(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url, 390, 844, touch=True, detail=False)
    visitor.opened(scenery(400, 300))
    visitor.page.touchscreen.tap(*visitor.at(0.5, 0.5))
    visitor.painted()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
    visitor.page.locator("#run").tap()
    visitor.done()
    view, photo = (visitor.page.locator(part).bounding_box() for part in (".view", ".photo"))
    assert view is not None and photo is not None and view["width"] == 390
    assert view["y"] <= photo["y"] and photo["y"] + photo["height"] <= view["y"] + view["height"]
    visitor.close()


def test_two_fingers_zoom_and_leave_no_paint(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url, 390, 844, touch=True, detail=False)
    visitor.opened(scenery(400, 300))
    before = visitor.page.locator(".photo").bounding_box()
    assert before is not None
    x, y = visitor.at(0.5, 0.5)
    hand = visitor.context.new_cdp_session(visitor.page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(places)]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", (x - 20, y))
    fingers("touchStart", (x - 20, y), (x + 20, y))
    for gap in (30, 40, 50, 60):
        fingers("touchMove", (x - gap, y), (x + gap, y))
    fingers("touchEnd", (x - 60, y))
    fingers("touchMove", (x - 40, y + 20))  # the finger that stays moves the picture and does not paint
    fingers("touchEnd")
    after = visitor.page.locator(".photo").bounding_box()
    assert after is not None and after["width"] / before["width"] == pytest.approx(3, rel=0.05)
    assert not visitor.mask().any()
    visitor.page.select_option("#strength", "shape")
    visitor.page.wait_for_timeout(300)
    assert visitor.page.locator(".photo").bounding_box()["width"] == after["width"], "settings leave the zoom"  # type: ignore[index]
    visitor.page.locator("[data-act=fit]").tap()
    again = visitor.page.locator(".photo").bounding_box()
    assert again is not None and [again["x"], again["width"]] == pytest.approx([before["x"], before["width"]], abs=1)
    visitor.close()
