"""How a codebook is learned: its start, quantization with gradients, and restarts of codes that nothing uses."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..model.tokenizer import Tokenizer
from .run import Together

_TOGETHER = 2**14  # vectors that are compared with all codes at once


@torch.no_grad()
def kmeans(vectors: Tensor, size: int, rounds: int, rng: np.random.Generator) -> Tensor:
    """(n, c) -> (size, c) centres; a centre that loses all its vectors moves onto a random one."""

    def some(count: int, replace: bool = True) -> Tensor:
        return vectors[torch.from_numpy(rng.choice(len(vectors), count, replace=replace)).to(vectors.device)].clone()

    centres = some(size, len(vectors) < size)
    for _ in range(rounds):
        owner = nearest(vectors, centres)
        counts = torch.bincount(owner, minlength=size)
        sums = torch.zeros_like(centres).index_add_(0, owner, vectors)
        centres = sums / counts.clamp_min(1)[:, None]
        lost = (counts == 0).nonzero()[:, 0]
        centres[lost] = some(len(lost))
    return centres


def nearest(vectors: Tensor, codes: Tensor) -> Tensor:
    """(n, c), (v, c) -> (n,) long: the closest code of each; some vectors at a time, for memory's sake."""
    length = codes.square().sum(1)
    return torch.cat([(length - 2 * part @ codes.T).argmin(1) for part in vectors.split(_TOGETHER)])


@torch.no_grad()
def start_codes(tokenizer: Tokenizer, features: Tensor, rng: np.random.Generator, each: int = 6000) -> None:
    """The codebook from k-means over the residuals of all scales, where every scale was quantized by codes of its own.

    features (n, c, h, w) of some hundred pictures; at most `each` vectors of a scale count.
    """
    pool, canvas, size = [], torch.zeros_like(features), tokenizer.config.vocab_size
    for k in range(len(tokenizer.scales)):
        shrunk = tokenizer.shrink(features - canvas, k)  # (n, l, c)
        vectors = shrunk.flatten(0, 1)
        vectors = vectors[torch.from_numpy(rng.permutation(len(vectors))[:each]).to(vectors.device)]
        pool.append(vectors)
        own = kmeans(vectors, min(size // 4, len(vectors)), 4, rng)
        ids = nearest(shrunk.flatten(0, 1), own).view(shrunk.shape[:2])
        canvas = canvas + tokenizer.enlarge(own[ids], k)
    tokenizer.codebook.weight.copy_(kmeans(torch.cat(pool), size, 12, rng))


def cut_after(b: int, cut: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(b,) how many of `count` scales each picture keeps: the first `cut` any number but all, the others all."""
    stops = np.full(b, count)
    stops[:cut] = rng.integers(1, count, size=min(cut, b))
    return stops


def quantize_through(
    tokenizer: Tokenizer, features: Tensor, stops: Tensor
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Residual quantization whose canvas passes gradients to codes and refinements, and straight on to the features.

    features (b, c, h, w) float32; stops (b,) how many scales each picture keeps. Returns the canvas, the (2, b)
    codebook and commitment distances averaged over scales, and the tokens (b, l) and residuals (b, l, c) of each scale.
    """
    fixed, count = features.detach(), len(tokenizer.scales)
    canvas = chosen = torch.zeros_like(fixed)
    tokens, residuals, distances = [], [], features.new_zeros(2, len(features))
    for k in range(count):
        with torch.no_grad():
            residual = tokenizer.shrink(fixed - canvas, k)
            ids = tokenizer.nearest(residual)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(ids), k)
        pair = (canvas - fixed).square().mean((1, 2, 3)), (canvas.detach() - features).square().mean((1, 2, 3))
        distances = distances + torch.stack(pair) / count
        chosen = torch.where((stops == k + 1)[:, None, None, None], canvas, chosen)
        tokens.append(ids)
        residuals.append(residual)
    return chosen + (features - fixed), distances, tokens, residuals


@torch.no_grad()
def restart_codes(
    tokenizer: Tokenizer, optimizer: torch.optim.Optimizer | Together, used: Tensor, residuals: list[Tensor],
    rng: np.random.Generator,
) -> Tensor:  # fmt: skip
    """Move codes that a whole window left unused onto residuals (b, l, c) of random scales. Returns which."""
    dead = (used == 0).nonzero()[:, 0]
    if not len(dead):
        return dead
    rows = [part.flatten(0, 1) for part in residuals]
    picked = [rows[k][int(rng.integers(len(rows[k])))] for k in rng.integers(len(rows), size=len(dead))]
    tokenizer.codebook.weight[dead] = torch.stack(picked)
    moments = optimizer.state.get(tokenizer.codebook.weight, {})
    for name in ("exp_avg", "exp_avg_sq"):
        if name in moments:
            moments[name][dead] = 0
    return dead
