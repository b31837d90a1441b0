"""python -m var_core.train tokenizer | transformer | export"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from ..tokenizer import TokenizerConfig
from .tokenizer import TokenizerTraining, train_tokenizer


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _common(parser: argparse.ArgumentParser, batch: int, rate: float) -> None:
    parser.add_argument(
        "--data", required=True, help="folder or zip: train|val/<class>/<picture>, or <class>/<picture>"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of the run: state, log, sample grids")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="length of the schedule in steps: a cut run equals an uncut one")
    length.add_argument("--minutes", type=float, help="length of the schedule in minutes, over all pieces")
    parser.add_argument(
        "--max-minutes", type=float, help="stop after this many minutes; the same command goes on later"
    )
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m var_core.train", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    tok = stages.add_parser("tokenizer", help="train the multi-scale tokenizer")
    _common(tok, batch=16, rate=1e-3)
    tok.add_argument("--sides", type=_numbers, default=TokenizerConfig().sides)
    tok.add_argument("--channels", type=int, default=32)
    tok.add_argument(
        "--multipliers", type=_numbers, default=(1, 1, 3, 6), help="one per level; stride = 2^(levels - 1)"
    )
    tok.add_argument("--blocks", type=int, default=1, help="residual blocks per level of the encoder")
    tok.add_argument("--code-dim", type=int, default=16)
    tok.add_argument("--vocab", type=int, default=1024)
    tok.add_argument("--warmup", type=int, default=TokenizerTraining().warmup_steps, help="steps without quantization")
    tok.add_argument(
        "--small-share", type=float, default=TokenizerTraining().small_share, help="share of the run at half size"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    try:
        print(json.dumps(_run(args)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> dict:
    length = {"steps": args.steps, "minutes": args.minutes, "max_minutes": args.max_minutes}
    where = {"device": args.device, "bfloat16": not args.float32}
    config = TokenizerConfig(
        sides=args.sides, channels=args.channels, multipliers=args.multipliers, residual_blocks=args.blocks,
        code_dim=args.code_dim, vocab_size=args.vocab,
    )  # fmt: skip
    training = TokenizerTraining(
        batch=args.batch, peak_rate=args.rate, warmup_steps=args.warmup, small_share=args.small_share, seed=args.seed
    )
    return train_tokenizer(config, training, args.data, args.out, **length, **where)


if __name__ == "__main__":
    sys.exit(main())
