"""The project's own pictures, each with a mask, to try in one click."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from . import canvas

FOLDER = Path(__file__).parent.parent / "assets" / "examples"


@dataclass(frozen=True)
class Example:
    """A picture, and what lies beside it if it does: the mask NAME-mask.png, and NAME-after.jpg as it may become.
    A name that ends in "-to-CLASS" asks for that class."""

    picture: Path
    mask: Path | None
    after: Path | None = None

    @property
    def title(self) -> str:
        return self.picture.stem.partition("-to-")[0].replace("-", " ")

    @property
    def label(self) -> str:
        return self.picture.stem.partition("-to-")[2]

    @property
    def mode(self) -> str:
        if self.mask is None:
            return "vary"
        return "edit" if self.label else "inpaint"

    def layer(self) -> str | None:
        """Its mask as the page paints."""
        if self.mask is None:
            return None
        with Image.open(self.mask) as mask:
            return canvas.layer_uri(mask.convert("L"))

    def told(self) -> dict[str, Any]:
        """A thumbnail and its words."""
        shown = {name: _small(path) for name, path in (("before", self.picture), ("after", self.after)) if path}
        return {"title": self.title, "mode": self.mode, **shown}


@cache
def _small(path: Path) -> str:
    with Image.open(path) as picture:
        return canvas.data_uri(canvas.shrink(picture.convert("RGB"), 320), 86)


def examples() -> list[Example]:
    """Every NAME.png or .jpg in the folder that is no mask and no outcome."""
    found = []
    for path in sorted([*FOLDER.glob("*.png"), *FOLDER.glob("*.jpg")]):
        if not path.stem.endswith(("-mask", "-after")):
            mask, after = path.with_name(f"{path.stem}-mask.png"), path.with_name(f"{path.stem}-after.jpg")
            found.append(Example(path, mask if mask.is_file() else None, after if after.is_file() else None))
    return found
