"""A recording of one edit, for the head of the README: python tests/recording.py [--out assets/docs]

What Chromium draws, with a pointer drawn on top: about 20 seconds as an animated WebP of less than 3 MB. Where a busy
machine makes pauses they are shortened, so that the same edit always takes about as long.
"""

from __future__ import annotations

import base64
import io
import time
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import CDPSession, Page, expect
from screenshots import arguments, chromium, paint, prepared
from visitor import Visitor

SIZE, SIDE = (1280, 800), 960  # of the window, of the recording
LONGEST, STEP = 26.0, 0.1  # seconds
MOST_BYTES = 3_000_000
LAST_SCALE = """() => { const { scale } = document.querySelector('.ed').dataset; return !scale || scale >= 10; }"""
POINTER = """() => { const dot = document.createElement('i'); document.body.append(dot);
  dot.style.cssText = 'position:fixed;z-index:9999;width:22px;height:22px;margin:-11px;border-radius:50%;'
  + 'pointer-events:none;background:rgba(240,37,124,.35);border:2px solid #fff;box-shadow:0 0 3px rgba(0,0,0,.6)';
  const move = (e) => { dot.style.left = e.clientX + 'px'; dot.style.top = e.clientY + 'px'; };
  window.addEventListener('pointermove', move, true); }"""


class Film:
    """What the page shows, with the second at which it was drawn."""

    def __init__(self, page: Page) -> None:
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.shown: list[tuple[float, bytes]] = []
        self.stills: list[tuple[float, float]] = []
        self.session.on("Page.screencastFrame", self._add)
        self.session.send("Page.startScreencast", {"format": "jpeg", "quality": 92, "everyNthFrame": 1})

    def _add(self, frame: dict) -> None:
        self.shown.append((frame["metadata"]["timestamp"], base64.b64decode(frame["data"])))
        self.session.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

    def still(self, seconds: float) -> None:
        """From now on nothing stands for longer than that."""
        self.stills.append((time.time(), seconds))

    def _longest(self, when: float) -> float:
        return next(seconds for began, seconds in reversed(self.stills) if began <= when or began == self.stills[0][0])

    def frames(self) -> tuple[list[Image.Image], list[int]]:
        """Pictures that differ and how long each is shown, in milliseconds."""
        pictures: list[Image.Image] = []
        lasting, times = [], [0.0]
        for (before, _), (now, _) in pairwise(self.shown):
            times.append(times[-1] + min(now - before, self._longest(before)))
        for i in range(int(min(times[-1] + 1.5, LONGEST) / STEP)):
            last = max(k for k, time in enumerate(times) if time <= i * STEP or k == 0)
            picture = _small(self.shown[last][1])
            if pictures and ImageChops.difference(picture, pictures[-1]).getbbox() is None:
                lasting[-1] += round(1000 * STEP)
            else:
                pictures.append(picture)
                lasting.append(round(1000 * STEP))
        return pictures, lasting


def _small(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return picture.resize((SIDE, round(SIDE * picture.height / picture.width)), Image.Resampling.LANCZOS)


def save(pictures: list[Image.Image], lasting: list[int], path: Path) -> int:
    """Write them, as well as fits; the size in bytes."""
    for quality in (80, 65, 50, 35):
        first, *more = pictures
        first.save(path, save_all=True, append_images=more, duration=lasting, loop=0, quality=quality, method=4)
        if path.stat().st_size <= MOST_BYTES:
            break
    return path.stat().st_size


def one_edit(visitor: Visitor, film: Film) -> None:
    """Paint, run, look at the versions, compare."""
    page = visitor.page
    film.still(1.0)
    page.wait_for_timeout(1000)
    film.still(0.12)
    paint(visitor)
    film.still(0.7)
    page.wait_for_timeout(700)
    visitor.versions(4)
    visitor.point("#run")
    visitor.begin()
    film.still(0.35)  # each scale
    page.wait_for_function(LAST_SCALE, timeout=300_000)
    film.still(0.1)  # its detail
    visitor.done()
    film.still(1.3)
    page.mouse.move(*visitor.at(0.8, 0.12), steps=8)
    page.wait_for_timeout(1500)
    for _ in range(3):  # the versions
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1300)
    visitor.compare()
    page.wait_for_timeout(1000)
    film.still(0.15)
    start = int(page.locator("input.divider").input_value()) / 1000
    page.mouse.move(*visitor.at(start, 0.5), steps=12)
    page.mouse.down()
    for share in (0.65, start):
        page.mouse.move(*visitor.at(share, 0.5), steps=15)
    page.mouse.up()
    film.still(2.0)
    page.wait_for_timeout(2000)


def main() -> None:
    args = arguments(__doc__ or "").parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=300_000)
    with chromium(args.model) as (browser, url):
        visitor = Visitor(browser, url, *SIZE)
        prepared(visitor, args)
        visitor.page.evaluate(POINTER)
        film = Film(visitor.page)
        one_edit(visitor, film)
        film.session.send("Page.stopScreencast")
        visitor.close()
    pictures, lasting = film.frames()
    path = args.out / "edit.webp"
    size = save(pictures, lasting, path)
    print(f"{path}: {len(pictures)} pictures, {sum(lasting) / 1000:.1f} s, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
