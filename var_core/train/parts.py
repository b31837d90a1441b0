"""What each part of the recipes gives at equal steps: the same short runs, with one part left out at a time."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from pathlib import Path

STAGES = ("tokenizer", "decoder", "transformer")
# by stage, its row without a change first: the others build on that tokenizer
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "tokenizer": {
        "recipe": (),
        "recipe, another seed": ("--seed", "1"),
        "features at 0.1": ("--features", "0.1"),
        "no features": ("--features", "0"),
        "no pictures cut short": ("--cut", "0"),
    },
    "decoder": {
        "recipe": (),
        "no critics": ("--pull", "0"),
    },
    "transformer": {
        "recipe": (),
        "recipe, another seed": ("--seed", "1"),
        "no wrong codes": ("--corruption", "0"),
        "AdamW for the matrices": ("--no-muon",),
        "all tokens alike": ("--unweighted",),
    },
}
_FIGURES = {"tokenizer": "measures.csv", "decoder": "measures.csv", "transformer": "validation.csv"}
_HEADS = {"psnr", "frechet", "codes", "loss", "withheld"}
Row = dict[str, str]


def compare_parts(
    run: Callable[[list[str]], int], common: list[str], options: dict[str, str], out: Path, only: list[str] | None
) -> dict[str, dict[str, Row]]:
    """Run every row of VARIANTS (or of the stages `only`) as the command that it is, by `run`, each in its own folder
    of `out`: what is finished is not run again, what was cut goes on. `common` are arguments of all, `options` further
    ones of a stage. Writes `out`/table.md; returns the last validation figures by stage and row."""
    table: dict[str, dict[str, Row]] = {}
    for stage in only or STAGES:
        for name, changed in VARIANTS[stage].items():
            place = out / stage / name.replace(" ", "-").replace(",", "")
            first = [] if stage == "tokenizer" else ["--tokenizer", str(out / "tokenizer" / "recipe")]
            arguments = [stage, *common, *first, *shlex.split(options.get(stage) or ""), *changed, "--out", str(place)]
            if not (place / "finished").exists():
                if run(arguments):
                    raise ValueError(f'the row "{name}" of the {stage} could not be run: {shlex.join(arguments)}')
                (place / "finished").touch()
            with (place / _FIGURES[stage]).open(newline="") as file:
                last = list(csv.DictReader(file))[-1]
            table.setdefault(stage, {})[name] = {key: value for key, value in last.items() if key in _HEADS}
            (out / "table.md").write_text("\n".join(_markdown(of, rows) for of, rows in table.items()))
    return table


def _markdown(stage: str, rows: dict[str, Row]) -> str:
    heads = list(next(iter(rows.values())))
    lines = [f"| {stage} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(row.values()) + " |" for name, row in rows.items())]) + "\n"
