"""Pictures of the page for the documentation: python tests/screenshots.py [--out assets/docs] [--label CLASS]

The photo is drawn by the bundled model itself, so that nothing foreign gets into the repository.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from page_server import CHROMIUM_FLAGS, serve
from playwright.sync_api import Browser, Page, expect, sync_playwright

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
STATES = ("idle", "painting", "running", "done")


def names() -> list[str]:
    """The files that this makes."""
    return [f"page-{size}-{theme}-{state}.jpg" for size in SIZES for theme in THEMES for state in STATES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "assets" / "docs")
    parser.add_argument("--model", default="garden-128")
    parser.add_argument("--label", default="watercolour · persimmon", help="class of the photo")
    parser.add_argument("--target", default="watercolour · plum", help="class that its lower half becomes")
    parser.add_argument("--seed", default="1")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(args.model, Path(folder)) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        for size in SIZES:
            for theme in THEMES:
                _shots(browser, url, size, theme, args)
        browser.close()


def _shots(browser: Browser, url: str, size: str, theme: str, args: argparse.Namespace) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#status .status")).to_contain_text("Ready", timeout=60_000)

    def shot(state: str) -> None:
        path = args.out / f"page-{size}-{theme}-{state}.jpg"
        page.screenshot(path=path, type="jpeg", quality=82, full_page=size == "phone" and state != "running")

    shot("idle")
    _own_photo(page, args.label, args.seed)
    _choose(page, args.target)
    _paint(page)
    shot("painting")
    page.locator("#candidates label", has_text="4").click()
    page.click("#run")
    page.wait_for_function("document.querySelectorAll('[data-state=running] .vs-strip img').length >= 5", polling="raf")
    shot("running")
    _finished(page)
    shot("done")
    context.close()


def _choose(page: Page, label: str) -> None:
    page.fill("#label input", label)
    page.locator("ul[role=listbox] li", has_text=label).first.click()


def _own_photo(page: Page, label: str, seed: str) -> None:
    """Generate a picture, take it as input, and clear what that left in the history's view."""
    page.locator("#mode label", has_text="Generate").click()
    _choose(page, label)
    page.fill("#seed :is(input, textarea)", seed)
    page.click("#run")
    _finished(page)
    page.click("#use")
    page.locator("#mode label", has_text="Change class").click()
    expect(page.locator(".mp[data-ready]")).to_be_visible()


def _paint(page: Page) -> None:
    box = page.locator(".mp-mask").bounding_box()
    assert box is not None
    page.locator("[data-size]").fill("190")
    places = [(0.36, 0.7), (0.5, 0.64), (0.62, 0.7), (0.58, 0.84), (0.44, 0.86), (0.38, 0.76), (0.5, 0.76)]
    page.mouse.move(box["x"] + box["width"] * places[0][0], box["y"] + box["height"] * places[0][1])
    page.mouse.down()
    for u, v in places[1:]:
        page.mouse.move(box["x"] + box["width"] * u, box["y"] + box["height"] * v, steps=5)
    page.mouse.up()
    expect(page.locator(".mp[data-painted=yes]")).to_be_visible()
    page.mouse.move(2, 2)


def _finished(page: Page) -> None:
    expect(page.locator("#status .status")).to_contain_text("Done", timeout=120_000)
    expect(page.locator("#download")).to_be_enabled(timeout=30_000)


if __name__ == "__main__":
    main()
