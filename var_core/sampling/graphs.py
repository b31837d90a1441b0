"""CUDA graphs of the blocks, one for every scale: on a GPU a pass over few tokens costs its launches, not its products.

Unmeasured: written where no GPU was; the bookkeeping is tested on the CPU with a stand-in that records nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from ..model.transformer import Conditioning, KVCache, Transformer

Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
_KEPT = 3  # numbers of rows whose graphs and buffers are held at once


def cuda_recorder(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Run `work` until its memory has settled, then record it. Returns what repeats it, and where its result lies."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        out = work()
    return graph.replay, out


class Buffers:
    """Fixed memory for runs of one number of rows, and the graphs that were recorded over it."""

    def __init__(self, transformer: Transformer, rows: int, record: Recorder) -> None:
        self.transformer, self.record = transformer, record
        self.cache: KVCache = transformer.new_cache(rows)
        self.conditioning: Conditioning | None = None
        self._steps: dict[int, tuple[Tensor, Callable[[], None], Tensor]] = {}

    def hold(self, conditioning: Conditioning) -> Conditioning:
        """The same numbers in this object's memory."""
        if self.conditioning is None:
            self.conditioning = conditioning.copy()
        else:
            self.conditioning.take(conditioning)
        self.cache.length = 0
        return self.conditioning

    def step(self, x: Tensor, k: int) -> Tensor:
        """`Transformer.step` for scale k alone; the result is overwritten by the next run's scale k."""
        assert self.conditioning is not None
        if k not in self._steps:
            given, conditioning = x.clone(), self.conditioning
            start = self.transformer.scales.spans[k][0]

            def work() -> Tensor:
                self.cache.length = start
                return self.transformer.step(given, conditioning, k, k, self.cache)

            replay, out = self.record(work)
            self._steps[k] = (given, replay, out)
        given, replay, out = self._steps[k]
        given.copy_(x)
        replay()
        self.cache.length = self.transformer.scales.spans[k][1]
        return out


class StepGraphs:
    """Lends each set of buffers to one run at a time; a run that finds them lent goes without."""

    def __init__(self, transformer: Transformer, record: Recorder = cuda_recorder) -> None:
        self.transformer, self.record = transformer, record
        self._free: OrderedDict[int, Buffers] = OrderedDict()
        self._lent: set[int] = set()

    def lend(self, rows: int) -> Buffers | None:
        if rows in self._lent:
            return None
        self._lent.add(rows)
        return self._free.pop(rows, None) or Buffers(self.transformer, rows, self.record)

    def take_back(self, rows: int, buffers: Buffers) -> None:
        self._lent.discard(rows)
        self._free[rows] = buffers
        while len(self._free) > _KEPT:
            self._free.popitem(last=False)
