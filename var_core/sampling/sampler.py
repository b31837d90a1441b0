"""Sampling: one generator, one step per scale. Generation and editing are the same code path.

Rules of the reference: guidance grows linearly with the scale, top-k then top-p, optional smooth
(Gumbel) codes. What an edit knows enters as `Known`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..model.tokenizer import Tokenizer
from ..model.transformer import Conditioning, KVCache, Transformer
from .graphs import Buffers, StepGraphs
from .prefixes import Prefixes, fill

Method = Literal["evidence", "requantize", "tokens"]


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How tokens are drawn. ``top_k=0`` and ``top_p=0`` switch the filters off; ``top_k=1`` is greedy.

    Guidance grows linearly from 0 at the first scale, as the reference's does, but is at least ``guidance_floor`` of
    its end. From scale ``settle`` on the likeliest token is taken: tokens of one scale are drawn without seeing each
    other, so what chance does to fine scales is noise, while coarse ones decide what there is.
    ``smooth`` takes a Gumbel-softmax mixture of codes instead of the drawn code. ``everywhere`` computes
    logits and draws at kept positions too, as the reference does (slower, same picture).
    """

    guidance: float = 4.0
    guidance_floor: float = 0.0
    top_k: int = 900
    top_p: float = 0.95
    settle: int | None = None
    smooth: bool = False
    everywhere: bool = False


@dataclass(frozen=True)
class Known:
    """The edit, in token space.

    `tokens` per scale (b or 1, l): the source's own residual chain. `keep` per scale (l,) bool, True where the
    source is kept. `features` (b or 1, c, h, w): the source's features, for every method but "tokens".
    `fraction` (h, w) in [0, 1]: known share of each finest cell, for "evidence".

    Methods: "tokens" takes the source's tokens (the paper's zero-shot editing); "requantize" takes, at kept
    cells, the code nearest to what the running canvas still lacks; "evidence" does that at fully known cells
    and draws partly known ones from the model's logits minus `evidence` * w * squared distance, where w counts
    the known finest cells, at most one, and distances are in units of the codebook's variance.
    """

    tokens: list[Tensor]
    keep: list[Tensor]
    method: Method = "tokens"
    features: Tensor | None = None
    fraction: Tensor | None = None
    evidence: float = 10.0


@dataclass(frozen=True)
class ScaleStep:
    """One scale done. `drawn` (l,) marks the positions the model drew; `proposal` (b, l) are the drawn tokens
    before known ones replaced them and `logits` (b, drawn, v) what they were drawn from, after guidance."""

    k: int
    side: int
    tokens: Tensor  # (b, l)
    canvas: Tensor  # (b, c, h, w) float32
    drawn: Tensor  # (l,) bool
    proposal: Tensor | None = None
    logits: Tensor | None = None
    mixed: bool = False  # smooth codes: the tokens alone do not say the canvas
    log_likelihood: Tensor | None = None  # (b,) of the drawn tokens under the guided model


def filter_logits(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """(..., v) -> the same with -inf where the reference's top-k / top-p filter removes a token.

    Top-k keeps logits >= the k-th largest; top-p removes from the lowest up while the cumulative
    probability is <= 1 - top_p, never the best.
    """
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if 0 < top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=False)
        remove = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        remove[..., -1] = False
        logits = logits.masked_fill(remove.scatter(-1, order, remove), -torch.inf)
    return logits


def _draw(logits: Tensor, top_k: int, top_p: float, noise: Tensor | None) -> Tensor:
    """(b, l, v) logits and exponential noise -> (b, l) tokens, as `filter_logits` then a categorical draw; the
    likeliest without noise.

    Where top-k applies, only the k largest logits are ever sorted (ties at the k-th are cut to k).
    """
    v = logits.shape[-1]
    if noise is None:
        return logits.argmax(-1)
    if not 0 < top_k < v:
        kept = filter_logits(logits, 0, top_p)
        return (kept.softmax(-1) / noise).argmax(-1)
    values, index = logits.topk(top_k, dim=-1)  # descending
    probability = values.softmax(-1)
    if 0 < top_p < 1:
        from_below = probability.flip(-1).cumsum(-1).flip(-1)
        remove = from_below <= 1 - top_p
        remove[..., 0] = False
        probability = probability.masked_fill(remove, 0.0)
    race = probability / noise.gather(-1, index)
    return index.gather(-1, race.argmax(-1, keepdim=True))[..., 0]


def _noise(seeds: Sequence[int], k: int, l: int, v: int, device: torch.device) -> Tensor:
    """(b, l, v) exponential noise that depends on (seed, scale) alone, so that any later run that shares a
    seed and a prefix of scales continues identically."""
    rows = []
    for seed in seeds:
        generator = torch.Generator(device=device).manual_seed((seed * 1_000_003 + 7919 * k) % 2**63)
        rows.append(torch.empty(l, v, device=device).exponential_(generator=generator))
    return torch.stack(rows)


def _smooth_codes(logits: Tensor, noise: Tensor, ratio: float, codebook: Tensor) -> Tensor:
    """Gumbel-softmax mixture of codes (reference: more_smooth). (b, l, v) -> (b, l, c)."""
    temperature = max(0.27 * (1 - 0.95 * ratio), 0.005)
    gumbel = -noise.log()
    return ((logits * (1 + ratio) + gumbel) / temperature).softmax(-1) @ codebook


class _Evidence:
    """What the known pixels say about scale k, against the running canvas."""

    def __init__(self, known: Known, tokenizer: Tokenizer) -> None:
        if known.features is None:
            raise ValueError(f'method "{known.method}" needs the features of the source')
        self.known = known
        self.tokenizer = tokenizer
        self.features = known.features
        h, w = known.features.shape[-2:]
        fraction = known.fraction if known.method == "evidence" else None
        self.fraction = torch.ones(h, w, device=self.features.device) if fraction is None else fraction
        codes = tokenizer.codebook.weight.float()
        self.variance = (codes - codes.mean(0)).square().sum(1).mean()

    def at(self, canvas: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Known-part mean of what the canvas lacks (b, l, c), and the number of known finest cells (l,)."""
        fraction = self.fraction[None, None]  # (1, 1, h, w)
        share = self.tokenizer.shrink(fraction, k)  # (1, l, 1)
        lack = self.tokenizer.shrink((self.features - canvas) * fraction, k) / share.clamp_min(1e-6)
        cells = (self.fraction.shape[-1] / self.tokenizer.scales.sides[k]) ** 2
        return lack, (share[0, :, 0] * cells).clamp_max(1.0)

    def penalty(self, lack: Tensor, weight: Tensor) -> Tensor:
        """(b, l, c), (l,) -> (b, l, v): what to subtract from the logits."""
        codes = self.tokenizer.codebook.weight.float()
        distance = torch.cdist(lack, codes[None]).square() / self.variance
        return self.known.evidence * weight[None, :, None] * distance


def _prefix_length(keeps: list[Tensor], start_scale: int) -> int:
    """How many leading scales are known entirely."""
    length = start_scale
    while length < len(keeps) and bool(keeps[length].all()):
        length += 1
    return length


@torch.inference_mode()
def sample(
    transformer: Transformer,
    tokenizer: Tokenizer,
    labels: Tensor,
    options: SampleOptions,
    *,
    seeds: Sequence[int],
    known: Known | None = None,
    start_scale: int = 0,
    stop_scale: int | None = None,
    prefixes: Prefixes | None = None,
    graphs: StepGraphs | None = None,
) -> Iterator[ScaleStep]:
    """Predict every scale and yield it.

    labels (b,) long, `transformer.config.null_label` for no class; one seed per candidate; scales before
    `start_scale` are taken whole from `known.tokens`; `stop_scale` ends after that many scales. `prefixes` remembers
    the work that known scales need, from one call to the next; `graphs` spares a GPU its launches.
    """
    scales, b = transformer.scales, labels.shape[0]
    stop = len(scales) if stop_scale is None else stop_scale
    if known is None and start_scale:
        raise ValueError("a start scale needs the known tokens of the scales before it")
    if len(seeds) != b:
        raise ValueError(f"{b} candidates need as many seeds, got {len(seeds)}")
    guided = options.guidance != 0 and bool((labels != transformer.config.null_label).any())
    rows = torch.cat((labels, torch.full_like(labels, transformer.config.null_label))) if guided else labels
    lent = graphs.lend(len(rows)) if graphs is not None else None
    try:
        yield from _scales(
            transformer, tokenizer, rows, b, options, seeds, known, start_scale, stop, prefixes or Prefixes(), lent
        )
    finally:
        if graphs is not None and lent is not None:
            graphs.take_back(len(rows), lent)


def _scales(
    transformer: Transformer,
    tokenizer: Tokenizer,
    rows: Tensor,
    b: int,
    options: SampleOptions,
    seeds: Sequence[int],
    known: Known | None,
    start_scale: int,
    stop: int,
    prefixes: Prefixes,
    lent: Buffers | None,
) -> Iterator[ScaleStep]:
    """What `sample` yields. Nothing in the loop waits for the device: which cells are kept is read before it."""
    scales, device, guided = transformer.scales, rows.device, len(rows) > b
    conditioning = transformer.condition(rows)
    cache = transformer.new_cache(len(rows)) if lent is None else lent.cache
    conditioning = conditioning if lent is None else lent.hold(conditioning)
    evidence = _Evidence(known, tokenizer) if known is not None and known.method != "tokens" else None
    canvas = tokenizer.empty_canvas(b)
    keeps = [
        torch.zeros(length, dtype=torch.bool) if known is None else known.keep[k].cpu()
        for k, length in enumerate(scales.lengths)
    ]

    prefix = min(_prefix_length(keeps, start_scale), stop)
    inputs: list[Tensor] = []
    for k in range(prefix):
        assert known is not None
        tokens = known.tokens[k].expand(b, -1)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(tokens), k)
        if k + 1 < len(scales):
            inputs.append(tokenizer.shrink(canvas, k + 1))
        yield ScaleStep(k, scales.sides[k], tokens, canvas, torch.zeros_like(tokens[0], dtype=torch.bool))
    if 0 < prefix < stop:
        assert known is not None
        _start(transformer, known.tokens[:prefix], rows, conditioning, inputs, cache, prefixes, guided)

    for k in range(prefix, stop):
        hidden = _run(transformer, inputs[-1] if k else None, conditioning, cache, k, k, guided, lent)
        drawn = torch.ones_like(keeps[k]) if options.everywhere else ~keeps[k]
        where, kept = (mask.nonzero()[:, 0].to(device, non_blocking=True) for mask in (drawn, keeps[k]))
        t = options.guidance * max(options.guidance_floor, scales.ratio(k)) if guided else 0.0
        logits = _guided_logits(
            transformer, hidden if len(where) == len(drawn) else hidden[:, where], conditioning, b, t
        )
        chance = options.top_k != 1 and (options.settle is None or k < options.settle)
        noise = _noise(seeds, k, scales.lengths[k], logits.shape[-1], device)[:, where] if chance else None
        lack = weight = None
        judged = logits
        if evidence is not None:
            lack, weight = evidence.at(canvas, k)
            if evidence.known.method == "evidence":
                judged = logits - evidence.penalty(lack[:, where], weight[where])
        proposal = _draw(judged, options.top_k, options.top_p, noise)
        likelihood = logits.log_softmax(-1).gather(-1, proposal[..., None]).sum((1, 2))

        tokens = torch.zeros(b, scales.lengths[k], dtype=torch.long, device=device)
        tokens[:, where] = proposal
        codes = tokenizer.codebook(tokens)
        if options.smooth and noise is not None:
            filtered = filter_logits(judged, options.top_k, options.top_p)
            codes[:, where] = _smooth_codes(filtered, noise, scales.ratio(k), tokenizer.codebook.weight)
        if known is not None and len(kept):
            held = tokenizer.nearest(lack[:, kept]) if lack is not None else known.tokens[k][:, kept].expand(b, -1)
            tokens[:, kept] = held
            codes[:, kept] = tokenizer.codebook(held)
        canvas = canvas + tokenizer.enlarge(codes, k)
        if k + 1 < len(scales):
            inputs.append(tokenizer.shrink(canvas, k + 1))
        yield ScaleStep(k, scales.sides[k], tokens, canvas, drawn, proposal, logits, options.smooth, likelihood)


def _start(
    transformer: Transformer,
    tokens: list[Tensor],
    rows: Tensor,
    conditioning: Conditioning,
    inputs: list[Tensor],
    cache: KVCache,
    prefixes: Prefixes,
    guided: bool,
) -> None:
    """Fill the cache for scales whose tokens are all known, in one block-causal pass; one candidate's pass serves
    all, unless their tokens differ (an edit of several pictures)."""
    last, b = len(tokens) - 1, rows.shape[0] // (2 if guided else 1)
    if any(part.shape[0] > 1 for part in tokens):
        _run(transformer, torch.cat(inputs[:-1], dim=1) if last else None, conditioning, cache, 0, last, guided)
        return

    def compute() -> KVCache:
        one = transformer.new_cache(rows.shape[0] // b)
        earlier = torch.cat(inputs[:-1], dim=1)[:1] if last else None
        _run(transformer, earlier, conditioning.every(b), one, 0, last, guided)
        return one

    fill(cache, prefixes([*tokens[:-1]], rows[::b], compute), b)


def _run(
    transformer: Transformer,
    inputs: Tensor | None,
    conditioning: Conditioning,
    cache: KVCache,
    first: int,
    last: int,
    guided: bool,
    lent: Buffers | None = None,
) -> Tensor:
    """One pass of the blocks over scales first..last; inputs (b, l, c) are shared by both guidance halves."""
    if inputs is not None and guided:
        inputs = inputs.repeat(2, 1, 1)
    x = transformer.embed(inputs, conditioning, first, last)
    if lent is not None and first == last and cache is lent.cache:
        return lent.step(x, first)
    return transformer.step(x, conditioning, first, last, cache)


def _guided_logits(transformer: Transformer, hidden: Tensor, conditioning, b: int, t: float) -> Tensor:
    """(b or 2b, l, d) -> (b, l, v): (1 + t) * conditional - t * unconditional; one half where t is 0."""
    if t == 0:
        return transformer.logits(hidden[:b], conditioning.half(b))
    logits = transformer.logits(hidden, conditioning)
    return (1 + t) * logits[:b] - t * logits[b:]
