"""What is remembered or approximated for speed: it never changes a result, and previews stay near the full decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import build_model, rectangle, scenery

from var_core import Chance, Engine
from var_core.editing.preview import LinearDecoder, preview
from var_core.engine import finished
from var_core.model.checkpoints import load_model
from var_core.model.memory import Remembered
from var_core.model.tokenizer import Upsample
from var_core.request import Result, requested
from var_core.sampling import graphs
from var_core.sampling.known import Known
from var_core.sampling.sampler import SampleOptions, sample


def result(engine: Engine, **values) -> Result:
    return engine.draw(*requested(**values))


@pytest.fixture
def fresh() -> Engine:
    return Engine(build_model())


@pytest.mark.parametrize("candidates", [1, 3])
def test_known_scales_are_computed_once_and_change_nothing(
    fresh: Engine, candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = result(fresh, label=0, seed=1)

    def branch(seed: int) -> Result:
        return finished(fresh.branch(base, 0, 6, Chance(seed=seed, candidates=candidates)))

    passes = []
    step = fresh.transformer.step
    monkeypatch.setattr(
        fresh.transformer,
        "step",
        lambda x, c, first, last, cache: passes.append(last) or step(x, c, first, last, cache),
    )
    first = branch(2)
    assert passes[0] == 5 and passes[1:] == [6, 7, 8, 9]
    passes.clear()
    again = branch(2)
    assert passes == [6, 7, 8, 9] and fresh.prefixes.held > 0
    fresh.prefixes = Remembered(fresh.prefixes.limit)
    new = branch(2)
    for one, two, three in zip(first.images, again.images, new.images, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()
    other = branch(3)
    assert other.images[0].tobytes() != first.images[0].tobytes()


def test_other_tokens_or_classes_are_not_mistaken_for_remembered_ones(fresh: Engine) -> None:
    bases = [result(fresh, label=label, seed=seed) for label, seed in ((0, 1), (1, 1), (0, 2), (None, 1))]
    for base in bases:
        made = [finished(engine.branch(base, 0, 5, Chance(seed=9))) for engine in (fresh, Engine(build_model()))]
        assert made[0].images[0].tobytes() == made[1].images[0].tobytes()


def test_the_same_tokens_of_another_class_are_computed_anew() -> None:
    model, remembered = build_model(), Remembered(2**20)
    options = SampleOptions(guidance=2.0, top_k=5)
    tokens = [step.tokens for step in sample(model.transformer, model.tokenizer, torch.tensor([0]), options, seeds=[0])]
    known = Known(tokens, [torch.full((length,), k < 5) for k, length in enumerate(model.transformer.scales.lengths)])

    def sixth(label: int, prefixes: Remembered) -> torch.Tensor:
        given = dict(seeds=[0], known=known, start_scale=5, stop_scale=6, prefixes=prefixes)
        steps = list(sample(model.transformer, model.tokenizer, torch.tensor([label]), options, **given))
        assert steps[-1].logits is not None
        return steps[-1].logits

    for label in (0, 1, 2):
        assert torch.equal(sixth(label, remembered), sixth(label, Remembered(0)))


def test_what_is_remembered_is_bounded() -> None:
    model = build_model()
    prefixes, labels = Remembered(1), torch.tensor([0])
    options = SampleOptions(top_k=1)
    tokens = [step.tokens for step in sample(model.transformer, model.tokenizer, labels, options, seeds=[0])]
    for scales in (3, 4):
        prefixes([labels, *tokens[: scales - 1]], lambda scales=scales: _cache(model, scales).filled())
    assert len(prefixes._kept) == 1  # the last one always stays


def _cache(model, scales: int):
    cache = model.transformer.new_cache(1)
    cache.length = model.transformer.scales.spans[scales - 1][1]
    return cache


def test_the_linear_fit_recovers_a_linear_decoder() -> None:
    tokenizer = build_model().tokenizer
    linear, generator = LinearDecoder(tokenizer), torch.Generator().manual_seed(0)
    mix = torch.randn(3, tokenizer.config.code_dim, generator=generator) / 20
    side, stride = tokenizer.scales.finest, tokenizer.config.stride

    def pair() -> tuple[torch.Tensor, torch.Tensor]:
        coarse = torch.randn(2, tokenizer.config.code_dim, 3, 3, generator=generator)
        canvas = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
        flat = torch.einsum("oc,bchw->bohw", mix, canvas)
        return canvas, torch.nn.functional.interpolate(flat, scale_factor=stride, mode="nearest")

    assert not linear.ready
    for _ in range(30):
        linear.learn(*pair())
    canvas, picture = pair()
    wanted = torch.nn.functional.interpolate(picture, size=linear(canvas).shape[-2:], mode="area")
    assert (linear(canvas) - wanted).abs().mean() < 0.25 * wanted.abs().mean()  # what smoothing leaves


def test_previews_of_the_bundled_model_are_near_its_full_decodes() -> None:
    engine = Engine.load("garden-2", "cpu")
    assert engine.linear.never
    made = result(engine, label="watercolour-apple", seed=7)
    for k, canvas in enumerate(engine.tokenizer.canvases(made.passes[0].tokens)):
        full = engine.tokenizer.decode(canvas)
        shown = preview(engine.tokenizer, canvas, k, engine.linear)
        shown = torch.nn.functional.interpolate(shown, size=full.shape[-2:], mode="bicubic")
        error = (shown - full).square().mean() / 4
        assert -10 * error.log10() > (18 if engine.sides[k] >= 8 else 12)  # dB; coarse grids see little around


def test_weights_are_read_in_the_format_they_are_used_in(model_file: Path) -> None:
    model = load_model(model_file)
    for module in (model.transformer, *model.tokenizer.convolutions):
        module.to(torch.bfloat16)
    read, converted = Engine(load_model(model_file, torch.bfloat16)), Engine(model)
    for mine, other in ((read.transformer, converted.transformer), (read.tokenizer, converted.tokenizer)):
        here, there = mine.state_dict(), other.state_dict()
        assert all(torch.equal(here[name], there[name]) and here[name].dtype == there[name].dtype for name in there)
    assert read.tokenizer.codebook.weight.dtype == torch.float32
    picture, mask = scenery(90, 70), rectangle((90, 70), (20, 20, 50, 50))
    request = dict(task="inpaint", image=picture, mask=mask, seed=5)
    assert np.array_equal(*(np.asarray(result(engine, **request).images[0]) for engine in (read, converted)))


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_packed_weights_give_the_same_logits(dtype: torch.dtype, most: float) -> None:
    plain, packed = (build_model().transformer.to(dtype).eval() for _ in range(2))
    packed.pack()
    labels = torch.tensor([0, 3])
    inputs = torch.randn(2, plain.scales.total - 1, plain.config.code_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = plain(labels, inputs), packed(labels, inputs)
    assert found.dtype == torch.float32 and (found - expected).abs().max() < most
    assert packed.dtype == dtype and "head.weight" not in packed.state_dict()


@pytest.mark.parametrize("last", [False, True])
def test_folded_enlargements_are_exact(last: bool) -> None:
    torch.manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    enlarge = Upsample(6).to(memory_format=layout)  # type: ignore[call-overload]
    small = torch.randn(2, 6, 5, 7).contiguous(memory_format=layout)
    with torch.inference_mode():
        expected = enlarge(small)
        enlarge.fold()
        found = enlarge(small)
    assert found.shape == expected.shape and found.is_contiguous(memory_format=layout)
    assert torch.allclose(found, expected, atol=1e-5)


def test_loading_lays_a_model_out_and_it_draws_the_same(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("var_core.model.tokenizer._WIDE", 1)
    engine, plain = Engine.load(str(model_file), "cpu"), Engine(load_model(model_file))
    assert engine.transformer.head.weight.is_mkldnn and not plain.transformer.head.weight.is_mkldnn
    request = dict(label=1, seed=0, top_k=1)
    here, there = result(engine, **request), result(plain, **request)
    assert all(torch.equal(a, b) for a, b in zip(here.passes[0].tokens, there.passes[0].tokens, strict=True))
    difference = np.asarray(here.images[0]).astype(int) - np.asarray(there.images[0])
    assert np.abs(difference).max() <= 1


def test_buffers_for_graphs_change_nothing(fresh: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a recorder that repeats the work itself; on a GPU the same bookkeeping repeats a CUDA graph."""
    recorded = []

    def record(work):
        out = work().clone()
        recorded.append(work)
        return lambda: out.copy_(work()), out

    picture, mask = scenery(90, 70), rectangle((90, 70), (20, 20, 50, 50))
    requests = [dict(label=0, seed=1), dict(label=2, seed=4, candidates=2)]
    requests.append(dict(task="inpaint", image=picture, mask=mask, seed=5))
    requests.append(dict(task="vary", image=picture, start_scale=4, seed=5))
    plain = [result(fresh, **request) for request in requests]
    monkeypatch.setattr(graphs, "record", record)
    fresh.graphs = {}
    for _ in range(2):
        for request, expected in zip(requests, plain, strict=True):
            assert [i.tobytes() for i in result(fresh, **request).images] == [i.tobytes() for i in expected.images]
    assert len(recorded) == 10 + 10 + 6  # of two, four and one rows; the last from scale 4 on
    # a run that is in the middle keeps its buffers; another one at the same time goes without, and both are right
    first = fresh.run(*requested(**requests[0]))
    frames = [next(first) for _ in range(4)]
    assert [rows for rows, each in fresh.graphs.items() if each.lent] == [2]
    assert result(fresh, **requests[0]).images[0].tobytes() == plain[0].images[0].tobytes()
    frames += list(first)
    assert frames[-1].result is not None and frames[-1].result.images[0].tobytes() == plain[0].images[0].tobytes()
    stopped = fresh.run(*requested(**requests[0]))
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    assert sorted(fresh.graphs) == [1, 2, 4] and not any(each.lent for each in fresh.graphs.values())
    result(fresh, label=0, seed=1, candidates=3)
    assert sorted(fresh.graphs) == [1, 2, 6], "the one that was used longest ago went"
