"""Super-resolution: an enlarged picture becomes what a camera might have seen at that size. A small residual network
(Ledig et al. 2017) that works at half the picture's size (Shi et al. 2016). It belongs to no model: it sharpens what
any of them has drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .checkpoints import count, existing
from .registry import BUNDLED
from .tiny import TinyBlock

FILE = BUNDLED / "superres.safetensors"


@dataclass(frozen=True, kw_only=True)
class SuperResolutionConfig:
    width: int = 48  # channels
    blocks: int = 4  # of three convolutions each

    @property
    def reach(self) -> int:
        """Pixels of the picture, to either side, that a pixel depends on, at most."""
        return 2 * (3 * self.blocks + 2) + 2


class SuperResolution(nn.Module):
    """(b, 3, H, W) in about [-1, 1], enlarged at most twice, and (b, 1, H, W) of normal noise, which grain is made of
    -> the same size, sharp; H and W even. One that has learned nothing changes nothing."""

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.into = nn.Conv2d(16, width, 3, padding=1)
        self.blocks = nn.Sequential(*(TinyBlock(width, False) for _ in range(config.blocks)))
        self.out = nn.Conv2d(width, 12, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        hidden = F.relu(self.into(F.pixel_unshuffle(torch.cat((x, noise), 1), 2)))
        return x + F.pixel_shuffle(self.out(self.blocks(hidden)), 2)

    @torch.inference_mode()
    def sharpened(self, picture: np.ndarray, noise: np.ndarray, rows: slice) -> np.ndarray:
        """Some rows of a picture, (h, w, 3) float32 in [0, 255], with noise (h, w) float32: the same, sharp, whatever
        part of the whole is asked for. `rows` begins at an even one."""
        height, width = picture.shape[:2]
        reach = self.config.reach
        top, bottom = max(rows.start - reach, 0), min(rows.stop + reach, height)
        seen = np.dstack((picture[top:bottom] / 127.5 - 1, noise[top:bottom]))
        even = np.pad(seen, ((0, (bottom - top) % 2), (0, width % 2), (0, 0)), mode="edge")
        x = torch.from_numpy(even.transpose(2, 0, 1)[None]).contiguous()
        made = (self(x[:, :3], x[:, 3:])[0] + 1) * 127.5
        return made.permute(1, 2, 0).numpy()[rows.start - top : rows.stop - top, :width]


def save_superres(net: SuperResolution, path: Path) -> None:
    """The weights in bfloat16, one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().cpu().bfloat16().contiguous() for name, value in net.state_dict().items()}, path)


def load_superres(path: Path) -> SuperResolution:
    """ValueError with one sentence where the file is missing, damaged or of another kind."""
    try:
        weights = load_file(existing(path))
        blocks = count({name: tuple(value.shape) for name, value in weights.items()}, r"blocks\.(\d{1,2})\.")
        net = SuperResolution(SuperResolutionConfig(width=weights["into.weight"].shape[0], blocks=blocks))
        net.load_state_dict({name: value.float() for name, value in weights.items()})
    except (SafetensorError, KeyError, IndexError, RuntimeError) as error:
        what = f"{path.name} is damaged, or no super-resolution network"
        raise ValueError(f"{what}: restore it from the repository") from error
    return net.eval().requires_grad_(False)


@cache
def bundled_superres() -> SuperResolution:
    """The one that comes with this project, in float32 on the CPU."""
    return load_superres(FILE)
