"""Random holes are real holes of many sizes, and the same for the same random numbers."""

from __future__ import annotations

import numpy as np

from var_core.pictures.masks import random_hole


def test_holes_vary_and_repeat() -> None:
    holes = [random_hole(64, np.random.default_rng(seed)) for seed in range(60)]
    shares = [hole.mean() for hole in holes]
    assert all(hole.dtype == bool and hole.shape == (64, 64) for hole in holes)
    assert 0 < min(shares) < 0.1 and max(shares) > 0.6 and 0.2 < np.mean(shares) < 0.6
    assert np.array_equal(holes[3], random_hole(64, np.random.default_rng(3)))
