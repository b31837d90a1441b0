"""The processes that share a training run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

_PATIENCE = timedelta(hours=2)  # the others wait while the first process validates and draws samples


@dataclass(frozen=True)
class Workers:
    """The processes of one run; alone by default, and then every method does nothing.

    All of them draw the same random numbers for the whole batch and then work on their own rows, so the result is
    that of one process with the same batch, up to the order of sums.
    """

    rank: int = 0
    count: int = 1
    loaders: int = 0  # further processes of each, that make its batches ahead
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


@contextmanager
def joined(device: str, loaders: int = 0) -> Iterator[Workers]:
    """The processes that `torchrun` started, one GPU each where `device` is cuda; alone without `torchrun`."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Workers(loaders=loaders, device=torch.device(device))
        return
    own = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Workers(dist.get_rank(), count, loaders, own)
    finally:
        dist.destroy_process_group()
