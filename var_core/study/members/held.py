"""What an edit knows of a picture, for members that can hold it in any place without having been trained to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...model.tokenizer import Tokenizer

_WHOLE = 1 - 1e-6


@dataclass(frozen=True)
class Held:
    """features (b, c, h, w) of pictures with their holes filled; fraction (h, w): known share of each finest cell.
    `evidence` is the rule of the editor (VAR only), else known cells take the source's own tokens, as published."""

    features: Tensor
    fraction: Tensor
    evidence: bool = False

    def chain(self, tokenizer: Tokenizer) -> tuple[list[Tensor], list[Tensor]]:
        """The source's tokens (b, l) and which cells are wholly known (l,), of every scale."""
        share = self.fraction[None, None]
        keep = [tokenizer.shrink(share, k)[0, :, 0] > _WHOLE for k in range(len(tokenizer.scales))]
        return tokenizer.quantize(self.features)[0], keep

    def single(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest single-scale codes (b, l) of the source, and which cells are wholly known (l,)."""
        vectors = self.features.flatten(2).transpose(1, 2)
        distance = flat.square().sum(1) - 2 * vectors @ flat.t()
        return distance.argmin(-1), torch.flatten(self.fraction > _WHOLE)
