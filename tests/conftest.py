"""A small model with random weights, pictures drawn by code, and the page on a server with a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from page_server import CHROMIUM_FLAGS, serve
from PIL import Image

from var_core.engine import Engine
from var_core.model.checkpoints import Model, save_model
from var_core.model.tokenizer import Tokenizer, TokenizerConfig
from var_core.model.transformer import Transformer, TransformerConfig
from var_core.request import Result, inside

if "PYTEST_XDIST_WORKER" in os.environ:  # each its own share of the cores, and what it starts as well
    THREADS = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    torch.set_num_threads(THREADS)

SIDES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)


def build_model(sides: tuple[int, ...] = SIDES, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    tokenizer = Tokenizer(
        TokenizerConfig(sides=sides, channels=32, multipliers=(1, 1, 2), residual_blocks=1, code_dim=8, vocab_size=64)
    )
    transformer = Transformer(
        TransformerConfig(sides=sides, depth=2, width=32, heads=2, mlp_width=64, classes=3, code_dim=8, vocab_size=64)
    )
    card = {"licence": "MIT", "sampling": {"guidance": 2.0, "top_k": 20, "top_p": 0.9}}
    return Model(tokenizer.eval(), transformer.eval(), ("daisy", "rose", "tulip"), "tiny", card)


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(build_model())


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(build_model(), path)
    return path


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory):
    """A study's cache of tokens, of pictures drawn by code."""
    from study_small import tokens_at

    return tokens_at(tmp_path_factory.mktemp("study"))


def own_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small ones, outside of the server's own folder, as they lie in a checkout."""
    folder = tmp_path_factory.mktemp("examples")
    for number, name in enumerate(("first-picture", "second-picture")):
        scenery(96, 80, seed=number).save(folder / f"{name}.png")
        rectangle((96, 80), (30, 20, 60, 50)).save(folder / f"{name}-mask.png")
    return folder


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page on a model with random weights, slow enough to be stopped, with two examples."""
    model = build_model()
    torch.manual_seed(0)
    config = TransformerConfig(
        sides=SIDES, depth=6, width=192, heads=6, mlp_width=768, classes=3, code_dim=8, vocab_size=64
    )
    slow = Model(model.tokenizer, Transformer(config).eval(), model.class_names, "tiny", model.card)
    folder = tmp_path_factory.mktemp("page")
    save_model(slow, folder / "tiny.safetensors")
    own = f"import pathlib, app.examples; app.examples.FOLDER = pathlib.Path({str(own_examples(tmp_path_factory))!r})"
    with serve(str(folder / "tiny.safetensors"), folder, before=own) as address:
        yield address
    assert not list(folder.glob("var-editor-*")), "files were left behind"
    text = (folder / "log.txt").read_text()
    refused = text.count("gradio.exceptions.InvalidPathError:")  # logged by gradio when it refuses a path
    assert text.count("Traceback") == refused, text


@pytest.fixture(scope="module")
def browser():
    """Chromium; the tests that need it are skipped where there is none, except in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium on this machine")
    assert found is not None, "the browser tests need Chromium: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visitor(browser, url: str) -> Iterator[Any]:
    """Somebody who has opened the page, and does without detail."""
    from visitor import Visitor

    one = Visitor(browser, url, detail=False)
    yield one
    one.close()


def scenery(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture with some noise, so that every pixel matters."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 37 + i) + np.cos(y / 23 - i) for i in range(3)], axis=-1)
    return Image.fromarray((128 + 40 * waves + rng.integers(-12, 13, waves.shape)).clip(0, 255).astype(np.uint8))


def rectangle(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def whole_alpha(result: Result) -> Image.Image:
    """The composite mask of the whole picture: all windows' alphas, 0 where the photo's bytes stand."""
    whole = np.zeros((result.picture.height, result.picture.width), dtype=np.uint8)
    for done in result.passes:
        assert done.box is not None and done.alpha is not None
        (left, top, right, bottom), local = inside(done.box, result.picture.size)
        view = whole[top:bottom, left:right]
        np.maximum(view, np.asarray(done.alpha.crop(local)), out=view)
    return Image.fromarray(whole)
