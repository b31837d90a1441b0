"""The refiner adds nothing until it has learned something, draws as it was taught, and lies in the model's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import build_model, rectangle, scenery
from safetensors import safe_open
from safetensors.torch import save_file

from var_core import Chance, Edit, Engine
from var_core.model.checkpoints import Model, load_model, save_model
from var_core.model.refiner import Refiner, RefinerBlock, RefinerConfig, Refining
from var_core.sampling.sampler import SampleOptions, sample

SIDES = (1, 2, 4)


def refined(sides: tuple[int, ...] = SIDES, length: int = 5, learned: bool = True) -> Model:
    model = build_model(sides)
    refiner = Refiner(RefinerConfig(width=32, hidden=32, code_dim=8, length=length))
    refiner.begin()
    if learned:
        torch.nn.init.normal_(refiner.out.weight, std=0.5)
    model.transformer.refiner = refiner.eval().requires_grad_(False)
    return model


@pytest.mark.parametrize("smooth", [False, True])
def test_one_that_has_learned_nothing_changes_no_byte(smooth: bool) -> None:
    photo = scenery(60, 50)
    edits = [
        Edit(label=1), Edit(task="inpaint", image=photo, mask=rectangle(photo.size, (12, 8, 40, 30))),
        Edit(task="edit", label=2, image=photo, mask=rectangle(photo.size, (12, 8, 40, 30))),
    ]  # fmt: skip
    sides = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
    with_it, without = Engine(refined(sides, 91, learned=False)), Engine(build_model(sides))
    for edit in edits:
        one, other = (engine.draw(edit, Chance(seed=3, smooth=smooth)) for engine in (with_it, without))
        assert one.images[0].tobytes() == other.images[0].tobytes()
        assert all(torch.equal(a, b) for a, b in zip(one.passes[0].tokens, other.passes[0].tokens, strict=True))
    learned = Engine(refined(sides, 91)).draw(edits[0], Chance(seed=3, smooth=smooth))
    before = without.draw(edits[0], Chance(seed=3, smooth=smooth))
    assert learned.images[0].tobytes() != before.images[0].tobytes()


def test_one_that_begins_has_small_weights_at_random_and_says_nothing() -> None:
    """Of half the deviation that keeps a vector's length; places of 0.02; no biases; and an end of zeros."""
    torch.manual_seed(0)
    refiner = Refiner(RefinerConfig(width=64, hidden=48, code_dim=16, length=50))
    with torch.no_grad():
        for parameter in refiner.parameters():
            parameter.fill_(7)
    refiner.begin()
    for name, value in refiner.named_parameters():
        wanted = 0.0 if name.endswith("bias") or name == "out.weight" else 0.02 if name == "pos_embed" else 1 / 16
        assert abs(value.std().item() - wanted) <= 0.1 * wanted and abs(value.mean().item()) <= wanted / 5, name


@torch.no_grad()
def test_a_block_is_attention_and_a_layer_of_four_times_the_width() -> None:
    """Written out: heads of 32, both branches on normed values, added to what was given."""
    torch.manual_seed(0)
    block, x = RefinerBlock(64), torch.randn(2, 5, 64)
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    q, k, v = (normed @ block.qkv.weight.T + block.qkv.bias).view(2, 5, 3, 2, 32).permute(2, 0, 3, 1, 4)
    seen = (q @ k.transpose(2, 3) / 32**0.5).masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf).softmax(-1) @ v
    first = x + block.project(seen.transpose(1, 2).reshape(2, 5, 64))
    normed = (first - first.mean(-1, keepdim=True)) / (first.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    wide = block.mlp_in(normed)
    assert wide.shape == (2, 5, 256)
    expected = first + block.mlp_out(0.5 * wide * (1 + torch.erf(wide / 2**0.5)))
    assert torch.allclose(block(x, torch.ones(5, 5).tril().bool()), expected, atol=1e-5)


@torch.no_grad()
def test_drawing_cell_by_cell_is_the_pass_that_was_taught() -> None:
    model, generator = refined(length=21), torch.Generator().manual_seed(0)
    refiner, scales = model.transformer.refiner, model.transformer.scales
    assert refiner is not None
    hidden, codes = (torch.randn(2, 21, d, generator=generator) for d in (32, 8))
    whole = refiner(hidden, codes, scales)
    for start, stop in scales.spans:
        refining, code = Refining(refiner, hidden[:, start:stop], start), None
        for cell in range(start, stop):
            assert torch.allclose(refining.step(code)[:, 0], whole[:, cell], atol=1e-5)
            code = codes[:, cell : cell + 1]
    other = codes.clone()
    other[:, 7] += 1  # of the last scale: seen by those after it alone
    changed = (refiner(hidden, other, scales) - whole).abs().amax((0, 2)) > 1e-6
    assert changed.tolist() == [False] * 8 + [True] * 13


@torch.no_grad()
@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_the_sampler_draws_what_refined_logits_say(guidance: float) -> None:
    model = refined()
    transformer, tokenizer = model.transformer, model.tokenizer
    labels, options = torch.tensor([0, 2]), SampleOptions(guidance=guidance, top_k=0, top_p=0.0)
    steps = list(sample(transformer, tokenizer, labels, options, seeds=(4, 5)))
    tokens = [step.tokens for step in steps]
    codes = tokenizer.codebook(torch.cat(tokens, 1))

    def logits(labels: torch.Tensor) -> torch.Tensor:
        hidden, conditioning = transformer.hidden(labels, tokenizer.teacher_inputs(tokens))
        found = transformer.logits(hidden, conditioning)
        assert transformer.refiner is not None
        found[:, :5] += transformer.refinement(transformer.refiner(hidden[:, :5], codes[:, :5], transformer.scales))
        return found

    for step, (start, stop) in zip(steps, transformer.scales.spans, strict=True):
        t = guidance * transformer.scales.ratio(step.k)
        expected = (1 + t) * logits(labels) - t * logits(torch.full_like(labels, 3))
        assert step.logits is not None and torch.allclose(step.logits, expected[:, start:stop], atol=1e-3)


def test_it_lies_in_the_models_file(tmp_path: Path) -> None:
    model = refined()
    save_model(model, tmp_path / "m.safetensors")
    loaded, before = load_model(tmp_path / "m.safetensors").transformer.refiner, model.transformer.refiner
    assert loaded is not None and before is not None and loaded.config == before.config
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in before.state_dict().items())
    save_model(build_model(SIDES), tmp_path / "plain.safetensors")
    assert load_model(tmp_path / "plain.safetensors").transformer.refiner is None


Change = Callable[[dict[str, torch.Tensor]], object]
DAMAGES: dict[str, tuple[Change, str]] = {
    "an entry too few": (lambda t: t.pop("out.weight"), "lacks"),
    "no sizes": (lambda t: t.pop("hidden_in.weight"), "lacks"),
    "a scalar": (lambda t: t.update({"hidden_in.weight": torch.zeros(())}), "unexpected shapes"),
    "an entry too many": (lambda t: t.update(colour=torch.zeros(1)), "unknown entry"),
    "a block far away": (lambda t: t.update({"blocks.900.qkv.bias": torch.zeros(96)}), "depth"),
    "a width without heads": (lambda t: t.update({"hidden_in.weight": torch.zeros(33, 32)}), "heads"),
    "another width": (lambda t: t.update({"hidden_in.weight": torch.zeros(64, 32)}), "shape"),
    "another transformer": (lambda t: t.update({"hidden_in.weight": torch.zeros(32, 40)}), "no pair"),
    "other codes": (lambda t: t.update({"code_in.weight": torch.zeros(32, 9)}), "no pair"),
    "half a scale": (lambda t: t.update(pos_embed=torch.zeros(1, 7, 32)), "no pair"),
    "no number": (lambda t: t.update({"out.weight": torch.full((32, 32), torch.nan)}), "finite"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_one_that_does_not_fit_is_one_sentence(what: str, tmp_path: Path) -> None:
    save_model(refined(), tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    place, (change, word) = "transformer.refiner.", DAMAGES[what]
    own = {name.removeprefix(place): tensors.pop(name) for name in list(tensors) if name.startswith(place)}
    change(own)
    save_file(tensors | {place + name: value for name, value in own.items()}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(ValueError, match=word) as error:
        load_model(tmp_path / "m.safetensors")
    assert "m.safetensors" in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 300
