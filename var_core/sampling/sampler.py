"""Sampling: one generator, one step per scale. Generation and editing are the same code path.

Rules of the reference: guidance grows linearly with the scale, top-k then top-p, optional smooth
(Gumbel) codes. What an edit knows enters as `Known`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.memory import Remembered
from ..model.refiner import Refining
from ..model.tokenizer import Tokenizer
from ..model.transformer import KVCache, Transformer
from .graphs import StepGraphs, lend
from .known import Evidence, Known


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How tokens are drawn. ``top_k=0`` and ``top_p=0`` switch the filters off; ``top_k=1`` is greedy.

    Guidance grows linearly from 0 at the first scale, as the reference's does, but is at least ``guidance_floor`` of
    its end. From scale ``settle`` on the likeliest token is taken: tokens of one scale are drawn without seeing each
    other, so what chance does to fine scales is noise, while coarse ones decide what there is.
    ``smooth`` takes a Gumbel-softmax mixture of codes instead of the drawn code.
    """

    guidance: float = 4.0
    guidance_floor: float = 0.0
    top_k: int = 900
    top_p: float = 0.95
    settle: int | None = None
    smooth: bool = False


@dataclass(frozen=True)
class ScaleStep:
    """One scale done. `logits` (b, drawn, v) are what the tokens that are not known were drawn from, after guidance."""

    k: int
    tokens: Tensor  # (b, l)
    codes: Tensor  # (b, l, c); with smooth codes the tokens alone do not say the canvas
    canvas: Tensor  # (b, c, h, w) float32
    logits: Tensor | None = None
    log_likelihood: Tensor | None = None  # (b,) of the drawn tokens under the guided model


def filter_logits(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """(..., v) -> the same with -inf where a token may not be drawn, by the reference's top-k / top-p filter.

    Top-k keeps logits >= the k-th largest; top-p removes from the lowest up while the cumulative
    probability is <= 1 - top_p, never the best.
    """
    if 0 < top_k < logits.shape[-1]:
        best = logits.topk(top_k, dim=-1).values  # descending
        logits = logits.masked_fill(logits < best[..., -1:], -torch.inf)
    elif 0 < top_p < 1:
        best = logits.sort(dim=-1, descending=True).values
    if 0 < top_p < 1:
        from_below = best.softmax(dim=-1).flip(-1).cumsum(dim=-1).flip(-1)
        kept = (from_below > 1 - top_p).sum(dim=-1, keepdim=True).clamp_min(1)
        logits = logits.masked_fill(logits < best.gather(-1, kept - 1), -torch.inf)
    return logits


def exponential_noise(seeds: Sequence[int], k: int, l: int, v: int, device: torch.device) -> Tensor:
    """(b, l, v) exponential noise that depends on (seed, scale) alone, so that any later run that shares a
    seed and a prefix of scales continues identically."""
    rows = []
    for seed in seeds:
        generator = torch.Generator(device=device).manual_seed((seed * 1_000_003 + 7919 * k) % 2**63)
        rows.append(torch.empty(l, v, device=device).exponential_(generator=generator))
    return torch.stack(rows)


def smooth_codes(logits: Tensor, noise: Tensor, ratio: float, codebook: Tensor) -> Tensor:
    """Gumbel-softmax mixture of codes (reference: more_smooth). (b, l, v) -> (b, l, c)."""
    temperature = max(0.27 * (1 - 0.95 * ratio), 0.005)
    gumbel = -noise.log()
    return ((logits * (1 + ratio) + gumbel) / temperature).softmax(-1) @ codebook


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
    prefixes: Remembered | None = None,
    graphs: dict[int, StepGraphs] | None = None,
) -> Iterator[ScaleStep]:
    """Predict every scale and yield it.

    labels (b,) long, `transformer.config.null_label` for no class; one seed per candidate; scales before
    `start_scale` are taken whole from `known.tokens`; `stop_scale` ends after that many scales. `prefixes` remembers
    the work that known scales need, from one call to the next; `graphs` spares a GPU its launches.
    """
    if known is None and start_scale:
        raise ValueError("a start scale needs the known tokens of the scales before it")
    if len(seeds) != labels.shape[0]:
        raise ValueError(f"{labels.shape[0]} candidates need as many seeds, got {len(seeds)}")
    stop = len(transformer.scales) if stop_scale is None else stop_scale
    run = _Run(transformer, tokenizer, labels, options, seeds, known, graphs)
    prefix = min(run.known_scales(start_scale), stop)
    try:
        for k in range(prefix):
            yield run.take(k)
        if 0 < prefix < stop:
            run.fill_cache(prefix, prefixes or Remembered(0))
        for k in range(prefix, stop):
            yield run.draw(k)
    finally:
        if run.lent is not None:
            run.lent.lent = False


class _Run:
    """One call of `sample`: what its scales share, and the canvas as it grows. Nothing in it waits for the device:
    which cells are kept is read at its start."""

    def __init__(
        self, transformer: Transformer, tokenizer: Tokenizer, labels: Tensor, options: SampleOptions,
        seeds: Sequence[int], known: Known | None, graphs: dict[int, StepGraphs] | None,
    ) -> None:  # fmt: skip
        self.transformer, self.tokenizer, self.options, self.seeds = transformer, tokenizer, options, seeds
        self.known, self.scales, self.b = known, transformer.scales, labels.shape[0]
        null = transformer.config.null_label
        self.guided = options.guidance != 0 and bool((labels != null).any())
        self.rows = torch.cat((labels, torch.full_like(labels, null))) if self.guided else labels
        self.conditioning = transformer.condition(self.rows)
        self.lent = None if graphs is None else lend(graphs, transformer, self.conditioning)
        self.cache = transformer.new_cache(len(self.rows)) if self.lent is None else self.lent.cache
        self.evidence = Evidence(known, tokenizer) if known is not None and known.method != "tokens" else None
        self.telling = known if transformer.known_embed is not None else None
        self.keeps = [
            torch.zeros(length, dtype=torch.bool) if known is None else known.keep[k].cpu()
            for k, length in enumerate(self.scales.lengths)
        ]
        self.canvas = tokenizer.empty_canvas(self.b)
        self.inputs: list[Tensor] = []  # of scale 1 onwards: the shrunk canvas (b, l, c)

    def known_scales(self, start: int) -> int:
        """How many leading scales are known entirely, at least `start`."""
        return next((k for k in range(start, len(self.keeps)) if not bool(self.keeps[k].all())), len(self.keeps))

    def _grow(self, codes: Tensor, k: int) -> None:
        self.canvas = self.canvas + self.tokenizer.enlarge(codes, k)
        if k + 1 < len(self.scales):
            self.inputs.append(self.tokenizer.shrink(self.canvas, k + 1))

    def take(self, k: int) -> ScaleStep:
        """A scale that is known entirely."""
        assert self.known is not None
        tokens, given = self.known.tokens[k].expand(self.b, -1), self.known.codes
        codes = self.tokenizer.codebook(tokens) if given is None or k >= len(given) else given[k].expand(self.b, -1, -1)
        self._grow(codes, k)
        return ScaleStep(k, tokens, codes, self.canvas)

    def _told(self, first: int, last: int) -> Tensor | None:
        return None if self.telling is None else self.telling.told(self.scales.sides[first : last + 1], first)

    def fill_cache(self, prefix: int, prefixes: Remembered) -> None:
        """Keys and values of the known scales, in one block-causal pass; one candidate's pass serves all, unless
        their inputs differ (an edit of several pictures). Where codes are mixed, a scale at a time as in a draw: other
        products round otherwise, a mixture shows it, and a finished sketch must be the picture of one run."""
        if self.options.smooth:
            for k in range(prefix):
                self._pass(self.inputs[k - 1] if k else None, self.cache, k, k)
            return
        last = prefix - 1
        earlier, told = torch.cat(self.inputs[:last], dim=1) if last else None, self._told(0, last)
        decisive = [part for part in (earlier, told) if part is not None]
        if any(not torch.equal(row, part[0]) for part in decisive for row in part[1:]):
            self._pass(earlier, self.cache, 0, last)
            return

        def compute() -> tuple[Tensor, Tensor]:
            one = self.transformer.new_cache(len(self.rows) // self.b)
            self._pass(None if earlier is None else earlier[:1], one, 0, last, every=self.b)
            return one.filled()

        keys, values = prefixes([self.rows[:: self.b], *(part[:1] for part in decisive)], compute)
        self.cache.begin(keys, values, self.b)

    def _pass(self, inputs: Tensor | None, cache: KVCache, first: int, last: int, every: int = 1) -> Tensor:
        """The blocks over scales first..last; inputs (b, l, c) are shared by both guidance halves."""
        conditioning = self.conditioning.rows(slice(None, None, every))
        if inputs is not None and self.guided:
            inputs = inputs.repeat(2, 1, 1)
        told, rows = self._told(first, last), len(self.rows) // every
        if told is not None:
            told = told[:1].expand(rows, -1, -1) if len(told) == 1 or every > 1 else told.repeat(rows // self.b, 1, 1)
        x = self.transformer.embed(inputs, conditioning, first, last, told)
        if self.lent is not None and cache is self.cache and first == last:
            return self.lent.step(x, first)
        return self.transformer.step(x, conditioning, first, last, cache)

    def _guidance(self, k: int) -> float:
        return self.options.guidance * max(self.options.guidance_floor, self.scales.ratio(k)) if self.guided else 0.0

    def _logits(self, hidden: Tensor, k: int) -> Tensor:
        """(b or 2b, l, d) -> (b, l, v): (1 + t) * conditional - t * unconditional; one half where t is 0."""
        t = self._guidance(k)
        if t == 0:
            return self.transformer.logits(hidden[: self.b], self.conditioning.rows(slice(self.b)))
        logits = self.transformer.logits(hidden, self.conditioning)
        return (1 + t) * logits[: self.b] - t * logits[self.b :]

    def _choose(self, judged: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """(b, l, v) logits -> the same with what may not be drawn at -inf, and the tokens (b, l)."""
        if noise is None:
            return judged, judged.argmax(-1)
        judged = filter_logits(judged, self.options.top_k, self.options.top_p)
        return judged, (judged.softmax(-1) / noise).argmax(-1)

    def _choose_in_order(
        self, k: int, hidden: Tensor, logits: Tensor, against: Tensor | None, noise: Tensor | None, held: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `_choose`, one cell after the other, given those before it by the refiner: refined logits first.
        `logits` (b, n, v) and so on are of the cells that are drawn; `held` (b, l) are the tokens of the kept ones."""
        refiner, t = self.transformer.refiner, self._guidance(k)
        assert refiner is not None
        refining = Refining(refiner, hidden[: self.b] if t == 0 else hidden, self.scales.spans[k][0])
        halves, code, found = 1 if t == 0 else 2, None, []
        for cell, kept in enumerate(self.keeps[k].tolist()):
            added = self.transformer.refinement(refining.step(None if code is None else code.repeat(halves, 1, 1)))
            added = added if t == 0 else (1 + t) * added[: self.b] - t * added[self.b :]
            token = held[:, cell : cell + 1]
            if not kept:
                n = len(found)
                refined = logits[:, n : n + 1] + added
                judged = refined if against is None else refined - against[:, n : n + 1]
                judged, proposal = self._choose(judged, None if noise is None else noise[:, n : n + 1])
                found.append((refined, judged, proposal))
                token = proposal
            code = self.tokenizer.codebook(token)
        refined, judged, proposal = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return refined, judged, proposal

    def draw(self, k: int) -> ScaleStep:
        """Predict a scale, draw where it is not known, and hold what is."""
        options, keep, device = self.options, self.keeps[k], self.rows.device
        hidden = self._pass(self.inputs[-1] if k else None, self.cache, k, k)
        where, kept = (mask.nonzero()[:, 0].to(device, non_blocking=True) for mask in (~keep, keep))
        logits = self._logits(hidden if len(where) == len(keep) else hidden[:, where], k)
        lack = against = noise = None
        if self.evidence is not None:
            lack, weight = self.evidence.at(self.canvas, k)
            against = self.evidence.against(lack[:, where], weight[where])
        if options.top_k != 1 and (options.settle is None or k < options.settle):
            noise = exponential_noise(self.seeds, k, len(keep), logits.shape[-1], device)[:, where]
        held = torch.zeros(self.b, len(keep), dtype=torch.long, device=device)
        if self.known is not None and len(kept):
            source = self.known.tokens[k]
            held[:, kept] = self.tokenizer.nearest(lack[:, kept]) if lack is not None else source[:, kept]
        refiner = self.transformer.refiner
        if refiner is not None and refiner.refines(self.scales.spans[k][1]) and len(where):
            logits, judged, proposal = self._choose_in_order(k, hidden, logits, against, noise, held)
        else:
            judged, proposal = self._choose(logits if against is None else logits - against, noise)
        likelihood = logits.log_softmax(-1).gather(-1, proposal[..., None]).sum((1, 2))

        tokens = held.clone()
        tokens[:, where] = proposal
        codes = self.tokenizer.codebook(tokens)
        if options.smooth and noise is not None:
            codes[:, where] = smooth_codes(judged, noise, self.scales.ratio(k), self.tokenizer.codebook.weight)
        self._grow(codes, k)
        return ScaleStep(k, tokens, codes, self.canvas, logits, likelihood)
