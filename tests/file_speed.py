"""How long pictures take to be opened and saved, in seconds of one core: python tests/file_speed.py [--megapixels 12]

The photo is drawn here, with noise as cameras have it, in colours of its own; the edit fades over a part of it.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "files")]

from test_colour import tagged  # noqa: E402

from var_core import Chance, Edit, Result, Saving, open_image  # noqa: E402
from var_core.files.saving import save_result  # noqa: E402
from var_core.request import Pass  # noqa: E402

T = TypeVar("T")


def photo(megapixels: float) -> bytes:
    width, height = round((megapixels * 1e6 * 4 / 3) ** 0.5), round((megapixels * 1e6 * 3 / 4) ** 0.5)
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(40, 216, (height // 40, width // 40, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    for top in range(0, height, 500):
        pixels[top : top + 500] += rng.normal(0, 4, pixels[top : top + 500].shape).astype(np.int16)
    buffer = io.BytesIO()
    profile = tagged(b"RGB ", 1.8, b"an old screen")
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=93, icc_profile=profile)
    return buffer.getvalue()


def edited(image: Image.Image, share: float) -> Result:
    """A result as a run leaves it; its patch fades over all of a square of that share of the short side."""
    side = round(share * min(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    alpha = Image.radial_gradient("L").point(lambda v: 255 - v).resize((side, side))
    patch = Image.composite(Image.new("RGB", (side, side), (90, 120, 60)), image.crop(box), alpha)
    mask = Image.new("L", image.size)
    mask.paste(255, (image.width // 2, image.height // 2, image.width // 2 + 9, image.height // 2 + 9))
    tokens = [torch.zeros(1, 4, dtype=torch.long)]
    return Result(
        model="none", precision="", edit=Edit(task="inpaint", image=image, mask=mask), chance=Chance(seed=0),
        picture=image, patches=[patch], at=box[:2], passes=[Pass(tokens, None, box, alpha)], previews=[],
    )  # fmt: skip


def timed(words: str, work: Callable[[], T], path: Path | None = None) -> T:
    began = time.process_time()
    done = work()
    size = f", {path.stat().st_size / 1e6:.1f} MB" if path is not None else ""
    print(f"{words}: {time.process_time() - began:.2f} s{size}")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--share", type=float, default=0.5, help="of the short side that the edit and its fade take")
    args = parser.parse_args()
    data = photo(args.megapixels)
    with TemporaryDirectory() as folder:
        image = timed(f"open a JPEG of {args.megapixels:g} megapixels, to sRGB", lambda: open_image(data).image)
        result = edited(image, args.share)
        for kind in ("jpeg", "webp", "png"):
            path = Path(folder) / kind
            how = Saving(format=kind)
            timed(f"save as {kind}", lambda path=path, how=how: save_result(result, path, 0, how), path)
            if kind != "png":
                words = f"save as {kind} in the photo's own colours"
                timed(words, lambda path=path, how=how: save_result(result, path, 0, how, data), path)


if __name__ == "__main__":
    main()
