"""The real page in a real browser: the server in a process of its own, Chromium through Playwright."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import rectangle, scenery
from page_server import ROOT
from PIL import Image
from playwright.sync_api import Browser, expect
from visitor import Visitor, png

from var_core import open_image

pytestmark = pytest.mark.browser


@pytest.fixture
def visitor(browser: Browser, url: str) -> Iterator[Visitor]:
    one = Visitor(browser, url)
    yield one
    one.close()


def test_inpaint_shows_ten_scales_and_keeps_every_pixel_outside(visitor: Visitor) -> None:
    photo = scenery(1600, 1200)
    visitor.opened(photo)
    visitor.stroke((0.35, 0.4), (0.55, 0.45), (0.5, 0.55))
    visitor.feather("0")
    visitor.run()
    seen = [key for key in visitor.page.evaluate("window.seen") if key != "empty 0"]
    assert seen == [f"running {n}" for n in range(1, 10)] + ["done 10"]
    result, mask = visitor.result(), visitor.mask()
    assert result.size == photo.size and mask.shape == (1200, 1600) and 0.005 < mask.mean() < 0.2
    before, after = np.asarray(photo), np.asarray(result.convert("RGB"))
    assert np.array_equal(before[~mask], after[~mask])
    assert (before[mask] != after[mask]).any(axis=-1).mean() > 0.9


def test_the_picture_is_encoded_while_the_visitor_paints(visitor: Visitor) -> None:
    ready = visitor.page.locator(".mp[data-prepared=yes]")
    visitor.opened(scenery(400, 300))
    visitor.page.wait_for_timeout(600)
    expect(ready).to_have_count(0)  # nothing is painted, so nothing can be known yet
    visitor.stroke((0.3, 0.5), (0.6, 0.5))
    expect(ready).to_have_count(1)
    visitor.page.click("[data-act=clear]")
    expect(ready).to_have_count(0)
    visitor.mode("Vary")
    expect(ready).to_have_count(1)


def test_painted_mask_is_the_stroke_even_when_the_photo_is_turned(visitor: Visitor) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    scenery(1600, 1200).save(buffer, "JPEG", exif=exif)
    visitor.upload(buffer.getvalue(), "turned.jpg")
    expect(visitor.page.locator(".mp[data-original='1200x1600']")).to_be_visible()
    visitor.stroke((0.3, 0.5), (0.7, 0.5))
    mask = visitor.mask()
    y, x = np.mgrid[:1600, :1200]
    radius = 80 * 1600 / 1024 / 2
    along = x.clip(0.3 * 1200, 0.7 * 1200)
    drawn = (x - along) ** 2 + (y - 800) ** 2 < radius**2
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.95
    visitor.run()
    assert visitor.result().size == (1200, 1600) == open_image(buffer.getvalue()).image.size


def test_stop_in_the_middle_and_run_again(visitor: Visitor) -> None:
    visitor.opened(scenery(400, 300))
    visitor.stroke((0.3, 0.5), (0.7, 0.5))
    visitor.page.locator("#candidates label", has_text="8").click()
    visitor.page.evaluate("() => { window.seen = []; window.stopAt = 'running 2'; }")
    visitor.page.click("#run")
    expect(visitor.status).to_contain_text("Stopped")
    visitor.page.wait_for_timeout(900)
    assert not any(key.startswith("done") for key in visitor.page.evaluate("window.seen"))
    expect(visitor.status).to_contain_text("Stopped")
    expect(visitor.page.locator("#run")).to_be_visible()
    visitor.page.evaluate("() => { window.seen = []; window.stopAt = 'running 2'; }")
    visitor.page.click("#run")
    visitor.page.wait_for_function("window.stopAt === null")
    visitor.run()  # at once, while the stopped run may still be leaving


def test_class_candidates_branch_history_and_use_as_input(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 300))
    visitor.rectangle(60, 60, 120, 120)
    visitor.mode("Change class")
    page.click("#run")
    expect(visitor.status).to_contain_text("Choose the class")
    expect(page.locator(".toast-body")).to_have_count(0)  # one place speaks
    page.wait_for_timeout(1000)  # the page scrolls to the result; the list would stay where the field was
    page.locator("#label input").scroll_into_view_if_needed()
    page.fill("#label input", "tul")
    page.locator("#label [role=option], ul[role=listbox] li", has_text="tulip").first.click()
    page.locator("#candidates label", has_text="2").click()
    visitor.run()
    expect(page.locator("[data-candidate]")).to_have_count(2)
    page.click("[data-candidate='1']")
    expect(page.locator("[data-candidate='1'][aria-pressed=true]")).to_be_visible()
    first = visitor.result()
    page.click("[data-scale='5']")
    expect(page.locator(".vs-branch")).to_have_text("Branch from scale 5")
    page.click(".vs-branch")
    expect(page.locator("[data-entry]")).to_have_count(2)
    visitor.done()
    second = visitor.result()
    assert second.size == first.size and not np.array_equal(np.asarray(first), np.asarray(second))
    page.click("[data-entry='1']")
    expect(page.locator("[data-entry='1'][aria-pressed=true]")).to_be_visible()
    assert np.array_equal(np.asarray(visitor.result()), np.asarray(first))
    page.click("#use")
    expect(page.locator(".mp[data-painted=no]")).to_be_visible()
    visitor.mode("Vary")
    visitor.run()
    expect(page.locator("[data-entry]")).to_have_count(3)


def test_outpaint_and_generate(visitor: Visitor) -> None:
    photo = scenery(160, 120)
    visitor.opened(photo)
    visitor.mode("Outpaint")
    expect(visitor.page.locator(".mp-grown")).to_have_text("213 × 120 px")
    frame, shown = (visitor.page.locator(part).bounding_box() for part in (".mp-frame", ".mp-picture"))
    assert frame is not None and shown is not None
    unit = shown["width"] / 160
    assert frame["width"] == pytest.approx(213 * unit, abs=1) and frame["height"] == pytest.approx(120 * unit, abs=1)
    assert shown["x"] - frame["x"] == pytest.approx(26 * unit, abs=1)
    expect(visitor.page.locator("button[data-tool=brush]")).to_be_hidden()
    visitor.run()
    wide = visitor.result()
    assert wide.size == (213, 120)
    left = round((213 - 160) * 0.5)
    assert left == 26
    visitor.mode("Generate")
    expect(visitor.page.locator("#painter")).to_be_hidden()
    visitor.run()
    assert visitor.result().size == (48, 48)
    inside = np.asarray(wide.convert("RGB"))[:, left : left + 160]
    feather = 30  # the fade lies inside the new area's neighbourhood only
    assert np.array_equal(inside[:, feather:-feather], np.asarray(photo)[:, feather:-feather])


def test_refused_files_say_so_and_lose_nothing(visitor: Visitor) -> None:
    note = visitor.page.locator(".mp-note")
    visitor.opened(scenery(200, 150))
    visitor.upload(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing.png")
    expect(note).to_contain_text("not a PNG, JPEG or WebP")
    visitor.upload(png(scenery(300, 200))[:4000], "cut.png")
    expect(note).to_contain_text("could not be opened")
    expect(visitor.page.locator(".mp[data-original='200x150']")).to_be_visible()
    visitor.page.click("#run")
    expect(visitor.status).to_contain_text("The mask is empty")
    expect(visitor.page.locator("body[data-running=no]")).to_have_count(1)
    visitor.upload(png(scenery(40, 12)), "low.png")
    expect(note).to_contain_text("at least 16")
    visitor.upload(png(Image.new("L", (16_400, 20))), "long.png")
    expect(note).to_contain_text("no side may exceed 16384")
    visitor.dropped(b"\x89PNG\r\n\x1a\n", "big.png", more=80 * 2**20)
    expect(note).to_contain_text("the limit is 80 MB")


def test_a_late_answer_about_a_picture_wipes_nothing(visitor: Visitor) -> None:
    note = visitor.page.locator(".mp-note")
    deep = Image.fromarray(np.full((30, 40), 40_000, dtype=np.uint16))
    visitor.opened(deep)
    expect(note).to_contain_text("16 bits")
    visitor.opened(scenery(200, 150))
    expect(note).to_be_empty()
    visitor.upload(b"no picture", "words.png")
    expect(note).to_contain_text("not a PNG, JPEG or WebP")
    say = "(answer) => window.painter.opened({ file: window.painter.file().path, ...answer })"
    visitor.page.evaluate(say, {"notices": []})  # about the picture that is open
    expect(note).to_contain_text("not a PNG, JPEG or WebP")
    visitor.page.evaluate(say, {"file": "/earlier.png", "error": "too small"})  # about one that is gone
    expect(note).to_contain_text("not a PNG, JPEG or WebP")
    expect(visitor.page.locator(".mp[data-original='200x150']")).to_be_visible()
    visitor.page.evaluate(say, {"error": "it is damaged"})
    expect(note).to_have_text("it is damaged")


def test_keys_alone_can_edit(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    page.locator(".mp-more summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".mp-more[open]")).to_have_count(1)
    page.locator(".mp-rect button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".mp[data-painted=yes]")).to_be_visible()
    assert visitor.mask()[:200, :200].all() and visitor.mask().mean() == pytest.approx(2 / 3, abs=0.01)
    page.keyboard.press("Control+Enter")
    visitor.done()


def test_mask_tools(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(200, 200))
    visitor.rectangle(50, 50, 100, 100)
    assert visitor.mask().mean() == 0.25
    page.click("[data-act=grow]")
    assert visitor.mask().mean() > 0.26
    page.click("[data-act=shrink]")
    assert visitor.mask().mean() == pytest.approx(0.25, abs=0.005)
    page.click("[data-act=invert]")
    assert visitor.mask().mean() == pytest.approx(0.75, abs=0.005)
    page.click("[data-act=undo]")
    page.click("[data-act=redo]")
    assert visitor.mask().mean() == pytest.approx(0.75, abs=0.005)
    page.click("[data-act=fill]")
    assert visitor.mask().all()
    page.click("[data-act=clear]")
    assert not visitor.mask().any()
    mask = Image.new("L", (50, 50))
    mask.paste(255, (0, 0, 25, 50))
    page.set_input_files("[data-file=mask]", {"name": "mask.png", "mimeType": "image/png", "buffer": png(mask)})
    expect(page.locator(".mp[data-painted=yes]")).to_be_visible()
    assert visitor.mask()[:, :100].all() and visitor.mask().mean() == 0.5
    page.click("[data-act=cells]")
    expect(page.locator(".mp-scales output")).to_contain_text("of 144 tokens")


def test_phone_paints_with_a_finger(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url, 390, 844, touch=True)
    visitor.opened(scenery(400, 300))
    box = visitor.page.locator(".mp-mask").bounding_box()
    assert box is not None
    visitor.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(visitor.page.locator(".mp[data-painted=yes]")).to_be_visible()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
    visitor.page.locator("#run").tap()
    visitor.done()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
    visitor.close()


def test_two_fingers_zoom_and_leave_no_paint(browser: Browser, url: str) -> None:
    visitor = Visitor(browser, url, 390, 844, touch=True)
    visitor.opened(scenery(400, 300))
    before = visitor.page.locator(".mp-mask").bounding_box()
    view = visitor.page.locator(".mp-view").bounding_box()
    assert before is not None and view is not None
    x, y = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
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
    after = visitor.page.locator(".mp-mask").bounding_box()
    assert after is not None and after["width"] / before["width"] == pytest.approx(3, rel=0.05)
    assert not visitor.mask().any()
    visitor.page.locator("#strength label", has_text="Shape").tap()
    visitor.page.wait_for_timeout(300)
    assert visitor.page.locator(".mp-mask").bounding_box()["width"] == after["width"], "settings leave the zoom"  # type: ignore[index]
    visitor.page.locator("[data-act=fit]").tap()
    again = visitor.page.locator(".mp-mask").bounding_box()
    assert again is not None and [again["x"], again["width"]] == pytest.approx([before["x"], before["width"]])
    visitor.close()


def test_two_visitors_get_their_own_results(browser: Browser, url: str) -> None:
    visitors = [Visitor(browser, url, 800, 800) for _ in range(2)]
    photos = [scenery(320, 200, seed=1), scenery(200, 320, seed=2)]
    for visitor, photo in zip(visitors, photos, strict=True):
        visitor.opened(photo)
        visitor.rectangle(20, 20, 60, 60)
        visitor.feather("0")
    for visitor in visitors:
        visitor.page.click("#run")
    for visitor, photo in zip(visitors, photos, strict=True):
        visitor.done()
        result = np.asarray(visitor.result().convert("RGB"))
        assert result.shape == np.asarray(photo).shape
        assert np.array_equal(result[100:], np.asarray(photo)[100:])
        expect(visitor.page.locator("[data-entry]")).to_have_count(1)
        visitor.close()


def test_seed_is_shown_and_repeats_the_picture(visitor: Visitor) -> None:
    visitor.mode("Generate")
    visitor.run()
    first = visitor.result()
    shown = re.search(r"seed (\d+)", visitor.status.inner_text())
    assert shown is not None
    visitor.page.click("#reuse")
    expect(visitor.page.locator("#seed :is(input, textarea)")).to_have_value(shown[1])
    visitor.run()
    assert np.array_equal(np.asarray(first), np.asarray(visitor.result()))


def test_settings_come_back_from_a_saved_picture(visitor: Visitor) -> None:
    visitor.mode("Generate")
    visitor.page.fill("#seed :is(input, textarea)", "4711")
    visitor.page.locator("#candidates label", has_text="2").click()
    visitor.run()
    saved = visitor.result()
    buffer = io.BytesIO()
    with open(saved.filename, "rb") as file:  # type: ignore[attr-defined]
        buffer.write(file.read())
    visitor.page.fill("#seed :is(input, textarea)", "")
    visitor.mode("Vary")
    visitor.upload(buffer.getvalue(), "saved.png")
    expect(visitor.page.locator("#mode input[value=generate]")).to_be_checked()
    expect(visitor.page.locator("#seed :is(input, textarea)")).to_have_value("4711")
    visitor.run()
    assert np.array_equal(np.asarray(saved), np.asarray(visitor.result()))


def test_sketch_first_then_finish_one(visitor: Visitor) -> None:
    page = visitor.page
    visitor.mode("Generate")
    page.locator("#advanced button").first.click()
    page.locator("#sketch input").check()
    page.locator("#candidates label", has_text="4").click()
    visitor.run()
    assert page.evaluate("window.seen.at(-1)") == "done 6"
    page.click("[data-candidate='2']")
    expect(page.locator("[data-candidate='2'][aria-pressed=true]")).to_be_visible()
    page.click("text=Finish this candidate")
    expect(page.locator("[data-entry]")).to_have_count(2)
    visitor.done()
    assert page.evaluate("window.seen.at(-1)") == "done 10"


def test_a_program_can_do_the_same(url: str, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, download_files=str(tmp_path))
    photo, mask = scenery(200, 150), Image.new("L", (200, 150))
    mask.paste(255, (50, 50, 120, 100))
    photo.save(tmp_path / "photo.png")
    mask.save(tmp_path / "mask.png")
    sent = handle_file(tmp_path / "photo.png"), handle_file(tmp_path / "mask.png")
    job = client.submit(*sent, feather=0, seed=5, api_name="/inpaint")
    steps = list(job)
    assert [progress["scale"] for progress, _ in steps if not progress["detail"]] == list(range(1, 11))
    after = np.asarray(Image.open(steps[-1][1][0]).convert("RGB"))
    kept = np.asarray(mask) == 0
    assert np.array_equal(after[kept], np.asarray(photo)[kept])
    again = client.predict(handle_file(steps[-1][1][0]), api_name="/replay")
    assert np.array_equal(np.asarray(Image.open(again)), after)
    _, pictures = client.predict(start_scale=5, candidates=2, api_name="/branch")
    assert len(pictures) == 2
    assert client.predict(api_name="/models")["classes"] == ["daisy", "rose", "tulip"]
    with pytest.raises(Exception, match="did you mean tulip"):
        client.predict("tulp", api_name="/generate")
    names = set(client.view_api(return_format="dict")["named_endpoints"])
    assert names == {"/generate", "/inpaint", "/edit", "/outpaint", "/vary", "/branch", "/replay", "/models"}


def test_files_of_the_server_stay_there(url: str) -> None:
    """A path that was never uploaded is refused before it is opened."""
    secret = {"path": str(ROOT / "app.py"), "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"image": secret, "mask": secret}).encode()
    request = urllib.request.Request(
        f"{url}/gradio_api/call/v2/inpaint", data=body, headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    event = json.loads(opener.open(request, timeout=60).read())["event_id"]
    answer = opener.open(f"{url}/gradio_api/call/inpaint/{event}", timeout=60).read().decode()
    assert "event: error" in answer and "PNG" not in answer


def test_dropped_picture_brings_its_transparency_as_mask(visitor: Visitor) -> None:
    picture = scenery(120, 80)
    picture.putalpha(Image.fromarray(255 - np.asarray(rectangle((120, 80), (30, 20, 90, 60)))))
    visitor.dropped(png(picture), "cut-out.png")
    expect(visitor.page.locator(".mp[data-painted=yes]")).to_be_visible()
    expect(visitor.page.locator(".mp-note")).to_contain_text("Transparent parts")
    assert np.array_equal(visitor.mask(), np.asarray(rectangle((120, 80), (30, 20, 90, 60))) > 0)
    visitor.run()
