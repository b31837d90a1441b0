"""What every training run is: time-boxed pieces that continue exactly, an average of the weights, and a log."""

from __future__ import annotations

import csv
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from .ahead import batches
from .workers import Workers

Item = TypeVar("Item")
Trained = TypeVar("Trained", bound=nn.Module)


def averaging(decay: float, step: int) -> float:
    """The decay of averaged weights at a step: it grows in."""
    return min(decay, (1 + step) / (10 + step))


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a module's weights; the decay grows in over the first steps."""

    def move(own: PARAM_LIST, new: PARAM_LIST, count: Tensor | int) -> None:
        get_ema_multi_avg_fn(averaging(decay, int(count)))(own, new, count)

    average = AveragedModel(module, multi_avg_fn=move)
    average.module.eval().requires_grad_(False)
    return average


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a run is: `steps` in all (then a cut run equals an uncut one) or `minutes` in all; and where this
    piece of it ends, `max_minutes` or `max_steps` from its start. ValueError unless one total is given, above 0."""

    steps: int | None = None
    minutes: float | None = None
    max_minutes: float | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give the length of the run either in steps or in minutes")
        if not (self.steps or self.minutes or 0) > 0:  # not a number is refused too
            raise ValueError(f"a run of {self.steps or self.minutes or 0} steps or minutes has no length: give more")


class Clock:
    """Progress of a run in [0, 1]: by steps where a number is given, else by time over all its pieces."""

    def __init__(self, length: Length, spent: float, step: int) -> None:
        self.total_steps, self.total_minutes = length.steps, length.minutes
        self.piece_minutes, self.spent = length.max_minutes, spent
        self.last_step = None if length.max_steps is None else step + length.max_steps
        self.began = time.monotonic()

    @property
    def minutes(self) -> float:
        """Minutes over all pieces."""
        return self.spent + (time.monotonic() - self.began) / 60

    def progress(self, step: int) -> float:
        if self.total_steps is not None:
            return min(1.0, step / self.total_steps)
        assert self.total_minutes is not None
        return min(1.0, self.minutes / self.total_minutes)

    def finished(self, step: int) -> bool:
        return self.progress(step) >= 1

    def piece_over(self, step: int) -> bool:
        if self.last_step is not None and step >= self.last_step:
            return True
        return self.piece_minutes is not None and (time.monotonic() - self.began) / 60 >= self.piece_minutes


def learning_rate(peak: float, step: int, progress: float, warmup: int = 200) -> float:
    """Linear warm-up, then a cosine to a hundredth of the peak."""
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def level_rate(peak: float, step: int, progress: float, warmup: int, falling: float) -> float:
    """Linear warm-up, level, then linear to a fiftieth of the peak over the last share `falling` of the run."""
    fallen = min(1.0, max(0.0, (progress - 1 + falling) / falling))
    return peak * min(1.0, (step + 1) / warmup) * (1 - 0.98 * fallen)


class Together:
    """Several optimizers as one: each has its own parameters."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def state(self) -> dict[Any, Any]:
        return {parameter: state for optimizer in self.optimizers for parameter, state in optimizer.state.items()}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"each": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for optimizer, own in zip(self.optimizers, state["each"], strict=True):
            optimizer.load_state_dict(own)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write beside the target, then rename, so that a cut run never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_state(path: Path) -> dict[str, Any] | None:
    """What `save_state` wrote; None where there is nothing. ValueError if it is damaged."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever an unpickler makes of damaged bytes
            raise ValueError(f"{path} is damaged: bring a whole copy, or delete it to start the run again") from error


def random_state(rng: np.random.Generator) -> dict[str, Any]:
    inner = rng.bit_generator.state
    numbers = {"state": str(inner["state"]["state"]), "inc": str(inner["state"]["inc"])}
    numbers |= {"has_uint32": inner["has_uint32"], "uinteger": inner["uinteger"]}
    return {"torch": torch.get_rng_state(), "numpy": numbers}


def restore_random_state(rng: np.random.Generator, saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"])
    inner = saved["numpy"]
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": int(inner["state"]), "inc": int(inner["inc"])},
        "has_uint32": inner["has_uint32"],
        "uinteger": inner["uinteger"],
    }


_writing = threading.Lock()


class Log:
    """Appends rows to a CSV file; columns are those of its first row. Several threads may write to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, row: dict[str, Any]) -> None:
        with _writing:
            self._append(row)

    def _append(self, row: dict[str, Any]) -> None:
        columns = list(row)
        if self.path.exists():
            with self.path.open(newline="") as file:
                columns = next(csv.reader(file), columns)
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=columns, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()})


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How weights are learned: the peak of the rate, the steps in which it grows in, the largest norm of the gradients,
    and the decay of the averaged weights. The rate falls as a cosine (`learning_rate`); with `falling`, it is level and
    falls to a fiftieth over that last share of the run (`level_rate`), so that a run may be lengthened until then.

    A group of parameters that has a "share" learns at that share of the rate.
    """

    peak_rate: float
    warmup: int = 200
    clip: float
    decay: float
    falling: float | None = None

    def rate(self, step: int, progress: float) -> float:
        if self.falling is None:
            return learning_rate(self.peak_rate, step, progress, self.warmup)
        return level_rate(self.peak_rate, step, progress, self.warmup, self.falling)


@dataclass(kw_only=True)
class Run(Generic[Trained]):
    """One training run: what learns, how far it is, and what it leaves in its folder `out`.

    Where `out` holds a state, the run goes on from there as if it had never been cut. `about` says what is trained
    (config, class_names) and must be the same then, or ValueError; `kept` is what else has to go on, tensors and
    plain values, and is replaced by what was saved.
    """

    out: Path
    trained: Trained
    optimizer: torch.optim.Optimizer | Together
    descent: Descent
    about: dict[str, Any]
    kept: dict[str, Any]
    length: Length
    workers: Workers
    bfloat16: bool
    save_minutes: float
    seed: int
    step: int = field(default=0, init=False)  # steps done

    def __post_init__(self) -> None:
        self.rng, spent = np.random.default_rng(self.seed), 0.0
        self.average = averaged(self.trained, self.descent.decay)
        saved = load_state(self.out / "state.pt")
        if saved is not None:
            for name, value in self.about.items():
                if saved.get(name) != value:
                    raise ValueError(f"the run at {self.out} has another {name}: give its options, or a new folder")
            self.trained.load_state_dict(saved["trained"])
            self.average.module.load_state_dict(saved["average"])
            self.optimizer.load_state_dict(saved["optimizer"])
            for name in self.kept:
                value = saved.get(name, self.kept[name])
                self.kept[name] = value.to(self.workers.device) if isinstance(value, Tensor) else value
            self.step, spent = saved["step"], saved["minutes"]
            restore_random_state(self.rng, saved["random"])
        self.average.n_averaged.fill_(self.step)
        self.workers.same_start(self.step)
        self.clock, self.log = Clock(self.length, spent, self.step), Log(self.out / "log.csv")
        self._pictures, self._since = 0, time.monotonic()

    @property
    def averaged(self) -> Trained:
        """The trained module with averaged weights."""
        return cast(Trained, self.average.module)

    def save(self) -> None:
        save_state(self.out / "state.pt", {
            **self.about, **self.kept, "trained": self.trained.state_dict(), "average": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step, "minutes": self.clock.minutes,
            "random": random_state(self.rng),
        })  # fmt: skip

    def batches(self, make: Callable[[np.random.Generator], Item]) -> Iterator[Item]:
        """What `make` makes for this step and every later one (`ahead.batches`)."""
        return batches(make, self.seed, self.step, self.workers.loaders, self.workers.device.type == "cuda")

    def half(self, wanted: bool = True) -> torch.autocast:
        """bfloat16 autocast, where this run has it."""
        return torch.autocast(self.workers.device.type, torch.bfloat16, enabled=self.bfloat16 and wanted)

    def speed(self) -> float:
        """Pictures a second since the last call."""
        done, since, now = self._pictures, self._since, time.monotonic()
        self._pictures, self._since = 0, now
        return done / max(now - since, 1e-9)

    def descend(self, loss: Tensor, b: int, progress: float) -> None:
        """One step down the loss of a batch of b, of which `loss` is this process's part: the parts of all add up."""
        self.rate = self.descent.rate(self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group.get("share", 1.0)
        learning = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.workers.add_gradients(learning)
        nn.utils.clip_grad_norm_(learning, self.descent.clip)
        self.optimizer.step()
        self.average.update_parameters(self.trained)
        self._pictures += b
        self.step += 1

    def go(self, step: Callable[[float], dict[str, Any]], report: Callable[[bool], dict[str, Any]]) -> dict[str, Any]:
        """Call `step` with the progress in [0, 1] until the length, or this piece of it, is over; what it returns
        stands beside the bar. `report` (told whether it is the last one) and a save come every `save_minutes` and at
        the end. Returns the last report of the first process."""
        first, saved = self.workers.first, self.clock.minutes
        with tqdm(initial=self.step, total=self.length.steps, unit="step", mininterval=5, disable=not first) as bar:
            while True:
                over = self.clock.finished(self.step) or self.clock.piece_over(self.step)
                progress, over = self.workers.agree([self.clock.progress(self.step), over])
                if over:
                    break
                if told := step(progress):
                    bar.set_postfix(told, refresh=False)
                bar.update(self.step - bar.n)
                if first and self.clock.minutes - saved > self.save_minutes:
                    self._tell(report(False))
                    self.save()
                    saved = self.clock.minutes
                    self.speed()  # what it took is not training's
        figures = report(True) if first else {}
        self.workers.after_first(self.save)
        return figures

    def _tell(self, figures: dict[str, Any]) -> None:
        numbers = [f"{name} {value:.3f}" for name, value in figures.items() if isinstance(value, float)]
        tqdm.write(f"step {self.step} {self.clock.minutes:.1f} min  " + "  ".join(numbers))
