"""Every numeric line against the reference's numbers for small models.

`tests/golden/` holds the small cases; the two large ones are used where the folder of all cases is given by
VAR_PARITY_CASES or lies beside the checkout, and are skipped, saying so, elsewhere.
"""

from __future__ import annotations

import pytest
import torch
from reference import CASES, GOLDEN, Case
from safetensors import safe_open

from var_core.editing.plan import official_keep
from var_core.model.official import load_official
from var_core.sampling.sampler import Known, SampleOptions, filter_logits, sample


@pytest.fixture(scope="module", params=["tiny", "ten_scales", "shared_adaln"])
def loaded(request, tmp_path_factory):
    name = request.param
    folder = GOLDEN if (GOLDEN / f"{name}.safetensors").exists() else CASES
    if not (folder / f"{name}.safetensors").exists():
        pytest.skip(f"parity case {name} is not here (set VAR_PARITY_CASES)")
    case = Case(name, folder)
    model = load_official(*case.write_official(tmp_path_factory.mktemp(name)))
    model.tokenizer.eval(), model.transformer.eval()
    return case, model.tokenizer, model.transformer


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    actual = actual.reshape(expected.shape)
    error = (actual - expected).abs().max().item()
    assert error <= 1e-4 * expected.abs().max().item(), f"largest error {error}"


def same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(actual.reshape(expected.shape).long(), expected.long())


@torch.inference_mode()
def test_tokenizer(loaded) -> None:
    case, tokenizer, _ = loaded
    features = tokenizer.features(case.arrays["image"])
    close(features, case.arrays["encoder_features"])
    tokens, canvases = tokenizer.quantize(features)
    for k in range(len(case.sides)):
        same(tokens[k], case.arrays[f"tokens.{k}"])
        close(canvases[k], case.arrays[f"f_hat.{k}"])
    close(tokenizer.decode(canvases[-1]), case.arrays["reconstruction"])
    close(tokenizer.canvases(tokens)[-1], case.arrays[f"f_hat.{len(case.sides) - 1}"])
    close(tokenizer.teacher_inputs(tokens), case.arrays["teacher_forcing_input"])


@torch.inference_mode()
def test_teacher_forced_logits(loaded) -> None:
    case, _, transformer = loaded
    logits = transformer(torch.tensor([case.label]), case.arrays["teacher_forcing_input"])
    close(logits, case.arrays["teacher_forced_logits"])


def greedy(case: Case, tokenizer, transformer, label: int, known: Known | None = None) -> list:
    options = SampleOptions(guidance=case.guidance, top_k=1, top_p=0.0)
    return list(sample(transformer, tokenizer, torch.tensor([label]), options, seeds=[0], known=known))


def check_steps(case: Case, tokenizer, steps: list, prefix: str, keep: list | None = None) -> None:
    """The logits and tokens where they are drawn, the canvas everywhere."""
    for k, step in enumerate(steps):
        close(step.canvas, case.arrays[f"{prefix}.f_hat.{k}"])
        if step.logits is not None:
            drawn = torch.ones(step.tokens.shape[1], dtype=torch.bool) if keep is None else ~keep[k]
            close(step.logits, case.arrays[f"{prefix}.logits.{k}"].flatten(0, -2)[drawn])
            same(step.tokens[:, drawn], case.arrays[f"{prefix}.tokens.{k}"].flatten()[drawn])
    close((tokenizer.decode(steps[-1].canvas) + 1) / 2, case.arrays[f"{prefix}.image"])


def test_generate(loaded) -> None:
    case, tokenizer, transformer = loaded
    steps = greedy(case, tokenizer, transformer, case.label)
    assert all(step.logits is not None for step in steps)
    check_steps(case, tokenizer, steps, "generate")


@pytest.mark.parametrize("task", ["edit", "inpaint"])
def test_zero_shot_edit(loaded, task: str) -> None:
    case, tokenizer, transformer = loaded
    keep_mask = case.arrays["edit.keep_mask"].numpy()
    keep = official_keep(keep_mask, tuple(case.sides))
    for k, kept in enumerate(keep):
        same(torch.from_numpy(kept), case.arrays[f"{task}.keep.{k}"])
    with torch.inference_mode():
        tokens = tokenizer.encode(case.arrays["image"])
    known = Known(tokens, [torch.from_numpy(kept).flatten() for kept in keep])
    label = case.label if task == "edit" else transformer.config.null_label
    steps = greedy(case, tokenizer, transformer, label, known)
    assert any(step.logits is not None for step in steps)
    check_steps(case, tokenizer, steps, task, known.keep)


@torch.inference_mode()
def test_cached_and_parallel_forward_agree(loaded) -> None:
    case, _, transformer = loaded
    inputs = case.arrays["teacher_forcing_input"]
    parallel = transformer(torch.tensor([case.label]), inputs)
    conditioning = transformer.condition(torch.tensor([case.label]))
    cache, spans = transformer.new_cache(1), transformer.scales.spans
    for k, (start, stop) in enumerate(spans):
        x = transformer.embed(inputs[:, start - 1 : stop - 1] if k else None, conditioning, k, k)
        close(transformer.logits(transformer.step(x, conditioning, k, k, cache), conditioning), parallel[:, start:stop])


def test_no_scale_sees_a_later_one(loaded) -> None:
    case, _, transformer = loaded
    inputs = case.arrays["teacher_forcing_input"].clone().requires_grad_()
    logits = transformer(torch.tensor([case.label]), inputs)
    for start, stop in transformer.scales.spans[:-1]:
        (gradient,) = torch.autograd.grad(logits[:, start:stop].square().sum(), inputs, retain_graph=True)
        assert gradient[:, stop - 1 :].abs().max() == 0
        if start:
            assert gradient[:, start - 1 : stop - 1].abs().max() > 0


def test_sampling_filter() -> None:
    with safe_open(GOLDEN / "sampling_filter.safetensors", "pt") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    logits = arrays.pop("logits")
    assert arrays
    for name, expected in arrays.items():
        settings = dict(
            part.split("=")
            for part in name.split(".", 1)[1].replace("top_k", "|top_k").replace(".top_p", "|top_p").split("|")
            if part
        )
        close(filter_logits(logits, int(settings["top_k"]), float(settings["top_p"])).softmax(-1), expected)
