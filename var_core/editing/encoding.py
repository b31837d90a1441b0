"""Pictures -> features and tokens, never the same picture twice: the page encodes while a visitor still paints."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..model.tokenizer import Tokenizer

REMEMBERED = 16 * 2**20  # bytes of features and tokens; one picture at 256 px takes 40 kB

Encoded = tuple[Tensor, list[Tensor]]


class Encodings:
    """Remembers its last answers by the bytes of the pixels that went in, so a stale one cannot be used. The caller
    holds the engine's lock."""

    def __init__(self, tokenizer: Tokenizer, device: torch.device, limit: int = REMEMBERED) -> None:
        self.tokenizer = tokenizer
        self.device = device
        self.limit = limit
        self._kept: OrderedDict[bytes, Encoded] = OrderedDict()

    def forget(self) -> None:
        """To be called when the tokenizer computes differently from now on."""
        self._kept.clear()

    def __call__(self, crops: list[Image.Image]) -> Encoded:
        """RGB squares of one size -> features (b, c, h, w) and tokens, per scale (b, l). Not to be written to."""
        arrays = np.stack([np.asarray(crop) for crop in crops])
        key = hashlib.blake2b(arrays.tobytes() + repr(arrays.shape).encode(), digest_size=20).digest()
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = self._kept[key] = self._encode(arrays)
        while len(self._kept) > 1 and self.held > self.limit:
            self._kept.popitem(last=False)
        return made

    @property
    def held(self) -> int:
        """Bytes remembered."""
        return sum(part.nbytes for features, tokens in self._kept.values() for part in (features, *tokens))

    def pixels(self, crops: list[Image.Image]) -> Tensor:
        """RGB squares of one size -> (b, 3, H, W) in [-1, 1]."""
        return self._pixels(np.stack([np.asarray(crop) for crop in crops]))

    def _pixels(self, arrays: np.ndarray) -> Tensor:
        return torch.from_numpy(arrays).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1

    @torch.inference_mode()
    def _encode(self, arrays: np.ndarray) -> Encoded:
        features = self.tokenizer.features(self._pixels(arrays))
        return features, self.tokenizer.quantize(features)[0]
