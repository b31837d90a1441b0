"""Token chains for training that contain the mistakes that sampling makes (Infinity, Han et al. 2024): some codes of
each scale are replaced by near ones, and later targets are the nearest codes of what is then missing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..measures.likelihood import Chain
from ..model.tokenizer import Tokenizer


@torch.no_grad()
def near_codes(codebook: Tensor, count: int) -> Tensor:
    """(v, c) -> (v, count) long: the nearest other codes of each, nearest first."""
    return torch.cdist(codebook, codebook).fill_diagonal_(torch.inf).topk(count, largest=False).indices


@torch.no_grad()
def corrupted_chain(
    tokenizer: Tokenizer, features: Tensor, near: Tensor, most: float, where: list[Tensor],
    rngs: list[np.random.Generator],
) -> Chain:  # fmt: skip
    """features (b, c, h, w) float32; near as of `near_codes`. Of each picture a random share of the codes, at most
    `most`, is replaced, at those cells of scale k that where[k] (b, l) marks; `rngs` are the pictures' own."""
    canvas, device = torch.zeros_like(features), features.device
    rate = torch.tensor([most * rng.random() for rng in rngs], device=device)
    targets, inputs, count = [], [], len(tokenizer.scales)
    for k in range(count):
        ids = tokenizer.nearest(tokenizer.shrink(features - canvas, k))
        targets.append(ids)
        if k + 1 == count:
            break
        chance = np.stack([rng.random((2, ids.shape[1])) for rng in rngs])  # (b, 2, l)
        wrong, which = torch.from_numpy(chance).to(device).unbind(1)
        other = near[ids, (which * near.shape[1]).long()]
        used = torch.where((wrong < rate[:, None]) & where[k], other, ids)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(used), k)
        inputs.append(tokenizer.shrink(canvas, k + 1))
    return Chain(torch.cat(targets, 1), torch.cat(inputs, 1))
