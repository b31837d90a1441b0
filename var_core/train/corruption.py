"""Token chains for training that contain the mistakes that sampling makes (Infinity, Han et al. 2024): some codes of
each scale are replaced by near ones, and later targets are the nearest codes of what is then missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..model.tokenizer import Tokenizer


@torch.no_grad()
def near_codes(codebook: Tensor, count: int) -> Tensor:
    """(v, c) -> (v, count) long: the nearest other codes of each, nearest first."""
    return torch.cdist(codebook, codebook).fill_diagonal_(torch.inf).topk(count, largest=False).indices


@dataclass(frozen=True)
class Chain:
    """What one teacher-forced pass needs."""

    targets: Tensor  # (b, L) long: at every scale the codes nearest to what the canvas before it lacks
    inputs: Tensor  # (b, L - 1, c): the shrunk canvases, mistakes included


@torch.no_grad()
def corrupted_chain(
    tokenizer: Tokenizer, features: Tensor, near: Tensor, rate: Tensor, where: list[Tensor], rng: np.random.Generator
) -> Chain:
    """features (b, c, h, w) float32; near as of `near_codes`; rate (b,) share of the codes that are replaced, at those
    cells of scale k that where[k] (b, l) marks."""
    canvas = torch.zeros_like(features)
    targets, inputs, count = [], [], len(tokenizer.scales)
    for k in range(count):
        ids = tokenizer.nearest(tokenizer.shrink(features - canvas, k))
        targets.append(ids)
        if k + 1 == count:
            break
        wrong = torch.from_numpy(rng.random(tuple(ids.shape), dtype=np.float32)) < rate[:, None]
        other = near[ids, torch.from_numpy(rng.integers(near.shape[1], size=tuple(ids.shape)))]
        used = torch.where(wrong & where[k], other, ids)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(used), k)
        inputs.append(tokenizer.shrink(canvas, k + 1))
    return Chain(torch.cat(targets, 1), torch.cat(inputs, 1))
