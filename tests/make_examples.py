"""The example pictures of the page: python tests/make_examples.py [--sheet choice.png | --after]

Most are drawn by the bundled model: one candidate of a fixed class and seed, enlarged, with a painted ellipse as its
mask. --sheet writes a picture of all candidates instead, to choose `pick` from after the model changed. Photographs lie
in the folder with their masks (assets/docs/CREDITS.md says whose they are). Of all, NAME-after.jpg is what becomes of
them; --after draws only that.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from var_core import Chance, Edit, Engine, open_image, open_mask, save_png  # noqa: E402

SIDE = 384  # of the files, pixels
CANDIDATES = 8


@dataclass(frozen=True)
class Recipe:
    """`label` is a class, `pick` the candidate taken; the mask is an ellipse of `radius` about `centre`, tilted by
    `angle` degrees, all in shares of the side."""

    label: str
    seed: int
    pick: int = 0
    centre: tuple[float, float] = (0.5, 0.5)
    radius: tuple[float, float] = (0.22, 0.22)
    angle: float = 0


RECIPES = {
    "strawberry": Recipe("watercolour-strawberry", 1, 0, (0.69, 0.41), (0.17, 0.2)),
    "plum-to-watercolour-lemon": Recipe("watercolour-plum", 2, 1, (0.5, 0.7), (0.21, 0.21)),
    "peach-to-watercolour-apple": Recipe("watercolour-peach", 3, 1, (0.5, 0.38), (0.32, 0.34)),
    "sunflower-to-flower-daisy": Recipe("flower-sunflower", 3, 0, (0.5, 0.56), (0.52, 0.44)),
    "daisy-to-flower-dandelion": Recipe("flower-daisy", 4, 0, (0.38, 0.5), (0.44, 0.46)),
}


def candidates(engine: Engine, recipe: Recipe) -> list[Image.Image]:
    frames = list(engine.run(Edit(label=recipe.label), Chance(seed=recipe.seed, candidates=CANDIDATES)))
    assert frames[-1].result is not None
    return frames[-1].result.images


def painted(recipe: Recipe, side: int) -> Image.Image:
    """The mask: white is repainted."""
    (x, y), (across, down), turn = recipe.centre, recipe.radius, math.radians(recipe.angle)
    outline = []
    for step in range(72):
        u, v = across * math.cos(step * math.pi / 36), down * math.sin(step * math.pi / 36)
        point = x + u * math.cos(turn) - v * math.sin(turn), y + u * math.sin(turn) + v * math.cos(turn)
        outline.append((point[0] * side, point[1] * side))
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    return mask


def becomes(engine: Engine, picture: Path, mask: Path) -> Image.Image:
    """The picture as the page draws it when the example is clicked, with seed 1, at half of its size."""
    photo = open_image(picture).image
    label = picture.stem.partition("-to-")[2] or None
    edit = Edit(task="edit" if label else "inpaint", image=photo, mask=open_mask(mask, photo.size), label=label)
    *_, last = engine.run(edit, Chance(seed=1))
    assert last.result is not None
    return last.result.image(0).reduce(2)


def sheet(engine: Engine, path: Path) -> None:
    """All candidates, one row an example, the chosen one framed with its mask's outline."""
    side = engine.resolution
    page = Image.new("RGB", (CANDIDATES * (side + 6), len(RECIPES) * (side + 6)), "white")
    for row, recipe in enumerate(RECIPES.values()):
        for column, picture in enumerate(candidates(engine, recipe)):
            if column == recipe.pick:
                picture = Image.composite(Image.new("RGB", picture.size, (240, 37, 124)), picture, _edge(recipe, side))
            page.paste(picture, (column * (side + 6), row * (side + 6)))
    save_png(page, path)


def _edge(recipe: Recipe, side: int) -> Image.Image:
    inner = Recipe(
        recipe.label, 0, 0, recipe.centre, (recipe.radius[0] - 0.015, recipe.radius[1] - 0.015), recipe.angle
    )
    mask = painted(recipe, side)
    mask.paste(0, mask=painted(inner, side))
    return mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="garden-2")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "examples")
    parser.add_argument("--sheet", type=Path, help="write all candidates here, and no examples")
    parser.add_argument("--after", action="store_true", help="the examples stay; only what becomes of them is drawn")
    args = parser.parse_args()
    engine = Engine.load(args.model)
    if args.sheet:
        sheet(engine, args.sheet)
        return
    for name, recipe in () if args.after else RECIPES.items():
        picture = candidates(engine, recipe)[recipe.pick]
        save_png(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), args.out / f"{name}.png")
        save_png(painted(recipe, SIDE), args.out / f"{name}-mask.png")
        print(args.out / f"{name}.png")
    for mask in sorted(args.out.glob("*-mask.png")):
        name = mask.name.removesuffix("-mask.png")
        picture = next(args.out.glob(f"{name}.[jp]*"))
        becomes(engine, picture, mask).save(args.out / f"{name}-after.jpg", quality=88)
        print(args.out / f"{name}-after.jpg")


if __name__ == "__main__":
    main()
