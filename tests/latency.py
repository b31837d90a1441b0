"""From the click on Run to the first and the final picture, in the page: python tests/latency.py [--runs 10]

The last line is one JSON document with the medians in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from page_server import CHROMIUM_FLAGS, serve
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from visitor import Visitor

# The clock starts at the click and stops in the frame after the picture is drawn on the canvas.
WATCH = """() => {
  window.times = null;
  const root = document.querySelector('.ed');
  document.querySelector('#run').addEventListener('click', () => {
    window.times = { start: performance.now(), scales: [] };
  }, true);
  const look = () => {
    const t = window.times;
    if (!t || t.done) return;
    const scale = +root.dataset.scale, done = document.querySelector('#status').dataset.kind === 'done';
    if (!scale && !(done && t.scales.length)) return;
    requestAnimationFrame(() => {
      const now = performance.now() - t.start;
      t.first ??= now;
      if (scale) t.scales[scale - 1] ??= now;
      else t.done ??= now;
    });
  };
  const watched = { attributes: true, attributeFilter: ['data-scale', 'data-kind'] };
  for (const each of [root, document.querySelector('#status')]) new MutationObserver(look).observe(each, watched);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="garden-2")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--size", default="1200x900", help="of the photo")
    parser.add_argument("--mode", choices=["Remove", "Create", "Vary"], default="Remove")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(args.model, Path(folder)) as url,
        sync_playwright() as playwright,
    ):
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        visitor = Visitor(browser, url, 1440, 900)
        page = visitor.page
        page.evaluate(WATCH)
        visitor.mode(args.mode)
        if args.mode != "Create":
            visitor.opened(_photo(width, height))
        if args.mode == "Remove":
            visitor.stroke((0.35, 0.4), (0.55, 0.45), (0.5, 0.55))
        if args.mode != "Create":
            expect(page.locator(".ed[data-prepared=yes]")).to_have_count(1, timeout=30_000)
        times = []
        for number in range(args.runs + 2):
            page.click("#run")
            page.wait_for_function("window.times?.done", timeout=60_000)
            visitor.done()
            if number >= 2:  # the first runs of a process are slower
                times.append(page.evaluate("window.times"))
                print(json.dumps(times[-1]), file=sys.stderr)
            page.wait_for_timeout(300)
        visitor.close()
        browser.close()
    for one in times:
        one["last"] = one["scales"][-1]  # the model's last scale; detail follows
    medians = {key: round(statistics.median(one[key] for one in times), 1) for key in ("first", "last", "done")}
    print(json.dumps(medians))


def _photo(width: int, height: int) -> Image.Image:
    """Something with large and small detail."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
