"""Quality, measured: python -m var_core.evaluate reconstruct | likelihood --data PATH, or samples --out FILE

reconstruct  PSNR and SSIM of encode-decode over centre squares, by the first word of the class; distinct codes per
             scale and the share of the codebook in use
likelihood   cross-entropy in nats and accuracy per scale of the transformer on the pictures' true tokens
samples      a sheet of uncurated samples, classes in order, seeds 0, 1, ..., the model's own sampling settings
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from .engine import Engine
from .images import save_png
from .memory import keep_freed_memory
from .registry import open_model
from .request import EditRequest
from .tokenizer import Tokenizer
from .train.data import Pictures, load_pictures
from .train.transformer import token_cache
from .train.transformer import validate as validate_transformer


def psnr(made: np.ndarray, real: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures; 99 where they are equal."""
    error = np.square(made.astype(np.float64) - real.astype(np.float64)).mean()
    return 99.0 if error == 0 else 10 * math.log10(255**2 / error)


def ssim(made: np.ndarray, real: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) on luma: 11 x 11 Gaussian, sigma 1.5, uint8 pictures (H, W, 3)."""
    x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (made, real))

    def blur(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float((top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


@torch.inference_mode()
def reconstruct(tokenizer: Tokenizer, pictures: Pictures, limit: int | None = None) -> dict:
    """Figures of encode-decode; means of per-picture values."""
    size = tokenizer.config.resolution
    order = np.random.default_rng(0).permutation(len(pictures))[: limit or len(pictures)]
    kinds: dict[str, list[tuple[float, float]]] = {}
    codes: list[set[int]] = [set() for _ in tokenizer.scales.sides]
    for index in order:
        real = pictures.centre(int(index), size)
        image = torch.from_numpy(real.copy()).permute(2, 0, 1)[None].float().to(tokenizer.device) / 127.5 - 1
        tokens, canvases = tokenizer.quantize(tokenizer.features(image))
        made = ((tokenizer.decode(canvases[-1])[0] + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
        kind = pictures.class_names[pictures.labels[index]].split("-")[0]
        kinds.setdefault(kind, []).append((psnr(made, real), ssim(made, real)))
        for k, ids in enumerate(tokens):
            codes[k].update(ids.flatten().tolist())
    every = [pair for pairs in kinds.values() for pair in pairs]

    def means(pairs: list[tuple[float, float]]) -> dict[str, float]:
        values = np.array(pairs).mean(axis=0)
        return {"pictures": len(pairs), "psnr": round(float(values[0]), 2), "ssim": round(float(values[1]), 3)}

    return {
        **means(every),
        "by_kind": {kind: means(pairs) for kind, pairs in sorted(kinds.items())},
        "codes_per_scale": {str(side): len(codes[k]) for k, side in enumerate(tokenizer.scales.sides)},
        "codes_used": round(len(set().union(*codes)) / tokenizer.config.vocab_size, 3),
    }


def likelihood(model_name: str, pictures: Pictures) -> dict:
    """Loss and accuracy of the transformer given the true class and all earlier scales."""
    model = open_model(model_name)
    names = model.class_names
    missing = sorted(set(pictures.class_names) - set(names))
    if missing:
        raise ValueError(f'{model.name} does not know the class "{missing[0]}" of this data')
    labels = np.array([names.index(pictures.class_names[label]) for label in pictures.labels])
    known = Pictures(pictures.arrays, labels, names, pictures.names)
    cache = token_cache(model.tokenizer, known, 1, None, model.tokenizer.device)
    figures = validate_transformer(model.transformer, model.tokenizer, known, cache)
    sides = [str(side) for side in model.transformer.scales.sides]
    return {
        "pictures": len(pictures),
        "loss": round(figures["loss"], 3),
        "chance": round(math.log(model.transformer.config.vocab_size), 3),
        "loss_per_scale": {side: round(figures[f"loss {side}"], 3) for side in sides},
        "accuracy_per_scale": {side: round(figures[f"accuracy {side}"], 3) for side in sides},
    }


def samples(model_name: str, rows: int, out: Path) -> dict:
    """Write a captioned sheet: `rows` samples of every class, ten cells a line."""
    engine = Engine.load(model_name)
    cells = []
    for name in engine.class_names:
        for seed in range(rows):
            result = list(engine.run(EditRequest(label=name, seed=seed)))[-1].result
            assert result is not None
            cells.append((name if rows == 1 else f"{name} {seed}", result.images[0]))
    side, caption, columns = engine.resolution, 15, 10
    lines = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (side + 4), lines * (side + caption + 4)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (text, picture) in enumerate(cells):
        x, y = i % columns * (side + 4), i // columns * (side + caption + 4)
        sheet.paste(picture, (x, y))
        pen.text((x + 2, y + side + 1), text.replace("watercolour", "w."), fill=(60, 60, 60))
    save_png(sheet, out)
    return {"file": str(out), "samples": len(cells)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m var_core.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("reconstruct", "likelihood", "samples"))
    parser.add_argument("--data", type=Path, help="folder or zip of pictures, one folder per class")
    parser.add_argument("--model", default="garden-128", help="registered name or a .safetensors file")
    parser.add_argument("--split", default="val", choices=("val", "train"))
    parser.add_argument("--limit", type=int, help="reconstruct: only so many pictures, chosen once for all")
    parser.add_argument("--rows", type=int, default=1, help="samples: how many of each class")
    parser.add_argument("--out", type=Path, default=Path("samples.png"), help="samples: the sheet to write")
    parser.add_argument("--json", action="store_true", help="one line instead of an indented document")
    args = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        if args.what == "samples":
            print(json.dumps(samples(args.model, args.rows, args.out)))
            return 0
        if args.data is None:
            raise ValueError("give the pictures to measure on with --data")
        model = open_model(args.model)
        pictures = load_pictures(args.data, args.split, model.tokenizer.config.resolution)
        if args.what == "reconstruct":
            figures = reconstruct(model.tokenizer, pictures, args.limit)
        else:
            figures = likelihood(args.model, pictures)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    document = {"what": args.what, "model": model.name, "split": args.split, **figures}
    print(json.dumps(document, indent=None if args.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
