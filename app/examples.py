"""The project's own pictures, each with a mask, to try in one click."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from . import canvas

FOLDER = Path(__file__).parent.parent / "assets" / "examples"


@dataclass(frozen=True)
class Example:
    """A picture, and the mask beside it if there is one."""

    picture: Path
    mask: Path | None

    @property
    def title(self) -> str:
        return self.picture.stem.replace("-", " ")


def examples() -> list[Example]:
    """Every NAME.png in the folder, with NAME-mask.png as its mask."""
    found = []
    for path in sorted(FOLDER.glob("*.png")):
        if not path.stem.endswith("-mask"):
            mask = path.with_name(f"{path.stem}-mask.png")
            found.append(Example(path, mask if mask.is_file() else None))
    return found


def examples_html(found: list[Example]) -> str:
    if not found:
        return ""
    buttons = []
    for index, example in enumerate(found):
        with Image.open(example.picture) as picture:
            small = canvas.data_uri(canvas.shrink(picture.convert("RGB"), 160), 85)
        buttons.append(
            f'<button type="button" data-example="{index}" aria-label="Example: {html.escape(example.title)}" '
            f'title="{html.escape(example.title)}"><img alt="" src="{small}"></button>'
        )
    words = "Or try one of these, drawn by this project's own model. One click runs it."
    return f'<div class="examples"><span>{words}</span>{"".join(buttons)}</div>'
