"""Previews: small pictures while a run goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from by_hand import TINT, mean_colours
from conftest import build_model, rectangle, scenery
from PIL import Image

from var_core.editing.preview import LinearDecoder, View, preview, small, strip


def test_small_pictures_keep_their_shape() -> None:
    photo = scenery(512, 40)
    assert small(photo) is photo
    assert small(scenery(513, 40)).size == (512, 40) and small(scenery(100, 2048)).size == (25, 512)
    assert small(scenery(4096, 16)).size == (512, 2) and small(scenery(16, 16384)).size == (1, 512)
    assert small(scenery(16384, 16)).size == (512, 1)
    found, expected = small(scenery(1024, 600)), scenery(1024, 600).reduce(2)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).mean() < 4


def test_a_strip_shows_all_scales_side_by_side() -> None:
    pictures = [Image.new("RGB", (4, 4), "red"), Image.new("RGB", (8, 6), "lime"), Image.new("RGB", (10, 8), "blue")]
    row = strip(pictures)
    assert row.size == (42, 8)
    for x, colour in ((0, (255, 0, 0)), (9, (255, 0, 0)), (16, (0, 255, 0)), (25, (0, 255, 0)), (32, (0, 0, 255))):
        assert row.getpixel((x, 4)) == colour
    assert row.getpixel((10, 0)) == row.getpixel((15, 7)) == row.getpixel((31, 3)) == (255, 255, 255)
    assert strip(pictures, gap=0).size == (30, 8)


def test_a_patch_is_shown_in_its_place() -> None:
    """A photo of 2048 pixels is shown at a quarter."""
    bases = [scenery(512, 256), scenery(512, 256, seed=1)]
    alpha = rectangle((400, 400), (40, 80, 200, 240))
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    view = View.of(bases, 2048, (800, 200, 1200, 600), alpha)
    assert view.box == (200, 50, 300, 150)
    for base, shown, colour in zip(bases, view.show([red, blue]), ((255, 0, 0), (0, 0, 255)), strict=True):
        expected = np.asarray(base).copy()
        expected[70:110, 210:250] = colour
        assert np.array_equal(np.asarray(shown), expected)
    alone = View.of(bases[:1], 2048, (800, 200, 1200, 600), alpha)
    assert [p.getpixel((220, 80)) for p in alone.show([red, blue])] == [(255, 0, 0), (0, 0, 255)]
    assert bases[0].tobytes() == scenery(512, 256).tobytes(), "the photo's copy is not painted on"
    tiny = View.of(bases[:1], 20480, (800, 200, 810, 210), rectangle((10, 10), (0, 0, 10, 10)))
    assert tiny.box == (20, 5, 21, 6) and tiny.show([red])[0].getpixel((20, 5)) == (255, 0, 0)
    for box, mask in ((None, alpha), ((0, 0, 9, 9), None)):
        assert View.of(bases, 512, box, mask).show([red]) == [red]


@torch.no_grad()
def test_coarse_scales_are_decoded_on_a_small_grid() -> None:
    model = build_model()
    canvas = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    sides = [preview(model.tokenizer, canvas, k).shape[-1] // 4 for k in range(10)]
    assert sides == [4, 4, 4, 4, 5, 6, 7, 8, 10, 10]
    blocks = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    shown = preview(mean_colours(), blocks.repeat_interleave(2, 2).repeat_interleave(2, 3), 1)
    tint = torch.tensor([TINT / 127.5, 0, 0])[:, None, None]
    assert shown.shape == (1, 3, 16, 16)
    assert (shown - blocks.repeat_interleave(4, 2).repeat_interleave(4, 3) - tint).abs().max() < 0.01
    assert torch.equal(
        preview(mean_colours(), blocks.repeat(1, 1, 2, 2), 5), mean_colours().decode(blocks.repeat(1, 1, 2, 2))
    )


def smooth_canvas(seed: int, side: int = 8) -> torch.Tensor:
    coarse = torch.rand(2, 3, 3, 3, generator=torch.Generator().manual_seed(seed)) - 0.5
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def test_the_fit_is_used_once_it_knows_something_and_where_it_is_good_enough() -> None:
    tokenizer = mean_colours()
    linear = LinearDecoder(tokenizer)
    canvas = smooth_canvas(0)
    assert not linear.ready and not linear.always
    assert torch.equal(preview(tokenizer, canvas, 5, linear), preview(tokenizer, canvas, 5))
    for seed in range(8):
        linear.learn(smooth_canvas(seed), tokenizer.decode(smooth_canvas(seed)))
    assert linear.ready
    shown, full = preview(tokenizer, canvas, 5, linear), tokenizer.decode(canvas)
    assert shown.shape == (2, 3, 32, 32) and shown.abs().max() <= 1
    assert (shown - full).abs().mean() < 0.03 and not torch.equal(shown, full)
    assert (shown.mean((2, 3)) - full.mean((2, 3))).abs().max() < 0.01, "its tint as well"
    large = build_model()
    fit = LinearDecoder(large.tokenizer)
    cells = torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    fit.learn(cells, large.tokenizer.decode(cells))
    for k, by_fit in ((8, True), (9, False)):  # ten cells a side, twelve
        assert torch.equal(preview(large.tokenizer, cells, k, fit), fit(cells)) == by_fit
    fit.always = True
    assert torch.equal(preview(large.tokenizer, cells, 9, fit), fit(cells))


def test_the_fit_forgets_what_is_long_ago() -> None:
    """A decoder that is another one from now on: after a hundred pairs only the new one counts."""
    tokenizer = mean_colours()
    linear = LinearDecoder(tokenizer)
    for seed in range(20):
        linear.learn(smooth_canvas(seed), tokenizer.decode(smooth_canvas(seed)))
    for seed in range(250):
        linear.learn(smooth_canvas(seed), -tokenizer.decode(smooth_canvas(seed)))
    assert (linear(smooth_canvas(3)) + tokenizer.decode(smooth_canvas(3))).abs().mean() < 0.05


def test_the_fit_sees_cells_beyond_the_edge_as_those_at_it() -> None:
    """Nine cells a row, channel by channel, and a one; a canvas of one colour looks the same everywhere."""
    linear = LinearDecoder(build_model().tokenizer)
    canvas = torch.randn(1, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    around = np.pad(canvas[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    cells = [around[:, y : y + 3, x : x + 3].ravel() for y in range(3) for x in range(4)]
    assert np.array_equal(linear._inputs(canvas)[0], np.c_[cells, np.ones(12)].astype(np.float32))


@pytest.mark.parametrize("threshold", [1e3, 1e9])
def test_a_large_decoder_is_never_asked_for_previews(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("var_core.editing.preview._LARGE", threshold)
    assert LinearDecoder(build_model().tokenizer).always == (threshold < 1e6)
