"""A member's run: level rate, a short fall at its end, and what it foretells of fixed pictures afterwards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..train.run import Descent, Length, Run, Together
from ..train.workers import Workers
from .bursts import Bursts, capturable, in_bursts
from .members import Member
from .tokens import Batch, Cache, Data

# Tokens of a step: few, because short runs have few steps. At depth 5 and 3e13 FLOP, two pictures a step led to 5.91
# nats (rate 1e-3) and 5.86 (2e-3), eight to 6.31 (7e-4).
STEP = 1360
COOLED = 0.2  # share of a run's steps, at its end, in which the rate falls
MEASURED = 256  # pictures of either split on which losses are measured


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What all runs of the study have in common but the rate, and the pictures of a step (`batch_for`). beta2 is longer
    than usual because batches are small."""

    rate: float
    batch: int = 2
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.05
    label_drop: float = 0.1
    decay: float = 0.999  # of the averaged weights
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Course(Descent):
    """Linear warm-up, then level; from step `cool_from` on linear to a fiftieth at step `end`."""

    cool_from: int
    end: int

    def rate(self, step: int, progress: float) -> float:
        fallen = min(1.0, max(0.0, (step - self.cool_from) / max(1, self.end - self.cool_from)))
        return self.peak_rate * min(1.0, (step + 1) / self.warmup) * (1 - 0.98 * fallen)


class Deadline:
    """When this piece of the work ends."""

    def __init__(self, minutes: float | None) -> None:
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def left(self) -> float | None:
        """Minutes, None without an end."""
        return None if self.end is None else max(0.0, (self.end - time.monotonic()) / 60)

    @property
    def over(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end


@dataclass(frozen=True)
class Machine:
    """Where it is trained and in which numbers."""

    device: torch.device
    bfloat16: bool = False
    compiled: bool = False


def cool_from(steps: int) -> int:
    return steps - max(1, round(COOLED * steps))


def batch_for(member: Member) -> int:
    """Pictures of a step, so that all members learn from about as many tokens."""
    return max(1, round(STEP / member.trunk.scales.total))


def steps_for(flop: float, member: Member, batch: int) -> int:
    """Whole steps that `flop` pays for, at least two."""
    return max(2, round(flop / (member.cost().training * batch)))


def _optimizer(member: nn.Module, choices: Choices, device: torch.device) -> Together:
    """AdamW that lets only matrices decay."""
    groups = [
        {"params": [p for p in member.parameters() if p.dim() == 2], "weight_decay": choices.weight_decay},
        {"params": [p for p in member.parameters() if p.dim() != 2], "weight_decay": 0.0},
    ]
    return Together(torch.optim.AdamW(groups, lr=choices.rate, betas=choices.betas, **capturable(device)))


def _stepper(
    run: Run[Member], cache: Cache, choices: Choices, machine: Machine
) -> Callable[[float], list[float]]:  # fmt: skip
    """Given the progress, goes on by a step, or by a burst of them where these pay; their losses."""
    member, words = run.trained, cache.words.to(machine.device)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        labels, content = cache.train.random(member.kind, choices.batch, run.rng)
        dropped = run.rng.random(choices.batch) < choices.label_drop
        return np.where(dropped, member.trunk.config.null_label, labels), content

    def one(progress: float) -> list[float]:
        batch = Batch.of(*draw(), machine.device)
        with run.half():
            loss = member.losses(words, batch, run.rng)[0].mean()
        run.descend(loss, choices.batch, progress)
        return [loss.item()]

    return Bursts(run, words, draw) if in_bursts(machine.device) else one


def train(
    member: Member, cache: Cache, choices: Choices, out: Path, machine: Machine, deadline: Deadline, *,
    course: tuple[int, int, int], until: int,
) -> tuple[Run[Member], bool]:  # fmt: skip
    """Train to step `until`, or to the deadline; the next call with the same `out` goes on, and the result is that of
    one call. `course` is warm-up, step from which the rate falls, and the step at which it has fallen. A row of
    `out`/log.csv says how far it is, the mean loss since the row before, and the minutes that those steps took.
    Returns the run, whose `trained` and `averaged` stand where it stopped, and whether it got there."""
    warmup, cooled, end = course
    about = {"config": asdict(member.trunk.config), "member": type(member).__name__, "choices": asdict(choices)}
    run = Run(
        out=out, trained=member.to(machine.device).train(), optimizer=_optimizer(member, choices, machine.device),
        descent=Course(
            peak_rate=choices.rate, warmup=warmup, clip=1.0, decay=choices.decay, cool_from=cooled, end=end,
        ),
        about=about, kept={}, length=Length(steps=until, max_minutes=deadline.left),
        save_minutes=0.5 if in_bursts(machine.device) else 5.0, workers=Workers(device=machine.device),
        bfloat16=machine.bfloat16, seed=choices.seed,
    )  # fmt: skip
    for group in run.optimizer.param_groups:  # the state of a GPU's run may go on without one
        group.update(capturable(machine.device))
    for block in member.trunk.blocks if machine.compiled else ():
        block.compile(dynamic=False)
    losses, times, steps = [], [], _stepper(run, cache, choices, machine)
    tokens, flop = member.trunk.scales.total, member.cost().training

    def step(progress: float) -> dict[str, Any]:
        began = time.monotonic()
        found = steps(progress)
        losses.extend(found)
        times.extend([(time.monotonic() - began) / len(found)] * len(found))
        return {} if run.step % 20 else {"loss": f"{np.mean(losses[-20:]):.3f}", "rate": f"{run.rate:.1e}"}

    def report(last: bool) -> dict[str, Any]:
        if not losses:
            return {}
        pictures, worked = run.step * choices.batch, len(times) * float(np.median(times)) / 60  # a pause is no work
        row = {
            "step": run.step, "pictures": pictures, "tokens": pictures * tokens, "flop": flop * pictures,
            "rate": run.rate, "loss": float(np.mean(losses)), "minutes": worked,
        }  # fmt: skip
        run.log.write(row)
        losses.clear()
        times.clear()
        return row

    run.go(step, report)
    return run, run.step >= until


@dataclass(frozen=True)
class Foretold:
    """Per picture and token: nats (n, L), hits (n, L)."""

    nats: np.ndarray
    hits: np.ndarray

    @property
    def bits(self) -> np.ndarray:
        """(n,) of a whole picture."""
        return self.nats.sum(1) / math.log(2)


@torch.no_grad()
def foretell(member: Member, cache: Cache, data: Data, device: torch.device, limit: int = MEASURED) -> Foretold:
    """Of the same pictures and crops every time, with their labels, in float32."""
    was = member.training
    member.eval().to(device)
    index = np.sort(np.random.default_rng(0).permutation(len(data))[:limit])
    words, rng, nats, hits = cache.words.to(device), np.random.default_rng(1), [], []
    for at in range(0, len(index), 64):
        part = index[at : at + 64]
        batch = data.batch(member.kind, part, np.zeros_like(part), device)
        each, right = member.losses(words, batch, rng)
        nats.append(each.float().cpu().numpy())
        hits.append(right.cpu().numpy())
    member.train(was)
    return Foretold(np.concatenate(nats), np.concatenate(hits))


def summary(found: Foretold, last: slice) -> dict[str, float]:
    """Nats a token and errors, of the last scale and of all, and bits a picture."""
    return {
        "L_last": float(found.nats[:, last].mean()), "L_all": float(found.nats.mean()),
        "bits": float(found.bits.mean()), "Err_last": 1 - float(found.hits[:, last].mean()),
        "Err_all": 1 - float(found.hits.mean()),
    }  # fmt: skip
