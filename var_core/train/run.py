"""What every training run needs: time-boxed pieces that continue exactly, an average of the weights, a log, and the
processes that share a run."""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_PATIENCE = timedelta(hours=2)  # the others wait while the first process validates and draws samples
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


@dataclass(frozen=True)
class Workers:
    """The processes of one run; alone by default, and then every method does nothing.

    All of them draw the same random numbers for the whole batch and then work on their own rows, so the result is
    that of one process with the same batch, up to the order of sums.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def rows(self, b: int) -> slice:
        """This process's rows of a batch of b. ValueError where some process would get none."""
        if b < self.count:
            raise ValueError(f"a batch of {b} cannot be shared by {self.count} processes: raise --batch")
        return slice(b * self.rank // self.count, b * (self.rank + 1) // self.count)

    def part(self, b: int) -> float:
        """The share of a batch of b that `rows` is: what this process's mean loss counts."""
        rows = self.rows(b)
        return (rows.stop - rows.start) / b

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.total(torch.cat([gradient.flatten() for gradient in gradients]))
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def whole(self, own: Tensor, b: int) -> Tensor:
        """This process's rows (of b in all) -> all rows, in the order of the batch."""
        if self.count == 1:
            return own
        rows = own.new_zeros(b, *own.shape[1:])
        rows[self.rows(b)] = own
        return self.total(rows)

    def from_first(self, value: Tensor) -> Tensor:
        """The first process's tensor, in place."""
        if self.count > 1:
            dist.broadcast(value, src=0)
        return value

    def agree(self, values: Sequence[float]) -> list[float]:
        """The first process's numbers: what hangs on its clock is the same for all."""
        if self.count == 1:
            return list(values)
        return self.from_first(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()

    def same_start(self, step: int) -> None:
        """ValueError in every process unless all start at the same step."""
        steps = self.whole(torch.tensor([step], device=self.device), self.count).tolist()
        if len(set(steps)) > 1:
            raise ValueError(f"the processes start at steps {steps}: --out must be a folder that all of them see")

    def after_first(self, work: Callable[[], object]) -> None:
        """Let the first process do `work` while the others wait."""
        if self.first:
            work()
        self.agree([0.0])


def forward_flop(work: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products and convolutions in one call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return float(counter.get_total_flops())


def matmul_ceiling(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """FLOP/s of a square matrix product on this machine, best of five."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(6):
        began = time.perf_counter()
        (a @ b).sum().item()
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times[1:])


class Meter:
    """Throughput since the last reading, of all processes: pictures a second, and model-FLOP utilisation (three
    forward passes a step, against a matrix product's FLOP/s here; PaLM, appendix B)."""

    def __init__(self, workers: Workers, dtype: torch.dtype) -> None:
        self.ceiling = matmul_ceiling(workers.device, dtype) * workers.count
        self.pictures, self.flop, self.began = 0, 0.0, time.monotonic()

    def add(self, pictures: int, flop_each: float) -> None:
        self.pictures += pictures
        self.flop += 3 * pictures * flop_each

    def read(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self.began, 1e-9)
        figures = {"pictures/s": self.pictures / seconds, "utilisation": self.flop / seconds / self.ceiling}
        self.pictures, self.flop, self.began = 0, 0.0, time.monotonic()
        return figures


@contextmanager
def joined(device: str) -> Iterator[Workers]:
    """The processes that `torchrun` started, one GPU each where `device` is cuda; alone without `torchrun`."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Workers(device=torch.device(device))
        return
    own = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Workers(dist.get_rank(), count, own)
    finally:
        dist.destroy_process_group()
