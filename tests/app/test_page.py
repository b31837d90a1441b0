"""The real page in a real browser: the server in a process of its own, Chromium through Playwright. Every flow once."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from conftest import rectangle, scenery
from PIL import Image
from playwright.sync_api import Browser, expect
from visitor import Visitor, pixels, png

from var_core import open_image

pytestmark = pytest.mark.browser

ON_TOP = """(e) => { const b = e.getBoundingClientRect();
  return document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2) === e; }"""


def test_remove_shows_ten_scales_in_the_picture_and_keeps_every_pixel_outside(browser: Browser, url: str) -> None:
    visitor, photo = Visitor(browser, url), scenery(800, 600)
    page = visitor.page
    visitor.opened(photo)
    visitor.stroke((0.35, 0.4), (0.55, 0.45), (0.5, 0.55))
    mask = visitor.mask()
    visitor.setting("feather", "0")
    place = page.locator(".photo").bounding_box()
    visitor.run()
    seen = [key for key in page.evaluate("window.seen") if key.startswith("running")]
    assert seen in ([f"running {n}" for n in range(1, last)] for last in (10, 11)), "detail stands at the last scale"
    assert page.locator(".photo").bounding_box() == place, "the result stands where the photo stood"
    result = visitor.result()
    assert result.size == photo.size and mask.shape == (600, 800) and 0.005 < mask.mean() < 0.2
    before, after = np.asarray(photo), np.asarray(result.convert("RGB"))
    assert np.array_equal(before[~mask], after[~mask])
    assert (before[mask] != after[mask]).any(axis=-1).mean() > 0.9
    visitor.close()


def test_what_the_canvas_shows_is_the_result(visitor: Visitor) -> None:
    photo = scenery(300, 200)
    visitor.opened(photo)
    visitor.rectangle(60, 60, 120, 90)
    visitor.run()
    seen = pixels(visitor.page.evaluate("document.querySelector('.photo').toDataURL('image/png')"))
    made = np.asarray(visitor.result().convert("RGB"))
    assert seen.shape == made.shape and np.abs(seen.astype(int) - made).mean() < 4
    assert np.array_equal(seen[:50], np.asarray(photo)[:50]), "away from the paint it is the photo itself"


def test_the_picture_is_encoded_while_the_visitor_paints(visitor: Visitor) -> None:
    ready = visitor.page.locator(".ed[data-prepared=yes]")
    visitor.opened(scenery(400, 300))
    visitor.page.wait_for_timeout(900)
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
    visitor.holds(1200, 1600)
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
    visitor.versions(8)
    visitor.page.evaluate("() => { window.stopAt = 'running 2'; }")
    visitor.page.click("#run")
    expect(visitor.status).to_contain_text("Stopped")
    visitor.page.wait_for_timeout(900)
    expect(visitor.page.locator("[data-entry]")).to_have_count(0)
    expect(visitor.status).to_contain_text("Stopped")
    visitor.painted()
    visitor.page.evaluate("() => { window.stopAt = 'running 2'; }")
    visitor.page.click("#run")
    visitor.page.wait_for_function("window.stopAt === null")
    visitor.run()  # at once, while the stopped run may still be leaving


def test_class_versions_continue_and_history(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 300))
    visitor.rectangle(60, 60, 120, 120)
    visitor.mode("Replace")
    expect(page.locator(".hint")).to_have_text("Choose what it becomes")
    page.click("#run")
    expect(visitor.status).to_contain_text("Choose what it becomes")
    expect(page.locator(".toast-body")).to_have_count(0)  # one place speaks
    visitor.label("tulip")
    visitor.versions(2)
    visitor.run()
    expect(page.locator("[data-version]")).to_have_count(2)
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-version='1'][aria-pressed=true]")).to_be_visible()
    first = visitor.result()
    expect(page.locator("[data-scale='5']")).to_be_enabled()
    page.click("[data-scale='5']")
    expect(page.locator("#continue")).to_have_text("Continue from 5")
    page.click("#continue")
    expect(page.locator("[data-entry]")).to_have_count(2)
    visitor.done()
    second = visitor.result()
    assert second.size == first.size and not np.array_equal(np.asarray(first), np.asarray(second))
    page.click("[data-entry='1']")
    expect(page.locator("[data-entry='1'][aria-pressed=true]")).to_be_visible()
    assert np.array_equal(np.asarray(visitor.result()), np.asarray(first))
    visitor.rectangle(10, 10, 40, 40)  # what is painted now is painted on the result
    visitor.mode("Remove")
    visitor.setting("feather", "0")
    visitor.run()
    third = np.asarray(visitor.result())
    assert np.array_equal(third[60:], np.asarray(first)[60:])


def test_scales_and_picture_belong_to_the_version_shown(visitor: Visitor) -> None:
    page = visitor.page
    visitor.mode("Create")
    visitor.versions(2)
    visitor.run()
    expect(page.locator("[data-scale='4']")).to_be_enabled()

    def strip() -> str:
        return page.locator("[data-scale='4'] img").get_attribute("src") or ""

    first = strip()
    page.click("[data-version='1']")
    expect(page.locator("[data-scale='4']")).to_be_enabled()
    page.wait_for_function(f"document.querySelector(\"[data-scale='4'] img\").src !== {json.dumps(first)}")
    entry = page.evaluate("window.editor.board.picture.ref")
    assert entry == "e1.1"


def test_expand_by_dragging_an_edge_and_by_shape(visitor: Visitor) -> None:
    page, photo = visitor.page, scenery(160, 120)
    visitor.opened(photo)
    visitor.mode("Expand")
    page.select_option("#ratio", "16:9")
    grown = page.locator(".grown")
    expect(grown).to_have_text("213 × 120 px")
    page.wait_for_timeout(200)
    frame, shown = (page.locator(part).bounding_box() for part in (".frame", ".photo"))
    assert frame is not None and shown is not None
    unit = shown["width"] / 160
    assert frame["width"] == pytest.approx(213 * unit, abs=1) and frame["height"] == pytest.approx(120 * unit, abs=1)
    assert shown["x"] - frame["x"] == pytest.approx(26 * unit, abs=1)
    visitor.setting("feather", "0")
    visitor.run()
    wide = visitor.result()
    assert wide.size == (213, 120)
    assert np.array_equal(np.asarray(wide.convert("RGB"))[:, 26 : 26 + 160], np.asarray(photo))
    expect(page.locator("#run")).to_have_text("Again")
    page.locator("[data-act=undo]").click()
    visitor.holds(160, 120)
    edge = page.locator("[data-edge=right]").bounding_box()
    assert edge is not None
    x, y = edge["x"] + 22, edge["y"] + 22
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    edge = page.locator("[data-edge=right]").bounding_box()
    assert edge is not None and edge["x"] + 22 == pytest.approx(x + 60, abs=3), "the edge is where the pointer is"
    page.mouse.up()
    for side in ("left", "top", "right", "bottom"):
        assert page.locator(f"[data-edge={side}]").evaluate(ON_TOP), f"nothing lies over the {side} edge"
    words = grown.inner_text()
    size = [int(number) for number in re.findall(r"\d+", words)]
    assert size[0] > 165 and size[1] == 120
    page.locator("[data-edge=bottom]").focus()
    page.keyboard.press("ArrowDown")
    expect(grown).to_have_text(f"{size[0]} × 128 px")
    visitor.run()
    assert visitor.result().size == (size[0], 128)


def test_create_needs_no_photo_and_keeps_the_one_that_is_there(visitor: Visitor) -> None:
    visitor.opened(scenery(160, 120))
    visitor.mode("Create")
    visitor.run()
    assert visitor.result().size == (48, 48)
    visitor.page.locator("[data-act=undo]").click()
    visitor.mode("Vary")
    visitor.holds(160, 120)
    expect(visitor.page.locator(".square")).to_be_visible()
    visitor.run()
    assert visitor.result().size == (48, 48)


def test_an_example_runs_by_one_click(visitor: Visitor) -> None:
    expect(visitor.page.locator("[data-example]")).to_have_count(2)
    visitor.mode("Vary")
    visitor.page.click("[data-example='1']")
    visitor.done()
    expect(visitor.page.locator("#mode [data-mode=inpaint][aria-checked=true]")).to_have_count(1)
    result = visitor.result()
    visitor.page.click("[data-act=undo]")
    visitor.painted()
    mask = visitor.mask()
    assert np.array_equal(mask, np.asarray(rectangle((96, 80), (30, 20, 60, 50))) > 0)
    same = (np.asarray(result.convert("RGB")) == np.asarray(scenery(96, 80, seed=1))).all(axis=-1)
    assert not same[mask].all() and same[:10].all()


def test_refused_files_say_so_and_lose_nothing(visitor: Visitor) -> None:
    visitor.opened(scenery(200, 150))
    for data, name, words in (
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing.png", "not a picture that can be opened"),
        (png(scenery(300, 200))[:4000], "cut.png", "could not be opened"),
        (png(scenery(40, 12)), "low.png", "at least 16"),
        (png(Image.new("L", (16_400, 20))), "long.png", "no side may exceed 16384"),
    ):
        visitor.upload(data, name)
        expect(visitor.status).to_contain_text(words)
        visitor.holds(200, 150)
    visitor.dropped(b"\x89PNG\r\n\x1a\n", "big.png", more=80 * 2**20)
    expect(visitor.status).to_contain_text("the limit is 80 MB")
    visitor.page.click("#run")
    expect(visitor.status).to_contain_text("Paint over what should go")
    expect(visitor.page.locator("body[data-running=yes]")).to_have_count(0)


def test_keys_alone_can_edit(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(300, 200))
    page.locator("[data-tool=brush]").focus()
    for _ in range(20):
        if page.evaluate("document.activeElement.dataset.act") == "more":
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".numbers input[name=left]").focus()
    page.keyboard.press("Enter")
    visitor.painted()
    page.keyboard.press("Escape")
    assert visitor.mask()[:200, :200].all() and visitor.mask().mean() == pytest.approx(2 / 3, abs=0.01)
    page.keyboard.press("Control+Enter")
    visitor.done()
    page.keyboard.press("Control+s")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    assert Image.open(waiting.value.path()).size == (300, 200)


def test_mask_tools(visitor: Visitor) -> None:
    page = visitor.page
    visitor.opened(scenery(200, 200))
    visitor.rectangle(50, 50, 100, 100)
    assert visitor.mask().mean() == 0.25
    visitor.menu("grow")
    assert visitor.mask().mean() > 0.26
    visitor.menu("shrink")
    assert visitor.mask().mean() == pytest.approx(0.25, abs=0.005)
    visitor.menu("invert")
    assert visitor.mask().mean() == pytest.approx(0.75, abs=0.005)
    page.click("[data-act=undo]")
    page.click("[data-act=redo]")
    assert visitor.mask().mean() == pytest.approx(0.75, abs=0.005)
    visitor.menu("fill")
    assert visitor.mask().all()
    page.click("[data-act=clear]")
    visitor.painted(False)
    assert not visitor.mask().any()
    mask = Image.new("L", (50, 50))
    mask.paste(255, (0, 0, 25, 50))
    page.set_input_files("[data-file=mask]", {"name": "mask.png", "mimeType": "image/png", "buffer": png(mask)})
    visitor.painted()
    assert visitor.mask()[:, :100].all() and visitor.mask().mean() == 0.5
    page.click("[data-act=clear]")
    visitor.painted(False)
    page.keyboard.press("r")
    visitor.stroke((0.25, 0.25), (0.5, 0.75))
    found = visitor.mask()
    assert found[60:140, 60:90].all() and found.mean() == pytest.approx(0.125, abs=0.01)
    page.keyboard.press("l")
    visitor.stroke((0.6, 0.1), (0.9, 0.1), (0.9, 0.4))
    assert visitor.mask()[22:40, 150:170].any()
    visitor.menu("cells")
    expect(visitor.status).to_contain_text("of 144 tokens")


def test_two_visitors_get_their_own_results(browser: Browser, url: str) -> None:
    visitors = [Visitor(browser, url, 800, 800, detail=False) for _ in range(2)]
    photos = [scenery(320, 200, seed=1), scenery(200, 320, seed=2)]
    for visitor, photo in zip(visitors, photos, strict=True):
        visitor.opened(photo)
        visitor.rectangle(20, 20, 60, 60)
        visitor.setting("feather", "0")
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
    visitor.mode("Create")
    visitor.run()
    first = visitor.result()
    shown = re.search(r"seed (\d+)", visitor.status.inner_text())
    assert shown is not None
    visitor.page.click("#settings")
    visitor.page.click("[data-act=reuse]")
    expect(visitor.page.locator("#seed")).to_have_value(shown[1])
    visitor.page.keyboard.press("Escape")
    visitor.run()
    assert np.array_equal(np.asarray(first), np.asarray(visitor.result()))


def test_settings_come_back_from_a_saved_picture(visitor: Visitor) -> None:
    visitor.mode("Create")
    visitor.setting("seed", "4711")
    visitor.versions(2)
    visitor.run()
    saved = visitor.result()
    with open(saved.filename, "rb") as file:  # type: ignore[attr-defined]
        data = file.read()
    visitor.setting("seed", "")
    visitor.mode("Vary")
    visitor.upload(data, "saved.png")
    expect(visitor.page.locator("#mode [data-mode=generate][aria-checked=true]")).to_have_count(1)
    expect(visitor.page.locator("#seed")).to_have_value("4711")
    visitor.run()
    assert np.array_equal(np.asarray(saved), np.asarray(visitor.result()))


def test_sketch_first_then_finish_one(visitor: Visitor) -> None:
    page = visitor.page
    visitor.mode("Create")
    page.click("#settings")
    page.check("#sketch")
    page.keyboard.press("Escape")
    visitor.versions(4)
    visitor.run()
    assert "running 6" not in page.evaluate("window.seen") and "running 5" in page.evaluate("window.seen")
    page.click("[data-version='2']")
    expect(page.locator("[data-version='2'][aria-pressed=true]")).to_be_visible()
    expect(page.locator("#continue")).to_be_enabled()
    page.click("text=Finish this version")
    expect(page.locator("[data-entry]")).to_have_count(2)
    visitor.done()
    assert "running 9" in page.evaluate("window.seen")


def test_dropped_picture_brings_its_transparency_as_mask(visitor: Visitor) -> None:
    picture = scenery(120, 80)
    picture.putalpha(Image.fromarray(255 - np.asarray(rectangle((120, 80), (30, 20, 90, 60)))))
    visitor.dropped(png(picture), "cut-out.png")
    visitor.painted()
    expect(visitor.status).to_contain_text("Transparent parts")
    assert np.array_equal(visitor.mask(), np.asarray(rectangle((120, 80), (30, 20, 90, 60))) > 0)
    visitor.run()


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "HEIF"])
def test_pictures_of_scanners_and_phones_open(visitor: Visitor, kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    buffer = io.BytesIO()
    scenery(320, 200).save(buffer, kind)
    visitor.upload(buffer.getvalue(), f"photo.{kind.lower()}")
    visitor.holds(320, 200)
    visitor.rectangle(40, 40, 100, 80)
    visitor.run()
    assert visitor.result().size == (320, 200)
