"""VAR: each scale drawn at once from the scales before it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...model.scales import Scales
from ...model.tokenizer import Tokenizer
from ...model.transformer import TransformerConfig
from ...sampling.known import Known
from ...sampling.sampler import SampleOptions, sample
from ..tokens import Batch, Words
from ..trunk import TOP_P, Cost, begin, cost, foretold, scalewise
from .held import Held


class Var(nn.Module):
    """`kind` is "ten" or "five", the scales it draws."""

    anywhere = True

    def __init__(self, config: TransformerConfig, kind: str) -> None:
        super().__init__()
        self.kind, self.trunk = kind, begin(config, scalewise(Scales(config.sides)))

    def _words(self, words: Words) -> Tokenizer:
        return words.ten if self.kind == "ten" else words.five

    def cost(self) -> Cost:
        total = self.trunk.scales.total
        return cost(self.trunk, total, total - 1)

    def losses(self, words: Words, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Nats (b, L) and whether the best token is the true one (b, L)."""
        tokenizer = self._words(words)
        tokens = [batch.content[:, a:b] for a, b in tokenizer.scales.spans]
        with torch.no_grad(), torch.autocast(batch.labels.device.type, enabled=False):
            inputs = tokenizer.teacher_inputs(tokens)
        logits = self.trunk(batch.labels, inputs)
        return foretold(logits, batch.content, self.training)

    def draw(self, words: Words, labels: Tensor, seeds: list[int], guidance: float, held: Held | None = None) -> Tensor:
        """labels (b,) -> canvases (b, c, h, w)."""
        tokenizer, known = self._words(words), None
        if held is not None:
            tokens, keep = held.chain(tokenizer)
            rule = "evidence" if held.evidence else "tokens"
            known = Known(tokens, keep, rule, held.features, held.fraction)
        options = SampleOptions(guidance=guidance, top_k=0, top_p=TOP_P)
        found = sample(self.trunk, tokenizer, labels, options, seeds=seeds, known=known)
        return [step.canvas for step in found][-1]
