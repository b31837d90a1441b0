"""python -m var_core.train tokenizer | transformer | decoder | refiner | superres | export | parts | split | join

Several GPUs or machines: torchrun --nproc-per-node 4 -m var_core.train ... with the same options; --batch counts the
pictures of all processes together."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from ..measures.likelihood import Likelihood, everything
from ..model.memory import keep_freed_memory
from ..model.precision import fast_bfloat16
from ..model.superres import SuperResolutionConfig
from ..model.tokenizer import Tokenizer, TokenizerConfig, tiny_config
from ..model.transformer import TransformerConfig
from ..pictures.data import Pictures, load_pictures
from ..pictures.masks import random_hole
from .decoder import DecoderTraining, train_decoder
from .export import export, load_pair, load_tokenizer
from .parts import STAGES, compare_parts
from .refiner import DEFAULTS, train_refiner
from .run import Length
from .superres import SuperResolutionTraining, train_superres
from .tokenizer import TokenizerTraining, train_tokenizer
from .transformer import HoledPictures, TransformerTraining, train_transformer
from .travel import join_run, split_run
from .workers import Workers, joined


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _common(parser: argparse.ArgumentParser, choices: Any) -> None:
    add = parser.add_argument
    add("--data", required=True, help="folder or zip of pictures: [train|val/][<class>/]<picture>")
    add("--free", action="append", default=[], help="more pictures, whose classes do not count; may be repeated")
    add("--largest", type=int, help="shrink --free pictures to this short side (default: 7/4 of the model's)")
    add("--out", required=True, type=Path, help="folder of the run: state, log, pictures")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="length of the schedule in steps: a cut run equals an uncut one")
    length.add_argument("--minutes", type=float, help="length of the schedule in minutes, over all pieces")
    add("--max-minutes", type=float, help="stop after this many minutes; the same command goes on later")
    add("--max-steps", type=int, help="the same in steps")
    add("--batch", type=int, default=choices.batch, help="pictures a step, over all processes (default %(default)s)")
    add("--peak-rate", "--rate", type=float, default=choices.peak_rate, help="of learning (default %(default)s)")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--loaders", type=int, help="processes that make batches ahead (default: one a core beside a GPU, else none)")
    add("--save-minutes", type=float, default=choices.save_minutes, help="between states (default %(default)s)")
    add("--float32", action="store_true", help="no bfloat16 autocast, also where it pays")


def _tokenizer(stages: Any) -> None:
    parser, choices = stages.add_parser("tokenizer", help="train a multi-scale tokenizer"), TokenizerTraining()
    _common(parser, choices)
    add = parser.add_argument
    add("--start", nargs=2, type=Path, metavar=("ENCODER", "DECODER"), help="published .pth files (default: from none)")
    add(
        "--sides",
        type=_numbers,
        default=TokenizerConfig.sides,
        help="of the token maps; pictures have 8 times the last",
    )
    add("--channels", type=int, default=64, help="of encoder and decoder; 64 with --start")
    add("--vocab", type=int, default=4096, help="codes (default %(default)s)")
    add("--features", type=float, default=choices.features, help="weight of lite0's features (default %(default)s)")
    add("--cut", type=int, default=choices.cut, help="pictures a batch that end after any scale (default %(default)s)")


def _transformer(stages: Any) -> None:
    parser, choices = stages.add_parser("transformer", help="train a transformer"), TransformerTraining()
    _common(parser, choices)
    add = parser.add_argument
    add("--tokenizer", required=True, type=Path, help="run of the tokenizer, or a model")
    add("--start", type=Path, help="run or model on the same tokens: begin with its weights and in its shape")
    add("--depth", type=int, default=6)
    add("--width", type=int, default=384)
    add("--heads", type=int, default=4)
    add("--corruption", type=float, default=choices.corruption, help="share of wrong codes, at most (%(default)s)")
    add("--no-muon", dest="muon", action="store_false", help="AdamW for all weights, not Muon for the matrices")
    add("--unweighted", dest="weighted", action="store_false", help="tokens of all scales count the same")
    add("--compile", action="store_true", help="torch.compile of the blocks: about twice as fast")


def _decoder(stages: Any) -> None:
    parser, choices = stages.add_parser("decoder", help="train a tokenizer's decoder alone"), DecoderTraining()
    _common(parser, choices)
    add = parser.add_argument
    add("--tokenizer", required=True, type=Path, help="run of the tokenizer, or a model; its tokens stay")
    add("--transformer", type=Path, help="run of the transformer, or a model, that draws tokens (default: true ones)")
    add("--features", type=float, default=choices.features, help="weight of lite0's features (default %(default)s)")
    add("--pull", type=float, default=choices.pull, help="of the critics, 0: none (default %(default)s)")
    add("--drawn", type=float, default=choices.drawn, help="share of a batch with drawn tokens (default %(default)s)")
    add("--most", type=float, default=choices.most, help="share of a picture's tokens drawn, at most (%(default)s)")
    add("--cut", type=int, default=choices.cut, help="pictures a batch that end after any scale (default %(default)s)")
    add("--cut-weight", type=float, default=choices.cut_weight, help="of their pixels (default %(default)s)")


def _refiner(stages: Any) -> None:
    parser = stages.add_parser("refiner", help="train what draws the tokens of coarse scales one after another")
    _common(parser, DEFAULTS)
    add = parser.add_argument
    add("--tokenizer", required=True, type=Path, help="run of the tokenizer, or a model")
    add("--transformer", required=True, type=Path, help="run of the transformer, or a model; it stays as it is")
    add("--width", type=int, help="of the blocks, a multiple of 32 (default: half the transformer)")
    add("--corruption", type=float, default=DEFAULTS.corruption, help="share of wrong codes, at most (%(default)s)")


def _superres(stages: Any) -> None:
    parser, choices = (
        stages.add_parser("superres", help="train what sharpens pictures"),
        SuperResolutionTraining(),
    )
    _common(parser, choices)
    add = parser.add_argument
    add("--tokenizer", required=True, type=Path, help="run of the tokenizer, or a model, that rebuilds pictures")
    add("--width", type=int, default=SuperResolutionConfig.width, help="channels (default %(default)s)")
    add("--blocks", type=int, default=SuperResolutionConfig.blocks, help="of three convolutions (default %(default)s)")
    add("--features", type=float, default=choices.features, help="weight of lite0's features (default %(default)s)")
    add("--pull", type=float, default=choices.pull, help="of the critics, 0: none (default %(default)s)")
    add("--rebuilt", type=float, default=choices.rebuilt, help="share of a batch rebuilt (default %(default)s)")


def _parts(stages: Any) -> None:
    parser = stages.add_parser("parts", help="short runs with one part of the recipes left out at a time: a table")
    add = parser.add_argument
    add("--data", required=True, help="as of the stages")
    add("--free", action="append", default=[], help="the same")
    add("--out", required=True, type=Path, help="folder of all the runs and of table.md")
    add("--steps", required=True, type=int, help="of every run")
    add("--only", action="append", choices=STAGES, help="rows of this stage; may be repeated")
    for stage in STAGES:
        add(f"--{stage}", metavar="OPTIONS", help='further ones of all its runs, for example "--batch 4"')


def _files(stages: Any) -> None:
    parts = stages.add_parser("split", help="a run in parts of bounded size, to carry it to another machine")
    parts.add_argument("run", type=Path)
    parts.add_argument("--out", required=True, type=Path, help="new folder for the parts")
    parts.add_argument("--part-mib", type=float, default=16.0, help="largest size of a part (default %(default)s)")
    whole = stages.add_parser("join", help="the parts of a run, verified and put together")
    whole.add_argument("parts", type=Path)
    whole.add_argument("--out", required=True, type=Path, help="folder of the run")
    model = stages.add_parser("export", help="write one model file")
    model.add_argument("--tokenizer", required=True, type=Path, help="run of the tokenizer or its decoder, or a model")
    model.add_argument("--transformer", required=True, type=Path, help="run of the transformer, or a model")
    model.add_argument("--refiner", type=Path, help="run of a refiner of this transformer")
    model.add_argument("--out", required=True, type=Path, help="the .safetensors file; its stem is the model's name")
    model.add_argument("--licence", help="(default: the model's, or MIT)")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m var_core.train", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    for add in (_tokenizer, _transformer, _decoder, _refiner, _superres, _parts, _files):
        add(stages)
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    keep_freed_memory()
    try:
        if args.stage in ("split", "join"):
            work = (args.run, args.out, args.part_mib) if args.stage == "split" else (args.parts, args.out)
            files = (split_run if args.stage == "split" else join_run)(*work)
            figures = {"files": [str(file) for file in files], "bytes": sum(f.stat().st_size for f in files)}
        elif args.stage == "export":
            figures = export(args.tokenizer, args.transformer, args.out, args.licence, args.refiner)
        elif args.stage == "parts":
            common = ["--data", args.data, "--steps", str(args.steps)]
            common += [part for place in args.free for part in ("--free", place)]
            further = {stage: getattr(args, stage) for stage in STAGES}
            figures = compare_parts(main, common, further, args.out, args.only)
        else:
            with joined(args.device, _loaders(args)) as workers:
                figures = _train(args, workers)
                if not workers.first:
                    return 0
        print(json.dumps(figures))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _train(args: argparse.Namespace, workers: Workers) -> dict:
    half = not args.float32 and (args.device != "cpu" or fast_bfloat16(torch.device("cpu")))
    (half,) = workers.agree([half])  # machines may differ, they must not
    length = Length(steps=args.steps, minutes=args.minutes, max_minutes=args.max_minutes, max_steps=args.max_steps)
    where = {"length": length, "workers": workers, "bfloat16": bool(half)}
    stages = {
        "tokenizer": _train_tokenizer, "transformer": _train_transformer, "decoder": _train_decoder,
        "refiner": _train_refiner, "superres": _train_superres,
    }  # fmt: skip
    return stages[args.stage](args, where)


def _loaders(args: argparse.Namespace) -> int:
    if args.loaders is not None:
        return args.loaders
    cores, here = os.cpu_count() or 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, cores // here - 1) if args.device == "cuda" else 0


def _given(kind: type, args: argparse.Namespace) -> dict[str, Any]:
    return {field.name: getattr(args, field.name) for field in fields(kind) if hasattr(args, field.name)}


def _choices(kind: type, args: argparse.Namespace) -> Any:
    """A stage's choices, as far as the command line has them."""
    return kind(**_given(kind, args))


def _pictures(args: argparse.Namespace, size: int) -> tuple[Pictures, Pictures, list[Pictures]]:
    """Training and validation pictures, and the free ones to train on."""
    train, val = (load_pictures(args.data, split, size) for split in ("train", "val"))
    return train, val, _free(args, "train", size)


def _free(args: argparse.Namespace, split: str, size: int) -> list[Pictures]:
    return [load_pictures(place, split, size, args.largest or size * 7 // 4) for place in args.free]


def _train_tokenizer(args: argparse.Namespace, where: dict) -> dict:
    config = tiny_config(args.sides, args.channels, args.vocab)
    train, val, free = _pictures(args, config.resolution)
    start = None if args.start is None else tuple(args.start)
    return train_tokenizer(
        config, _choices(TokenizerTraining, args), [train, *free], val, args.out, start=start, **where
    )


def _train_decoder(args: argparse.Namespace, where: dict) -> dict:
    transformer = None
    if args.transformer is None:
        tokenizer, _ = load_tokenizer(args.tokenizer)
    else:
        model = load_pair(args.tokenizer, args.transformer)
        tokenizer, transformer = model.tokenizer, model.transformer
    train, val, free = _pictures(args, tokenizer.config.resolution)
    choices = _choices(DecoderTraining, args)
    return train_decoder(tokenizer, transformer, choices, [train, *free], val, args.out, **where)


def _train_transformer(args: argparse.Namespace, where: dict) -> dict:
    tokenizer, _ = load_tokenizer(args.tokenizer)
    sizes = tokenizer.config
    train, val, free = _pictures(args, sizes.resolution)
    config = TransformerConfig(
        sides=sizes.sides, depth=args.depth, width=args.width, heads=args.heads, mlp_width=4 * args.width,
        classes=len(train.class_names), code_dim=sizes.code_dim, vocab_size=sizes.vocab_size, shared_modulation=True,
        infill=True,
    )  # fmt: skip
    start = None
    if args.start is not None:
        model = load_pair(args.tokenizer, args.start)
        start = model.transformer, model.class_names
        config = replace(model.transformer.config, classes=config.classes)
    labelled = [train, *(part for part in (source.of(train.class_names) for source in free) if len(part))]
    choices, half = _choices(TransformerTraining, args), where["bfloat16"]
    pictures = HoledPictures(tokenizer, choices, labelled, free or [train], where["workers"], half)
    measure = _likelihood(args, tokenizer, val, train.class_names, random_hole, where)
    return train_transformer(
        config, choices, pictures, args.out, measure=measure, compiled=args.compile, length=where["length"],
        bfloat16=half, start=start,
    )  # fmt: skip


def _train_refiner(args: argparse.Namespace, where: dict) -> dict:
    model = load_pair(args.tokenizer, args.transformer)
    model.tokenizer.float()
    train, val, free = _pictures(args, model.tokenizer.config.resolution)
    labelled = [part for part in (source.of(model.class_names) for source in (train, *free)) if len(part)]
    choices, width = replace(DEFAULTS, **_given(TransformerTraining, args)), model.transformer.config.width
    if model.transformer.known_embed is None:
        choices = replace(choices, all_unknown=1.0)
    if not labelled:
        choices = replace(choices, labelled=0.0)
    half, hole = where["bfloat16"], everything if choices.all_unknown == 1 else random_hole
    pictures = HoledPictures(
        model.tokenizer, choices, labelled, free or [train], where["workers"], half, len(model.class_names)
    )
    measure = _likelihood(args, model.tokenizer, val, model.class_names, hole, where)
    return train_refiner(
        model, choices, pictures, args.out, width=args.width or max(32, width // 64 * 32), measure=measure,
        length=where["length"], bfloat16=half,
    )  # fmt: skip


def _train_superres(args: argparse.Namespace, where: dict) -> dict:
    tokenizer, _ = load_tokenizer(args.tokenizer)
    config = SuperResolutionConfig(width=args.width, blocks=args.blocks)
    size = tokenizer.config.resolution
    large = args.largest or size * 7 // 4
    train, val = (load_pictures(args.data, split, size, large) for split in ("train", "val"))
    sources = [train, *_free(args, "train", size)]
    return train_superres(config, tokenizer, _choices(SuperResolutionTraining, args), sources, val, args.out, **where)


def _likelihood(
    args: argparse.Namespace, tokenizer: Tokenizer, val: Pictures, names: tuple[str, ...], hole: Any, where: dict
) -> Likelihood | None:
    """Validation pictures with holes, of which those of the classes `names` have labels; for the first process."""
    if not where["workers"].first:
        return None
    tokenizer.to(where["workers"].device)
    known, free = val.of(names), _free(args, "val", tokenizer.config.resolution)
    sources = [(known, True) if len(known) else (val, False), *((source, False) for source in free)]
    return Likelihood(tokenizer, sources, len(names), hole, bfloat16=where["bfloat16"])


if __name__ == "__main__":
    status = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # gloo's threads may outlive destroy_process_group and still hold tensors. Freeing one while the
        # interpreter is torn down aborts a finished run, so a worker leaves without being torn down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
