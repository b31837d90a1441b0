"""Infill conditioning: what a transformer is told about the known part of the picture at the scale that it draws.

Attention within a scale is bidirectional, so cells of the hole read their known neighbours there; without it they hear
of them through coarser scales only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 1e-4  # known share below which a cell's mean says nothing


def known_cells(features: Tensor, fraction: Tensor, side: int) -> Tensor:
    """Per cell of a side x side grid: the mean of the known features (0 where none are) and the known share.

    features (b, c, h, w) of the picture with its hole filled; fraction (b, h, w) in [0, 1], known share of the pixels
    of each finest cell. Returns (b, side^2, c + 1).
    """
    weight = fraction[:, None].to(features.dtype)  # (b, 1, h, w)
    both = torch.cat((features * weight, weight), 1)  # (b, c + 1, h, w)
    if features.shape[-1] != side:
        both = F.interpolate(both, size=(side, side), mode="area")
    means, share = both[:, :-1], both[:, -1:]
    means = torch.where(share > _LEAST, means / share.clamp_min(_LEAST), torch.zeros_like(means))
    return torch.cat((means, share), 1).flatten(2).transpose(1, 2)


def all_known_cells(features: Tensor, fraction: Tensor, sides: tuple[int, ...]) -> Tensor:
    """`known_cells` of every scale, one after the other: (b, L, c + 1)."""
    return torch.cat([known_cells(features, fraction, side) for side in sides], 1)
