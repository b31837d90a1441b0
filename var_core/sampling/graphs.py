"""CUDA graphs of the blocks, one a scale: they spare a GPU the launches. Never measured: no GPU was at hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..model.transformer import Conditioning, Transformer

_KEPT = 3  # numbers of rows whose graphs are held at once


def record(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Run `work` until its memory has settled, then record it: what repeats it, and where its result lies."""
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        _ = work(), work()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        out = work()
    return graph.replay, out


class StepGraphs:
    """Fixed memory for runs of one number of rows, and the graphs recorded over it; it serves one run at a time."""

    def __init__(self, transformer: Transformer, conditioning: Conditioning) -> None:
        self.transformer, self.cache, self.lent = transformer, transformer.new_cache(len(conditioning.start)), False
        self.conditioning = Conditioning(*(part.clone() for part in conditioning))
        self._steps: dict[int, tuple[Tensor, Callable[[], None], Tensor]] = {}

    def step(self, x: Tensor, k: int) -> Tensor:
        """`Transformer.step` for scale k alone; the result is overwritten by the next run's scale k."""
        if k not in self._steps:
            mine = x.clone()
            work = lambda: self.transformer.step(mine, self.conditioning, k, k, self.cache)  # noqa: E731
            self._steps[k] = (mine, *record(work))
        given, replay, out = self._steps[k]
        given.copy_(x)
        replay()
        return out


def lend(kept: dict[int, StepGraphs], transformer: Transformer, conditioning: Conditioning) -> StepGraphs | None:
    """What was kept for as many rows, or new, with these numbers in it; None while another run has it."""
    rows = len(conditioning.start)
    kept[rows] = graphs = kept.pop(rows, None) or StepGraphs(transformer, conditioning)  # the youngest last
    if len(kept) > _KEPT:
        del kept[next(iter(kept))]
    if graphs.lent:
        return None
    graphs.lent = True
    for own, given in zip(graphs.conditioning, conditioning, strict=True):
        own.copy_(given)
    return graphs
