"""What a tokenizer keeps of pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..model.tokenizer import Tokenizer
from ..pictures.data import Pictures, stack, to_model
from .judge import principal_frechet
from .lite import Lite, lite_features
from .metrics import psnr, ssim

LIMIT = 256  # pictures: distances of different numbers cannot be compared
_PIXELS = 2**19  # of a batch


@torch.inference_mode()
def rebuild(
    tokenizer: Tokenizer, squares: list[np.ndarray], bfloat16: bool = False
) -> tuple[list[np.ndarray], list[Tensor]]:
    """Pictures (H, W, 3) uint8 of the tokenizer's size, there and back; and the token ids (n, l) of every scale."""
    batch, made, tokens = max(1, _PIXELS // tokenizer.config.resolution**2), [], []
    half = torch.autocast(tokenizer.device.type, torch.bfloat16, enabled=bfloat16)
    tokenizer.eval()
    for at in range(0, len(squares), batch):
        image = to_model(stack(squares[at : at + batch]), tokenizer.device)
        with half:
            features = tokenizer.features(image)
        ids, canvases = tokenizer.quantize(features)
        with half:
            out = tokenizer.decode(canvases[-1])
        made += list(((out + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
        tokens.append(ids)
    return made, [torch.cat(of_scale) for of_scale in zip(*tokens, strict=True)]


def centres(pictures: Pictures, size: int, limit: int | None = LIMIT) -> tuple[list[np.ndarray], list[str]]:
    """Centre squares of at most `limit` pictures, the same ones every time, and the first words of their classes."""
    order = [int(i) for i in np.random.default_rng(0).permutation(len(pictures))[:limit]]
    return [pictures.centre(i, size) for i in order], [pictures.kind(i) for i in order]


class RoundTrip:
    """Pictures (H, W, 3) uint8 of one size to judge tokenizers by; `kinds` are their first words, if they have some."""

    def __init__(self, squares: list[np.ndarray], kinds: list[str] | None = None) -> None:
        self.squares, self.kinds, self.lite = squares, kinds, Lite(2)
        self.real = lite_features(self.lite, squares)

    def __call__(self, tokenizer: Tokenizer, bfloat16: bool = False) -> dict:
        """PSNR in dB and SSIM (means over pictures), Frechet distance in 64 principal parts of lite2's features of the
        originals, distinct codes of every scale and the share of the codebook in use."""
        made, tokens = rebuild(tokenizer, self.squares, bfloat16)
        values = [(psnr(a, b), ssim(a, b)) for a, b in zip(made, self.squares, strict=True)]
        kinds: dict[str, list[tuple[float, float]]] = {}
        for kind, pair in zip(self.kinds or (), values, strict=bool(self.kinds)):
            kinds.setdefault(kind, []).append(pair)
        codes = [set(ids.flatten().tolist()) for ids in tokens]
        return {
            **_means(values),
            "frechet": round(principal_frechet(self.real, lite_features(self.lite, made)), 2),
            "by_kind": {kind: _means(pairs) for kind, pairs in sorted(kinds.items())},
            "codes_per_scale": {str(side): len(some) for side, some in zip(tokenizer.scales.sides, codes, strict=True)},
            "codes_used": round(len(set().union(*codes)) / tokenizer.config.vocab_size, 3),
        }


def _means(pairs: list[tuple[float, float]]) -> dict[str, float]:
    values = np.array(pairs).mean(axis=0)
    return {"pictures": len(pairs), "psnr": round(float(values[0]), 2), "ssim": round(float(values[1]), 3)}
