"""The sampler: what is drawn, from what, and how known scales and cells take part."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import CODES, NOTHING, RED, mean_colours, without_opinion
from conftest import build_model

from var_core.model.checkpoints import Model
from var_core.model.memory import Remembered
from var_core.sampling.known import Evidence, Known
from var_core.sampling.sampler import SampleOptions, exponential_noise, filter_logits, sample, smooth_codes

CHANCES = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    """The small random model, with noise where a new one has zeros, so that every weight takes part."""
    made, generator = build_model(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.transformer.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        made.transformer.head.weight.mul_(3)
    made.tokenizer.requires_grad_(False), made.transformer.requires_grad_(False)
    return made


def run(model: Model, labels: list[int], options: SampleOptions, seed: int = 5, **more):
    seeds = [seed + 100 * i for i in range(len(labels))]
    return list(sample(model.transformer, model.tokenizer, torch.tensor(labels), options, seeds=seeds, **more))


def always(chances: torch.Tensor) -> Model:
    """A model that finds each code as likely as given, at every position, whatever came before."""
    transformer = without_opinion()
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.zero_()
        transformer.head.bias.fill_(-50)
        transformer.head.bias[: len(chances)] = chances.log() + 3
    return Model(mean_colours(), transformer, ("a", "b"), "always", {})


# the filter and the draw


def allowed(top_k: int, top_p: float) -> list[int]:
    return filter_logits(CHANCES.log()[None, None], top_k, top_p).isfinite()[0, 0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (0, 0.0, [0, 1, 2, 3, 4]),
        (2, 0.0, [0, 1]),
        (1, 0.0, [0]),
        (5, 0.0, [0, 1, 2, 3, 4]),
        (900, 0.0, [0, 1, 2, 3, 4]),
        (0, 1.0, [0, 1, 2, 3, 4]),
        (0, 0.6, [0, 1]),
        (0, 0.8, [0, 1, 2]),
        (0, 0.2, [0]),
        (4, 0.6, [0, 1]),  # of what top-k has left: 0.42 and 0.32
        (3, 0.9, [0, 1, 2]),  # 0.47, 0.35, 0.18: the first two are 0.82
        (2, 0.5, [0]),
    ],
)
def test_which_codes_may_be_drawn(top_k: int, top_p: float, expected: list[int]) -> None:
    assert allowed(top_k, top_p) == expected


def test_what_is_just_as_likely_as_all_that_may_go_goes() -> None:
    """A cumulative probability of exactly 1 - top_p is still too little, as in the reference."""
    logits = torch.tensor([[[2.0, 1.0, 0.0]]])
    below = logits.softmax(-1).flip(-1).cumsum(-1)[0, 0]
    assert filter_logits(logits, 0, 1 - float(below[1])).isfinite().tolist() == [[[True, False, False]]]
    assert filter_logits(logits, 0, 1 - float(below[1]) + 1e-3).isfinite().tolist() == [[[True, True, False]]]


def test_the_filter_looks_at_every_position_by_itself() -> None:
    """Leaving the logits that stay as they are."""
    logits = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    kept = filter_logits(logits, 7, 0.9)
    assert torch.equal(kept[kept.isfinite()], logits[kept.isfinite()]) and (kept.isfinite().sum(-1) <= 7).all()
    for i in range(2):
        for j in range(3):
            assert torch.equal(kept[i, j], filter_logits(logits[i, j], 7, 0.9))


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [(0, 0.0, CHANCES), (3, 0.0, CHANCES[:3]), (0, 0.6, CHANCES[:2]), (4, 0.6, CHANCES[:2]), (1, 0.9, CHANCES[:1])],
)
def test_codes_are_drawn_as_often_as_they_are_likely(top_k: int, top_p: float, expected: torch.Tensor) -> None:
    """The sampler's own draw, not only its filter: 2600 draws follow what top-k and top-p leave."""
    options = SampleOptions(guidance=0.0, top_k=top_k, top_p=top_p)
    drawn = torch.cat([step.tokens.flatten() for step in run(always(CHANCES), [0] * 20, options)])
    share = torch.bincount(drawn, minlength=len(CHANCES)) / len(drawn)
    assert len(drawn) == 2600 and len(share) == len(CHANCES)
    assert (share[: len(expected)] - expected / expected.sum()).abs().max() < 0.04
    assert share[len(expected) :].sum() == 0


def test_noise_is_its_own_at_every_scale_and_seed_and_never_changes() -> None:
    first = exponential_noise([3, 4], 2, 9, 50, CPU)
    assert first.shape == (2, 9, 50) and (first > 0).all() and abs(first.mean() - 1) < 0.1
    for seeds, k in (([3, 4], 3), ([4, 5], 2), ([3, 4], 0)):
        other = exponential_noise(seeds, k, 9, 50, CPU)
        assert not torch.equal(other[0], first[0]) and not torch.equal(other[1], first[1])
    assert torch.equal(exponential_noise([4], 2, 9, 50, CPU)[0], first[1]), "candidates do not depend on each other"
    assert torch.equal(first[0], exponential_noise([3], 2, 9, 50, CPU)[0]) and not torch.equal(first[0], first[1])
    assert not torch.equal(first[0, 0], first[0, 1]), "nor do positions share it"
    seeded = torch.Generator().manual_seed(7 * 1_000_003 + 3 * 7919)
    always_so = torch.empty(2, 3).exponential_(generator=seeded)
    assert torch.equal(exponential_noise([7], 3, 2, 3, CPU)[0], always_so), "every saved seed would be drawn anew"


def test_mixed_codes_are_a_softmax_of_logits_and_noise() -> None:
    codebook = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    logits = torch.tensor([[[0.2, 0.0, -math.inf]]])
    noise = torch.tensor([[[0.5, 0.8, 0.01]]])
    for ratio, temperature in ((0.0, 0.27), (0.5, 0.27 * 0.525), (1.0, 0.0135)):
        apart = (0.2 * (1 + ratio) - math.log(0.5) + math.log(0.8)) / temperature
        first = 1 / (1 + math.exp(-apart))
        mixed = smooth_codes(logits, noise, ratio, codebook)
        assert mixed.flatten().tolist() == pytest.approx([first, 1 - first], abs=1e-5)


def test_smooth_mixes_what_may_be_drawn_while_chance_lasts(model: Model) -> None:
    """At every scale the codes are the mixture of what the filter leaves; with likeliest tokens nothing is."""
    options = SampleOptions(guidance=0.0, top_k=6, top_p=0.8, smooth=True, settle=8)
    book, scales = model.tokenizer.codebook.weight, model.transformer.scales
    canvas = torch.zeros(1)
    for step in run(model, [1], options):
        plain = model.tokenizer.codebook(step.tokens)
        if step.k < 8:
            noise = exponential_noise([5], step.k, step.tokens.shape[1], 64, CPU)
            expected = smooth_codes(filter_logits(step.logits, 6, 0.8), noise, scales.ratio(step.k), book)
            assert torch.allclose(step.codes, expected, atol=1e-5) and not torch.allclose(step.codes, plain, atol=1e-3)
        else:
            assert torch.equal(step.codes, plain) and torch.equal(step.tokens, step.logits.argmax(-1))
        canvas = canvas + model.tokenizer.enlarge(step.codes, step.k)
        assert torch.allclose(canvas, step.canvas, atol=1e-5)


# guidance and the transformer's part


@pytest.mark.parametrize(
    ("labels", "guidance", "floor"),
    [([0], 0.0, 0.0), ([2, 0], 3.0, 0.0), ([1, 3], 2.0, 0.5), ([3, 3], 4.0, 0.0), ([1], 3.0, 0.0)],
)
def test_logits_are_those_of_the_guided_model_in_one_pass(
    model: Model, labels: list[int], guidance: float, floor: float
) -> None:
    """Scale by scale with a cache is the same as all at once: for the class, for none (3), and their difference, which
    grows with the scale but is never under the floor. The likelihood is that of the drawn tokens."""
    steps = run(model, labels, SampleOptions(guidance=guidance, guidance_floor=floor, top_k=30, top_p=0.9))
    tokens = [step.tokens for step in steps]
    inputs = model.tokenizer.teacher_inputs(tokens)
    with torch.inference_mode():
        with_class = model.transformer(torch.tensor(labels), inputs)
        without = model.transformer(torch.full((len(labels),), 3), inputs)
    for step, (start, stop) in zip(steps, model.transformer.scales.spans, strict=True):
        t = guidance * max(floor, step.k / 9)
        expected = with_class[:, start:stop] + t * (with_class - without)[:, start:stop]
        assert torch.allclose(step.logits, expected, atol=2e-3 * (1 + t))
        chances = step.logits.log_softmax(-1).gather(-1, step.tokens[..., None])[..., 0].sum(1)
        assert torch.allclose(step.log_likelihood, chances, atol=1e-3)
    for step, canvas in zip(steps, model.tokenizer.canvases(tokens), strict=True):
        assert torch.allclose(step.canvas, canvas, atol=1e-5)


def test_a_candidate_does_not_depend_on_its_neighbours(model: Model) -> None:
    options = SampleOptions(guidance=2.0, top_k=30, top_p=0.9)
    both = run(model, [1, 2], options)
    (alone,) = (run(model, [2], options, seed=105),)
    assert all(torch.equal(a.tokens[1:], b.tokens) for a, b in zip(both, alone, strict=True))


def test_a_run_can_stop_early_and_refuses_what_does_not_fit(model: Model) -> None:
    options = SampleOptions(top_k=30)
    whole = run(model, [1], options)
    part = run(model, [1], options, stop_scale=4)
    assert [step.k for step in part] == [0, 1, 2, 3]
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(part, whole[:4], strict=True))
    with pytest.raises(ValueError, match="start scale needs the known tokens"):
        run(model, [1], options, start_scale=2)
    with pytest.raises(ValueError, match="2 candidates need as many seeds, got 1"):
        next(sample(model.transformer, model.tokenizer, torch.tensor([1, 2]), options, seeds=[0]))


# what is known


def parts_kept(model: Model, share: float, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kept = [torch.rand(length, generator=generator) < share for length in model.transformer.scales.lengths]
    kept[0][:] = False
    return kept


@pytest.mark.parametrize(("candidates", "start"), [(1, 0), (2, 0), (2, 1), (1, 3), (2, 3)])
def test_the_sources_tokens_are_kept_where_asked(model: Model, candidates: int, start: int) -> None:
    """Before the start scale whole, after it where `keep` says; elsewhere the model's draw from what it sees."""
    options = SampleOptions(guidance=1.5, top_k=30)
    source = [step.tokens for step in run(model, [0], options, seed=77)]
    known = Known(source, parts_kept(model, 0.5))
    steps = run(model, [1] * candidates, options, known=known, start_scale=start)
    inputs = model.tokenizer.teacher_inputs([step.tokens for step in steps])
    with torch.inference_mode():
        with_class = model.transformer(torch.ones(candidates, dtype=torch.long), inputs)
        without = model.transformer(torch.full((candidates,), 3), inputs)
    changed = 0
    for step, (begin, stop) in zip(steps, model.transformer.scales.spans, strict=True):
        keep = torch.ones_like(known.keep[step.k]) if step.k < start else known.keep[step.k]
        assert torch.equal(step.tokens[:, keep], source[step.k][:, keep].expand(candidates, -1))
        changed += (step.tokens[:, ~keep] != source[step.k][:, ~keep]).sum()
        if step.logits is not None:
            t = 1.5 * step.k / 9
            expected = (with_class + t * (with_class - without))[:, begin:stop][:, ~keep]
            assert torch.allclose(step.logits, expected, atol=1e-2)
        else:
            assert step.k < start
    assert changed > 100
    assert torch.allclose(steps[-1].canvas, model.tokenizer.canvases([s.tokens for s in steps])[-1], atol=1e-5)


def test_leading_scales_that_are_known_entirely_are_not_computed(model: Model) -> None:
    options = SampleOptions(guidance=0.0, top_k=1)
    source = [step.tokens for step in run(model, [0], options)]
    keep = [torch.full((length,), k < 4 or k == 6) for k, length in enumerate(model.transformer.scales.lengths)]
    steps = run(model, [0], options, known=Known(source, keep), start_scale=1)
    assert [step.logits is None for step in steps] == [True] * 4 + [False] * 6
    assert steps[6].logits.shape[1] == 0 and torch.equal(steps[6].tokens, source[6])
    assert all(torch.equal(step.tokens, part) for step, part in zip(steps, source, strict=True)), "the same run again"
    whole = [torch.ones(length, dtype=torch.bool) for length in model.transformer.scales.lengths]
    assert all(step.logits is None for step in run(model, [0], options, known=Known(source, whole)))


def test_no_work_is_done_that_nothing_needs(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of every pass of the blocks: both guidance halves only where a class is followed, none where all is known,
    known scales in one pass of one candidate, and that one not again."""
    passes: list[tuple[int, int]] = []
    step = model.transformer.step
    monkeypatch.setattr(model.transformer, "step", lambda x, *a: passes.append((x.shape[0], a[2])) or step(x, *a))
    options, prefixes = SampleOptions(guidance=2.0, top_k=30), Remembered(2**20)
    for labels, rows in (([1, 2], 4), ([3, 3], 2)):
        passes.clear()
        source = [step.tokens[:1] for step in run(model, labels, options)]
        assert passes == [(rows, k) for k in range(10)]
    passes.clear()
    assert len(run(model, [3], SampleOptions(guidance=0.0, top_k=30), stop_scale=2)) == 2 and passes == [(1, 0), (1, 1)]
    keep = [torch.full((length,), k < 5) for k, length in enumerate(model.transformer.scales.lengths)]
    known = Known(source, keep)
    passes.clear()
    run(model, [1, 1, 1], options, known=known, start_scale=5, stop_scale=5)
    assert passes == []
    one = run(model, [1, 1, 1], options, known=known, start_scale=5, stop_scale=6, prefixes=prefixes)[-1]
    assert passes == [(2, 4), (6, 5)]
    again = run(model, [1, 1, 1], options, known=known, start_scale=5, stop_scale=6, prefixes=prefixes)[-1]
    assert passes == [(2, 4), (6, 5), (6, 5)] and torch.equal(one.logits, again.logits)
    other = Known([(part + 1) % 64 for part in source], keep)
    last = run(model, [1, 1, 1], options, known=other, start_scale=5, stop_scale=6, prefixes=prefixes)[-1]
    fresh = run(model, [1, 1, 1], options, known=other, start_scale=5, stop_scale=6)[-1]
    assert torch.equal(last.logits, fresh.logits) and not torch.allclose(last.logits, one.logits)


def test_known_scales_beyond_the_mixed_codes_are_those_of_their_tokens(model: Model) -> None:
    source = run(model, [0], SampleOptions(guidance=0.0, top_k=1))
    keep = [torch.full((side * side,), k < 4) for k, side in enumerate(model.transformer.scales.sides)]
    mixed = [step.codes + 1 for step in source[:2]]
    known = Known([step.tokens for step in source], keep, codes=mixed)
    steps = run(model, [0], SampleOptions(guidance=0.0, top_k=1), known=known)
    for k in range(4):
        assert torch.equal(steps[k].codes, mixed[k] if k < 2 else source[k].codes)


def test_mixed_codes_of_the_first_scales_are_continued(model: Model) -> None:
    """A run that mixed codes goes on from any scale as it would have gone."""
    options = SampleOptions(guidance=2.0, top_k=30, smooth=True)
    whole = run(model, [1, 1], options)
    for i in (0, 1):
        keep = [torch.full((length,), k < 4) for k, length in enumerate(model.transformer.scales.lengths)]
        tokens, codes = (
            [part[i : i + 1] for part in parts] for parts in zip(*((s.tokens, s.codes) for s in whole), strict=True)
        )
        known = Known(tokens[:4], keep, codes=codes[:4])
        again = run(model, [1], options, seed=5 + 100 * i, known=known, start_scale=4)
        assert torch.allclose(again[-1].canvas, whole[-1].canvas[i : i + 1], atol=1e-4)
        assert torch.equal(again[-1].tokens, whole[-1].tokens[i : i + 1])


def test_mixed_codes_are_continued_in_the_passes_of_a_run(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale by scale and row by row: products of another shape may round otherwise, and a mixture shows it."""
    passes: list[tuple[int, int, int]] = []
    step = model.transformer.step
    note = lambda x, *a: passes.append((x.shape[0], a[1], a[2])) or step(x, *a)  # noqa: E731
    monkeypatch.setattr(model.transformer, "step", note)
    options = SampleOptions(guidance=2.0, top_k=30, smooth=True)
    whole, went = run(model, [1], options), [*passes]
    passes.clear()
    keep = [torch.full((length,), k < 6) for k, length in enumerate(model.transformer.scales.lengths)]
    known = Known([s.tokens for s in whole][:6], keep, codes=[s.codes for s in whole][:6])
    again = run(model, [1], options, known=known, start_scale=6)
    assert passes == went == [(2, k, k) for k in range(10)]
    assert torch.equal(again[-1].canvas, whole[-1].canvas)


def test_pictures_that_differ_are_continued_each_for_itself(model: Model) -> None:
    options = SampleOptions(guidance=2.0, top_k=30)
    two = [
        torch.cat(pair)
        for pair in zip(*([s.tokens for s in run(model, [0], options, seed=s)] for s in (1, 2)), strict=True)
    ]
    keep = [torch.full((length,), k < 5) for k, length in enumerate(model.transformer.scales.lengths)]
    both = run(model, [1, 1], options, known=Known(two, keep), start_scale=5)
    for i in (0, 1):
        alone = run(
            model, [1], options, seed=5 + 100 * i, known=Known([t[i : i + 1] for t in two], keep), start_scale=5
        )
        assert all(torch.equal(a.tokens[i : i + 1], b.tokens) for a, b in zip(both, alone, strict=True))


# the evidence


def test_evidence_counts_known_cells_and_takes_their_mean() -> None:
    """One grid of eight by eight, the left half and one cell of the right half known."""
    tokenizer = mean_colours()
    features = torch.arange(192.0).reshape(1, 3, 8, 8) / 100
    fraction = torch.zeros(8, 8)
    fraction[:, :4], fraction[0, 4] = 1, 0.5
    evidence = Evidence(Known([], [], "evidence", features, fraction, 10.0), tokenizer)
    canvas = torch.full((2, 3, 8, 8), 0.25)
    canvas[1] = 0
    lack, weight = evidence.at(canvas, 1)
    assert lack.shape == (2, 4, 3) and weight.tolist() == [1, 0.5, 1, 0]
    left = features[0, :, :4, :4].mean((1, 2))
    assert torch.allclose(lack[:, 0], torch.stack((left - 0.25, left)), atol=1e-5)
    assert torch.allclose(lack[0, 1], features[0, :, 0, 4] - 0.25, atol=1e-5) and lack[:, 3].abs().max() == 0
    whole, most = evidence.at(canvas, 0)
    known = (features[0] * fraction).sum((1, 2)) / 32.5
    assert torch.allclose(whole[1, 0], known, atol=1e-5) and most.tolist() == [1]
    variance = (CODES - CODES.mean(0)).square().sum(1).mean()
    against = evidence.against(whole, torch.tensor([0.5]))
    expected = 10 * 0.5 * (whole[1, 0] - CODES).square().sum(1) / variance
    assert against is not None and torch.allclose(against[1, 0], expected, atol=1e-3)


def test_quantizing_again_looks_at_whole_cells_and_leaves_logits_alone() -> None:
    tokenizer, features = mean_colours(), torch.full((1, 3, 8, 8), 0.6)
    evidence = Evidence(Known([], [], "requantize", features, torch.zeros(8, 8)), tokenizer)
    lack, weight = evidence.at(torch.zeros(1, 3, 8, 8), 2)
    assert torch.allclose(lack, torch.full_like(lack, 0.6)) and (weight == 1).all()
    assert evidence.against(lack[:, :4], weight[:4]) is None
    with pytest.raises(ValueError, match='"requantize" needs the features'):
        Evidence(Known([], [], "requantize"), tokenizer)


@pytest.mark.parametrize("method", ["evidence", "requantize", "tokens"])
def test_kept_cells_take_what_the_canvas_lacks(method: str) -> None:
    """A class that begins red, on grey features: kept cells lead back to grey, but for the source's own tokens."""
    tokenizer, transformer = mean_colours(), without_opinion()
    made = Model(tokenizer, transformer, ("red", "green"), "by-hand", {})
    features = torch.full((1, 3, 8, 8), 0.1)
    tokens, _ = tokenizer.quantize(features)
    fraction = torch.zeros(8, 8)
    fraction[:, :4] = 1
    shrunk = [tokenizer.shrink(fraction[None, None], k)[0, :, 0] for k in range(6)]
    known = Known(tokens, [part == 1 for part in shrunk], method, features, fraction, 0.001)  # type: ignore[arg-type]
    steps = run(made, [0], SampleOptions(guidance=0.0, top_k=1), known=known)
    assert steps[0].tokens.item() == RED and steps[-1].tokens[0, -1] == NOTHING
    left, right = steps[-1].canvas[0, :, :, :3], steps[-1].canvas[0, :, :, 5:]
    assert right[0].min() > 0.4 and right[1].max() < -0.3
    off = (left - 0.1).abs().max()
    assert off > 0.4 if method == "tokens" else off < 0.1


def test_strong_evidence_draws_what_is_known() -> None:
    tokenizer, transformer = mean_colours(), without_opinion()
    made = Model(tokenizer, transformer, ("red", "green"), "by-hand", {})
    features = torch.tensor([-0.6, 0.6, 0.25])[None, :, None, None].expand(1, 3, 8, 8)
    tokens, _ = tokenizer.quantize(features)
    fraction = torch.full((8, 8), 0.5)
    keep = [torch.zeros(length, dtype=torch.bool) for length in transformer.scales.lengths]
    for strength, expected in ((100.0, tokens[0].item()), (1e-6, RED)):
        known = Known(tokens, keep, "evidence", features, fraction, strength)
        assert run(made, [0], SampleOptions(guidance=0.0, top_k=20), known=known)[0].tokens.item() == expected
