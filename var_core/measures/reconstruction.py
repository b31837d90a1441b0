"""What a tokenizer keeps of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..model.tokenizer import Tokenizer
from ..pictures.data import Pictures, stack, to_model
from .metrics import psnr, ssim

_PIXELS = 2**19  # of a batch


@dataclass(frozen=True)
class Rebuilt:
    """Some centre squares through a tokenizer: their places among the pictures, the squares (H, W, 3) uint8, token ids
    (b, l) and canvases (b, c, h, w) of every scale."""

    places: list[int]
    real: list[np.ndarray]
    tokens: list[Tensor]
    canvases: list[Tensor]


def rebuild(tokenizer: Tokenizer, pictures: Pictures, order: Sequence[int] | np.ndarray) -> Iterator[Rebuilt]:
    """The pictures of `order`, some at a time."""
    tokenizer.eval()
    size = tokenizer.config.resolution
    batch = max(1, _PIXELS // size**2)
    for at in range(0, len(order), batch):
        places = [int(i) for i in order[at : at + batch]]
        real = [pictures.centre(i, size) for i in places]
        tokens, canvases = tokenizer.quantize(tokenizer.features(to_model(stack(real), tokenizer.device)))
        yield Rebuilt(places, real, tokens, canvases)


def decoded(tokenizer: Tokenizer, canvas: Tensor) -> list[np.ndarray]:
    """(b, c, h, w) -> pictures (H, W, 3) uint8."""
    return list(((tokenizer.decode(canvas) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())


@torch.inference_mode()
def reconstruct(tokenizer: Tokenizer, pictures: Pictures, limit: int | None = None) -> dict:
    """Figures of encode-decode; means of per-picture values."""
    order = np.random.default_rng(0).permutation(len(pictures))[: limit or len(pictures)]
    kinds: dict[str, list[tuple[float, float]]] = {}
    codes: list[set[int]] = [set() for _ in tokenizer.scales.sides]
    for some in rebuild(tokenizer, pictures, order):
        for place, made, real in zip(some.places, decoded(tokenizer, some.canvases[-1]), some.real, strict=True):
            kinds.setdefault(pictures.kind(place), []).append((psnr(made, real), ssim(made, real)))
        for seen, ids in zip(codes, some.tokens, strict=True):
            seen.update(ids.flatten().tolist())
    every = [pair for pairs in kinds.values() for pair in pairs]

    def means(pairs: list[tuple[float, float]]) -> dict[str, float]:
        values = np.array(pairs).mean(axis=0)
        return {"pictures": len(pairs), "psnr": round(float(values[0]), 2), "ssim": round(float(values[1]), 3)}

    return {
        **means(every),
        "by_kind": {kind: means(pairs) for kind, pairs in sorted(kinds.items())},
        "codes_per_scale": {str(side): len(seen) for side, seen in zip(tokenizer.scales.sides, codes, strict=True)},
        "codes_used": round(len(set().union(*codes)) / tokenizer.config.vocab_size, 3),
    }
