"""The pyramid of token maps: sides, spans, guidance ratio, and the refine convolution of each scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

# The reference decides this by a floating-point tie; with ten scales and four convolutions the
# outcome is kept as data, because other arithmetic gets one or two scales wrong.
_TEN_SCALES_FOUR_REFINES = (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)


def check_sizes(config: Any, ranges: Mapping[str, tuple[int, int]]) -> None:
    """Every number of a configuration, those in tuples too, against its range, flags being 0 or 1; each field is of its
    default's type. Words are left to their owner. ValueError names the field."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(field.default, str):
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        least, most = ranges.get(field.name, (0, 1))
        fits = type(value) is type(field.default) and 0 < len(numbers) <= 32
        if not fits or not all(isinstance(n, int) and least <= n <= most for n in numbers):
            kind = type(field.default).__name__
            raise ValueError(f"{field.name} must be {kind} of {least} to {most}, got {str(value)[:40]}")


@dataclass(frozen=True)
class Scales:
    """Sides of the token maps, coarse to fine, e.g. ``(1, 2, 3, 4, 5, 6, 8, 10, 13, 16)``.

    Raises ValueError unless the sides are positive and strictly increasing.
    """

    sides: tuple[int, ...]

    def __post_init__(self) -> None:
        sides = tuple(int(side) for side in self.sides)
        if not sides or sides[0] < 1 or any(a >= b for a, b in pairwise(sides)):
            raise ValueError(f"scale sides must be positive and strictly increasing, got {self.sides}")
        object.__setattr__(self, "sides", sides)

    def __len__(self) -> int:
        return len(self.sides)

    @property
    def finest(self) -> int:
        return self.sides[-1]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each scale (l)."""
        return tuple(side * side for side in self.sides)

    @property
    def total(self) -> int:
        """Tokens of all scales (L)."""
        return sum(self.lengths)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of each scale in the flat sequence of L tokens."""
        stops = np.cumsum(self.lengths)
        return tuple((int(stop) - length, int(stop)) for stop, length in zip(stops, self.lengths, strict=True))

    def ratio(self, k: int) -> float:
        """Progress of scale k through the pyramid, 0 at the first scale and 1 at the last."""
        return k / (len(self) - 1) if len(self) > 1 else 0.0

    def refine_index(self, k: int, refine_count: int) -> int:
        """Which of the shared refine convolutions serves scale k (reference: PhiPartiallyShared)."""
        if len(self) == 10 and refine_count == 4:
            return _TEN_SCALES_FOUR_REFINES[k]
        margin = 1 / 3 / refine_count if refine_count == 4 else 1 / 2 / refine_count
        ticks = np.linspace(margin, 1 - margin, refine_count)
        return int(np.argmin(np.abs(ticks - self.ratio(k))))
