"""Quality, measured: python -m var_core.evaluate WHAT --data PATH --json

reconstruct  encode-decode of 256 centre squares (with --photos: of windows of photographs at three zooms): PSNR, SSIM,
             Frechet distance to the originals in 64 principal parts of lite2's features, and with --against another
             model's on the same; by the first word of the class; distinct codes per scale and the share in use
likelihood   cross-entropy in nats and accuracy per scale of the transformer on the pictures' true tokens; with infill
             conditioning also of what holes hide, with what is known shown and withheld
generate     samples of the validation pictures' classes: accuracy of a linear probe beside that on real pictures,
             Frechet and kernel distances beside those of real halves, memorisation, --against another model's;
             --out writes samples above their nearest training pictures
infill       photographs at three zooms, four families of masks, ours against Telea and PatchMatch; colour added to grey
photo        removal and a border at photo resolution, ours with and without detail against Telea, Navier-Stokes and
             PatchMatch: distances, sharpness, seam, seconds; --out writes a contact sheet; --originals adds class
             edits and outpainting on pictures of the model's classes
edit         five families of masks, ours against the published rule and OpenCV: distances, seams, class edits
order        whether the likelihood or the boundary score of a candidate tells which one is good
samples      a sheet of uncurated samples, classes in order, seeds 0, 1, ..., the model's own sampling settings
scales       the previews after every scale of a sample of --label and --seed, in a row
sheet        24 unselected edits of the model's own pictures, fixed seeds
photo-sheet  24 unselected results of photo at 100 %, fixed seeds, a JPEG or PNG

Speed is measured by python -m var_core.benchmark.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

from ..engine import Engine
from ..measures.judge import fit_judge
from ..measures.reconstruction import LIMIT
from ..model.memory import keep_freed_memory
from ..model.registry import open_model
from ..pictures.data import load_pictures
from ..request import Fill
from .edits import FAMILIES, edit, order, sheet
from .infill import infill
from .models import likelihood, reconstruct, samples, strip
from .originals import photo_edits
from .photo import photo, photo_sheet
from .samples import generate


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m var_core.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = (
        "reconstruct",
        "likelihood",
        "generate",
        "edit",
        "infill",
        "photo",
        "order",
        "samples",
        "scales",
        "sheet",
        "photo-sheet",
    )
    parser.add_argument("what", choices=kinds)
    parser.add_argument("--data", type=Path, help="folder or zip of pictures, one folder per class")
    parser.add_argument("--model", default="garden-2", help="registered name or a .safetensors file")
    parser.add_argument("--split", default="val", choices=("val", "train"), help="reconstruct, likelihood")
    parser.add_argument("--limit", type=int, default=LIMIT, help="reconstruct, likelihood: pictures (%(default)s)")
    parser.add_argument("--photos", action="store_true", help="reconstruct: --data are photographs, to be cut up")
    parser.add_argument(
        "--against", metavar="MODEL", help="reconstruct, generate: measured on the same in the same run"
    )
    parser.add_argument("--each", type=int, default=2, help="infill: crops of a zoom and photograph")
    parser.add_argument("--cases", type=int, default=100, help="photo: windows (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="scales; photo: of the cases (default %(default)s)")
    parser.add_argument("--label", default="flower-daisy", help="scales: the class (default %(default)s)")
    parser.add_argument("--originals", type=Path, help="photo: folder or zip, one folder per class, at full size")
    parser.add_argument("--count", type=int, default=100, help="edit, order: pictures (default %(default)s)")
    parser.add_argument("--evidence", type=float, help="edit: strength of the known pixels, instead of the model's own")
    parser.add_argument("--fill", default="telea", choices=get_args(Fill), help="edit: what covers the hole")
    parser.add_argument("--no-colour-match", action="store_true", help="edit: tones as the model drew them")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="edit: only these masks; may be repeated")
    parser.add_argument("--guidance", type=float, help="generate: instead of the model's own")
    parser.add_argument("--top-k", type=int, help="generate: instead of the model's own")
    parser.add_argument("--top-p", type=float, help="generate: instead of the model's own")
    parser.add_argument("--rows", type=int, default=1, help="samples: how many of each class")
    parser.add_argument("--out", type=Path, help="samples, scales, sheet, generate, photo: the picture to write")
    parser.add_argument("--json", action="store_true", help="one line instead of an indented document")
    return parser


def measure(args: argparse.Namespace) -> dict:
    """The figures that the command line asks for."""
    if args.what == "samples":
        return samples(args.model, args.rows, args.out or Path("samples.png"))
    if args.what == "scales":
        out = args.out or Path("ten-scales.png")
        return {"model": args.model, **strip(Engine(open_model(args.model)), args.label, args.seed, out)}
    if args.what == "sheet":
        return {"model": args.model, **sheet(Engine(open_model(args.model)), args.out or Path("edits.png"))}
    if args.data is None:
        raise ValueError("give the pictures to measure on with --data")
    model = open_model(args.model)
    size, head = model.tokenizer.config.resolution, {"model": model.name}
    if args.what in ("reconstruct", "likelihood"):
        pictures = None if args.photos else load_pictures(args.data, args.split, size)
        if args.what == "likelihood" and pictures is not None:
            return head | {"split": args.split} | likelihood(model, pictures, args.limit)
        models = [model] if args.against is None else [model, open_model(args.against)]
        return head | {"split": args.split} | reconstruct(models, pictures, args.data, args.limit)
    if args.what == "infill":
        return head | infill(Engine(model), args.data, args.each)
    if args.what == "photo-sheet":
        return head | photo_sheet(Engine(model), args.data, args.out or Path("photo.jpg"), args.seed)
    if args.what == "photo":
        figures = photo(Engine(model), args.data, args.cases, args.seed, args.out)
        if args.originals is not None:
            judge = fit_judge(load_pictures(args.originals, "train", size), size)
            figures["originals"] = photo_edits(Engine(model), judge, args.originals, args.cases)
        return head | figures
    train, val = (load_pictures(args.data, split, size) for split in ("train", "val"))
    other = None if args.against is None else open_model(args.against)
    for one in (model, other or model):
        if missing := sorted(set(val.class_names) - set(one.class_names)):
            raise ValueError(f'{one.name} does not know the class "{missing[0]}" of this data')
    judge = fit_judge(train, size)
    if args.what == "order":
        return head | order(Engine(model), judge, val, min(args.count, len(val)))
    if args.what == "edit":
        count, families = min(args.count, len(val)), tuple(args.family or FAMILIES)
        settings = {"evidence": args.evidence, "fill": args.fill, "color_match": not args.no_colour_match}
        return head | edit(Engine(model), judge, val, count, families, **settings)
    settings = {"guidance": args.guidance, "top_k": args.top_k, "top_p": args.top_p}
    figures = generate(Engine(model), judge, train, val, args.out, **settings)
    if other is None:
        return head | figures
    found = generate(Engine(other), judge, train, val, None)
    told = {name: found[name] for name in ("frechet", "kernel", "accuracy", "accuracy_ratio")}
    share = round(figures["frechet"] / max(found["frechet"], 1e-9), 3)
    return head | figures | {"against": {"model": other.name, **told, "share": share}}


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    keep_freed_memory()
    try:
        figures = measure(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"what": args.what, **figures}, indent=None if args.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
