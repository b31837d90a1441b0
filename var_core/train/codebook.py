"""How a codebook is learned: quantization with gradients, its start, and restarts of dead codes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..model.tokenizer import Tokenizer
from .run import Together


def rotated(features: Tensor, canvas: Tensor) -> Tensor:
    """The canvas (b, c, h, w), with the gradient of the rotation and scaling that take each feature vector onto it
    (Fifty et al. 2024, "Restructuring Vector Quantization with the Rotation Trick", equation 2)."""
    length = features.norm(dim=1, keepdim=True).clamp_min(1e-6)
    wanted = canvas.norm(dim=1, keepdim=True).clamp_min(1e-6)
    with torch.no_grad():
        e, q, scale = features / length, canvas / wanted, wanted / length
        middle = e + q
        middle = middle / middle.norm(dim=1, keepdim=True).clamp_min(1e-6)
    turned = (
        features - 2 * middle * (middle * features).sum(1, keepdim=True) + 2 * q * (e * features).sum(1, keepdim=True)
    )
    turned = scale * turned
    return turned + (canvas - turned).detach()  # opposite vectors have no rotation: the value is exact anyway


def cuts(b: int, count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """(b,) how many of `count` scales each picture keeps: all, or for a random `share` any number from 1 on, so that
    every coarse canvas decodes to a picture."""
    return np.where(rng.random(b) < share, rng.integers(1, count + 1, size=b), count)


def quantize_with_gradients(
    tokenizer: Tokenizer, features: Tensor, stops: Tensor, rotation: bool = False
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Residual quantization with gradients, straight through or by `rotated`.

    features (b, c, h, w); stops (b,) how many scales each picture keeps. Returns the canvas for the decoder, the
    codebook and commitment distances (averaged over scales), tokens per scale and residual vectors (b, l, c) per scale.
    """
    side = features.shape[-1]
    count = tokenizer.count_for(side)
    fixed = features.detach()
    canvas = torch.zeros_like(fixed)
    chosen = torch.zeros_like(fixed)
    tokens, residuals = [], []
    codebook_loss = commitment_loss = features.new_zeros(())
    for k in range(count):
        with torch.no_grad():
            residual = tokenizer.shrink(fixed - canvas, k)
            ids = tokenizer.nearest(residual)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(ids), k, side)
        codebook_loss = codebook_loss + (canvas - fixed).square().mean() / count
        commitment_loss = commitment_loss + (canvas.detach() - features).square().mean() / count
        chosen = torch.where((stops == k + 1)[:, None, None, None], canvas, chosen)
        tokens.append(ids)
        residuals.append(residual)
    chosen = chosen.detach()
    out = rotated(features, chosen) if rotation else features + (chosen - features).detach()
    return out, torch.stack((codebook_loss, commitment_loss)), tokens, residuals


@torch.no_grad()
def start_codebook(tokenizer: Tokenizer, features: Tensor, rng: np.random.Generator) -> None:
    """k-means over what each scale would have to describe if the scales before it were perfect averages."""
    vectors = []
    canvas = torch.zeros_like(features)
    side = features.shape[-1]
    for k in range(tokenizer.count_for(side)):
        shrunk = tokenizer.shrink(features - canvas, k)
        vectors.append(shrunk.reshape(-1, shrunk.shape[-1]))
        canvas = canvas + tokenizer.enlarge(shrunk, k, side)
        if k + 1 == tokenizer.count_for(side) - 1:  # the last residual would be what remains: keep some of it
            break
    vectors.append((features - canvas).flatten(2).transpose(1, 2).reshape(-1, features.shape[1]))
    per_scale = 4096
    pool = torch.cat([v[torch.from_numpy(rng.permutation(len(v))[:per_scale])] for v in vectors])
    size = tokenizer.config.vocab_size
    codes = pool[torch.from_numpy(rng.choice(len(pool), size, replace=len(pool) < size))].clone()
    for _ in range(8):
        owner = torch.cdist(pool, codes).argmin(1)
        counts = torch.bincount(owner, minlength=size).clamp_min(1)
        sums = torch.zeros_like(codes).index_add_(0, owner, pool)
        used = torch.bincount(owner, minlength=size) > 0
        codes[used] = (sums / counts[:, None])[used]
    tokenizer.codebook.weight.copy_(codes)


@torch.no_grad()
def restart_codes(
    tokenizer: Tokenizer,
    optimizer: torch.optim.Optimizer | Together,
    used: Tensor,
    residuals: list[Tensor],
    rng: np.random.Generator,
) -> Tensor:
    """Move codes that a whole window left unused onto residuals of random scales. Returns which."""
    dead = (used == 0).nonzero()[:, 0]
    if not len(dead):
        return dead
    scale = rng.integers(len(residuals), size=len(dead))
    rows = [residuals[k].reshape(-1, residuals[k].shape[-1]) for k in range(len(residuals))]
    picked = torch.stack([rows[k][int(rng.integers(len(rows[k])))] for k in scale])
    tokenizer.codebook.weight[dead] = picked
    moments = optimizer.state.get(tokenizer.codebook.weight, {})
    for name in ("exp_avg", "exp_avg_sq"):
        if name in moments:
            moments[name][dead] = 0
    return dead
