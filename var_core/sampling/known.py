"""What an edit knows, in token space, and what the known pixels say about each scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..model.infill import all_known_cells
from ..model.tokenizer import Tokenizer

Holding = Literal["evidence", "requantize", "tokens"]


@dataclass(frozen=True)
class Known:
    """The edit, in token space.

    `tokens` per scale (b or 1, l): the source's own residual chain. `keep` per scale (l,) bool, True where the
    source is kept. `features` (b or 1, c, h, w): the source's features, for every method but "tokens"; a transformer
    with infill conditioning is told them too. `fraction` (h, w) in [0, 1]: known share of each finest cell, for
    "evidence". `codes` of the first scales (b or 1, l, c), where codes were mixed and the tokens do not say them.
    `told_from`: scales before it are not told what is known, so that the class alone decides what there is.

    Methods: "tokens" takes the source's tokens (the paper's zero-shot editing); "requantize" takes, at kept
    cells, the code nearest to what the running canvas still lacks; "evidence" does that at fully known cells
    and draws partly known ones from the model's logits minus `evidence` * w * squared distance, where w counts
    the known finest cells, at most one, and distances are in units of the codebook's variance.
    """

    tokens: list[Tensor]
    keep: list[Tensor]
    method: Holding = "tokens"
    features: Tensor | None = None
    fraction: Tensor | None = None
    evidence: float = 10.0
    codes: list[Tensor] | None = None
    told_from: int = 0

    def told(self, sides: tuple[int, ...], first: int) -> Tensor | None:
        """What a transformer with infill conditioning is told about scales of these sides, `first` and later ones,
        (b or 1, l, c + 1): nothing where the published rule is asked for."""
        if self.method == "tokens" or self.features is None or self.fraction is None:
            return None
        told = all_known_cells(self.features, self.fraction.expand(len(self.features), -1, -1), sides)
        silent = sum(side * side for side in sides[: max(0, self.told_from - first)])
        told[:, :silent] = 0  # as where nothing is known
        return told


class Evidence:
    """What the known pixels say about a scale, against the running canvas."""

    def __init__(self, known: Known, tokenizer: Tokenizer) -> None:
        if known.features is None:
            raise ValueError(f'method "{known.method}" needs the features of the source')
        self.strength = known.evidence if known.method == "evidence" else 0.0
        self.tokenizer, self.features = tokenizer, known.features
        fraction = known.fraction if known.method == "evidence" else None
        self.fraction = torch.ones_like(self.features[0, 0]) if fraction is None else fraction
        codes = tokenizer.codebook.weight.float()
        self.variance = (codes - codes.mean(0)).square().sum(1).mean()

    def at(self, canvas: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Known-part mean of what the canvas lacks (b, l, c), and known finest cells, at most one (l,)."""
        fraction = self.fraction[None, None]  # (1, 1, h, w)
        share = self.tokenizer.shrink(fraction, k)  # (1, l, 1)
        lack = self.tokenizer.shrink((self.features - canvas) * fraction, k) / share.clamp_min(1e-6)
        cells = (self.fraction.shape[-1] / self.tokenizer.scales.sides[k]) ** 2
        return lack, (share[0, :, 0] * cells).clamp_max(1.0)

    def against(self, lack: Tensor, weight: Tensor) -> Tensor | None:
        """lack (b, l, c), weight (l,) -> (b, l, v): what speaks against each code; None where nothing does."""
        if not self.strength:
            return None
        codes = self.tokenizer.codebook.weight.float()
        distance = torch.cdist(lack, codes[None]).square() / self.variance
        return self.strength * weight[None, :, None] * distance
