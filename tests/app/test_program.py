"""What a program can do with a running server, and what it cannot."""

from __future__ import annotations

import json
import urllib.request

import numpy as np
import pytest
from conftest import scenery
from page_server import ROOT
from PIL import Image

pytestmark = pytest.mark.browser  # the same server as the page's


def test_a_program_can_do_the_same(url: str, tmp_path) -> None:
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
    assert names == {
        "/generate",
        "/inpaint",
        "/edit",
        "/outpaint",
        "/vary",
        "/branch",
        "/replay",
        "/models",
        "/save",
        "/animation",
    }


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
