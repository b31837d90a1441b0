"""One visitor of the page, for the browser tests."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect

RECORD = """() => { window.seen = []; const root = document.querySelector('.ed'); const look = () => {
  const key = root.dataset.scale ? `running ${root.dataset.scale}` : root.dataset.state;
  if (window.seen.at(-1) !== key) window.seen.push(key);
  if (window.stopAt && key === window.stopAt) { window.stopAt = null; document.querySelector('#stop').click(); } };
  new MutationObserver(look).observe(root, { attributes: true }); }"""


DROP = """async ([data, name, more]) => {
  const blob = await (await fetch('data:image/png;base64,' + data)).blob(), bag = new DataTransfer();
  bag.items.add(new File([blob, new Uint8Array(more)], name, { type: 'image/png' }));
  document.querySelector('.view').dispatchEvent(new DragEvent('drop', { dataTransfer: bag, bubbles: true })); }"""


PATIENCE = 60_000  # milliseconds that a busy machine is given; a test that passes waits for none of them in vain
expect.set_options(timeout=PATIENCE)


class Visitor:
    """One visitor: a context and a page, and whatever went wrong in it. Without `detail`, which takes most of a run's
    time, it is switched off in the settings at once."""

    def __init__(
        self, browser: Browser, url: str, width: int = 1100, height: int = 900, touch: bool = False, dark: bool = False,
        detail: bool = True,
    ) -> None:  # fmt: skip
        self.detail = detail
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
        self.ready()

    def ready(self) -> None:
        """The page stands, and the model is read."""
        expect(self.status).to_contain_text("Ready")
        self.page.evaluate(RECORD)
        if not self.detail:
            self.page.evaluate("() => { const box = document.querySelector('#detail'); if (box.checked) box.click(); }")

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
        self.holds(*picture.size)

    def holds(self, width: int, height: int) -> None:
        """A picture of this size is on the canvas, and the server knows it."""
        held = f"window.editor.board.picture?.ref && window.editor.board.picture.size.join('x') === '{width}x{height}'"
        self.page.wait_for_function(held)

    def dropped(self, data: bytes, name: str = "photo.png", more: int = 0) -> None:
        """A file dropped on the canvas with the mouse, which works whatever is going on; `more` bytes of zeros after
        its own are made in the browser."""
        self.page.evaluate(DROP, [base64.b64encode(data).decode(), name, more])

    def at(self, u: float, v: float) -> tuple[float, float]:
        """A place in the picture, as shares of it, on the screen."""
        box = self.page.locator(".photo").bounding_box()
        assert box is not None
        return box["x"] + box["width"] * u, box["y"] + box["height"] * v

    def stroke(self, *points: tuple[float, float]) -> None:
        """Points as shares of the picture."""
        places = [self.at(*point) for point in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()
        self.painted()

    def painted(self, yes: bool = True) -> None:
        expect(self.page.locator(f".ed[data-painted={'yes' if yes else 'no'}]")).to_have_count(1)

    def mode(self, name: str) -> None:
        self.page.locator("#mode button", has_text=name).click()

    def label(self, text: str) -> None:
        """Choose a class by typing."""
        self.page.fill("#label", text)
        self.page.locator("#classes [role=option]", has_text=text).first.click()

    def brush(self, width: str) -> None:
        self.page.fill("[data-size]", width)

    def compare(self) -> None:
        """Before and after side by side, the divider where the page puts it."""
        self.page.click("[data-act=compare]")
        expect(self.page.locator("[data-act=compare][aria-pressed=true]")).to_have_count(1)

    def reaches(self, scale: int) -> None:
        """A run has drawn so many scales."""
        self.page.wait_for_function(f"+document.querySelector('.ed').dataset.scale >= {scale}", polling="raf")

    def point(self, selector: str) -> None:
        """The pointer moves there, as one sees."""
        box = self.page.locator(selector).bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=12)

    def versions(self, count: int) -> None:
        self.page.select_option("#candidates", str(count))

    def menu(self, act: str) -> None:
        if self.page.locator("#more").is_hidden():
            self.page.click("[data-act=more]")
        self.page.click(f"#more [data-act={act}]")

    def rectangle(self, left: int, top: int, width: int, height: int) -> None:
        if self.page.locator("#more").is_hidden():
            self.page.click("[data-act=more]")
        for key, value in {"left": left, "top": top, "width": width, "height": height}.items():
            self.page.fill(f".numbers input[name={key}]", str(value))
        self.page.click(".numbers button")
        self.painted()
        self.page.click("[data-act=more]")

    def setting(self, name: str, value: str) -> None:
        """A value of the sheet at the side."""
        if self.page.locator("#sheet").is_hidden():
            self.page.click("#settings")
        self.page.fill(f"#{name}", value)
        self.page.click("header [data-act=sheet][aria-label='Close settings']")

    @property
    def status(self):
        return self.page.locator("#status")

    def done(self) -> None:
        expect(self.page.locator("#status[data-kind=done]")).to_contain_text("Done")
        expect(self.page.locator("body[data-running=no]")).to_have_count(1)

    def run(self) -> None:
        self.begin()
        self.done()

    def begin(self) -> None:
        self.page.evaluate("() => { window.seen = []; }")
        expect(self.page.locator("#run[data-can=yes]")).to_have_count(1)
        self.page.click("#run")
        expect(self.page.locator("#status:not([data-kind=done])")).to_have_count(1)

    def result(self, kind: str = "png") -> Image.Image:
        """The file that the visitor saves."""
        self.page.click("#save")
        self.page.select_option("#save-format", kind)
        with self.page.expect_download() as waiting:
            self.page.click("#savefile")
        return Image.open(waiting.value.path())

    def mask(self) -> np.ndarray:
        """The painted mask at the picture's size, as the page saves it; bool."""
        with self.page.expect_download() as waiting:
            self.menu("savemask")
        self.page.click("[data-act=more]")
        return np.asarray(Image.open(waiting.value.path()).convert("L")) > 127


def pixels(uri: str) -> np.ndarray:
    """What a PNG data URI of the browser holds, (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
