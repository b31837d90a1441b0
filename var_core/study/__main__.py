"""The paper's claims, measured in small: python -m var_core.study WHAT --out runs/study [--max-minutes M]

Every command goes on where it was cut, and a run in pieces is the run at once. In this order; hours are of one core
with fast bfloat16 and --compile (24 GFLOP/s at depth 2, 53 at depth 5, 82 at depth 6); scaling and peers may run side
by side, each on a core of its own:

    tokens --tokenizer MODEL --data pictures.zip        0.6 h   features and tokens, once
    scaling                                               9 h   rates at both ends, then five sizes by four budgets
    peers train                                          13 h   VAR and five peers, three rates, 5e14 FLOP each
    peers measure --data pictures.zip                     4 h   guidance swept, the table
    peers speed                                         0.1 h   seconds a picture, side by side
    peers sheet --data pictures.zip                     0.1 h   one contact sheet (peers sample NAME: one member's)
    editing --data pictures.zip                         0.7 h   zero-shot edits by all that can
    report                                              0.1 h   tables, figures and page to assets/docs

`--compile` is slow to start and faster after. With `--device cuda`, the default where there is a GPU, steps are replays
of CUDA graphs, and all runs of a command share the GPU; `train` is scaling and peers train at once (nine runs did 9e12
FLOP a second together on an H200). MODEL is a tokenizer run's folder or a model file. --data may be repeated, and must
be the same everywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..model.memory import keep_freed_memory
from ..model.precision import fast_bfloat16
from . import editing, peers
from .bursts import side_by_side
from .members import TITLES
from .page import SHEET
from .report import check, gather_runs, report
from .scaling import RATES, WHOLE, Grid, scaling
from .tokens import gather, make_tokens, open_tokens
from .training import Deadline, Machine

_DOCS = Path(__file__).parents[2] / "assets" / "docs"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m var_core.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = parser.add_subparsers(dest="stage", required=True)
    tokens = _stage(stages, "tokens", data=True)
    tokens.add_argument("--tokenizer", required=True, type=Path, help="folder of a tokenizer run, or a model file")
    tokens.add_argument("--crops", type=int, default=4, help="of each training picture (default %(default)s)")
    for name in ("scaling", "train"):
        grid = _stage(stages, name)
        grid.add_argument("--seeds", type=int, nargs="+", default=[0])
        grid.add_argument("--depths", type=int, nargs="+", default=WHOLE.depths, help="ascending (default %(default)s)")
        grid.add_argument("--budgets", type=float, nargs="+", default=WHOLE.budgets, help="FLOP (default %(default)s)")
        grid.add_argument("--batch", type=int, default=WHOLE.batch, help="pictures of a step (default %(default)s)")
        _training(grid)
    work = _stage(stages, "peers")
    work.add_argument("action", choices=("train", "measure", "speed", "sheet", "sample"))
    work.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TITLES)}; all where none is given")
    work.add_argument("--data", action="append", default=[], help="measure, sheet: as for the tokens")
    work.add_argument("--depth", type=int, default=peers.DEPTH, help="train (default %(default)s)")
    work.add_argument("--flop", type=float, default=peers.FLOP, help="train: of each member (default %(default)s)")
    work.add_argument("--rate", type=float, help="train: this one, instead of the best of three")
    work.add_argument("--guidance", type=float, help="sample: instead of the swept one")
    work.add_argument("--count", type=int, default=24, help="sample: pictures (default %(default)s)")
    work.add_argument("--runs", type=int, default=5, help="speed: timed pictures of each (default %(default)s)")
    _training(work)
    edits = _stage(stages, "editing", data=True)
    edits.add_argument("--count", type=int, default=100, help="pictures of a family (default %(default)s)")
    page = _stage(stages, "report")
    page.add_argument("--docs", type=Path, default=_DOCS, help="where the page and its folder are written")
    page.add_argument("--check", action="store_true", help="only compare the page with the tables beside it")
    return parser


def _stage(stages: Any, name: str, data: bool = False) -> argparse.ArgumentParser:
    stage = stages.add_parser(name)
    stage.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the study (default %(default)s)")
    stage.add_argument("--max-minutes", type=float, help="stop after this long; the same command goes on later")
    stage.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    stage.add_argument("--float32", action="store_true", help="no bfloat16 autocast, also where it pays")
    if data:
        stage.add_argument("--data", action="append", required=True, help="folder or zip of pictures; may be repeated")
    return stage


def _training(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--compile", action="store_true", help="torch.compile of the blocks")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """What was done, and whether all of it is."""
    out, deadline, device = args.out, Deadline(args.max_minutes), torch.device(args.device)
    half = not args.float32 and fast_bfloat16(device)
    machine = Machine(device, half, getattr(args, "compile", False))
    if args.stage == "tokens":
        done = make_tokens(args.tokenizer, args.data, out / "tokens", args.crops, args.max_minutes, half, device)
        return {"whole": done, "tokens": str(out / "tokens")}
    if args.stage == "report":
        if args.check:
            check(args.docs)
            return {"page": str(args.docs / "study.md"), "holds": True}
        gather_runs(out)
        return {"written": [str(path) for path in report(out / "csv", args.docs)]}
    if args.stage == "peers":
        return _peers(args, machine, deadline)
    cache = open_tokens(out / "tokens").to(machine.device)
    if args.stage in ("scaling", "train"):
        grid = Grid(depths=tuple(args.depths), budgets=tuple(args.budgets), batch=args.batch)
        jobs = [partial(scaling, cache, out, machine, deadline, tuple(args.seeds), grid)]
        if args.stage == "train":
            jobs.append(partial(peers.train_peers, cache, out, list(TITLES), machine, deadline))
        return {"whole": side_by_side(jobs, machine.device), "tables": str(out / "csv")}
    return {"whole": editing.edit(cache, out, args.data, machine, deadline, args.count), "tables": str(out / "csv")}


def _peers(args: argparse.Namespace, machine: Machine, deadline: Deadline) -> dict[str, Any]:
    out, names = args.out, args.names or list(TITLES)
    unknown = [name for name in names if name not in TITLES]
    if unknown:
        raise ValueError(f'there is no member "{unknown[0]}": use {", ".join(TITLES)}')
    if args.action in ("measure", "sheet") and not args.data:
        raise ValueError(f"peers {args.action} needs the pictures: give --data as for the tokens")
    cache = open_tokens(out / "tokens").to(machine.device)
    if args.action == "train":
        rates = RATES if args.rate is None else (args.rate,)
        done = peers.train_peers(
            cache, out, names, machine, deadline, depth=args.depth, flop=args.flop, rates=rates
        )  # fmt: skip
        return {"whole": done, "tables": str(out / "csv")}
    if args.action == "measure":
        return {"whole": peers.measure(cache, out, args.data, names, machine, deadline), "tables": str(out / "csv")}
    if args.action == "speed":
        peers.speed(cache, out, names, machine, args.runs)
        return {"whole": True, "table": str(out / "csv" / "speed.csv")}
    if args.action == "sheet":
        guidances = {name: peers.best_guidance(out / "csv", name) for name in names}
        real = gather(args.data, "val", cache.resolution)
        place = out / "csv" / SHEET
        peers.sheet(cache, out, names, guidances, machine.device, real).save(place, quality=90)
        return {"sheet": str(place)}
    made = [peers.sample(cache, out, name, args.guidance, args.count, machine.device) for name in names]
    return {"pictures": [str(path) for path in made]}


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    keep_freed_memory()
    try:
        found = run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
