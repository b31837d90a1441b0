"""Token chains for training that contain the mistakes that sampling makes (Infinity, Han et al. 2024): some codes of
each scale are replaced by near ones, and later targets are the nearest codes of what is then missing."""

from __future__ import annotations

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
    tokenizer: Tokenizer, features: Tensor, near: Tensor, rate: Tensor, chance: Tensor, where: list[Tensor]
) -> Chain:
    """features (b, c, h, w) float32; near as of `near_codes`. Of each picture a share `rate` (b,) of the codes is
    replaced, at those cells of scale k that where[k] (b, l) marks; `chance` (b, 2, L) are random numbers in [0, 1)."""
    canvas, chances = torch.zeros_like(features), chance.split(tokenizer.scales.lengths, 2)
    targets, inputs, count = [], [], len(tokenizer.scales)
    for k in range(count):
        ids = tokenizer.nearest(tokenizer.shrink(features - canvas, k))
        targets.append(ids)
        if k + 1 == count:
            break
        wrong, which = chances[k].unbind(1)
        other = near[ids, (which * near.shape[1]).long()]
        used = torch.where((wrong < rate[:, None]) & where[k], other, ids)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(used), k)
        inputs.append(tokenizer.shrink(canvas, k + 1))
    return Chain(torch.cat(targets, 1), torch.cat(inputs, 1))
