"""Parts of the infill training: mistakes in a chain, attention in pieces, recoloured crops, and cut runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from shapes import folder

from var_core.model.infill import all_known_cells
from var_core.model.scales import Scales
from var_core.model.tokenizer import Tokenizer, tiny_config
from var_core.model.transformer import Transformer, TransformerConfig
from var_core.pictures.data import load_pictures
from var_core.train.augment import Wild, colour_change, recolour, wild
from var_core.train.corruption import corrupted_chain, near_codes
from var_core.train.infill import InfillMeasure, InfillTraining, encode_batch, token_losses, train_infill
from var_core.train.run import Length, level_rate, load_state
from var_core.train.scalewise import ScalewiseAttention

SIDES = (1, 2, 3, 4)


def build() -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(tiny_config(SIDES, channels=8, vocab_size=32)).eval()


def sizes() -> TransformerConfig:
    return TransformerConfig(
        sides=SIDES, depth=2, width=32, heads=2, mlp_width=64, classes=2, vocab_size=32, shared_modulation=True,
        infill=True,
    )  # fmt: skip


def test_near_codes_are_near() -> None:
    near = near_codes(torch.arange(6.0)[:, None], 2)
    assert set(near[0].tolist()) == {1, 2} and set(near[3].tolist()) == {2, 4}


@torch.no_grad()
def test_a_chain_without_mistakes_is_the_quantizers_and_mistakes_move_later_targets() -> None:
    tokenizer, features = build(), torch.randn(2, 32, 4, 4)
    near, everywhere = (
        near_codes(tokenizer.codebook.weight, 4),
        [torch.ones(2, n, dtype=torch.bool) for n in (1, 4, 9, 16)],
    )
    chain = corrupted_chain(tokenizer, features, near, torch.zeros(2), everywhere, np.random.default_rng(0))
    tokens = tokenizer.quantize(features)[0]
    assert torch.equal(chain.targets, torch.cat(tokens, 1))
    assert torch.allclose(chain.inputs, tokenizer.teacher_inputs(tokens), atol=1e-5)
    wrong = corrupted_chain(tokenizer, features, near, torch.ones(2), everywhere, np.random.default_rng(0))
    assert torch.equal(wrong.targets[:, :1], chain.targets[:, :1])
    assert not torch.equal(wrong.inputs[:, :4], chain.inputs[:, :4])
    lack = tokenizer.shrink(features, 1) - wrong.inputs[:, :4]
    assert torch.equal(wrong.targets[:, 1:5], tokenizer.nearest(lack))
    nowhere = [torch.zeros_like(mark) for mark in everywhere]
    held = corrupted_chain(tokenizer, features, near, torch.ones(2), nowhere, np.random.default_rng(0))
    assert torch.equal(held.targets, chain.targets)


def test_attention_in_pieces_is_attention_with_the_mask() -> None:
    scales = Scales((1, 2, 4, 7, 9, 10))
    torch.manual_seed(0)
    attention = ScalewiseAttention(scales)
    for last in range(len(scales)):
        length = scales.spans[last][1]
        q, k, v = (torch.randn(2, 3, length, 8) for _ in range(3))
        level = torch.repeat_interleave(torch.arange(last + 1), torch.tensor(scales.lengths[: last + 1]))
        mask = level[:, None] >= level[None]
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.5)
        assert torch.allclose(attention(q, k, v, scale=0.5), expected, atol=1e-5)


def test_crops_are_recoloured_within_range() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    crop = wild(picture, 48, rng, Wild(recoloured=1.0))
    assert crop.shape == (48, 48, 3) and crop.dtype == np.uint8
    grey = recolour(picture, *colour_change(np.random.default_rng(0), grey=1.0)).astype(int)
    assert (grey.max(2) - grey.min(2)).max() < 40
    assert np.array_equal(recolour(picture, np.eye(3), np.zeros(3)), picture)


def test_only_cells_that_are_not_wholly_known_count() -> None:
    tokenizer, transformer = build(), Transformer(sizes())
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    holes = np.zeros((2, 32, 32), bool)
    holes[0, :9, :8] = True
    holes[1] = True
    batch = encode_batch(tokenizer, pictures, holes, np.array([0, 1]))
    assert [int(cells[0].sum()) for cells in batch.unknown] == [1, 1, 2, 2]  # areas of side 3 overlap
    assert all(bool(cells[1].all()) for cells in batch.unknown)
    chain = corrupted_chain(
        tokenizer, batch.features, near_codes(tokenizer.codebook.weight, 2), torch.zeros(2), batch.unknown,
        np.random.default_rng(0),
    )  # fmt: skip
    each, where = token_losses(transformer, batch, chain, batch.known)
    assert len(each) == int(where.sum()) == 6 + 30
    assert batch.known.shape == all_known_cells(batch.features, torch.zeros(2, 4, 4), SIDES).shape


def test_what_the_hole_hides_does_not_reach_the_conditioning() -> None:
    tokenizer, rng = build(), np.random.default_rng(0)
    pictures = rng.integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    hole = np.zeros((1, 32, 32), bool)
    hole[0, 8:20, 8:20] = True
    other = np.where(hole[..., None], 255 - pictures, pictures).astype(np.uint8)
    one, two = (encode_batch(tokenizer, p, hole, np.array([0])) for p in (pictures, other))
    assert torch.equal(one.known, two.known) and not torch.equal(one.features, two.features)


def test_the_rate_is_level_until_the_last_part() -> None:
    rates = [level_rate(1.0, 1000, progress, 100, 0.25) for progress in (0.0, 0.7, 0.875, 1.0)]
    assert rates[0] == rates[1] == 1.0 and 0.5 < rates[2] < 0.52 and abs(rates[3] - 0.02) < 1e-9
    assert level_rate(1.0, 49, 0.0, 100, 0.25) == 0.5


def test_a_cut_run_equals_an_uncut_one(tmp_path: Path) -> None:
    place = folder(tmp_path / "data", ("disc", "box"), 40)
    train, val = (load_pictures(place, split, 32) for split in ("train", "val"))
    choices = InfillTraining(batch=4, near=4, warmup_steps=2)

    measure = InfillMeasure(build(), [val], [True], 2, count=4, bfloat16=False)

    def run(out: str, piece: int | None) -> dict:
        length = Length(steps=4, max_steps=piece)
        sources = [train], [train], tmp_path / out
        figures = train_infill(build(), sizes(), choices, *sources, length=length, measure=measure, bfloat16=False)
        assert figures["loss"] > 0 and {"shown 1", "withheld 4"} <= set(figures)
        return load_state(tmp_path / out / "state.pt") or {}

    whole = run("whole", None)
    run("cut", 2)
    cut = run("cut", 2)
    assert whole["step"] == cut["step"] == 4
    for name, value in whole["trained"].items():
        assert torch.equal(value, cut["trained"][name]), name
