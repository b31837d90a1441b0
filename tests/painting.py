"""How painting feels, in the page: python tests/painting.py [--seconds 60] [--megapixels 12] [--visitors 2]

Strokes and zooms on a large photo, with the browser's own entries of tasks over 50 ms; then visitors who paint live in
turns: from the pen's rest to the first new picture, and the server's memory. The last line is one JSON document, times
in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from attack import resident
from file_speed import photo
from page_server import serve
from playwright.sync_api import Browser
from screenshots import launched
from visitor import Visitor

TASKS = """() => { window.tasks = [];
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: 'longtask' }); }"""
# From the pen's rest to the frame in which a new picture stands on the canvas.
RESTS = """() => { window.rests = []; let began = 0;
  const root = document.querySelector('.ed');
  document.addEventListener('pointerup', () => { began = performance.now(); }, true);
  new MutationObserver(() => {
    if (!began || root.dataset.livepicture !== 'yes') return;
    const mine = began;
    began = 0;
    requestAnimationFrame(() => window.rests.push(performance.now() - mine));
  }).observe(root, { attributes: true, attributeFilter: ['data-livepicture'] }); }"""
WARM = 0.25  # share of the time after which the memory must stay flat


def strokes(browser: Browser, url: str, megapixels: float) -> dict[str, list[float]]:
    """Tasks over 50 ms while somebody paints, and while they zoom."""
    visitor = Visitor(browser, url, 1440, 900)
    page = visitor.page
    visitor.upload(photo(megapixels), "photo.jpg")
    page.wait_for_function("window.editor.board.picture?.ref")
    page.wait_for_timeout(3000)
    page.evaluate(TASKS)
    found = {}
    for name, work in (("painting", _paint), ("zooming", _zoom)):
        page.evaluate("() => { window.tasks.length = 0; }")
        for turn in range(10):
            work(visitor, turn)
        page.wait_for_timeout(300)
        found[name] = [round(each) for each in page.evaluate("window.tasks")]
    visitor.close()
    return found


def _paint(visitor: Visitor, turn: int) -> None:
    at = random.Random(turn)
    visitor.stroke(*((at.uniform(0.1, 0.9), at.uniform(0.1, 0.8)) for _ in range(4)))


def _zoom(visitor: Visitor, turn: int) -> None:
    visitor.page.mouse.move(*visitor.at(0.4, 0.4))
    for _ in range(12):
        visitor.page.mouse.wheel(0, -120 if turn % 2 else 120)
        visitor.page.wait_for_timeout(16)


def live(browser: Browser, url: str, pid: int, seconds: float, count: int) -> dict[str, object]:
    """Visitors paint in turns."""
    visitors = [Visitor(browser, url) for _ in range(count)]
    for visitor in visitors:
        visitor.upload(photo(0.5), "photo.jpg")
        visitor.page.wait_for_function("window.editor.board.picture?.ref")
        visitor.page.evaluate(RESTS)
        visitor.page.click("[data-act=live]")
    began, early, turn = time.monotonic(), 0.0, 0
    while (gone := time.monotonic() - began) < seconds:
        early = early or (resident(pid) if gone > WARM * seconds else 0.0)
        at, visitor = random.Random(turn), visitors[turn % count]
        u, v = at.uniform(0.1, 0.8), at.uniform(0.1, 0.8)
        visitor.stroke((u, v), (u + 0.1, v + 0.05))
        visitor.page.wait_for_timeout(600)
        if turn % 8 == 7:
            for each in visitors:
                each.page.click("[data-act=clear]")
        turn += 1
    late = resident(pid)
    rests = [each for visitor in visitors for each in visitor.page.evaluate("window.rests")]
    assert rests, "no picture came"
    for visitor in visitors:
        words = visitor.status.inner_text()
        assert visitor.status.get_attribute("data-kind") != "failed", words
        visitor.page.click("[data-act=live]")
        visitor.close()
    return {
        "strokes": turn, "pictures": len(rests), "first": round(statistics.median(rests)),
        "slowest": round(max(rests)), "early_mb": round(early), "late_mb": round(late),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="garden-2")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--visitors", type=int, default=2, help="who paint live, in turns")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serve(args.model, Path(name)) as url, launched() as browser:
        found: dict[str, object] = {"long": strokes(browser, url, args.megapixels)}
        print(json.dumps(found), file=sys.stderr, flush=True)
        found["live"] = live(browser, url, int((Path(name) / "pid").read_text()), args.seconds, args.visitors)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
