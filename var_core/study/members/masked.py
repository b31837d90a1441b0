"""Masked codes, drawn in a few steps (MaskGIT, Chang et al. 2022), over one scale of the same encoder; the order is
Halton's sequence (Besnier et al. 2025), which spreads each step's cells far from each other."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ...model.transformer import Conditioning, TransformerConfig
from ..tokens import Words, canvas_of
from ..trunk import Cost, begin, cost, foretold, guided, mutual, pick, through, twice
from .held import Held
from .learner import Learner


def halton(number: int, base: int) -> float:
    """The number's digits mirrored at the point: in [0, 1)."""
    value, share = 0.0, 1.0
    while number:
        share /= base
        number, digit = divmod(number, base)
        value += digit * share
    return value


def halton_cells(side: int) -> list[int]:
    """Every cell of a side x side grid once, in the order in which the sequence in bases 2 and 3 meets them."""
    cells: dict[int, None] = {}
    number = 1
    while len(cells) < side * side:
        cells[int(halton(number, 2) * side) * side + int(halton(number, 3) * side)] = None
        number += 1
    return list(cells)


class Masked(Learner):
    """Every cell sees all others; masked ones say only where they are. `steps` are those of a draw."""

    kind, anywhere = "flat", True

    def __init__(self, config: TransformerConfig, steps: int = 12) -> None:
        super().__init__()
        self.steps, side = steps, config.sides[-1]
        self.trunk = begin(config, mutual(side * side))
        self.mask = nn.Parameter(torch.zeros(1, 1, config.width))
        self.order = torch.tensor(halton_cells(side))

    def cost(self) -> Cost:
        total = self.trunk.scales.total
        return cost(self.trunk, total, total)

    def _logits(self, codes: Tensor, hidden: Tensor, conditioning: Conditioning) -> Tensor:
        """codes (b, L, c) and hidden (b, L) bool -> (b, L, v)."""
        trunk = self.trunk
        x = torch.where(hidden[..., None], self.mask, trunk.word_embed(codes).float())
        x = x + conditioning.start + trunk.pos_embed + trunk.scale_embed.weight[0]
        return trunk.logits(through(trunk, x, conditioning), conditioning)

    def chance(self, b: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Which cells are hidden, (b, L) bool. In training their share follows MaskGIT's cosine; else it is uniform,
        and the sum of `scores` over a picture is, in the mean, an upper bound of its nats (that of drawing cells one
        after another in random orders)."""
        total = self.trunk.scales.total
        draws = (np.arange(b) + rng.random()) / b
        share = np.cos(draws * math.pi / 2) if self.training else draws
        count = np.clip(np.ceil(share * total), 1, total)
        ranks = rng.random((b, total)).argsort(1).argsort(1)
        return (ranks < count[:, None],)

    def given(self, words: Words, content: Tensor, *chance: Tensor) -> tuple[Tensor, ...]:
        """Codes of the cells as numbers (n, L) and as vectors (n, L, c), and which are hidden (n, L)."""
        return content, words.flat[content], *chance

    def scores(self, labels: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """As for all, 0 where nothing was hidden and so weighted that the mean is that of the hidden."""
        content, codes, hidden = given
        total = content.shape[1]
        nats, right = foretold(self._logits(codes, hidden, self.trunk.condition(labels)), content, self.training)
        weight = hidden * (total / hidden.sum(1, keepdim=True))
        return nats * weight, right & hidden

    @torch.inference_mode()
    def draw(self, words: Words, labels: Tensor, seeds: list[int], guidance: float, held: Held | None = None) -> Tensor:
        """labels (b,) -> canvases (b, c, h, w)."""
        b, total, device = len(labels), self.trunk.scales.total, labels.device
        rows = twice(labels, self.trunk.config.null_label, guidance)
        conditioning = self.trunk.condition(rows)
        content, open_ = torch.zeros(b, total, dtype=torch.long, device=device), torch.ones(total, dtype=torch.bool)
        if held is not None:
            given, keep = held.single(words.flat)
            content[:, keep], open_ = given[:, keep].expand(b, -1), ~keep.cpu()
        order = self.order[open_[self.order]]
        stops = [len(order) - int(math.cos(math.pi / 2 * (i + 1) / self.steps) * len(order)) for i in range(self.steps)]
        start = 0
        for number, stop in enumerate(stops):
            if stop == start:
                continue
            hidden = torch.zeros(total, dtype=torch.bool, device=device)
            hidden[order[start:]] = True
            many = content.repeat(len(rows) // b, 1)
            logits = guided(self._logits(words.flat[many], hidden.expand(len(many), -1), conditioning), guidance)
            cells = order[start:stop].to(device)
            content[:, cells] = pick(logits[:, cells], seeds, number)
            start = stop
        return canvas_of(words, "flat", content)
