"""Batches that other processes make."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from var_core.train.ahead import batches
from var_core.train.run import Descent, Length, Run
from var_core.train.workers import Workers


def make(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rng.random(3)), torch.tensor(int(rng.integers(1000)))


@pytest.mark.parametrize("loaders", [0, 2])
def test_what_is_made_depends_on_the_seed_and_the_step_alone(loaders: int) -> None:
    expected = [make(np.random.default_rng((7, step))) for step in range(3, 9)]
    for (numbers, number), (own, other) in zip(expected, batches(make, 7, 3, loaders, pinned=False), strict=False):
        assert torch.equal(numbers, own) and torch.equal(number, other)
    first = next(batches(make, 8, 3, 0, pinned=False))
    assert not torch.equal(first[0], expected[0][0])


def test_a_run_goes_on_with_the_batches_of_its_step(tmp_path) -> None:
    layer = torch.nn.Linear(3, 1)
    run = Run(
        out=tmp_path, trained=layer, optimizer=torch.optim.SGD(layer.parameters(), lr=0.1), length=Length(steps=9),
        descent=Descent(peak_rate=0.1, clip=1.0, decay=0.9), about={}, kept={}, workers=Workers(), bfloat16=False,
        save_minutes=5.0, seed=7,
    )  # fmt: skip
    run.step = 4
    assert torch.equal(next(run.batches(make))[0], make(np.random.default_rng((7, 4)))[0])
