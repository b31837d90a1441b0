"""Speed, measured: python -m var_core.benchmark [--model NAME] [--task generate | inpaint | branch] [--dtype ...]

Every ratio compares two modes of one process on the same weights. Reference mode is the published procedure done
plainly: float32, both guidance halves always, a cache grown by concatenation, the class modulation computed again at
every scale, logits at every position, one full decode at the end and no previews. The last line on standard output is
one JSON document.

A registered model that is not on disk is built at full size with random weights: speed does not depend on them, and
the output says so ("weights": "random").

--check adds "agreement": the engine's logits and best tokens against the plain forward after the same tokens.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch

from ..model.memory import keep_freed_memory
from .agreement import agreement
from .measure import alone, measure, open_or_random


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m var_core.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="garden-2", help="registered name or a .safetensors file")
    parser.add_argument("--task", default="generate", choices=("generate", "inpaint", "branch"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--runs", type=int, default=5, help="timed runs after one cold one (default %(default)s)")
    parser.add_argument("--encoded", action="store_true", help="the picture is already encoded, as on the page")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--candidates", type=int, default=1, help="pictures of one run (default %(default)s)")
    parser.add_argument("--alone", action="store_true", help="no reference mode: loading time and peak memory")
    parser.add_argument("--check", action="store_true", help="also compare logits with the plain float32 forward")
    args = parser.parse_args(arguments)
    keep_freed_memory()
    dtype, runs = getattr(torch, args.dtype), max(1, args.runs)
    try:
        if args.alone:
            document = alone(args.model, args.task, dtype)
        else:
            document = measure(args.model, args.task, dtype, runs, args.encoded, args.device, args.candidates)
        if args.check:
            document["agreement"] = agreement(open_or_random(args.model)[0])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for part, spent in document.get("parts", {}).items():
        print(f"{part:20}{1000 * spent:9.1f} ms")
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
