"""Many training steps at a stroke for a GPU, to which steps this small come too fast one by one: their inputs are made
at once, and each step is a replay of one CUDA graph. Several runs share the GPU, each in a thread and stream of its
own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from ..train.run import Run, averaging
from .members import Member
from .tokens import Words

LENGTH = 64  # steps of a burst
_capturing = threading.Lock()  # a graph is recorded while no other is


class Bursts:
    """The steps of `run`, on any device; `draw` makes a step's labels (b,) and content (b, ...) from the run's random
    numbers. On a GPU the optimizer must be capturable."""

    def __init__(self, run: Run[Member], words: Words, draw: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        self.run, self.words, self.draw, self.member = run, words, draw, run.trained
        self.device = run.workers.device
        self.graph: torch.cuda.CUDAGraph | None = None
        self.rows: list[Tensor] = []
        self.at = torch.zeros(1, dtype=torch.long, device=self.device)
        self.rates, self.decays, self.losses = torch.zeros(3, LENGTH, device=self.device).unbind()
        self.rate = torch.zeros((), device=self.device)
        self.learning = [p for group in run.optimizer.param_groups for p in group["params"]]
        self.trained: list[Tensor] = [*run.trained.parameters()]
        self.averaged: list[Tensor] = [*run.averaged.parameters()]
        for group in run.optimizer.param_groups:
            group["lr"] = self.rate

    def __call__(self, progress: float) -> list[float]:
        """Go on for a burst, or to the end of the run where that is nearer; the losses of its steps."""
        run = self.run
        many = min(LENGTH, (run.length.steps or LENGTH) - run.step)
        self._fill(many)
        if self.graph is None and self.device.type == "cuda":
            with _capturing:
                self.graph = self._captured()
        for _ in range(many):
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()
        run.step += many
        run.rate = run.descent.rate(run.step - 1, 0.0)
        run.average.n_averaged.fill_(run.step)
        return self.losses[:many].tolist()

    def _fill(self, many: int) -> None:
        """The inputs of the next `many` steps, drawn in the order of single steps."""
        run, steps = self.run, range(self.run.step, self.run.step + many)
        drawn: list[tuple[np.ndarray, ...]] = []
        for _ in steps:
            labels, content = self.draw()
            drawn.append((labels, content, *self.member.chance(len(labels), run.rng)))
        labels, content, *chance = (self._there(np.stack(part)) for part in zip(*drawn, strict=True))
        with torch.no_grad():
            given = self.member.given(self.words, content.flatten(0, 1), *(part.flatten(0, 1) for part in chance))
        rows = [labels, *(part.unflatten(0, labels.shape) for part in given)]
        if not self.rows:
            self.rows = [torch.zeros(LENGTH, *part.shape[1:], dtype=part.dtype, device=self.device) for part in rows]
        for place, part in zip(self.rows, rows, strict=True):
            place[:many] = part
        self.rates[:many] = self._there(np.array([run.descent.rate(step, 0.0) for step in steps], np.float32))
        decays = [averaging(run.descent.decay, step) if step else 0.0 for step in steps]
        self.decays[:many] = self._there(np.array(decays, np.float32))
        self.at.zero_()

    def _there(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _now(self, table: Tensor) -> Tensor:
        return table.index_select(0, self.at)[0]

    def _loss(self) -> Tensor:
        labels, *given = (self._now(part) for part in self.rows)
        with self.run.half():
            return self.member.scores(labels, *given)[0].mean()

    def _step(self) -> None:
        run = self.run
        run.optimizer.zero_grad(set_to_none=True)
        loss = self._loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.learning, run.descent.clip)
        self.rate.copy_(self._now(self.rates))
        run.optimizer.step()
        with torch.no_grad():
            decay = self._now(self.decays)
            torch._foreach_mul_(self.averaged, decay)
            torch._foreach_add_(self.averaged, torch._foreach_mul(self.trained, 1 - decay))
            self.losses.index_copy_(0, self.at, loss.detach()[None])
            self.at += 1

    def _captured(self) -> torch.cuda.CUDAGraph:
        """A step as a graph; what has to be there before, nothing of it learned. Not by torch.cuda.graph, which waits
        for the whole GPU and empties its cache: beside eleven other runs that takes seconds, and theirs as well."""
        run, stream = self.run, torch.cuda.current_stream()
        for _ in range(2):
            run.optimizer.zero_grad(set_to_none=True)
            self._loss().backward()
        if not run.optimizer.state:
            for parameter in self.learning:
                parameter.grad = torch.zeros_like(parameter)
            self.rate.zero_()
            run.optimizer.step()  # moments of 0, at a rate of 0
            for state in run.optimizer.state.values():
                state["step"].zero_()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(capture_error_mode="thread_local")
        self._step()
        graph.capture_end()
        return graph


def side_by_side(jobs: list[Callable[[], bool]], device: torch.device) -> bool:
    """Whether all of them got to their ends: on a GPU all at once, else one after the other up to one that did not."""
    if device.type != "cuda":
        return all(job() for job in jobs)

    def alone(job: Callable[[], bool]) -> bool:
        with torch.cuda.stream(torch.cuda.Stream(device)):
            return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return all(list(pool.map(alone, jobs)))


def in_bursts(device: torch.device) -> bool:
    """Where they pay."""
    return device.type == "cuda"


def capturable(device: torch.device) -> dict[str, bool]:
    """What AdamW must be told for `Bursts`, and on a device that has none."""
    return dict.fromkeys(("fused", "capturable"), in_bursts(device))
