"""What the tokenizer's decoder is judged by: pixels, features of a classifier trained here, and an adversary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..measures.classifier import Classifier
from .run import Workers


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


class Adversary:
    """A patch discriminator (Isola et al. 2017) with hinge losses, weighed so that its pull on the picture is `weight`
    times that of the other losses (Esser et al. 2021, equation 7, at the picture instead of the last layer)."""

    def __init__(self, weight: float, rate: float, device: torch.device, width: int = 32) -> None:
        def stage(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.GroupNorm(8, b), nn.LeakyReLU(0.2)]

        self.net = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2), *stage(width, 2 * width),
            *stage(2 * width, 4 * width), nn.Conv2d(4 * width, 1, 3, padding=1),
        ).to(device)  # fmt: skip
        self.weight = weight
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=rate, betas=(0.5, 0.9))

    def loss(self, made: Tensor, other: Tensor, workers: Workers, share: float) -> Tensor:
        """The decoder's part; `other` is the sum of the losses that it is weighed against, `share` this process's."""
        self.net.requires_grad_(False)
        fooled = -self.net(made).float().mean()
        self.net.requires_grad_(True)
        pulls = [torch.autograd.grad(term * share, made, retain_graph=True)[0] for term in (other, fooled)]
        squares = workers.total(torch.stack([pull.square().sum() for pull in pulls]))
        return self.weight * (squares[0] / squares[1].clamp_min(1e-12)).sqrt().clamp_max(1e4) * fooled

    def learn(self, made: Tensor, real: Tensor, workers: Workers, share: float) -> None:
        """One step of the discriminator on detached pictures."""
        loss = F.relu(1 - self.net(real).float()).mean() + F.relu(1 + self.net(made.detach()).float()).mean()
        self.optimizer.zero_grad(set_to_none=True)
        (0.5 * share * loss).backward()
        workers.add_gradients(self.net.parameters())
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, saved: dict[str, Any]) -> None:
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
