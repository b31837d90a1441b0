"""The page with models to fetch from a stand-in hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from page_server import serve
from playwright.sync_api import Browser, expect
from test_checkpoints import Hub, hub, official  # noqa: F401
from visitor import Visitor

from var_core.files.images import read_private

pytestmark = pytest.mark.browser


def deepen(path: Path, depth: int) -> bytes:
    """An official transformer file with its blocks repeated until there are `depth`."""
    state = torch.load(path, weights_only=True)
    for name in [name for name in state if name.startswith("blocks.1.")]:
        for block in range(2, depth):
            state[name.replace("blocks.1.", f"blocks.{block}.", 1)] = state[name].clone()
    torch.save(state, path)
    return path.read_bytes()


@pytest.fixture
def fresh(
    hub: str,  # noqa: F811
    official: tuple[Path, Path],  # noqa: F811
    model_file: Path,
    tmp_path: Path,
) -> Iterator[str]:
    """A page of its own: an empty cache of models, and a hub on this machine."""
    Hub.files["var_d16.pth"] = deepen(official[1], 16)
    settings = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
    temporary = tmp_path / "server"
    temporary.mkdir()
    with serve(str(model_file), temporary, HF_HUB_DISABLE_XET="1", **settings) as address:
        yield address


def choose(visitor: Visitor, words: str) -> None:
    page = visitor.page
    if page.locator("#sheet").is_hidden():
        page.click("#settings")
    name = page.locator("#model option", has_text=words).first.get_attribute("value")
    page.select_option("#model", name)


def test_a_model_arrives_damaged_then_whole_and_is_used(browser: Browser, fresh: str) -> None:
    visitor = Visitor(browser, fresh, detail=False)
    page = visitor.page
    choose(visitor, "var-d16")
    expect(visitor.status).to_contain_text("not on this machine yet")
    expect(page.locator("#fetch")).to_have_text("Fetch model (1.7 GB)")
    assert not Hub.served
    visitor.mode("Create")
    page.click("#run")
    expect(visitor.status).to_contain_text("Fetch the model first, in Settings")
    Hub.lie = True
    page.click("#fetch")
    expect(visitor.status).to_contain_text("arrived damaged")
    expect(page.locator("#fetch")).to_be_enabled()
    Hub.lie = False
    Hub.served.clear()
    page.click("#fetch")
    expect(visitor.status).to_contain_text("Ready")
    assert sorted(name for name, _ in Hub.served) == sorted(Hub.files)
    expect(page.locator("#fetch")).to_be_hidden()
    assert "on disk" in page.locator("#model option:checked").inner_text()
    page.keyboard.press("Escape")
    visitor.mode("Create")
    page.click("#label")
    expect(page.locator("#classes [role=option]")).not_to_have_count(4)  # not the classes of the first model any more
    page.keyboard.press("Escape")
    visitor.run()
    assert (read_private(visitor.result().filename) or b"").count(b'"var-d16"') == 1
    choose(visitor, "your file")
    expect(visitor.status).to_contain_text("Ready")
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('.ed').dataset.model === 'there'")
    visitor.run()
    assert visitor.result().size == (48, 48)
    visitor.close()
