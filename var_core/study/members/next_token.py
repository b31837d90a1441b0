"""One token after the other, in VAR's order over VAR's own tokens: nats compare one to one, and the difference is what
drawing a scale at once costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.transformer import TransformerConfig
from ..tokens import Words
from ..trunk import Cost, begin, causal, cost, foretold, guided, pick, through, twice
from .held import Held
from .learner import Learner


class NextToken(Learner):
    """A token's input is VAR's (the canvas of the scales before, at its cell) and the code of the token before it;
    it sees itself and all earlier ones."""

    kind, anywhere = "ten", True

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        total = sum(side * side for side in config.sides)
        self.trunk = begin(config, causal(total))
        self.before = nn.Linear(config.code_dim, config.width, bias=False)
        nn.init.trunc_normal_(self.before.weight, std=(3 * config.width) ** -0.5)

    def cost(self) -> Cost:
        total = self.trunk.scales.total
        return cost(self.trunk, total, 2 * (total - 1))

    def given(self, words: Words, content: Tensor, *chance: Tensor) -> tuple[Tensor, ...]:
        """Tokens (n, L), the canvases of the scales before each and the code of the one before, (n, L - 1, c)."""
        inputs = words.ten.teacher_inputs([content[:, a:b] for a, b in self.trunk.scales.spans])
        return content, inputs, words.ten.codebook(content[:, :-1])

    def scores(self, labels: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        content, inputs, codes = given
        trunk, conditioning = self.trunk, self.trunk.condition(labels)
        x = trunk.embed(inputs, conditioning, 0, len(trunk.scales) - 1)
        x = x + F.pad(self.before(codes).float(), (0, 0, 1, 0))
        logits = trunk.logits(through(trunk, x, conditioning), conditioning)
        return foretold(logits, content, self.training)

    @torch.inference_mode()
    def draw(self, words: Words, labels: Tensor, seeds: list[int], guidance: float, held: Held | None = None) -> Tensor:
        """labels (b,) -> canvases (b, c, h, w); 680 steps through a cache."""
        trunk, tokenizer, b = self.trunk, words.ten, len(labels)
        rows = twice(labels, trunk.config.null_label, guidance)
        conditioning, cache, canvas = trunk.condition(rows), trunk.new_cache(len(rows)), tokenizer.empty_canvas(b)
        given, keep = ([], []) if held is None else held.chain(tokenizer)
        code = torch.zeros(b, tokenizer.config.code_dim, device=labels.device)
        for k, (first, stop) in enumerate(trunk.scales.spans):
            told = tokenizer.shrink(canvas, k) if k else None
            codes = []
            for i in range(first, stop):
                x = conditioning.start if told is None else self._input(told[:, i - first], code).repeat(
                    len(rows) // b, 1, 1
                )  # fmt: skip
                x = x + trunk.pos_embed[:, i : i + 1] + trunk.scale_embed.weight[k]
                logits = guided(trunk.logits(through(trunk, x, conditioning, cache), conditioning), guidance)
                ids = pick(logits, seeds, i)[:, 0]
                if held is not None and keep[k][i - first]:
                    ids = given[k][:, i - first].expand(b)
                code = tokenizer.codebook(ids)
                codes.append(code)
            canvas = canvas + tokenizer.enlarge(torch.stack(codes, 1), k)
        return canvas

    def _input(self, told: Tensor, code: Tensor) -> Tensor:
        """(b, c), (b, c) -> (b, 1, d)."""
        return (self.trunk.word_embed(told) + self.before(code))[:, None]
