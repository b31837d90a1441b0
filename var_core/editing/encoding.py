"""Pictures -> features and tokens, never the same picture twice: the page encodes while a visitor still paints."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..model.memory import Remembered
from ..model.tokenizer import Tokenizer

REMEMBERED = 16 * 2**20  # bytes of features and tokens; one picture at 256 px takes 40 kB


class Encodings:
    """Remembers its last answers by the bytes of the pixels that went in, so a stale one cannot be used. The caller
    holds the engine's lock."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.remembered = tokenizer, Remembered(REMEMBERED)

    def __call__(self, crops: list[Image.Image]) -> tuple[Tensor, list[Tensor]]:
        """RGB squares of one size -> features (b, c, h, w) and tokens, per scale (b, l). Not to be written to."""
        stacked = _stacked(crops)
        features, *tokens = self.remembered([stacked], lambda: self._encode(stacked))
        return features, tokens

    def pixels(self, crops: list[Image.Image]) -> Tensor:
        """RGB squares of one size -> (b, 3, H, W) in [-1, 1]."""
        return self._pixels(_stacked(crops))

    def _pixels(self, stacked: Tensor) -> Tensor:
        return stacked.to(self.tokenizer.device).permute(0, 3, 1, 2).float() / 127.5 - 1

    @torch.inference_mode()
    def _encode(self, stacked: Tensor) -> tuple[Tensor, ...]:
        features = self.tokenizer.features(self._pixels(stacked))
        return features, *self.tokenizer.quantize(features)[0]


def _stacked(crops: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(crop) for crop in crops]))  # (b, H, W, 3) uint8
