"""python -m var_core.train tiny | infill | tokenizer | transformer | export | classifier | compare | split | join

Several GPUs or machines: torchrun --nproc-per-node 4 -m var_core.train ... with the same options; --batch counts the
pictures of all processes together."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ..model.checkpoints import Model, config_from, save_model
from ..model.memory import keep_freed_memory
from ..model.precision import fast_bfloat16
from ..model.registry import open_model
from ..model.tokenizer import Tokenizer, TokenizerConfig, tiny_config
from ..model.transformer import Transformer, TransformerConfig
from ..pictures.data import Pictures, load_pictures
from .classifier import train_classifier
from .compare import compare
from .infill import InfillMeasure, InfillTraining, train_infill
from .run import Length, load_state
from .tiny import TinyTraining, train_tiny
from .tokenizer import TokenizerTraining, train_tokenizer
from .transformer import TransformerTraining, load_tokenizer, train_transformer
from .travel import join_run, split_run
from .workers import Workers, joined

# of small models of few classes: measured on garden-128
SAMPLING = {
    "guidance": 4.0, "edit_guidance": 6.0, "top_k": 100, "top_p": 0.8, "random_scales": 6, "evidence": 10.0,
    "edit_evidence": 1.0,
}  # fmt: skip


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
    parser.add_argument("--max-steps", type=int, help="the same in steps")
    parser.add_argument("--batch", type=int, default=batch, help="pictures a step, over all processes")
    parser.add_argument("--rate", type=float, default=rate, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast, also where it pays")


def _tokenizer(tok: argparse.ArgumentParser, sides: tuple[int, ...]) -> None:
    _common(tok, batch=16, rate=1e-3)
    tok.add_argument("--sides", type=_numbers, default=sides)
    tok.add_argument("--channels", type=int, default=32)
    tok.add_argument(
        "--multipliers", type=_numbers, default=(1, 1, 3, 6), help="one per level; stride = 2^(levels - 1)"
    )
    tok.add_argument("--blocks", type=int, default=1, help="residual blocks per level of the encoder")
    tok.add_argument("--groups", type=int, default=8, help="of the norms: leave each at least four channels")
    tok.add_argument("--code-dim", type=int, default=16)
    tok.add_argument("--vocab", type=int, default=1024)
    tok.add_argument("--warmup", type=int, default=TokenizerTraining().warmup_steps, help="steps without quantization")
    tok.add_argument(
        "--restart-every", type=int, default=TokenizerTraining().restart_every,
        help="steps over which a code must be used once (default %(default)s)",
    )  # fmt: skip
    tok.add_argument(
        "--small-share", type=float, default=TokenizerTraining().small_share, help="share of the run at half size"
    )


def _new_stages(stages: argparse._SubParsersAction) -> None:
    tiny = stages.add_parser("tiny", help="train a tokenizer with the tiny encoder and decoder (one process)")
    _common(tiny, batch=TinyTraining().batch, rate=TinyTraining().peak_rate)
    tiny.add_argument("--start", nargs=2, type=Path, metavar=("ENCODER", "DECODER"), help="published .pth files")
    tiny.add_argument("--features", type=float, default=TinyTraining().features, help="weight of lite0's features")
    tiny.add_argument("--pull", type=float, default=TinyTraining().pull, help="of the critics, late in the run")
    infill = stages.add_parser("infill", help="train a transformer with infill conditioning (one process)")
    _common(infill, batch=InfillTraining().batch, rate=InfillTraining().peak_rate)
    infill.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer run")
    infill.add_argument("--depth", type=int, default=6)
    infill.add_argument("--width", type=int, default=384)
    infill.add_argument("--heads", type=int, default=4)
    infill.add_argument("--corruption", type=float, default=InfillTraining().corruption, help="most wrong codes")
    infill.add_argument("--adam", action="store_true", help="AdamW for all weights instead of Muon for the matrices")
    infill.add_argument("--compile", action="store_true", help="torch.compile of the blocks: about twice as fast")
    for stage in (tiny, infill):
        stage.add_argument("--free", action="append", default=[], help="more pictures, whose classes do not count")
        stage.add_argument("--largest", type=int, help="shrink --free pictures to this short side (default: 7/4)")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m var_core.train", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    tok = stages.add_parser("tokenizer", help="train the multi-scale tokenizer")
    _tokenizer(tok, TokenizerConfig().sides)
    tok.add_argument("--rotation", action="store_true", help="gradients by the rotation trick")
    tok.add_argument("--perceptual", type=float, default=0.0, help="weight of a loss in the features of --judge")
    tok.add_argument("--judge", help="a classifier of the same pictures, for --perceptual")
    tok.add_argument("--decoder-of", metavar="MODEL", help="train only this model's decoder further; its tokens stay")
    other = stages.add_parser("compare", help="short tokenizer runs with one part of the recipe changed at a time")
    _tokenizer(other, (1, 2, 3, 4, 5, 6, 8))
    other.add_argument("--judge", type=Path, required=True, help="a classifier of the same pictures")
    other.add_argument("--only", action="append", help="the name of a variant, instead of all; may be repeated")
    var = stages.add_parser("transformer", help="train the transformer on a tokenizer run")
    _common(var, batch=TransformerTraining().batch, rate=1e-3)
    var.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer run")
    var.add_argument("--depth", type=int, default=8)
    var.add_argument("--width", type=int, default=256)
    var.add_argument("--heads", type=int, default=4)
    var.add_argument(
        "--variants", type=int, default=TransformerTraining().variants, help="cached crops of each picture"
    )
    var.add_argument(
        "--short-share", type=float, default=TransformerTraining().short_share, help="share of short batches"
    )
    var.add_argument("--compile", action="store_true", help="torch.compile: slow to start, about twice as fast after")
    var.add_argument("--drop-path", type=float, default=TransformerTraining().drop_path, help="in the last block")
    var.add_argument(
        "--patience", type=int, default=TransformerTraining().patience,
        help="validations without a better loss that end the run (default %(default)s); more to lengthen a run",
    )  # fmt: skip
    _new_stages(stages)
    judge = stages.add_parser("classifier", help="train the judge that evaluation uses")
    judge.add_argument("--data", required=True, help="as for the tokenizer")
    judge.add_argument("--out", required=True, type=Path, help="the .safetensors file to write")
    judge.add_argument("--minutes", type=float, default=8.0)
    judge.add_argument("--steps", type=int, help="instead of minutes")
    judge.add_argument("--seed", type=int, default=0, help="another one for the judge in --perceptual")
    judge.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    split = stages.add_parser("split", help="a run in parts of bounded size, to carry it to another machine")
    split.add_argument("run", type=Path)
    split.add_argument("--out", required=True, type=Path, help="new folder for the parts")
    split.add_argument("--part-mib", type=float, default=16.0, help="largest size of a part (default %(default)s)")
    split.add_argument("--caches", action="store_true", help="take the token caches too; they can be made again")
    join = stages.add_parser("join", help="the parts of a run, verified and put together")
    join.add_argument("parts", type=Path)
    join.add_argument("--out", required=True, type=Path, help="folder of the run")
    export = stages.add_parser("export", help="write the model file of two runs")
    export.add_argument("--tokenizer", required=True, type=Path)
    export.add_argument("--transformer", required=True, type=Path, help="a run, or a model file to take it from")
    export.add_argument("--out", required=True, type=Path, help="the .safetensors file; its stem is the model's name")
    export.add_argument("--licence", default="MIT")
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    keep_freed_memory()
    try:
        if args.stage == "export":
            print(json.dumps(export(args.tokenizer, args.transformer, args.out, args.licence)))
            return 0
        if args.stage in ("split", "join"):
            if args.stage == "split":
                files = split_run(args.run, args.out, args.part_mib, args.caches)
            else:
                files = join_run(args.parts, args.out)
            print(json.dumps({"files": [str(file) for file in files], "bytes": sum(f.stat().st_size for f in files)}))
            return 0
        if args.stage == "classifier":
            length = Length(steps=args.steps, minutes=None if args.steps else args.minutes)
            where = {"device": args.device, "bfloat16": _half_pays(args.device), "seed": args.seed}
            print(json.dumps(train_classifier(args.data, args.out, length, **where)))
            return 0
        with joined(args.device) as workers:
            figures = _train(args, workers)
        if workers.first:
            print(json.dumps(figures))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _half_pays(device: str) -> bool:
    """Whether to train with bfloat16 autocast: on GPUs, and on processors that are made for it."""
    return device != "cpu" or fast_bfloat16(torch.device(device))


def _train(args: argparse.Namespace, workers: Workers) -> dict:
    length = Length(steps=args.steps, minutes=args.minutes, max_minutes=args.max_minutes, max_steps=args.max_steps)
    (half,) = workers.agree([not args.float32 and _half_pays(args.device)])  # machines may differ, they must not
    where = {"length": length, "workers": workers, "bfloat16": bool(half)}
    if args.stage in ("tiny", "infill"):
        if workers.count > 1:
            raise ValueError(f"the stage {args.stage} trains in one process: start it without torchrun")
        return (_train_tiny if args.stage == "tiny" else _train_infill)(args, length, bool(half))
    if args.stage == "transformer":
        choices = TransformerTraining(
            batch=args.batch, peak_rate=args.rate, variants=args.variants, short_share=args.short_share,
            drop_path=args.drop_path, patience=args.patience, seed=args.seed,
        )  # fmt: skip
        sizes = {"depth": args.depth, "width": args.width, "heads": args.heads}
        return train_transformer(args.tokenizer, choices, args.data, args.out, **sizes, **where, compiled=args.compile)
    config = TokenizerConfig(
        sides=args.sides, channels=args.channels, multipliers=args.multipliers, residual_blocks=args.blocks,
        groups=args.groups, code_dim=args.code_dim, vocab_size=args.vocab,
    )  # fmt: skip
    training = TokenizerTraining(
        batch=args.batch, peak_rate=args.rate, warmup_steps=args.warmup, small_share=args.small_share,
        restart_every=args.restart_every, seed=args.seed,
    )  # fmt: skip
    if args.stage == "compare":
        return compare(config, training, args.data, args.out, judge=args.judge, only=args.only, **where)
    training = replace(
        training, rotation=args.rotation, perceptual=args.perceptual, judge=args.judge, decoder_of=args.decoder_of
    )
    return train_tokenizer(config, training, args.data, args.out, **where)


def _free(args: argparse.Namespace, split: str, size: int) -> list[Pictures]:
    return [load_pictures(place, split, size, args.largest or size * 7 // 4) for place in args.free]


def _train_tiny(args: argparse.Namespace, length: Length, half: bool) -> dict:
    config = tiny_config()
    train, val = (load_pictures(args.data, split, config.resolution) for split in ("train", "val"))
    training = TinyTraining(
        batch=args.batch, peak_rate=args.rate, features=args.features, pull=args.pull, seed=args.seed
    )
    start = None if args.start is None else tuple(args.start)
    sources = [train, *_free(args, "train", config.resolution)]
    return train_tiny(config, training, sources, val, args.out, length=length, start=start, bfloat16=half)


def _train_infill(args: argparse.Namespace, length: Length, half: bool) -> dict:
    tokenizer, _ = load_tokenizer(args.tokenizer)
    sizes = tokenizer.config
    train, val = (load_pictures(args.data, split, sizes.resolution) for split in ("train", "val"))
    config = TransformerConfig(
        sides=sizes.sides, depth=args.depth, width=args.width, heads=args.heads, mlp_width=4 * args.width,
        classes=len(train.class_names), code_dim=sizes.code_dim, vocab_size=sizes.vocab_size, shared_modulation=True,
        infill=True,
    )  # fmt: skip
    training = InfillTraining(
        batch=args.batch, peak_rate=args.rate, corruption=args.corruption, muon=not args.adam, seed=args.seed
    )
    free, hidden = (_free(args, split, sizes.resolution) for split in ("train", "val"))
    labelled = [train, *(part for part in (source.of(train.class_names) for source in free) if len(part))]
    measure = InfillMeasure(
        tokenizer, [val, *hidden], [True, *(False for _ in hidden)], config.null_label, bfloat16=half
    )
    return train_infill(
        tokenizer, config, training, labelled, free or [train], args.out, length=length, measure=measure,
        bfloat16=half, compiled=args.compile,
    )  # fmt: skip


def export(tokenizer_run: Path, transformer: Path, out: Path, licence: str) -> dict:
    """Join two runs into one model file: averaged weights, the transformer's as of its best validation loss; large
    tensors in bfloat16. `transformer` may be a model file too: its transformer, beside a tokenizer that says the same
    tokens (`--decoder-of`). ValueError where they are not the same."""
    tokenizer, _ = load_tokenizer(tokenizer_run)
    if transformer.suffix == ".safetensors":
        model = open_model(str(transformer))
        if not _same_tokens(tokenizer, model.tokenizer):
            raise ValueError(f"{transformer.name} and {tokenizer_run} say different tokens: train with --decoder-of")
        model = replace(model, tokenizer=tokenizer, name=out.stem, card=model.card | {"sampling": SAMPLING})
        figures = {}
    else:
        saved = load_state(transformer / "state.pt")
        if saved is None:
            raise ValueError(f"there is no transformer run at {transformer}: train one first")
        trained = Transformer(config_from(TransformerConfig, saved["config"]))
        trained.load_state_dict(saved["best"]["weights"] if "best" in saved else saved["average"])
        card = {"licence": licence, "sampling": SAMPLING}
        model = Model(tokenizer, trained, tuple(saved["class_names"]), out.stem, card)
        figures = {"steps": saved["step"], "minutes": saved["minutes"]}
    save_model(model, out, torch.bfloat16)
    return {"file": str(out), "bytes": out.stat().st_size, **figures}


def _same_tokens(a: Tokenizer, b: Tokenizer) -> bool:
    """Whether all but the decoders are equal."""
    if a.config != b.config:
        return False
    other = b.state_dict()
    saying = {n: value for n, value in a.state_dict().items() if not n.startswith(("decoder.", "post_quant_conv."))}
    return all(torch.equal(value, other[name]) for name, value in saying.items())


if __name__ == "__main__":
    status = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # gloo's threads may outlive destroy_process_group and still hold tensors. Freeing one while the
        # interpreter is torn down aborts a finished run, so a worker leaves without being torn down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
