"""Batches made ahead of their steps, by processes beside the training one: a GPU waits for one core that crops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

Item = TypeVar("Item")


class _Steps(Dataset[Item], Generic[Item]):
    def __init__(self, make: Callable[[np.random.Generator], Item], seed: int) -> None:
        self.make, self.seed = make, seed

    def __getitem__(self, step: int) -> Item:
        return self.make(np.random.default_rng((self.seed, step)))


class _From(Sampler[int]):
    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def _alone(_: int) -> None:
    cv2.setNumThreads(0)  # every loader is one of many


def batches(
    make: Callable[[np.random.Generator], Item], seed: int, first: int, loaders: int, pinned: bool
) -> Iterator[Item]:
    """`make(rng)` for step `first` and every later one. The random numbers depend on the seed and the step alone, so a
    run goes on exactly and the number of `loaders` does not count (0: made here, when asked for). What they make are
    tensors, or tuples of tensors, that need no GPU; `pinned` makes their way to one faster."""
    steps = _Steps(make, seed)
    if not loaders:
        return (steps[step] for step in itertools.count(first))
    some: dict[str, Any] = {"num_workers": loaders, "prefetch_factor": 2, "worker_init_fn": _alone}
    loader = DataLoader(steps, batch_size=None, sampler=_From(first), pin_memory=pinned, **some)
    return cast(Iterator[Item], iter(loader))
