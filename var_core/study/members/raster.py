"""One code after the other in raster order, over one scale of the same encoder (the line of VQGAN and DALL-E)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...model.transformer import TransformerConfig
from ..tokens import Words, canvas_of
from ..trunk import Cost, begin, causal, cost, foretold, guided, pick, through, twice
from .held import Held
from .learner import Learner


class Raster(Learner):
    """The class is the first input, then the code of the cell before."""

    kind, anywhere = "flat", False

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.trunk = begin(config, causal(config.sides[-1] ** 2))

    def cost(self) -> Cost:
        total = self.trunk.scales.total
        return cost(self.trunk, total, total - 1)

    def given(self, words: Words, content: Tensor, *chance: Tensor) -> tuple[Tensor, ...]:
        """Codes of the cells (n, L), as numbers and, but the last, as vectors (n, L - 1, c)."""
        return content, words.flat[content[:, :-1]]

    def scores(self, labels: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        content, codes = given
        conditioning = self.trunk.condition(labels)
        x = self.trunk.embed(codes, conditioning, 0, 0)
        logits = self.trunk.logits(through(self.trunk, x, conditioning), conditioning)
        return foretold(logits, content, self.training)

    @torch.inference_mode()
    def draw(self, words: Words, labels: Tensor, seeds: list[int], guidance: float, held: Held | None = None) -> Tensor:
        """labels (b,) -> canvases (b, c, h, w); a step a cell, through a cache. ValueError if something is to be held:
        what lies below and right of a cell cannot be seen."""
        if held is not None:
            raise ValueError("raster order cannot hold known pixels in any place: leave it out of the edits")
        trunk, b = self.trunk, len(labels)
        rows = twice(labels, trunk.config.null_label, guidance)
        conditioning, cache, ids = trunk.condition(rows), trunk.new_cache(len(rows)), []
        for i in range(trunk.scales.total):
            x = conditioning.start
            if i:
                x = trunk.word_embed(words.flat[ids[-1]])[:, None].repeat(len(rows) // b, 1, 1)
            x = x + trunk.pos_embed[:, i : i + 1] + trunk.scale_embed.weight[0]
            logits = guided(trunk.logits(through(trunk, x, conditioning, cache), conditioning), guidance)
            ids.append(pick(logits, seeds, i)[:, 0])
        return canvas_of(words, "flat", torch.stack(ids, 1))
