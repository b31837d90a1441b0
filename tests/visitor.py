"""One visitor of the page, for the browser tests."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect

RECORD = """() => { window.seen = []; const stage = document.querySelector('#stage'); const look = () => {
  const box = stage.querySelector('.vs'); if (!box) return;
  const key = [box.dataset.state, box.querySelectorAll('.vs-strip img').length].join(' ');
  if (window.seen.at(-1) !== key) window.seen.push(key);
  if (window.stopAt && key === window.stopAt) { window.stopAt = null; document.querySelector('#stop').click(); } };
  new MutationObserver(look).observe(stage, { subtree: true, childList: true, attributes: true }); }"""


DROP = """async ([data, name, more]) => {
  const blob = await (await fetch('data:image/png;base64,' + data)).blob(), bag = new DataTransfer();
  bag.items.add(new File([blob, new Uint8Array(more)], name, { type: 'image/png' }));
  document.querySelector('.mp-view').dispatchEvent(new DragEvent('drop', { dataTransfer: bag, bubbles: true })); }"""


PATIENCE = 60_000  # milliseconds that a busy machine is given; a test that passes waits for none of them in vain
expect.set_options(timeout=PATIENCE)


class Visitor:
    """One visitor: a context and a page, and whatever went wrong in it."""

    def __init__(
        self, browser: Browser, url: str, width: int = 1100, height: int = 900, touch: bool = False, dark: bool = False
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=touch,
            accept_downloads=True,
            color_scheme="dark" if dark else "light",
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on(
            "request",
            lambda r: None if r.url.startswith((url, "data:", "blob:")) else self.faults.append(f"outside: {r.url}"),
        )
        self.page.goto(url)
        self.page.wait_for_selector("#painter .mp-view")
        expect(self.page.locator("#status .status")).to_contain_text("Ready")
        self.page.evaluate(RECORD)

    def close(self) -> None:
        self.page.wait_for_timeout(100)
        self.context.close()
        self.folder.cleanup()
        assert not self.faults, self.faults

    def upload(self, data: bytes, name: str = "photo.png") -> None:
        self.page.set_input_files("[data-file=picture]", self._file(data, name))

    def _file(self, data: bytes, name: str) -> FilePayload | Path:
        """What the browser is given: in memory its driver takes 50 MB at most."""
        if len(data) < 50_000_000:
            return {"name": name, "mimeType": "image/jpeg" if name.endswith("jpg") else "image/png", "buffer": data}
        path = Path(self.folder.name) / name
        path.write_bytes(data)
        return path

    def opened(self, picture: Image.Image) -> None:
        self.upload(png(picture))
        expect(self.page.locator(f".mp[data-original='{picture.width}x{picture.height}']")).to_be_visible()

    def dropped(self, data: bytes, name: str = "photo.png", more: int = 0) -> None:
        """A file dropped on the painter with the mouse, which works whatever is going on; `more` bytes of zeros after
        its own are made in the browser."""
        self.page.evaluate(DROP, [base64.b64encode(data).decode(), name, more])

    def stroke(self, *points: tuple[float, float]) -> None:
        """Points as shares of the picture."""
        box = self.page.locator(".mp-mask").bounding_box()
        assert box is not None
        places = [(box["x"] + box["width"] * u, box["y"] + box["height"] * v) for u, v in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()

    def mode(self, name: str) -> None:
        self.page.locator("#mode label", has_text=name).click()

    def rectangle(self, left: int, top: int, width: int, height: int) -> None:
        details = self.page.locator(".mp-more")
        if not details.evaluate("e => e.open"):
            details.locator("summary").click()
        for key, value in {"left": left, "top": top, "width": width, "height": height}.items():
            self.page.fill(f".mp-rect input[name={key}]", str(value))
        self.page.click(".mp-rect button")

    def feather(self, value: str) -> None:
        self.page.locator("#advanced button").first.click()
        self.page.fill("#feather :is(input, textarea)", value)

    @property
    def status(self):
        return self.page.locator("#status .status")

    def done(self) -> None:
        expect(self.status).to_contain_text("Done")
        expect(self.page.locator("body[data-running=no]")).to_have_count(1)

    def run(self) -> None:
        self.page.evaluate("() => { window.seen = []; }")
        self.page.click("#run")
        self.done()

    def result(self) -> Image.Image:
        expect(self.page.locator("#download")).to_be_enabled()  # written after the picture is shown
        with self.page.expect_download() as waiting:
            self.page.click("#download")
        return Image.open(waiting.value.path())

    def mask(self) -> np.ndarray:
        """The painted mask at the picture's size, as the page saves it; bool."""
        if not self.page.locator(".mp-more").evaluate("e => e.open"):
            self.page.locator(".mp-more summary").click()
        with self.page.expect_download() as waiting:
            self.page.click("[data-act=savemask]")
        return np.asarray(Image.open(waiting.value.path()).convert("L")) > 127


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
