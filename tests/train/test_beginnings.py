"""Parts of the recipes: quantization with gradients, the codebook's life, mistakes in a chain, attention in pieces,
recoloured crops, drawn tokens, critics."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from var_core.measures.likelihood import Likelihood, encode_batch, true_chain, unknown_logits
from var_core.measures.lite import Lite
from var_core.model.infill import all_known_cells
from var_core.model.scales import Scales
from var_core.model.tokenizer import Tokenizer, tiny_config
from var_core.model.transformer import Block, Transformer, TransformerConfig
from var_core.pictures.data import Pictures
from var_core.train.augment import Wild, colour_change, own_chances, recolour, uniform, wild
from var_core.train.codes import cut_after, kmeans, quantize_through, restart_codes, start_codes
from var_core.train.corruption import corrupted_chain, near_codes
from var_core.train.critics import Critics, feature_loss, pixel_loss
from var_core.train.decoder import drawn_tokens
from var_core.train.scalewise import ScalewiseAttention
from var_core.train.tokenizer import start_tokenizer
from var_core.train.transformer import (
    HoledPictures,
    TransformerTraining,
    begin,
    optimizer_of,
    take_over,
    token_weights,
)  # fmt: skip
from var_core.train.workers import Workers

SIDES = (1, 2, 3, 4)
EVERYWHERE = [torch.ones(2, n, dtype=torch.bool) for n in (1, 4, 9, 16)]


def build(vocab: int = 32) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(tiny_config(SIDES, channels=8, vocab_size=vocab)).eval()


def sizes() -> TransformerConfig:
    return TransformerConfig(
        sides=SIDES, depth=2, width=32, heads=2, mlp_width=64, classes=2, vocab_size=32, shared_modulation=True,
        infill=True,
    )  # fmt: skip


def chances(b: int, seed: int = 0) -> list[np.random.Generator]:
    return own_chances(np.random.default_rng(seed), b, slice(None))


# the tokenizer's


def test_kmeans_finds_groups() -> None:
    groups = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    vectors = groups.repeat_interleave(50, 0) + torch.randn(150, 2, generator=torch.Generator().manual_seed(0)) * 0.1
    centres = kmeans(vectors, 6, 10, np.random.default_rng(0))
    assert float(torch.cdist(vectors, centres).min(1).values.max()) < 1


def test_the_canvas_passes_gradients_and_ends_where_a_picture_is_cut() -> None:
    torch.manual_seed(0)
    tokenizer = start_tokenizer(tiny_config(SIDES, channels=8, vocab_size=16), None)
    features = torch.randn(2, 32, 4, 4, requires_grad=True)
    start_codes(tokenizer, features.detach(), np.random.default_rng(0))
    canvas, distances, tokens, residuals = quantize_through(tokenizer, features, torch.tensor([2, 4]))
    canvases = tokenizer.quantize(features.detach())[1]
    assert torch.allclose(canvas[0], canvases[1][0], atol=1e-5)
    assert torch.allclose(canvas[1], canvases[3][1], atol=1e-5)
    assert [len(part[0]) for part in tokens] == [1, 4, 9, 16] and residuals[1].shape == (2, 4, 32)
    exact = torch.stack([(found - features.detach()).square().mean((1, 2, 3)) for found in canvases]).mean(0)
    assert torch.allclose(distances[0], exact, rtol=1e-4) and torch.allclose(distances[1], exact, rtol=1e-4)
    codes = tokenizer.codebook.weight
    assert not torch.autograd.grad(distances[0].sum(), features, retain_graph=True)[0].any()
    assert not torch.autograd.grad(distances[1].sum(), codes, retain_graph=True)[0].any()
    (straight,) = torch.autograd.grad(canvas.sum(), features, retain_graph=True)
    assert torch.equal(straight, torch.ones_like(straight))
    (canvas.sum() + distances.sum()).backward()
    assert codes.grad is not None and tokenizer.refine[0].weight.grad is not None


def test_the_first_pictures_are_cut_at_any_scale() -> None:
    stops = cut_after(20_000, 8000, 5, np.random.default_rng(0))
    assert np.bincount(stops[:8000], minlength=6) / 8000 == pytest.approx([0, 0.25, 0.25, 0.25, 0.25, 0], abs=0.02)
    assert set(stops[8000:]) == {5} and set(cut_after(9, 0, 4, np.random.default_rng(0))) == {4}


def test_restarts_move_unused_codes_and_forget_their_moments() -> None:
    tokenizer, rng = build(16), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(tokenizer.parameters())
    tokenizer.codebook.weight.sum().backward()
    optimizer.step()
    residuals, used = [torch.full((2, n, 32), 10.0 + n) for n in (1, 4)], torch.ones(16)
    used[[2, 5, 6, 7]] = 0
    before = tokenizer.codebook.weight.detach().clone()
    assert restart_codes(tokenizer, optimizer, used, residuals, rng).tolist() == [2, 5, 6, 7]
    moved = tokenizer.codebook.weight[[2, 5, 6, 7]]
    assert {11.0, 14.0} == set(moved.flatten().tolist())
    assert torch.equal(tokenizer.codebook.weight[8:], before[8:])
    found = optimizer.state[tokenizer.codebook.weight]
    for name in ("exp_avg", "exp_avg_sq"):
        assert (found[name][[2, 5, 6, 7]] == 0).all() and (found[name][[0, 1, 3, 4, 8]] > 0).all()
    assert len(restart_codes(tokenizer, optimizer, torch.ones(16), residuals, rng)) == 0


# pictures


def test_crops_are_recoloured_within_range() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    crop = wild(picture, 48, rng, Wild(recoloured=1.0))
    assert crop.shape == (48, 48, 3) and crop.dtype == np.uint8
    grey = recolour(picture, *colour_change(np.random.default_rng(0), grey=1.0)).astype(int)
    assert (grey.max(2) - grey.min(2)).max() < 40
    assert np.array_equal(recolour(picture, np.eye(3), np.zeros(3)), picture)


def test_a_share_of_a_batch_is_the_same_pictures() -> None:
    whole = [rng.random() for rng in own_chances(np.random.default_rng(4), 7, slice(None))]
    parts = [rng.random() for a, b in ((0, 3), (3, 7)) for rng in own_chances(np.random.default_rng(4), 7, slice(a, b))]
    assert whole == parts and len(set(whole)) == 7


def test_losses_are_their_formulas() -> None:
    real, made = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.4)
    made[1] = -0.1
    assert pixel_loss(made, real).tolist() == pytest.approx([0.4 + 2 * 0.16, 0.1 + 2 * 0.01])
    one, other = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    one[0, 0], other[0, 0, 0, 0], other[0, 1, 0, 1] = 3.0, 5.0, 2.0  # same direction, then at right angles
    assert feature_loss([one, one], [other, one]).tolist() == pytest.approx([0.5])


def test_critics_learn_to_tell_and_pull_towards_the_real() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(4, 3, 64, 64, generator=generator).clamp(-1, 1)
    made = F.avg_pool2d(real, 5, 1, 2)
    lite, critics = Lite(0), Critics(2e-3, Workers(), bfloat16=False)
    maps, true = lite.maps(made), lite.maps(real)
    before = critics.fooling(maps)
    found = [critics.learn(maps, true, 4) for _ in range(25)]
    assert before.shape == (4,) and found[-1][0] < found[0][0] and found[-1][1] > 0.8
    assert critics.fooling(true).mean() < critics.fooling(maps).mean()
    other = Critics(2e-3, Workers(), bfloat16=False)
    other.load(critics.state())
    assert torch.equal(other.learn(maps, true, 4), critics.learn(maps, true, 4))


# the transformer's


def test_near_codes_are_near() -> None:
    near = near_codes(torch.arange(6.0)[:, None], 2)
    assert set(near[0].tolist()) == {1, 2} and set(near[3].tolist()) == {2, 4}


@torch.no_grad()
def test_a_chain_without_mistakes_is_the_quantizers_and_mistakes_move_later_targets() -> None:
    tokenizer, features = build(), torch.randn(2, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    near, true = near_codes(tokenizer.codebook.weight, 4), true_chain(tokenizer, features)
    chance = uniform(chances(2), tokenizer.scales.total)
    none, all_ = torch.zeros(2), torch.ones(2)
    chain = corrupted_chain(tokenizer, features, near, none, chance, EVERYWHERE)
    assert torch.equal(chain.targets, true.targets) and torch.allclose(chain.inputs, true.inputs, atol=1e-5)
    wrong = corrupted_chain(tokenizer, features, near, all_, chance, EVERYWHERE)
    assert torch.equal(wrong.targets[:, :1], chain.targets[:, :1])
    assert not torch.equal(wrong.inputs[:, :4], chain.inputs[:, :4])
    lack = tokenizer.shrink(features, 1) - wrong.inputs[:, :4]
    assert torch.equal(wrong.targets[:, 1:5], tokenizer.nearest(lack))
    nowhere = [torch.zeros_like(mark) for mark in EVERYWHERE]
    held = corrupted_chain(tokenizer, features, near, all_, chance, nowhere)
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


def test_only_cells_that_are_not_wholly_known_count() -> None:
    tokenizer, transformer = build(), Transformer(sizes())
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    holes = np.zeros((2, 32, 32), bool)
    holes[0, :9, :8] = True
    holes[1] = True
    batch = encode_batch(tokenizer, pictures, holes, np.array([0, 1]), bfloat16=False)
    assert [int(cells[0].sum()) for cells in batch.unknown] == [1, 1, 2, 2]  # areas of side 3 overlap
    assert all(bool(cells[1].all()) for cells in batch.unknown)
    chain = true_chain(tokenizer, batch.features)
    logits, targets, where = unknown_logits(transformer, batch, chain, batch.known)
    assert len(logits) == len(targets) == int(where.sum()) == 6 + 30
    expected = transformer(batch.labels, chain.inputs, batch.known)[where]
    assert torch.allclose(logits, expected, atol=1e-5) and torch.equal(targets, chain.targets[where])
    assert batch.known.shape == all_known_cells(batch.features, torch.zeros(2, 4, 4), SIDES).shape


def test_what_the_hole_hides_does_not_reach_the_conditioning() -> None:
    tokenizer, rng = build(), np.random.default_rng(0)
    pictures = rng.integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    hole = np.zeros((1, 32, 32), bool)
    hole[0, 8:20, 8:20] = True
    other = np.where(hole[..., None], 255 - pictures, pictures).astype(np.uint8)
    one, two = (encode_batch(tokenizer, p, hole, np.array([0])) for p in (pictures, other))
    assert torch.equal(one.known, two.known) and not torch.equal(one.features, two.features)


def test_labels_and_holes_come_in_the_shares_of_the_recipe() -> None:
    arrays = [np.full((32, 40, 3), 20 * i, np.uint8) for i in range(10)]
    pictures = Pictures(arrays, np.array([0] * 9 + [1]), ("a", "b"), tuple("0123456789"))
    choices = TransformerTraining(batch=400, labelled=0.5, balance=1.0, all_unknown=0.25, label_drop=0.5,
                                  label_drop_unknown=0.0)  # fmt: skip
    make = HoledPictures(build(), choices, [pictures], [pictures], Workers(), False)
    holed = make(np.random.default_rng(0))
    assert len(holed.rate) == 400 and 0.25 < float(holed.rate.max()) <= choices.corruption
    near = near_codes(make.tokenizer.codebook.weight, 4)
    batch = make.encoded(holed, near)[0]
    unknown = torch.cat(batch.unknown, 1).all(1) & (batch.known[..., -1].amax(1) == 0)
    assert float(unknown.float().mean()) == pytest.approx(0.25, abs=0.06)
    named = batch.labels[:200][unknown[:200]]
    assert (batch.labels[200:] == 2).all() and set(named.tolist()) == {0, 1}  # never dropped where nothing is known
    assert float((named == 1).float().mean()) == pytest.approx(0.5, abs=0.2)  # one has a ninth of the pictures
    assert float((batch.labels[:200][~unknown[:200]] == 2).float().mean()) == pytest.approx(0.5, abs=0.1)
    half = HoledPictures(build(), choices, [pictures], [pictures], Workers(1, 2), False)
    share = half.encoded(half(np.random.default_rng(0)), near)[0]
    assert torch.equal(share.labels, batch.labels[200:]) and torch.allclose(share.features, batch.features[200:])


def test_tokens_weigh_as_told() -> None:
    weights = token_weights(Scales(SIDES), 0.5)
    assert [float(part.sum()) for part in weights.split([1, 4, 9, 16])] == pytest.approx([1, 2, 3, 4])
    assert set(token_weights(Scales(SIDES), 0.0).tolist()) == {1.0}


@pytest.mark.parametrize("muon", [True, False])
def test_only_matrices_decay(muon: bool) -> None:
    transformer = begin(sizes())
    groups = optimizer_of(transformer, TransformerTraining(weight_decay=0.3, muon=muon)).param_groups
    decaying = [p for group in groups if group["weight_decay"] == 0.3 for p in group["params"]]
    rest = [p for group in groups if group["weight_decay"] == 0 for p in group["params"]]
    assert {p.dim() for p in decaying} == {2} and 2 not in {p.dim() for p in rest} and len(groups) == 2 + muon
    assert len(decaying) + len(rest) == len(list(transformer.parameters()))


def test_a_transformer_begins_as_the_reference_does() -> None:
    torch.manual_seed(0)
    config = TransformerConfig(sides=(1, 2), depth=5, width=64, heads=2, mlp_width=256, classes=9, code_dim=8,
                               vocab_size=512, shared_modulation=True, infill=True)  # fmt: skip
    transformer, std = begin(config), (1 / 192) ** 0.5
    block = transformer.blocks[0]
    assert isinstance(block, Block) and isinstance(block.attention, ScalewiseAttention)
    spread = {block.qkv.weight: std, block.mlp_in.weight: std, transformer.head.weight: 0.02 * std,
              block.project.weight: std / 10**0.5, block.mlp_out.weight: std / 10**0.5,
              transformer.head_norm.weight: 0.5 * std, transformer.pos_embed: std}  # fmt: skip
    assert all(values.std().item() == pytest.approx(wanted, rel=0.1) for values, wanted in spread.items())
    assert transformer.known_embed is not None and not transformer.known_embed.weight.any()


def test_validation_weighs_tokens_alike_and_withholds_what_is_known() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (32, 36, 3), dtype=np.uint8) for _ in range(18)]
    pictures = Pictures(arrays, np.arange(18) % 2, ("a", "b"), tuple(map(str, range(18))))
    tokenizer, transformer = build(), Transformer(sizes()).eval()
    whole = Likelihood(tokenizer, [(pictures, True)], 2, lambda side, rng: np.ones((side, side), bool), 18, False)
    found, sums = whole(transformer), torch.zeros(2)
    for batch in whole.batches:  # 16 pictures, then 2
        chain = true_chain(tokenizer, batch.features)
        with torch.no_grad():
            logits = transformer(batch.labels, chain.inputs)
        each = F.cross_entropy(logits.flatten(0, 1), chain.targets.flatten(), reduction="none").view(len(logits), -1)
        sums += torch.tensor([float(each.sum()), float(each[:, 5:14].sum())])
    assert found["loss"] == pytest.approx(float(sums[0]) / 18 / 30, rel=1e-4)
    assert found["shown 3"] == pytest.approx(float(sums[1]) / 18 / 9, rel=1e-4)
    assert found["withheld"] == pytest.approx(found["loss"], rel=1e-4) and 0 <= found["accuracy 4"] <= 1
    left = np.zeros((32, 32), bool)
    left[:, :16] = True
    holed = Likelihood(tokenizer, [(pictures, True)], 2, lambda side, rng: left, 18, False)(transformer)
    assert abs(holed["withheld"] - holed["loss"]) > 1e-4


@torch.no_grad()
def test_drawn_tokens_are_likely_ones_in_up_to_the_share() -> None:
    tokenizer, transformer = build(), begin(sizes()).eval()
    transformer.head.weight.mul_(200)  # far from even
    tokens = tokenizer.quantize(torch.randn(60, 32, 4, 4, generator=torch.Generator().manual_seed(0)))[0]

    def draw(top_k: int, most: float) -> torch.Tensor:
        none = contextlib.nullcontext()
        own = chances(60)
        chance, share = uniform(own, 30), torch.tensor([most * rng.random() for rng in own])
        return torch.cat(drawn_tokens(transformer, tokenizer, tokens, top_k, share, chance, none), 1)  # type: ignore[arg-type]

    true, logits = torch.cat(tokens, 1), transformer(torch.full((60,), 2), tokenizer.teacher_inputs(tokens))
    assert torch.equal(draw(5, 0.0), true)
    changed = draw(5, 1.0) != true
    assert 0.2 < float(changed.float().mean()) < 0.55 and (changed.float().mean(1) > 0.8).any()
    drawn = draw(5, 1e6)  # all of them
    best = logits.topk(5).indices
    assert (drawn[..., None] == best).any(-1).all() and torch.equal(draw(1, 1e6), best[..., 0])
    first = float((drawn == best[..., 0]).float().mean())
    assert first == pytest.approx(float(logits.topk(5).values.softmax(-1)[..., 0].mean()), abs=0.05)


def test_weights_and_the_classes_of_the_same_names_are_taken_over() -> None:
    torch.manual_seed(4)
    old = Transformer(sizes())
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter)
    new = begin(replace(sizes(), classes=3))
    own = new.class_embed.weight.detach().clone()
    take_over(new, old.bfloat16(), ("box", "disc"), ("bar", "box", "cone"))
    weights = old.float().state_dict()
    rows, known = new.class_embed.weight, weights.pop("class_embed.weight")
    assert torch.equal(rows[1], known[0]) and torch.equal(rows[3], known[2])
    assert torch.equal(rows[[0, 2]], own[[0, 2]])
    for name, value in weights.items():
        assert torch.equal(new.state_dict()[name], value), name


@pytest.mark.parametrize(("change", "said"), [({"infill": False}, "infill"), ({"depth": 3}, "another shape")])
def test_what_cannot_be_taken_over_is_said(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        take_over(begin(sizes()), Transformer(replace(sizes(), **change)), (), ())
