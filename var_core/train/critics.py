"""What judges a decoder's pictures while it trains: pixels, features of lite0, and light critics on those same maps
(projected GAN, Sauer et al. 2021: fixed random mixing of frozen features, one small critic per resolution).

Every mean is over a whole batch of which a process has some rows: what they compute adds up over the processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .run import Run
from .workers import Workers

_MAP_WIDTHS = (16, 24, 40, 112, 320)  # channels of lite0's maps at strides 2 to 32


def pixel_loss(made: Tensor, real: Tensor) -> Tensor:
    """(n,) of pictures (n, 3, H, W) in [-1, 1]: L1 and twice L2."""
    difference = made - real
    return difference.abs().mean((1, 2, 3)) + 2 * difference.square().mean((1, 2, 3))


def feature_loss(made: list[Tensor], real: list[Tensor]) -> Tensor:
    """(n,) mean squared distance of the maps' unit-length feature vectors (LPIPS without learned weights)."""
    each = [
        (F.normalize(a.float(), dim=1, eps=1e-3) - F.normalize(b.float(), dim=1, eps=1e-3)).square().sum(1).mean((1, 2))
        for a, b in zip(made, real, strict=True)
    ]
    return torch.stack(each).mean(0)


def balanced(run: Run[Any], pull: Tensor, other: Tensor) -> Tensor:
    """What makes gradient `other` as large as `pull`, a mean over the steps (`run.kept["ratio"]`)."""
    sizes = run.workers.total(torch.stack((pull.square().sum(), other.square().sum()))).sqrt()
    ratio, before = sizes[0] / sizes[1].clamp_min(1e-12), run.kept["ratio"]
    run.kept["ratio"] = torch.where(before > 0, 0.98 * before + 0.02 * ratio, ratio)
    return run.kept["ratio"]


class Mixing(nn.Module):
    """Fixed random mixing: 1x1 over the channels of each map, then each map gains the coarser one's, enlarged."""

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Conv2d(c, width, 1) for c in widths)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in widths[1:])
        for conv in (*self.across, *self.down):
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
            nn.init.zeros_(conv.bias)
        self.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        mixed = [conv(x) for conv, x in zip(self.across, maps, strict=True)]
        for i in range(len(mixed) - 2, -1, -1):
            coarse = F.interpolate(mixed[i + 1], size=mixed[i].shape[-2:], mode="bilinear", align_corners=False)
            mixed[i] = (mixed[i] + self.down[i](coarse)) * 0.5**0.5
        return mixed


def _critic(width: int) -> nn.Sequential:
    """(b, width, h, w) -> (b, 1, h, w): high where the features look real."""

    def conv(a: int, b: int) -> nn.Module:
        return spectral_norm(nn.Conv2d(a, b, 3, padding=1))

    return nn.Sequential(conv(width, width), nn.LeakyReLU(0.2), conv(width, width), nn.LeakyReLU(0.2), conv(width, 1))


class Critics:
    """Critics on lite0's five maps, after others of as many channels as `before` says, with hinge losses. `fooling` is
    for the pictures' maker, `learn` for the critics."""

    def __init__(
        self, rate: float, workers: Workers, bfloat16: bool = True, width: int = 64, before: tuple[int, ...] = ()
    ) -> None:  # fmt: skip
        widths = (*before, *_MAP_WIDTHS)
        self.workers, self.half = workers, torch.autocast(workers.device.type, torch.bfloat16, enabled=bfloat16)
        self.mixing = Mixing(widths, width).to(workers.device)
        self.nets = nn.ModuleList(_critic(width) for _ in widths).to(workers.device)
        self.optimizer = torch.optim.Adam(self.nets.parameters(), lr=rate, betas=(0.0, 0.99))

    def _scores(self, maps: list[Tensor]) -> list[Tensor]:
        with self.half:
            mixed = self.mixing(maps)
            return [net(x).float() for net, x in zip(self.nets, mixed, strict=True)]

    def fooling(self, made: list[Tensor]) -> Tensor:
        """(n,) how far the critics are from taking each picture for real."""
        self.nets.requires_grad_(False)
        loss = torch.stack([-score.mean((1, 2, 3)) for score in self._scores(made)]).sum(0)
        self.nets.requires_grad_(True)
        return loss

    def learn(self, made: list[Tensor], real: list[Tensor], b: int) -> Tensor:
        """One step on detached maps of this process's share of b pictures. (2,): its part of the loss and of the share
        of positions told right."""
        n = len(made[0])
        scores = self._scores([torch.cat((one.detach(), other)) for one, other in zip(made, real, strict=True)])
        loss = torch.stack([_part(F.relu(1 + s[:n]), b) + _part(F.relu(1 - s[n:]), b) for s in scores]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.workers.add_gradients(self.nets.parameters())
        self.optimizer.step()
        right = torch.stack([_part((s[:n] < 0).float(), b) + _part((s[n:] > 0).float(), b) for s in scores]).mean() / 2
        return torch.stack((loss.detach(), right))

    def state(self) -> dict[str, Any]:
        optimizer = self.optimizer.state_dict()
        return {"mixing": self.mixing.state_dict(), "nets": self.nets.state_dict(), "optimizer": optimizer}

    def load(self, saved: dict[str, Any]) -> None:
        self.mixing.load_state_dict(saved["mixing"])
        self.nets.load_state_dict(saved["nets"])
        self.optimizer.load_state_dict(saved["optimizer"])


def _part(values: Tensor, b: int) -> Tensor:
    """What (n, 1, h, w) values of n pictures add to the mean over b."""
    return values.mean((1, 2, 3)).sum() / b
