"""Pictures of the page for the documentation: python tests/screenshots.py [--out assets/docs] [--photo FILE]

One edit on three screens, light and dark: idle, painted, running, done, compared. Without --photo the example of a
dandelion is edited, a photograph in the public domain, and the dandelion removed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from page_server import CHROMIUM_FLAGS, ROOT, serve
from playwright.sync_api import Browser, sync_playwright
from visitor import Visitor

SIZES = {"desktop": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}
THEMES = ("light", "dark")
STATES = ("idle", "painted", "running", "done", "compared")
HEAD = ((0.32, 0.27), (0.45, 0.25), (0.475, 0.36), (0.42, 0.41), (0.33, 0.41), (0.31, 0.3), (0.42, 0.34))  # all of it
STALK = ((0.4, 0.55), (0.39, 0.7), (0.39, 0.99))
BRUSHES = {"300": HEAD, "90": STALK}  # widths, as the page counts them
_PHOTO = ROOT / "assets" / "examples" / "dandelion.jpg"


def names() -> list[str]:
    """The files that this makes."""
    return [f"page-{size}-{theme}-{state}.jpg" for size in SIZES for theme in THEMES for state in STATES]


def arguments(text: str) -> argparse.ArgumentParser:
    """What every picture of the page can be told."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "docs", help="folder of the pictures")
    parser.add_argument("--photo", type=Path, default=_PHOTO)
    parser.add_argument("--model", default="garden-2")
    parser.add_argument("--label", help="class that the painted part becomes (default: none, it is removed)")
    parser.add_argument("--seed", default="1")
    return parser


@contextmanager
def chromium(model: str) -> Iterator[tuple[Browser, str]]:
    """A browser, and the address of a page on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, serve(model, Path(folder)) as url, launched() as browser:
        yield browser, url


@contextmanager
def launched() -> Iterator[Browser]:
    """The Chromium of this machine."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def prepared(visitor: Visitor, args: argparse.Namespace) -> None:
    """The photo is open, the seed set, the mode chosen."""
    visitor.upload(args.photo.read_bytes(), args.photo.name)
    visitor.page.wait_for_function("window.editor.board.picture?.ref")
    visitor.setting("seed", args.seed)
    if args.label:
        visitor.mode("Replace")
        visitor.label(args.label)


def paint(visitor: Visitor) -> None:
    """The dandelion and its stalk."""
    for brush, points in BRUSHES.items():
        visitor.brush(brush)
        visitor.stroke(*points)


def main() -> None:
    args = arguments(__doc__ or "").parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with chromium(args.model) as (browser, url):
        for size in SIZES:
            for theme in THEMES:
                _shots(browser, url, size, theme, args)


def _shots(browser: Browser, url: str, size: str, theme: str, args: argparse.Namespace) -> None:
    visitor = Visitor(browser, url, *SIZES[size], touch=size != "desktop", dark=theme == "dark")
    page = visitor.page

    def shot(state: str) -> None:
        if state != "running":
            page.mouse.move(2, 2)
            page.wait_for_timeout(400)  # what fades has faded
        page.screenshot(path=args.out / f"page-{size}-{theme}-{state}.jpg", type="jpeg", quality=82)

    shot("idle")
    prepared(visitor, args)
    paint(visitor)
    shot("painted")
    visitor.versions(4)
    visitor.begin()
    visitor.reaches(5)
    shot("running")
    visitor.done()
    shot("done")
    visitor.compare()
    shot("compared")
    visitor.close()


if __name__ == "__main__":
    main()
