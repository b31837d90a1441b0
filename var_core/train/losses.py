"""What a tokenizer is trained by: pixels, features of a classifier, and what quantization leaves over."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..measures.classifier import Classifier

_SMALL_FEATURES = 0.01


def tokenizer_loss(pixels: Tensor, distances: Tensor, commitment: float, unquantized: Tensor | None) -> Tensor:
    """The losses of `pixels` and of the (2,) `distances` of codebook and commitment; before quantization begins,
    also the size of the `unquantized` features, which keeps them near one."""
    loss = pixels + distances[0] + commitment * distances[1]
    return loss if unquantized is None else loss + _SMALL_FEATURES * unquantized.square().mean()


def picture_loss(made: Tensor, real: Tensor, plain: bool = False) -> Tensor:
    """L1 + L2 in [-1, 1]; unless `plain`, also L1 at two coarser sizes and of horizontal and vertical differences."""
    loss = 0.5 * (made - real).abs().mean() + 2.0 * (made - real).square().mean()
    if plain:
        return loss
    for factor in (2, 4):
        loss = loss + 0.25 * (F.avg_pool2d(made, factor) - F.avg_pool2d(real, factor)).abs().mean()
    for dim in (2, 3):
        loss = loss + 0.25 * (made.diff(dim=dim) - real.diff(dim=dim)).abs().mean()
    return loss


class Perceptual(nn.Module):
    """Distance of unit-length features after every stage of a classifier (Zhang et al. 2018, LPIPS, without learned
    weights). Pictures (b, 3, H, W) in [-1, 1] of any size."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.body = classifier.body.eval().requires_grad_(False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        loss, count = made.new_zeros(()), 0
        for layer in self.body:
            made, real = layer(made), layer(real)
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                continue  # compared from the first activation on
            difference = F.normalize(made.float(), dim=1) - F.normalize(real.float(), dim=1)
            loss, count = loss + difference.square().sum(1).mean(), count + 1
        return loss / count
