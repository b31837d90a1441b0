"""An edit from the request to the bytes, with the model of `by_hand.py`: it can be said in advance what the
surroundings must do to a hole, since the evidence alone draws it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from by_hand import CELLS, RED, STRIDE, TINT, mean_colours, without_opinion
from conftest import rectangle, whole_alpha
from PIL import Image

from var_core.engine import Engine
from var_core.model.checkpoints import Model
from var_core.request import Chance, Edit, Result


@pytest.fixture(scope="module")
def engine() -> Engine:
    card = {"licence": "MIT", "sampling": {"guidance": 0.0, "top_k": 1, "top_p": 0.0}}
    return Engine(Model(mean_colours(), without_opinion(), ("red", "green"), "by-hand", card))


SIZE, HOLE = (64, 48), (22, 13, 37, 28)  # no border of the hole is one of a cell
SAND = np.array([170, 140, 110])


def photo(under: tuple[int, int, int]) -> Image.Image:
    """Sand that gets brighter to the right, with something under the paint."""
    rows = SAND + np.linspace(-15, 15, SIZE[0])[None, :, None] + np.zeros((SIZE[1], 1, 1))
    picture = Image.fromarray(rows.round().astype(np.uint8))
    picture.paste(under, HOLE)
    return picture


def draw(engine: Engine, **changes: object) -> Result:
    given = {"task": "inpaint", "image": photo((0, 0, 255)), "mask": rectangle(SIZE, HOLE), "guess": False}
    last = list(engine.run(Edit(**given | changes), Chance(seed=3)))[-1].result  # type: ignore[arg-type]
    assert last is not None
    return last


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def in_hole(picture: Image.Image) -> np.ndarray:
    return pixels(picture.crop(HOLE))


@torch.no_grad()
def test_the_model_by_hand_is_what_it_should_be(engine: Engine) -> None:
    blocks = torch.randint(0, 256, (1, 3, CELLS, CELLS), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
    square = blocks.repeat_interleave(STRIDE, 2).repeat_interleave(STRIDE, 3)
    assert (engine.tokenizer.features(square) - blocks).abs().max() < 0.01
    tint = torch.tensor([TINT / 127.5, 0, 0])[:, None, None]
    assert (engine.tokenizer.decode(blocks) - (square + tint).clamp(-1, 1)).abs().max() < 0.01


@pytest.mark.parametrize("method", ["evidence", "requantize", "official"])
def test_what_lies_under_the_paint_has_no_influence(engine: Engine, method: str) -> None:
    """The hole is filled before the encoder sees it: two photos that differ only there give the same bytes."""
    for feather in (0, 5):
        one, two = (
            draw(engine, image=photo(under), method=method, feather=feather) for under in ((0, 0, 255), (255, 255, 0))
        )
        assert all(torch.equal(a, b) for a, b in zip(one.passes[0].tokens, two.passes[0].tokens, strict=True))
        assert one.images[0].tobytes() == two.images[0].tobytes()


def test_the_surroundings_speak_for_themselves(engine: Engine) -> None:
    """The evidence's sign: the hole takes the colours around it, and their slope, not the opposite ones."""
    made = in_hole(draw(engine, color_match=False).images[0]) - (TINT, 0, 0)
    around = pixels(photo((0, 0, 0)))[10:13, 22:37].mean(axis=(0, 1))
    assert np.abs(made.mean(axis=(0, 1)) - around).max() < 12
    assert np.abs(made - around).max() < 40


def test_what_is_kept_corrects_what_was_drawn(engine: Engine) -> None:
    """A class edit begins red everywhere; at every later scale kept cells add what the running canvas lacks. The
    source's own tokens would leave them red."""
    result = draw(engine, task="edit", label="red", color_match=False, feather=6)
    assert result.passes[0].tokens[0].tolist() == [[RED]]
    hole = in_hole(result.images[0])[4:-4, 4:-4]
    assert (hole[..., 0] - hole[..., 1:].max(axis=-1) > 60).all(), "the class is drawn"
    alpha = np.asarray(whole_alpha(result))
    fade = (alpha > 0) & (alpha < 255)
    off = (pixels(result.images[0]) - pixels(photo((0, 0, 0))))[fade] - (alpha[fade][:, None] / 255) * (TINT, 0, 0)
    assert fade.sum() > 300 and np.abs(off).mean() < 5
    (done,) = result.passes
    kept = np.asarray(rectangle(SIZE, HOLE).crop(done.box).resize((CELLS, CELLS), Image.Resampling.BOX)) == 0
    with torch.no_grad():
        canvas = engine.tokenizer.canvases(done.tokens)[-1][0].permute(1, 2, 0).numpy()
    cells = photo((0, 0, 0)).crop(done.box).resize((CELLS, CELLS), Image.Resampling.BOX)
    assert kept.sum() > 20 and np.abs((canvas + 1) * 127.5 - pixels(cells))[kept].max() < 12


def test_colours_are_matched(engine: Engine) -> None:
    """The decoder's tint ends where the paint does: the fade outside is the photo's, to the byte, and the hole's edge
    is led towards it; in the middle what was drawn stays."""
    made, plain = (draw(engine, feather=6, color_match=match) for match in (True, False))
    alpha = np.asarray(whole_alpha(made))
    fade = (alpha > 0) & (alpha < 255)
    photo_there = pixels(photo((0, 0, 0)))[fade]
    assert np.array_equal(pixels(made.images[0])[fade], photo_there)
    assert np.abs(pixels(plain.images[0])[fade] - photo_there).max() > TINT / 2
    difference = in_hole(plain.images[0])[..., 0] - in_hole(made.images[0])[..., 0]
    assert difference[0, 1:-1].mean() > TINT / 6 and np.abs(difference[6:9, 6:9]).max() <= 2
