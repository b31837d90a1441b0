"""python -m var_core generate | inpaint | edit | outpaint | vary | replay | models

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
from .engine import EditRequest, Engine, Result
from .files import recipe
from .files.folders import each, own_device, own_share, pairs, pictures
from .files.images import open_image, open_mask, save_png
from .model.checkpoints import load_model, save_model
from .model.official import load_official
from .model.registry import MODELS, download, is_on_disk

ANCHORS = {"center": (0.5, 0.5), "left": (0.0, 0.5), "right": (1.0, 0.5), "top": (0.5, 0.0), "bottom": (0.5, 1.0)}


def _ratio(text: str) -> float:
    try:
        width, _, height = text.partition(":")
        value = float(width) / float(height or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f'"{text}" is no aspect ratio: write 16:9 or 1.78') from error
    return value


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="garden-128", help="registered name or a .safetensors file")
    parser.add_argument(
        "--out", type=Path, default=Path("out.png"), help="output .png (or folder); more candidates get -1, -2, ..."
    )
    parser.add_argument("--seed", type=int, help="repeats a result exactly (default: random, printed)")
    parser.add_argument("--label", help="class by name or number (default: no class)")
    parser.add_argument("--candidates", type=int, default=1, help="how many results, 1 to 16")
    parser.add_argument("--guidance", type=float, help="how strongly the class is followed (default: the model's)")
    parser.add_argument("--top-k", type=int, help="draw among the k likeliest codes, 0 = all (default: the model's)")
    parser.add_argument("--top-p", type=float, help="draw among the likeliest codes of this total probability, 0 = all")
    parser.add_argument(
        "--random-scales", type=int, help="scales left to chance before the likeliest codes (default: the model's)"
    )
    parser.add_argument("--smooth", action="store_true", help="mix codes (Gumbel) for smoother pictures")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU if there is one)")
    parser.add_argument("--strip", type=Path, help="also write the pictures of all scales, side by side, to this file")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_edit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, help="PNG, JPEG or WebP, or a folder of them")
    parser.add_argument(
        "--method", choices=("evidence", "requantize", "official"), default="evidence", help="how known pixels are held"
    )
    parser.add_argument("--start-scale", type=int, default=0, help="scales before this one come from the picture")
    parser.add_argument("--feather", type=int, help="fade outside the mask in pixels (default: by the region)")
    parser.add_argument("--no-color-match", action="store_true", help="leave light and colour as they were drawn")
    parser.add_argument("--no-guess", action="store_true", help="without a class, do not guess one from what is known")
    parser.add_argument("--again", action="store_true", help="folders: draw what is there already once more")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m var_core", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_common(commands.add_parser("generate", help="a picture of a class, or of none"))
    for name, text in (("inpaint", "re-imagine the masked part"), ("edit", "turn the masked part into a class")):
        command = commands.add_parser(name, help=text)
        _add_common(command)
        _add_edit(command)
        command.add_argument("--mask", type=Path, required=True, help="white is repainted; a file or a folder")
        command.add_argument(
            "--context", type=float, default=2.0, help="side of the square around a region, in its sides"
        )
    outpaint = commands.add_parser("outpaint", help="enlarge the picture")
    _add_common(outpaint)
    _add_edit(outpaint)
    for side in ("left", "top", "right", "bottom"):
        outpaint.add_argument(f"--{side}", type=int, default=0, help=f"pixels to add at the {side}")
    outpaint.add_argument("--ratio", type=_ratio, help="target aspect ratio such as 16:9, instead of amounts")
    outpaint.add_argument(
        "--anchor", choices=sorted(ANCHORS), default="center", help="where the picture sits with --ratio"
    )
    vary = commands.add_parser("vary", help="keep the first scales of a picture, re-imagine the rest")
    _add_common(vary)
    _add_edit(vary)
    again = commands.add_parser("replay", help="draw a saved picture again from its recipe, without sampling")
    again.add_argument("image", type=Path, help="PNG written by this editor")
    again.add_argument("--model", default=None, help="default: the model that the recipe names")
    again.add_argument("--out", type=Path, default=Path("replay.png"))
    again.add_argument("--device")
    again.add_argument("--quiet", action="store_true")
    models = commands.add_parser("models", help="list, download, convert and verify models")
    actions = models.add_subparsers(dest="action")
    actions.add_parser("list", help="all registered models").add_argument("--json", action="store_true")
    actions.add_parser("download", help="fetch a model into the hub's cache").add_argument("name")
    convert = actions.add_parser("convert", help="official .pth pair -> one .safetensors file")
    for name in ("tokenizer", "transformer", "out"):
        convert.add_argument(name, type=Path)
    actions.add_parser("verify", help="load a file strictly and describe it").add_argument("file", type=Path)
    return parser


def _request(args: argparse.Namespace) -> EditRequest:
    shared = ("seed", "label", "candidates", "guidance", "top_k", "top_p", "random_scales", "smooth")
    common = {name: getattr(args, name) for name in shared}
    if args.command == "generate":
        return EditRequest(task="generate", **common)
    upload = open_image(args.image)
    for notice in upload.notices:
        print(notice, file=sys.stderr)
    common |= {
        "image": upload.image,
        "method": args.method,
        "start_scale": args.start_scale,
        "feather": args.feather,
        "color_match": not args.no_color_match,
        "guess": not args.no_guess,
    }
    if args.command in ("inpaint", "edit"):
        if args.mask is None:
            raise ValueError(
                f"there is no mask of this name: call it {args.image.stem}.png or {args.image.stem}_mask.png"
            )
        mask = open_mask(args.mask, upload.image.size, upload.orientation)
        common |= {"mask": mask, "context": args.context}
    if args.command == "outpaint":
        amounts = (args.left, args.top, args.right, args.bottom)
        if args.ratio is not None:
            amounts = outpaint_amounts(upload.image.size, args.ratio, ANCHORS[args.anchor])
        common |= {"outpaint": amounts}
    return EditRequest(task=args.command, **common)


def _engine(name: str, device: str | None) -> Engine:
    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'this machine has no device "{device}": use cpu, or leave --device out') from error
    return Engine.load(name, device)


def _work(engine: Engine | None, args: argparse.Namespace) -> dict[str, Any]:
    """One request: draw it with a progress bar, write its files, describe them."""
    assert engine is not None
    request = _request(args)
    result: Result | None = None
    with tqdm(unit="scale", disable=args.quiet, leave=False) as bar:
        for frame in engine.run(request):
            bar.total = frame.scales * frame.windows
            bar.update()
            result = frame.result
    assert result is not None
    files = []
    for i in range(len(result.images)):
        path = args.out if len(result.images) == 1 else args.out.with_stem(f"{args.out.stem}-{i + 1}")
        engine.save(result, path, i)
        files.append(str(path))
    if args.strip is not None:
        save_png(strip(result.previews), args.strip)
        files.append(str(args.strip))
    return {
        "command": args.command,
        "model": engine.name,
        "seed": result.seed,
        "seconds": round(result.seconds, 3),
        "size": list(result.images[0].size),
        "files": files,
        "notices": list(result.notices),
    }


def _jobs(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The picture of the command line, or one job for each picture of its folder."""
    image = getattr(args, "image", None)
    if image is None or not image.is_dir():
        for path in (args.out, args.strip):
            if path is not None and path.suffix.lower() != ".png":
                raise ValueError(f"{path} is no name for a picture: results are PNG, so end it in .png")
        return [args]
    if args.strip is not None:
        raise ValueError("--strip writes the scales of one picture: give one picture instead of a folder")
    out = args.out if args.out.suffix.lower() != ".png" else args.out.with_suffix("")
    if out.resolve() == image.resolve():
        raise ValueError(f"{out} is the folder of the originals: choose another one with --out")
    jobs = []
    masks = getattr(args, "mask", None)
    for path, mask in pairs(image, masks) if masks is not None else [(path, None) for path in pictures(image)]:
        if out.resolve() in path.resolve().parents:
            continue  # results of before, in a folder inside this one
        name = path.relative_to(image).with_suffix(".png")
        jobs.append(argparse.Namespace(**{**vars(args), "image": path, "mask": mask, "out": out / name}))
    if not jobs:
        raise ValueError(f"there is no picture in {image}: PNG, JPEG, WebP, AVIF and TIFF are read")
    names = [job.out for job in jobs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two pictures would both become {twice}: rename one of them")
    return jobs


def _draw(args: argparse.Namespace) -> int:
    """Draw everything asked for. In a folder, a picture that fails is named and the others go on."""
    jobs = _jobs(args)
    if jobs[0] is args:
        answer = _work(_engine(args.model, args.device), args)
        print(json.dumps(answer) if args.json else _line(answer))
        return 0
    waiting = [job for job in own_share(jobs) if args.again or not _there(job)]
    done, failed, skipped = [], [], len(own_share(jobs)) - len(waiting)
    engine = _engine(args.model, own_device(args.device)) if waiting else None
    for job, answer, error in each(waiting, lambda job: _work(engine, job)):
        if answer is None:
            failed.append({"image": str(job.image), "error": error})
            print(f"error: {job.image}: {error}", file=sys.stderr)
            continue
        done.append({"image": str(job.image), **answer})
        if not args.json:
            print(_line(answer))
    if skipped:
        print(f"{skipped} of the results were there already: --again draws them anew", file=sys.stderr)
    if args.json:
        print(json.dumps({"results": done, "failed": failed, "skipped": skipped}))
    return 1 if failed else 0


def _there(job: argparse.Namespace) -> bool:
    """Whether a job of a folder was done before; of several candidates, the last one is written last."""
    last = job.out if job.candidates == 1 else job.out.with_stem(f"{job.out.stem}-{job.candidates}")
    return last.exists()


def _line(answer: dict[str, Any]) -> str:
    return f"{', '.join(answer['files'])}  seed {answer['seed']}  {answer['seconds']:.1f} s"


def _models(args: argparse.Namespace) -> None:
    if args.action == "download":
        for path in download(args.name):
            print(path)
    elif args.action == "convert":
        save_model(load_official(args.tokenizer, args.transformer, args.transformer.stem), args.out)
        print(args.out)
    elif args.action == "verify":
        model = load_model(args.file)
        parameters = sum(p.numel() for part in (model.tokenizer, model.transformer) for p in part.parameters())
        resolution = model.tokenizer.config.resolution
        size = f"{parameters / 1e6:.1f} M parameters, {len(model.class_names)} classes, {resolution} px"
        print(f"{model.name}: {size}, every entry fits")
    else:
        rows = [{**vars(info), "on_disk": is_on_disk(name)} for name, info in MODELS.items()]
        if getattr(args, "json", False):
            print(json.dumps(rows))
            return
        print(f"{'name':12}{'pixels':>7}{'weights':>9}{'licence':>9}{'download':>11}  on disk")
        for row in rows:
            size = "bundled" if not row["files"] else f"{row['size_mb'] / 1000:.1f} GB"
            line = f"{row['name']:12}{row['resolution']:>7}{row['parameters']:>9}{row['licence']:>9}{size:>11}"
            print(f"{line}  {'yes' if row['on_disk'] else 'no'}")


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    try:
        if args.command == "models":
            _models(args)
            return 0
        if args.command == "replay":
            picture = _engine(args.model or recipe.read(args.image).model, args.device).replay(args.image)
            save_png(picture, args.out)
            print(args.out)
            return 0
        return _draw(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
