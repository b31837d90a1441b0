"""python -m var_core generate | inpaint | edit | outpaint | vary | replay | animate | models

Where a command takes a picture, a folder of pictures will do: --mask is then one mask or a folder of masks with the
same names, and --out a folder; pictures whose result is there already are left out, so an interrupted command goes on.
Several machines or GPUs share a folder under torchrun.

Exit codes: 0 done, 1 could not be done (one sentence on standard error), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .editing.geometry import outpaint_amounts
from .editing.preview import strip
from .engine import Engine
from .files import animation, folders, recipe
from .files.animation import ANIMATION, Animation, save_animation
from .files.images import open_image, open_mask, save_png
from .files.saving import SAVING, SUFFIXES, Saving, format_of
from .model.checkpoints import load_model, save_model
from .model.official import load_official
from .model.registry import DEFAULT, MODELS, download, is_on_disk
from .request import ANCHORS, CHANCE, EDIT, SETTINGS, Chance, Edit, Result
from .settings import WITH_MASK, Setting, Task

COMMANDS: dict[Task, str] = {
    "generate": "a picture of a class, or of none",
    "inpaint": "re-imagine the masked part",
    "edit": "turn the masked part into a class",
    "outpaint": "enlarge the picture",
    "vary": "keep the first scales of a picture, re-imagine the rest",
}


def _ratio(text: str) -> float:
    try:
        width, _, height = text.partition(":")
        value = float(width) / float(height or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f'"{text}" is no aspect ratio: write 16:9 or 1.78') from error
    return value


def _add_setting(parser: argparse.ArgumentParser, each: Setting) -> None:
    """The option of one setting. Its value is read where the request is made, so that a refusal is one sentence."""
    if each.kind is bool:
        words = f"do not {each.help}" if each.default else each.help
        parser.add_argument(each.flag, dest=each.name, action="store_const", const=not each.default, help=words)
        return
    shown = f" (default {each.default})" if each.default is not None else ""
    choices = each.choices or None
    parser.add_argument(
        each.flag, dest=each.name, choices=choices, type=str, help=(each.help + shown).replace("%", "%%")
    )


def _add_task(parser: argparse.ArgumentParser, task: Task) -> None:
    parser.add_argument("--model", default=DEFAULT, help="registered name or a .safetensors file")
    parser.add_argument(
        "--out", type=Path, default=Path("out.png"),
        help="output .png, .jpg or .webp (or folder); more candidates get -1, -2, ...; only PNG keeps every pixel "
        "outside the mask, and how it was made",
    )  # fmt: skip
    parser.add_argument("--format", choices=SAVING["format"].choices, help="of a folder's results (default png)")
    for name in ("quality", "keep_exif"):
        _add_setting(parser, SAVING[name])
    parser.add_argument("--label", help="class by name or number (default: no class)")
    for each in SETTINGS.values():
        if task in each.tasks:
            _add_setting(parser, each)
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU if there is one)")
    parser.add_argument("--strip", type=Path, help="also write the pictures of all scales, side by side, to this file")
    parser.add_argument(
        "--animation", type=Path, help="also write the run, coarse to fine, to this .webp, .gif or .mp4"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    if task == "generate":
        return
    parser.add_argument("image", type=Path, help="PNG, JPEG, WebP, AVIF, HEIC or TIFF, or a folder of them")
    parser.add_argument("--again", action="store_true", help="folders: draw what is there already once more")
    if task in WITH_MASK:
        parser.add_argument("--mask", type=Path, required=True, help="white is repainted; a file or a folder")
    if task == "outpaint":
        parser.add_argument("--ratio", type=_ratio, help="target aspect ratio such as 16:9, instead of amounts")
        parser.add_argument("--anchor", choices=ANCHORS, default="centre", help="where the picture sits with --ratio")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m var_core", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for task, text in COMMANDS.items():
        _add_task(commands.add_parser(task, help=text), task)
    again = commands.add_parser("replay", help="draw a saved picture again from its recipe, without sampling")
    again.add_argument("image", type=Path, help="PNG written by this editor")
    again.add_argument("--model", default=None, help="default: the model that the recipe names")
    again.add_argument("--out", type=Path, default=Path("replay.png"))
    again.add_argument("--device")
    again.add_argument("--quiet", action="store_true")
    moving = commands.add_parser("animate", help="a saved picture's run, coarse to fine, as .webp, .gif or .mp4")
    moving.add_argument("image", type=Path, help="PNG written by this editor")
    moving.add_argument("out", type=Path)
    for name in ("view", "side", "seconds"):
        _add_setting(moving, ANIMATION[name])
    moving.add_argument("--model", default=None, help="default: the model that the recipe names")
    moving.add_argument("--device")
    models = commands.add_parser("models", help="list, download, convert and verify models")
    actions = models.add_subparsers(dest="action")
    actions.add_parser("list", help="all registered models").add_argument("--json", action="store_true")
    actions.add_parser("download", help="fetch a model into the hub's cache").add_argument("name")
    convert = actions.add_parser("convert", help="official .pth pair -> one .safetensors file")
    for name in ("tokenizer", "transformer", "out"):
        convert.add_argument(name, type=Path)
    actions.add_parser("verify", help="load a file strictly and describe it").add_argument("file", type=Path)
    return parser


def _given(args: argparse.Namespace, declared: dict[str, Setting]) -> dict[str, Any]:
    """The settings that were given; those that were not keep their defaults."""
    found = {name: getattr(args, name, None) for name in declared}
    return {n: declared[n].parse(v) if isinstance(v, str) else v for n, v in found.items() if v is not None}


def _request(args: argparse.Namespace) -> tuple[Edit, Chance]:
    """What the options ask for."""
    given = _given(args, SETTINGS)
    fields: dict[str, Any] = {name: value for name, value in given.items() if name in EDIT}
    if args.command != "generate":
        upload = open_image(args.image)
        for notice in upload.notices:
            print(notice, file=sys.stderr)
        fields["image"] = upload.image
        if args.command in WITH_MASK:
            if args.mask is None:
                raise ValueError(f"there is no mask for {args.image.name}: give one of the same name")
            fields["mask"] = open_mask(args.mask, upload.image.size, upload.orientation)
        if args.command == "outpaint" and args.ratio is not None:
            amounts = outpaint_amounts(upload.image.size, args.ratio, ANCHORS[args.anchor])
            fields |= dict(zip(("left", "top", "right", "bottom"), amounts, strict=True))
    chance = Chance(**{name: value for name, value in given.items() if name in CHANCE})
    return Edit(task=args.command, label=args.label, **fields), chance


def _engine(name: str, device: str | None) -> Engine:
    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'this machine has no device "{device}": use cpu, or leave --device out') from error
    return Engine.load(name, device)


def _work(engine: Engine, args: argparse.Namespace) -> dict[str, Any]:
    """One request: draw it with a progress bar, write its files, describe them."""
    edit, chance = _request(args)
    args.format = format_of(args.out)
    saving = Saving(**_given(args, SAVING))
    result: Result | None = None
    with tqdm(unit="scale", disable=args.quiet, leave=False) as bar:
        for frame in engine.run(edit, chance):
            bar.total = frame.scales * frame.windows
            bar.update(0 if frame.detail else 1)
            result = frame.result
    assert result is not None
    many, files = len(result.patches), []
    for i in range(many):
        path = args.out if many == 1 else args.out.with_stem(f"{args.out.stem}-{i + 1}")
        engine.save(result, path, i, saving, getattr(args, "image", None))
        files.append(str(path))
        if args.animation is not None:
            path = args.animation if many == 1 else args.animation.with_stem(f"{args.animation.stem}-{i + 1}")
            moving = Animation(format=animation.format_of(path))
            save_animation([*engine.scenes(result, i, moving.side)], path, moving)
            files.append(str(path))
    if args.strip is not None:
        save_png(strip(result.previews), args.strip)
        files.append(str(args.strip))
    return {
        "command": args.command, "model": engine.name, "seed": result.seed, "seconds": round(result.seconds, 3),
        "size": list(result.picture.size), "files": files, "notices": list(result.notices),
    }  # fmt: skip


def _jobs(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The picture of the command line, or one job for each picture of its folder."""
    image = getattr(args, "image", None)
    if image is None or not image.is_dir():
        if args.format not in (None, format_of(args.out)):
            raise ValueError(f"{args.out} is no name for {args.format.upper()}: leave --format out, the name says it")
        if args.strip is not None and args.strip.suffix.lower() != ".png":
            raise ValueError(f"{args.strip} is no name for the scales: they are written as PNG, so end it in .png")
        if args.animation is not None:
            animation.format_of(args.animation)
        for path in (args.out, args.strip, args.animation):
            if path is not None and path.resolve() in [p.resolve() for p in (image, getattr(args, "mask", None)) if p]:
                raise ValueError(f"{path} is what was given to work on: choose another name for the result")
        return [args]
    if args.strip is not None or args.animation is not None:
        raise ValueError("--strip and --animation are of one picture: give one picture instead of a folder")
    out = args.out.with_suffix("") if args.out.suffix.lower() in SUFFIXES else args.out
    suffix = next(name for name, kind in SUFFIXES.items() if kind == (args.format or "png"))
    if out.resolve() == image.resolve():
        raise ValueError(f"{out} is the folder of the originals: choose another one with --out")
    mask = getattr(args, "mask", None)
    found = [(path, None) for path in folders.pictures(image)] if mask is None else folders.pairs(image, mask)
    jobs = []
    for path, own in found:
        if out.resolve() in path.resolve().parents:
            continue  # results of before, in a folder among the originals
        target = (out / path.relative_to(image)).with_suffix(suffix)
        jobs.append(argparse.Namespace(**{**vars(args), "image": path, "mask": own, "out": target}))
    if not jobs:
        raise ValueError(f"there is no picture in {image}: PNG, JPEG, WebP, AVIF, HEIC and TIFF are read")
    names = [job.out for job in jobs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two pictures would both become {twice}: rename one of them")
    return jobs


def _draw(args: argparse.Namespace) -> int:
    """Draw everything asked for. In a folder, a picture that fails is named and the others go on."""
    jobs = _jobs(args)
    if jobs[0] is args:
        answer = _work(_engine(args.model, folders.own_device(args.device)), args)
        _say(json.dumps(answer) if args.json else _line(answer))
        return 0
    own = folders.own_share(jobs)
    waiting = [job for job in own if args.again or not _there(job)]
    done, failed = [], []
    engine = _engine(args.model, folders.own_device(args.device)) if waiting else None
    for job, answer, error in folders.each(waiting, lambda job: _work(engine, job)) if engine else ():
        if answer is None:
            failed.append({"image": str(job.image), "error": error})
            _say(f"error: {job.image}: {error}", sys.stderr)
            continue
        done.append({"image": str(job.image), **answer})
        if not args.json:
            _say(_line(answer))
    if skipped := len(own) - len(waiting):
        _say(f"{skipped} of the results were there already: --again draws them anew", sys.stderr)
    if args.json:
        _say(json.dumps({"results": done, "failed": failed, "skipped": skipped}))
    folders.wait_for_others()
    return 1 if failed else 0


def _there(job: argparse.Namespace) -> bool:
    """Whether a job of a folder was done before; of several candidates, the last one is written last."""
    many = CHANCE["candidates"].parse(job.candidates or "")
    last = job.out if many == 1 else job.out.with_stem(f"{job.out.stem}-{many}")
    return last.exists()


def _line(answer: dict[str, Any]) -> str:
    return f"{', '.join(answer['files'])}  seed {answer['seed']}  {answer['seconds']:.1f} s"


def _say(text: str, stream: Any = None) -> None:
    """Print, with escapes for what the console's encoding does not have."""
    stream = sys.stdout if stream is None else stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def _animate(args: argparse.Namespace) -> None:
    moving = Animation(format=animation.format_of(args.out), **_given(args, ANIMATION))
    engine = _engine(args.model or recipe.read(args.image).model, args.device)
    scenes = engine.scenes(args.image, 0, moving.side, moving.view == "window")
    save_animation([*scenes], args.out, moving)
    _say(str(args.out))


def _models(args: argparse.Namespace) -> None:
    if args.action == "download":
        for path in download(args.name):
            _say(str(path))
    elif args.action == "convert":
        save_model(load_official(args.tokenizer, args.transformer, args.transformer.stem), args.out)
        _say(str(args.out))
    elif args.action == "verify":
        model = load_model(args.file)
        parameters = sum(p.numel() for part in (model.tokenizer, model.transformer) for p in part.parameters())
        resolution = model.tokenizer.config.resolution
        size = f"{parameters / 1e6:.1f} M parameters, {len(model.class_names)} classes, {resolution} px"
        _say(f"{model.name}: {size}, every entry fits")
    else:
        rows = [{**vars(info), "on_disk": is_on_disk(name)} for name, info in MODELS.items()]
        if getattr(args, "json", False):
            _say(json.dumps(rows))
            return
        _say(f"{'name':12}{'pixels':>7}{'weights':>9}{'licence':>9}{'download':>11}  on disk")
        for row in rows:
            size = "bundled" if not row["files"] else f"{row['size_mb'] / 1000:.1f} GB"
            line = f"{row['name']:12}{row['resolution']:>7}{row['parameters']:>9}{row['licence']:>9}{size:>11}"
            _say(f"{line}  {'yes' if row['on_disk'] else 'no'}")


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    try:
        if args.command == "models":
            _models(args)
            return 0
        if args.command == "replay":
            name = args.model or recipe.read(args.image).model
            save_png(_engine(name, args.device).replay(args.image), args.out)
            _say(str(args.out))
            return 0
        if args.command == "animate":
            _animate(args)
            return 0
        return _draw(args)
    except (ValueError, OSError) as error:
        _say(f"error: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("interrupted", sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
