"""CUDA graphs of the blocks, one a scale: they spare a GPU the launches. Never measured: no GPU was at hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..model.transformer import Conditioning, Transformer

Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
_KEPT = 3  # numbers of rows whose graphs and buffers are held at once


def cuda_recorder(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Run `work` until its memory has settled, then record it: what repeats it, and where its result lies."""
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        _ = work(), work()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        out = work()
    return graph.replay, out


class Buffers:
    """Fixed memory for runs of one number of rows, and the graphs recorded over it."""

    def __init__(self, transformer: Transformer, rows: int, record: Recorder) -> None:
        self.transformer, self.record, self.cache = transformer, record, transformer.new_cache(rows)
        self._held: Conditioning | None = None
        self._steps: dict[int, tuple[Tensor, Callable[[], None], Tensor]] = {}

    def hold(self, conditioning: Conditioning) -> Conditioning:
        """The same numbers in this object's memory."""
        self._held = self._held or conditioning.copy()
        self._held.take(conditioning)
        self.cache.length = 0
        return self._held

    def step(self, x: Tensor, k: int) -> Tensor:
        """`Transformer.step` for scale k alone; the result is overwritten by the next run's scale k."""
        (start, stop), held = self.transformer.scales.spans[k], self._held
        assert held is not None
        if k not in self._steps:
            given = x.clone()

            def work() -> Tensor:
                self.cache.length = start
                return self.transformer.step(given, held, k, k, self.cache)

            self._steps[k] = (given, *self.record(work))
        given, replay, out = self._steps[k]
        given.copy_(x)
        replay()
        self.cache.length = stop
        return out


class StepGraphs:
    """Lends each set of buffers to one run at a time; a run that finds them lent goes without."""

    def __init__(self, transformer: Transformer, record: Recorder = cuda_recorder) -> None:
        self.transformer, self.record, self._lent = transformer, record, set[int]()
        self._free: dict[int, Buffers] = {}  # by rows, the longest unused first

    def lend(self, rows: int) -> Buffers | None:
        if rows in self._lent:
            return None
        self._lent.add(rows)
        return self._free.pop(rows, None) or Buffers(self.transformer, rows, self.record)

    def take_back(self, rows: int, buffers: Buffers) -> None:
        self._lent.discard(rows)
        self._free[rows] = buffers
        if len(self._free) > _KEPT:
            del self._free[next(iter(self._free))]
