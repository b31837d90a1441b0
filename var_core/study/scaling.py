"""Five sizes of one shape by four budgets: one run a size at a level rate, with a short fall of the rate branched off
where a budget ends, so that every point is the end of a run of its own length."""

from __future__ import annotations

import csv
import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..train.run import Log, Run
from .bursts import side_by_side
from .members import Member, build
from .tokens import Cache
from .training import Choices, Deadline, Foretold, Machine, cool_from, foretell, steps_for, summary, train
from .trunk import size

DEPTHS = (2, 3, 4, 5, 6)
BUDGETS = (2e13, 5e13, 1e14, 2e14)
RATES = (1e-3, 2e-3, 4e-3)  # tried at both ends of the sizes
RATE_BUDGET = 3e13
EQUAL = "equal"  # the point at which every size has seen as many pictures as the largest at its largest budget
APART = 0.02  # validation against training loss


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is trained; smaller in tests."""

    depths: tuple[int, ...] = DEPTHS
    budgets: tuple[float, ...] = BUDGETS
    rates: tuple[float, ...] = RATES
    rate_budget: float = RATE_BUDGET
    batch: int = 2


WHOLE = Grid()


def budget_name(flop: float) -> str:
    return f"{flop:.0e}".replace("e+", "e")


def rows(path: Path) -> list[dict[str, str]]:
    """Of a CSV file, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def points(grid: Grid, depth: int, cache: Cache) -> dict[str, int]:
    """Name of each point of a size -> its steps, in order; a budget comes before an equal point of the same step."""
    member = build("var", depth, cache)
    found = {budget_name(flop): steps_for(flop, member, grid.batch) for flop in grid.budgets}
    largest = build("var", grid.depths[-1], cache)
    found[EQUAL] = steps_for(grid.budgets[-1], largest, grid.batch)
    return dict(sorted(found.items(), key=lambda point: point[1]))


def ladder(
    cache: Cache, depth: int, choices: Choices, stops: dict[str, int], out: Path, machine: Machine, deadline: Deadline,
    tell: Any,
) -> bool:  # fmt: skip
    """One size: `tell(name, steps, run)` at every stop. True once all are told; told ones are not trained again."""
    warmup = max(1, min(stops.values()) // 10)
    never = 10**12
    for name, steps in stops.items():
        branch = out / name
        if (branch / "told").exists():
            continue
        start = cool_from(steps)
        main, there = train(
            build("var", depth, cache, choices.seed), cache, choices, out / "level", machine, deadline,
            course=(warmup, never, never), until=start,
        )  # fmt: skip
        if not there:
            return False
        if main.step > start:
            raise ValueError(f"the run at {out / 'level'} is beyond the start of {name}: its folder was changed")
        if not (branch / "state.pt").exists():
            branch.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(out / "level" / "state.pt", branch / "state.partial")
            (branch / "state.partial").replace(branch / "state.pt")
        run, there = train(
            build("var", depth, cache, choices.seed), cache, choices, branch, machine, deadline,
            course=(warmup, start, steps), until=steps,
        )  # fmt: skip
        if not there:
            return False
        tell(name, steps, run)
        (branch / "told").touch()
        (branch / "state.pt").unlink()  # what it said is kept
    return True


def scaling(
    cache: Cache, out: Path, machine: Machine, deadline: Deadline, seeds: tuple[int, ...] = (0,), grid: Grid = WHOLE
) -> bool:  # fmt: skip
    """The rates at both ends, then every seed, budget and size; rows in out/csv. True once all is done."""
    if not _rates(cache, out, machine, deadline, grid):
        return False
    chosen = choose_rates(rows(out / "csv" / "rates.csv"), grid)
    whole = len(grid.budgets) + 1
    for seed in seeds:
        # all sizes at a budget before any at the next; on a GPU none waits for the others
        for budgets in range(whole if machine.device.type == "cuda" else 1, whole + 1):
            jobs = []
            for depth in grid.depths:
                choices = Choices(rate=chosen[depth], batch=grid.batch, seed=seed)
                teller = _Teller(cache, out / "csv", machine, depth, choices)
                place, stops = out / "scaling" / f"depth-{depth}-seed-{seed}", points(grid, depth, cache)
                some = dict(list(stops.items())[:budgets])
                jobs.append(partial(ladder, cache, depth, choices, some, place, machine, deadline, teller))
            if not side_by_side(jobs, machine.device):
                return False
    return True


def _rates(cache: Cache, out: Path, machine: Machine, deadline: Deadline, grid: Grid) -> bool:
    name, jobs = budget_name(grid.rate_budget), []
    for depth in (grid.depths[0], grid.depths[-1]):
        stops = {name: steps_for(grid.rate_budget, build("var", depth, cache), grid.batch)}
        for rate in grid.rates:
            choices = Choices(rate=rate, batch=grid.batch)
            tell = _RateTeller(cache, out / "csv", machine, depth, choices)
            place = out / "scaling" / f"rate-depth-{depth}-{rate:.0e}"
            jobs.append(partial(ladder, cache, depth, choices, stops, place, machine, deadline, tell))
    return side_by_side(jobs, machine.device)


class _RateTeller:
    """Writes the loss that a rate led to, averaged weights, to rates.csv."""

    def __init__(self, cache: Cache, out: Path, machine: Machine, depth: int, choices: Choices) -> None:
        self.cache, self.machine, self.depth, self.choices = cache, machine, depth, choices
        self.log = Log(out / "rates.csv")

    def __call__(self, name: str, steps: int, run: Run[Member]) -> None:
        found = foretell(run.averaged, self.cache, self.cache.val, self.machine.device)
        flop = run.trained.cost().training * self.choices.batch * steps
        self.log.write({
            "depth": self.depth, "flop": flop, "steps": steps, "rate": self.choices.rate,
            "L_all": float(found.nats.mean()),
        })  # fmt: skip


def choose_rates(tried: list[dict[str, str]], grid: Grid) -> dict[int, float]:
    """The best rate at either end; between them a line of its logarithm over that of the width. ValueError where an
    end was not tried."""
    best = []
    for depth in (grid.depths[0], grid.depths[-1]):
        found = [(float(row["L_all"]), float(row["rate"])) for row in tried if int(row["depth"]) == depth]
        if not found:
            raise ValueError(f"no rates were tried at depth {depth}: run python -m var_core.study scaling first")
        best.append(min(found)[1])
    ends = math.log(grid.depths[0]), math.log(grid.depths[-1])
    places = np.interp([math.log(depth) for depth in grid.depths], ends, np.log(best))
    return {depth: float(np.exp(place)) for depth, place in zip(grid.depths, places, strict=True)}


class _Teller:
    """Writes what a point's run foretells: scaling.csv, averaged weights and not, and pictures.csv, nats of every
    measured picture (averaged weights), for the bootstrap."""

    def __init__(self, cache: Cache, out: Path, machine: Machine, depth: int, choices: Choices) -> None:
        self.cache, self.machine, self.depth, self.choices = cache, machine, depth, choices
        self.points, self.pictures = Log(out / "scaling.csv"), Log(out / "pictures.csv")

    def __call__(self, name: str, steps: int, run: Run[Member]) -> None:
        cache, device, choices = self.cache, self.machine.device, self.choices
        last, config = slice(*cache.words.ten.scales.spans[-1]), run.trained.trunk.config
        seen = steps * choices.batch
        about = {
            "depth": self.depth, "width": config.width, "N": size(config), "at": name, "seed": choices.seed,
            "rate": choices.rate, "steps": steps, "pictures": seen, "tokens": seen * cache.words.ten.scales.total,
            "passes": seen / len(cache.train), "flop": run.trained.cost().training * seen,
        }  # fmt: skip
        val = None
        for weights, member in (("raw", run.trained), ("ema", run.averaged)):
            val = foretell(member, cache, cache.val, device)
            own, seen_before = summary(val, last), summary(foretell(member, cache, cache.train, device), last)
            apart = own["L_all"] / seen_before["L_all"] - 1
            row = about | {"weights": weights} | own | {f"train_{key}": value for key, value in seen_before.items()}
            self.points.write(row | {"apart": round(apart, 4), "flagged": int(abs(apart) > APART)})
        assert val is not None
        self._each(name, "L_last", val.nats[:, last].mean(1))
        self._each(name, "L_all", val.nats.mean(1))
        scales(self.cache, val, self.pictures.path.parent / "scales.csv", f"depth {self.depth}, {name}", choices.seed)

    def _each(self, name: str, figure: str, values: np.ndarray) -> None:
        row: dict[str, Any] = {"depth": self.depth, "at": name, "seed": self.choices.seed, "figure": figure}
        self.pictures.write(row | {str(i): float(value) for i, value in enumerate(values)})


def scales(cache: Cache, found: Foretold, path: Path, who: str, seed: int) -> None:
    """Nats a token of every scale, a row of scales.csv."""
    spans, sides = cache.words.ten.scales.spans, cache.words.ten.scales.sides
    each = {f"nats {s}": float(found.nats[:, a:b].mean()) for s, (a, b) in zip(sides, spans, strict=True)}
    Log(path).write({"who": who, "seed": seed, "bits": float(found.bits.mean())} | each)
