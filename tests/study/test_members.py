"""Every member learns, costs what is counted, draws what its training foretells, and holds what it can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from var_core.study.members import TITLES, Held, Member, build
from var_core.study.members.masked import halton_cells
from var_core.study.members.next_token import NextToken
from var_core.study.members.raster import Raster
from var_core.study.tokens import Batch, Cache, canvas_of
from var_core.study.training import Choices, Deadline, Machine, foretell, steps_for, train
from var_core.study.trunk import causal, cost, size

CPU = torch.device("cpu")


def member(name: str, tokens: Cache, depth: int = 1) -> Member:
    torch.manual_seed(0)
    return build(name, depth, tokens).eval()


def batch(tokens: Cache, kind: str, b: int = 3):
    return Batch.of(*tokens.train.random(kind, b, np.random.default_rng(0)), CPU)


@pytest.mark.parametrize("name", TITLES)
def test_it_learns(name: str, tokens: Cache, tmp_path: Path) -> None:
    one = build(name, 2, tokens)
    before = foretell(one, tokens, tokens.train, CPU)
    choices = Choices(rate=6e-3, batch=8, decay=0.9, label_drop=0.0)
    run, there = train(one, tokens, choices, tmp_path, Machine(CPU), Deadline(None), course=(5, 32, 40), until=40)
    after = foretell(run.trained, tokens, tokens.train, CPU)
    assert there and after.nats.mean() < 0.8 * before.nats.mean()
    assert after.hits.mean() > before.hits.mean() or name == "flow"


@pytest.mark.parametrize("name", TITLES)
def test_a_steps_flop_are_those_that_torch_counts(name: str, tokens: Cache) -> None:
    one = build(name, 2, tokens).train()
    some, rng = batch(tokens, one.kind), np.random.default_rng(0)
    one.losses(tokens.words, some, rng)
    with FlopCounterMode(display=False) as counter:
        one.losses(tokens.words, some, rng)[0].mean().backward()
    counted = dict(counter.get_flop_counts()["Global"])
    refine = sum(flop for op, flop in counted.items() if "convolution" in str(op))  # the tokenizer's, not the member's
    assert counter.get_total_flops() - refine == 3 * one.cost().training
    assert steps_for(100 * 3 * one.cost().training, one, 3) == 100


def test_size_is_that_of_matrices(tokens: Cache) -> None:
    one = member("var", tokens, 2)
    blocks = [p for name, p in one.trunk.blocks.named_parameters() if p.dim() == 2]
    assert size(one.trunk.config) == sum(p.numel() for p in blocks) + one.trunk.head.weight.numel()


def test_causal_attention_in_pieces_is_causal_attention() -> None:
    torch.manual_seed(0)
    attention = causal(300)
    q, k, v = (torch.randn(2, 2, 300, 8) for _ in range(3))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5)
    assert torch.allclose(attention(q, k, v, scale=0.5), expected, atol=1e-5)
    assert 300 * 301 / 2 < attention.pairs < 0.75 * 300**2


@pytest.mark.parametrize("name", ["next", "raster"])
def test_it_does_not_see_what_comes_later(name: str, tokens: Cache) -> None:
    one, some = member(name, tokens), batch(tokens, "ten" if name == "next" else "flat")
    rng, at = np.random.default_rng(0), 9
    nats = one.losses(tokens.words, some, rng)[0]
    some.content[:, at] = (some.content[:, at] + 1) % 32
    changed = one.losses(tokens.words, some, rng)[0]
    assert torch.equal(changed[:, :at], nats[:, :at]) and not torch.equal(changed[:, at + 1 :], nats[:, at + 1 :])


@pytest.mark.parametrize("kind", [NextToken, Raster])
def test_what_the_cache_draws_is_what_a_full_pass_foretells(
    kind: type, tokens: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = member("next" if kind is NextToken else "raster", tokens, 2)
    torch.nn.init.normal_(one.trunk.head.weight, std=0.3)
    module, drawn, logits = kind.__module__, [], []

    def greedy(found: torch.Tensor, seeds: list[int], number: int) -> torch.Tensor:
        logits.append(found)
        drawn.append(found.argmax(-1))
        return drawn[-1]

    monkeypatch.setattr(f"{module}.pick", greedy)
    labels = torch.tensor([0, 1])
    canvas = one.draw(tokens.words, labels, [0, 1], 0.0)
    content = torch.cat(drawn, 1)
    assert torch.allclose(canvas, canvas_of(tokens.words, one.kind, content), atol=1e-5)
    nats, hits = one.losses(tokens.words, Batch(labels, content), np.random.default_rng(0))
    expected = F.cross_entropy(torch.cat(logits, 1).transpose(1, 2), content, reduction="none")
    assert torch.allclose(nats, expected, atol=1e-4) and bool(hits.all())


@pytest.mark.parametrize("name", TITLES)
@torch.no_grad()
def test_a_draw_hangs_on_its_seed_and_class_alone(name: str, tokens: Cache) -> None:
    one = member(name, tokens)
    torch.nn.init.normal_(one.trunk.head.weight, std=0.05)
    labels = torch.tensor([0, 1, 1])
    for guidance in (0.0, 2.0):
        three = one.draw(tokens.words, labels, [5, 6, 7], guidance)
        assert three.shape == (3, 32, 4, 4) and torch.isfinite(three).all()
        alone = one.draw(tokens.words, labels[1:2], [6], guidance)
        assert torch.allclose(three[1], alone[0], atol=1e-4) and not torch.allclose(three[1], three[2])


@pytest.mark.parametrize("name", TITLES)
@torch.no_grad()
def test_known_cells_are_held_or_refused(name: str, tokens: Cache) -> None:
    one = member(name, tokens)
    features, fraction = torch.randn(1, 32, 4, 4), torch.ones(4, 4)
    fraction[1:3, 1:3] = 0.5
    held = Held(features, fraction)
    if not one.anywhere:
        with pytest.raises(ValueError, match="leave it out of the edits"):
            one.draw(tokens.words, torch.tensor([0]), [1], 0.0, held)
        return
    made = [one.draw(tokens.words, torch.tensor([0]), [seed], 0.0, held) for seed in (1, 2, 3)]
    assert not all(torch.equal(made[0], other) for other in made[1:]), "the hole is drawn"
    whole = one.draw(tokens.words, torch.tensor([0]), [1], 0.0, Held(features, torch.ones(4, 4)))
    if one.kind == "flat":
        assert torch.equal(whole, canvas_of(tokens.words, "flat", held.single(tokens.words.flat)[0]))
        known = (fraction == 1).expand(32, -1, -1)
        assert torch.equal(made[0][0][known], whole[0][known])
    else:
        words = tokens.words.ten if one.kind == "ten" else tokens.words.five
        assert torch.allclose(whole, words.quantize(features)[1][-1], atol=1e-5)


def test_halton_meets_every_cell_once_and_spreads() -> None:
    cells = halton_cells(16)
    assert sorted(cells) == list(range(256))
    first = {(cell // 16 // 4, cell % 16 // 4) for cell in cells[:24]}
    assert len(first) >= 14, "a tenth of the cells meets nearly every sixteenth of the picture"


def test_the_masked_bound_weighs_only_masked_cells(tokens: Cache) -> None:
    one, some = member("masked", tokens), batch(tokens, "flat", 4)
    nats, hits = one.losses(tokens.words, some, np.random.default_rng(0))
    hidden = nats > 0
    assert hidden.sum(1).min() >= 1 and hidden.sum(1).max() <= 16 and not bool((hits & ~hidden).any())
    assert torch.allclose(nats.sum(1) / 16, torch.tensor(32.0).log(), rtol=0.1), "nothing is learned yet"


def test_unknown_members_are_refused(tokens: Cache) -> None:
    with pytest.raises(ValueError, match='no member "gan": use one of var, next'):
        build("gan", 1, tokens)


def test_cost_counts_attention_and_head(tokens: Cache) -> None:
    one = member("raster", tokens, 2)
    found, w, v = cost(one.trunk, 16, 15), 48, 32
    assert found.inputs == 2 * 15 * 32 * w
    assert found.rest == 2 * 16 * 2 * 12 * w * w + 4 * w * 16 * 16 * 2 + 2 * 16 * w * v + 2 * w * 8 * w
