"""The named endpoints, by gradio_client against the real server: odd inputs, limits and privacy."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import rectangle, scenery
from gradio_client import Client, handle_file
from PIL import Image
from test_images import encoded, png_header

from var_core import SETTINGS, TASKS

SIZE = (120, 90)
Outcome = tuple[list[dict], list[Path]]


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


@pytest.fixture
def inpaint(client: Client, tmp_path: Path) -> Callable[..., Outcome]:
    """Send a picture and a mask, give every progress item and the finished files."""

    def call(picture: bytes, mask: Image.Image | bytes, **options: object) -> Outcome:
        (tmp_path / "picture.png").write_bytes(picture)
        (tmp_path / "mask.png").write_bytes(mask if isinstance(mask, bytes) else encoded(mask))
        sent = handle_file(tmp_path / "picture.png"), handle_file(tmp_path / "mask.png")
        job = client.submit(*sent, seed=3, feather=0, api_name="/inpaint", **options)
        job.result(timeout=60)  # raises what the server says
        steps = job.outputs()
        return [progress for progress, _ in steps], [Path(path) for path in steps[-1][1] or []]

    return call


def exact_outside(picture: Image.Image, mask: Image.Image, made: Path) -> np.ndarray:
    """Checks that what the mask leaves out has the same bytes; gives which masked pixels changed."""
    after, before, hole = np.asarray(Image.open(made).convert("RGB")), np.asarray(picture), np.asarray(mask) > 127
    assert after.shape == before.shape
    assert np.array_equal(after[~hole], before[~hole])
    return (after[hole] != before[hole]).any(axis=-1)


REFUSED = {
    "over 40 megapixels": (png_header(8_000, 6_000), "48 megapixels, the limit is 40"),
    "a bomb": (png_header(16_000, 16_000), "megapixels"),
    "a side under 16": (encoded(scenery(40, 15)), "each side needs at least 16"),
    "a side over 16384": (png_header(16_385, 100), "no side may exceed 16384"),
    "cut off": (encoded(scenery(200, 150))[:3000], "damaged or cut off"),
    "cut off JPEG": (encoded(scenery(200, 150), "JPEG")[:2000], "damaged or cut off"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG, JPEG or WebP"),
    "HTML": (b"<!doctype html><script>alert(1)</script>", "not a PNG, JPEG or WebP"),
    "GIF": (encoded(scenery(60, 60), "GIF"), "not a PNG, JPEG or WebP"),
    "nothing": (b"", "not a PNG, JPEG or WebP"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_pictures_name_the_limit(inpaint: Callable[..., Outcome], name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(Exception, match=words) as error:
        inpaint(data, rectangle(SIZE, (10, 10, 40, 40)))
    text = str(error.value)
    assert "\n" not in text.strip() and "/" not in text, "one sentence, and no path of the server"


def test_over_80_megabytes_never_gets_in(inpaint: Callable[..., Outcome], url: str) -> None:
    data = b"\x89PNG\r\n\x1a\n" + bytes(80 * 2**20)
    with pytest.raises(Exception, match=f"maximum file size of {80 * 2**20} bytes"):  # the client itself
        inpaint(data, rectangle(SIZE, (10, 10, 40, 40)))
    answer = httpx.post(f"{url}/gradio_api/upload", files={"files": ("big.png", data)}, trust_env=False, timeout=60)
    assert answer.status_code == 413 and str(80 * 2**20) in answer.text


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Image.new("L", SIZE), "mask is empty"),
        (b"<svg/>", "not a PNG, JPEG or WebP"),
        (png_header(9_000, 9_000), "81 megapixels, the limit is 40"),
    ],
    ids=["empty", "no picture", "huge"],
)
def test_refused_masks(inpaint: Callable[..., Outcome], mask: Image.Image | bytes, words: str) -> None:
    with pytest.raises(Exception, match=words):
        inpaint(encoded(scenery(*SIZE)), mask)


BLOBS = rectangle(SIZE, (2, 2, 12, 12))
BLOBS.paste(255, (105, 75, 118, 88))


@pytest.mark.parametrize(
    "mask",
    [
        rectangle(SIZE, (0, 0, *SIZE)),
        rectangle(SIZE, (60, 40, 61, 41)),
        rectangle(SIZE, (0, 20, 30, 60)),
        rectangle(SIZE, (100, 70, *SIZE)),
        BLOBS,
    ],
    ids=["full", "one pixel", "border", "corner", "two far apart"],
)
def test_odd_masks_change_what_they_cover_and_nothing_else(inpaint: Callable[..., Outcome], mask: Image.Image) -> None:
    picture = scenery(*SIZE)
    steps, files = inpaint(encoded(picture), mask)
    assert len(files) == 1 and len(steps) >= 10 and steps[-1]["scale"] == 10
    changed = exact_outside(picture, mask, files[0])
    assert len(changed) < 4 or changed.mean() > 0.9


def test_a_mask_of_another_size_is_scaled(inpaint: Callable[..., Outcome]) -> None:
    picture = scenery(*SIZE)
    _, files = inpaint(encoded(picture), rectangle((40, 30), (10, 10, 20, 20)))
    assert exact_outside(picture, rectangle(SIZE, (30, 30, 60, 60)), files[0]).mean() > 0.9


def test_an_animation_gives_its_first_frame(inpaint: Callable[..., Outcome]) -> None:
    first, second = scenery(*SIZE, seed=1), scenery(*SIZE, seed=2)
    data = encoded(first, "WEBP", save_all=True, append_images=[second], duration=80, lossless=True)
    steps, files = inpaint(data, rectangle(SIZE, (10, 10, 40, 40)))
    assert exact_outside(first, rectangle(SIZE, (10, 10, 40, 40)), files[0]).any()
    assert any("first frame is used" in notice for notice in steps[-1]["notices"])  # an upload's notices are passed on


def test_the_camera_and_the_place_stay_behind(inpaint: Callable[..., Outcome]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "CameraMaker"
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    data = encoded(scenery(90, 120), "JPEG", exif=exif)
    assert b"CameraMaker" in data
    _, files = inpaint(data, rectangle(SIZE, (10, 10, 40, 40)))
    made = Image.open(files[0])
    assert made.size == SIZE, "upright"
    assert b"CameraMaker" not in files[0].read_bytes() and not made.getexif() and not made.info


@pytest.mark.parametrize(
    ("endpoint", "options", "words"),
    [
        ("/generate", {"candidates": 99}, "1 to 16"),
        ("/generate", {"candidates": None}, "The candidates must be a whole number from 1 to 16, got None"),
        ("/generate", {"seed": -1}, "The seed must be a whole number from 0 to 4294967295, got -1"),
        ("/generate", {"seed": "seven"}, 'The seed must be a whole number from 0 to 4294967295, got "seven"'),
        ("/generate", {"guidance": 50}, "The guidance must be a number from 0 to 20, got 50"),
        ("/generate", {"model": "var-d17"}, "no model"),
        ("/generate", {"model": "/etc/passwd"}, "no model"),
        ("/branch", {"start_scale": 3}, "no result yet"),
        ("/branch", {"start_scale": 3, "model": "var-d16"}, "no result yet"),
        ("/generate", {"label": "9999"}, "out of range"),
    ],
)
def test_settings_out_of_range_are_named(url: str, endpoint: str, options: dict, words: str) -> None:
    with pytest.raises(Exception, match=words):
        Client(url, verbose=False).predict(api_name=endpoint, **options)


def test_a_picture_is_needed(client: Client) -> None:
    for name in ("/vary", "/outpaint"):
        with pytest.raises(Exception, match="An image is needed"):
            client.predict(None, api_name=name)


def test_a_recipe_from_elsewhere_is_data_only(client: Client, tmp_path: Path) -> None:
    from var_core import save_png

    save_png(scenery(60, 60), tmp_path / "odd.png", json.dumps({"model": "x", "passes": "many"}).encode())
    with pytest.raises(Exception, match=r"recipe|made with|model") as error:
        client.predict(handle_file(tmp_path / "odd.png"), api_name="/replay")
    assert "Traceback" not in str(error.value) and str(tmp_path) not in str(error.value)


def test_outpainting_by_a_program(client: Client, tmp_path: Path) -> None:
    picture = scenery(*SIZE)
    picture.save(tmp_path / "photo.png")
    _, files = client.predict(handle_file(tmp_path / "photo.png"), right=40, feather=0, seed=1, api_name="/outpaint")
    wide = Image.open(files[0])
    assert wide.size == (160, 90)
    assert wide.convert("RGB").crop((0, 0, *SIZE)).tobytes() == picture.tobytes()


def test_previews_are_small_pictures(inpaint: Callable[..., Outcome]) -> None:
    import base64

    steps, _ = inpaint(encoded(scenery(1600, 1200)), rectangle((1600, 1200), (300, 300, 700, 700)))
    for progress in steps:
        kind, data = progress["preview"].split(",")
        assert kind == "data:image/jpeg;base64" and max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= 512
    assert [progress["seconds"] for progress in steps] == sorted(progress["seconds"] for progress in steps)


def test_the_example_of_the_readme(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    (code,) = [block for block in blocks if "gradio_client" in block]
    scenery(*SIZE).save(tmp_path / "photo.jpg")
    rectangle(SIZE, (20, 20, 60, 60)).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("http://127.0.0.1:7860", url), {})
    told = dict.fromkeys(line.split()[0] for line in capsys.readouterr().out.splitlines())  # detail repeats the last
    assert list(told)[-10:] == [str(k) for k in range(1, 11)]


def test_every_endpoint_tells_its_types(client: Client) -> None:
    listed = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name in ("/generate", "/inpaint", "/edit", "/outpaint", "/vary", "/branch", "/replay", "/models"):
        for parameter in listed[name]["parameters"]:
            assert parameter["python_type"]["type"], (name, parameter)
    needed = [part["parameter_name"] for part in listed["/inpaint"]["parameters"] if not part["parameter_has_default"]]
    assert needed == ["image", "mask"]


def test_no_model_is_read_from_an_upload(client: Client, model_file: Path) -> None:
    answer = httpx.post(
        f"{client.src}gradio_api/upload",
        files={"files": ("own.safetensors", model_file.read_bytes())}, trust_env=False, timeout=60,
    )  # fmt: skip
    with pytest.raises(Exception, match="no model") as error:
        client.predict(model=answer.json()[0], api_name="/generate")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("path", ["/etc/passwd", "README.md", ""])
def test_no_file_of_the_server_is_an_upload(url: str, path: str) -> None:
    for file in ({"path": path}, path, {"path": path, "meta": {"_type": "gradio.FileData"}}):
        answer = events(url, "vary", {"image": file})
        assert "error" in answer and "root:" not in answer, answer


def events(url: str, name: str, given: dict) -> str:
    """All that plain HTTP answers."""
    with httpx.Client(trust_env=False, timeout=60) as http:
        joined = http.post(f"{url}/gradio_api/call/v2/{name}", json=given)
        if joined.status_code != 200:
            return f"error {joined.text}"
        return http.get(f"{url}/gradio_api/call/{name}/{joined.json()['event_id']}").text


def test_an_outpainting_beyond_all_bounds_is_refused_at_once(url: str, tmp_path: Path) -> None:
    """Each by a client of its own: one that asks again within milliseconds may listen to the stream that ends."""
    scenery(*SIZE).save(tmp_path / "photo.png")
    sent = handle_file(tmp_path / "photo.png")
    for amounts, words in (
        ({"left": 60_000, "top": 60_000}, "must be a whole number from 0 to 16384"),
        ({"left": 16_000, "top": 16_000}, "megapixels, the limit is 40"),
        ({"ratio": 50}, "The ratio must be a number from 0.05 to 20, got 50"),
        ({"ratio": 2, "anchor": "middle"}, "the anchor must be one of|The anchor must be one of"),
    ):
        own = Client(url, verbose=False, download_files=str(tmp_path))
        with pytest.raises(Exception, match=words):
            own.predict(sent, api_name="/outpaint", **amounts)


def test_a_branch_goes_on_with_the_model_of_its_result(url: str, tmp_path: Path) -> None:
    own = Client(url, verbose=False, download_files=str(tmp_path))
    own.predict(seed=3, label="rose", api_name="/generate")
    with pytest.raises(Exception, match="leave the model out"):
        own.predict(start_scale=5, model="garden-2", api_name="/branch")
    _, files = own.predict(start_scale=5, seed=4, candidate=1, api_name="/branch")
    assert len(files) == 1
    with pytest.raises(Exception, match="1 candidates, there is no number 2"):
        own.predict(start_scale=5, candidate=2, api_name="/branch")
    with pytest.raises(Exception, match="no result yet"):
        Client(url, verbose=False).predict(start_scale=5, api_name="/branch")


def test_what_waits_in_the_queue_is_not_to_be_had_past_it(url: str) -> None:
    for name in ("generate", "replay", "inpaint"):
        answer = httpx.post(f"{url}/gradio_api/run/{name}", json={"data": []}, trust_env=False)
        assert answer.status_code == 404, name


def test_one_client_with_many_jobs_locks_nobody_out(url: str) -> None:
    crowd = Client(url, verbose=False)
    jobs = [crowd.submit(seed=number, candidates=8, api_name="/generate") for number in range(33)]
    assert Client(url, verbose=False).predict(seed=1, api_name="/generate")[1], "another visitor gets through"
    refused = [job.exception(timeout=120) for job in jobs]
    assert sum("your runs are going or waiting" in str(error) for error in refused) >= 20
    assert any(error is None for error in refused)


def test_arguments_and_defaults_are_those_that_are_declared(client: Client) -> None:
    listed = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for task in TASKS:
        found = {part["parameter_name"]: part for part in listed[f"/{task}"]["parameters"]}
        declared = {name: setting for name, setting in SETTINGS.items() if task in setting.tasks}
        assert set(declared) <= set(found)
        for name, setting in declared.items():
            assert found[name]["parameter_default"] == setting.default, (task, name)
        assert set(found) - set(declared) <= {"image", "mask", "label", "ratio", "anchor", "model"}
