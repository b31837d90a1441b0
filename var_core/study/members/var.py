"""VAR: each scale drawn at once from the scales before it."""

from __future__ import annotations

from torch import Tensor

from ...model.scales import Scales
from ...model.tokenizer import Tokenizer
from ...model.transformer import TransformerConfig
from ...sampling.known import Known
from ...sampling.sampler import SampleOptions, sample
from ..tokens import Words
from ..trunk import TOP_P, Cost, begin, cost, foretold, scalewise
from .held import Held
from .learner import Learner


class Var(Learner):
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

    def given(self, words: Words, content: Tensor, *chance: Tensor) -> tuple[Tensor, ...]:
        """Tokens (n, L), and the canvases of the scales before each (n, L - 1, c)."""
        tokenizer = self._words(words)
        return content, tokenizer.teacher_inputs([content[:, a:b] for a, b in tokenizer.scales.spans])

    def scores(self, labels: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        content, inputs = given
        return foretold(self.trunk(labels, inputs), content, self.training)

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
