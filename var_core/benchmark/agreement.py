"""Agreement: the engine's own steps against the plain forward in float32, after the same tokens.

The engine draws a picture scale by scale through its cache, and the plain forward is given those very tokens. Compared
are the guided logits at every position, and whether the best token is the same. Random weights leave the best token
less far ahead than trained ones do, so the spread of the logits and the lead of the best are told too.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from ..engine import Engine
from ..model.checkpoints import Model
from ..model.precision import packs
from ..model.transformer import Transformer
from ..sampling.sampler import SampleOptions, sample
from .plain import reference_logits

# what must hold: largest difference or relative difference at most, share of equal greedy tokens at least
BARS = {
    "float32": {"largest_difference": 1e-4, "equal_greedy": 1.0},
    "bfloat16": {"relative_difference": 2e-2, "equal_greedy": 0.97},
}


def variant(transformer: Transformer, dtype: str) -> Transformer:
    """The transformer as the engine holds it in `dtype`; the given one stays as it is."""
    made = copy.deepcopy(transformer).to(getattr(torch, dtype))
    if packs(made.dtype):
        made.pack()
    return made


@torch.inference_mode()
def _engine_logits(
    model: Model, transformer: Transformer, label: int, options: SampleOptions, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Guided logits and drawn tokens of every scale, from the steps a request runs."""
    logits, tokens = [], []
    for step in sample(transformer, model.tokenizer, torch.tensor([label]), options, seeds=[seed]):
        assert step.logits is not None
        logits.append(step.logits)
        tokens.append(step.tokens)
    return logits, tokens


def _compare(ours: list[Tensor], plain: list[Tensor]) -> dict:
    """Two lists of logits (n, v), one entry a scale."""
    a, b = torch.cat(ours), torch.cat(plain)
    same = a.argmax(-1) == b.argmax(-1)
    best = b.topk(2, dim=-1).values
    # how much worse, by the plain logits, the tokens are that differ
    loss = best[:, 0] - b.gather(-1, a.argmax(-1, keepdim=True))[:, 0]
    return {
        "largest_difference": float((a - b).abs().max()),
        "relative_difference": float((a - b).norm() / b.norm()),
        "relative_difference_per_scale": [
            round(float((x - y).norm() / y.norm()), 5) for x, y in zip(ours, plain, strict=True)
        ],
        "equal_greedy": float(same.float().mean()),
        "positions": same.numel(),
        "largest_loss_of_greedy": float(loss.max()),
        "divergence_nats": float((b.log_softmax(-1).exp() * (b.log_softmax(-1) - a.log_softmax(-1))).sum(-1).mean()),
        "spread": float(b.std(-1).mean()),
        "spread_over_positions": float(b.std(0).mean()),
        "median_lead_of_best": float((best[:, 0] - best[:, 1]).median()),
    }


def agreement(
    model: Model,
    guidance: float | None = None,
    labels: tuple[int, ...] = (0, 1),
    dtypes: tuple[str, ...] = tuple(BARS),
) -> dict[str, dict]:
    """Per dtype, the numbers of `_compare` over one picture of each class, the bars, and whether they hold.
    The model's weights must be float32; guidance is its own unless given."""
    if model.transformer.dtype != torch.float32:
        raise ValueError(f"agreement is with float32 weights, and these are {model.transformer.dtype}")
    options = Engine(model).defaults()
    if guidance is not None:
        options = replace(options, guidance=guidance)
    out = {}
    for dtype in dtypes:
        transformer = variant(model.transformer, dtype)
        ours: list[list[Tensor]] = [[] for _ in model.transformer.scales.sides]
        plain: list[list[Tensor]] = [[] for _ in model.transformer.scales.sides]
        for label in labels:
            logits, tokens = _engine_logits(model, transformer, label, options, seed=label)
            for k, expected in enumerate(reference_logits(model, label, options.guidance, tokens)):
                ours[k].append(logits[k][0])
                plain[k].append(expected[0])
        found = _compare([torch.cat(x) for x in ours], [torch.cat(x) for x in plain])
        bars = BARS.get(dtype, {})
        holds = {
            name: (found[name] >= bar if name == "equal_greedy" else found[name] <= bar) for name, bar in bars.items()
        }
        out[dtype] = {"guidance": options.guidance, **found, "bars": bars, "holds": holds}
    return out
