"""What every training run needs: time-boxed pieces that continue exactly, an average of the weights, a log."""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Trained = TypeVar("Trained", bound=nn.Module)


class Average(Generic[Trained]):
    """Exponential moving average of a module's weights; the decay grows in over the first steps."""

    def __init__(self, module: Trained, decay: float) -> None:
        self.module: Trained = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        own: list[Tensor] = list(self.module.parameters())
        new: list[Tensor] = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(own, new, 1 - decay)


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a run is: `steps` in all (then a cut run equals an uncut one) or `minutes` in all; and where this
    piece of it ends, `max_minutes` or `max_steps` from its start. ValueError unless one total is given."""

    steps: int | None = None
    minutes: float | None = None
    max_minutes: float | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give the length of the run either in steps or in minutes")


class Clock:
    """Progress of a run in [0, 1]: by steps where a number is given, else by time over all its pieces."""

    def __init__(self, length: Length, spent: float, step: int) -> None:
        self.total_steps, self.total_minutes = length.steps, length.minutes
        self.piece_minutes, self.spent = length.max_minutes, spent
        self.last_step = None if length.max_steps is None else step + length.max_steps
        self.began = time.monotonic()

    @property
    def minutes(self) -> float:
        """Minutes over all pieces."""
        return self.spent + (time.monotonic() - self.began) / 60

    def progress(self, step: int) -> float:
        if self.total_steps is not None:
            return min(1.0, step / self.total_steps)
        assert self.total_minutes is not None
        return min(1.0, self.minutes / self.total_minutes)

    def finished(self, step: int) -> bool:
        return self.progress(step) >= 1

    def piece_over(self, step: int) -> bool:
        if self.last_step is not None and step >= self.last_step:
            return True
        return self.piece_minutes is not None and (time.monotonic() - self.began) / 60 >= self.piece_minutes


def learning_rate(peak: float, step: int, progress: float, warmup: int = 200) -> float:
    """Linear warm-up, then a cosine to a hundredth of the peak."""
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write beside the target, then rename, so that a cut run never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_state(path: Path) -> dict[str, Any] | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def random_state(rng: np.random.Generator) -> dict[str, Any]:
    inner = rng.bit_generator.state
    numbers = {"state": str(inner["state"]["state"]), "inc": str(inner["state"]["inc"])}
    numbers |= {"has_uint32": inner["has_uint32"], "uinteger": inner["uinteger"]}
    return {"torch": torch.get_rng_state(), "numpy": numbers}


def restore_random_state(rng: np.random.Generator, saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"])
    inner = saved["numpy"]
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": int(inner["state"]), "inc": int(inner["inc"])},
        "has_uint32": inner["has_uint32"],
        "uinteger": inner["uinteger"],
    }


class Log:
    """Appends rows to a CSV file; columns are fixed by the first row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, row: dict[str, Any]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()})
