"""Training pictures: a folder tree or zip, `train|val/<class>/<file>` or just `<class>/<file>`, held in memory."""

from __future__ import annotations

import logging
import unicodedata
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..files.images import open_image
from .sources import picture_files

log = logging.getLogger(__name__)
_THINNEST = 8  # times a side may be as long as the other: all of a picture is enlarged with its short side
_NAMED = 5  # pictures left out, in the log
_VALIDATION_SHARE = 20  # without a val folder, one file in twenty, chosen by its name


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split: uint8 arrays (H, W, 3) with short side at least the training size, and labels."""

    arrays: list[np.ndarray]
    labels: np.ndarray  # (n,) int64
    class_names: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.arrays)

    def of(self, class_names: tuple[str, ...]) -> Pictures:
        """Those of the given classes, labelled by their places in `class_names`."""
        places = {name: place for place, name in enumerate(class_names)}
        index = [i for i, label in enumerate(self.labels) if self.class_names[label] in places]
        labels = np.array([places[self.class_names[self.labels[i]]] for i in index], dtype=np.int64)
        return Pictures([self.arrays[i] for i in index], labels, class_names, tuple(self.names[i] for i in index))

    def weights(self, balance: float) -> np.ndarray:
        """Probability of each picture when class frequency counts to the power 1 - balance (0: as is, 1: equal)."""
        counts = np.bincount(self.labels, minlength=len(self.class_names)).astype(np.float64)
        each = counts[self.labels] ** -balance
        return each / each.sum()

    def kind(self, index: int) -> str:
        """The first word of the picture's class: "rose" of "rose-red"."""
        return self.class_names[self.labels[index]].split("-")[0]

    def centre(self, index: int, size: int) -> np.ndarray:
        """The picture's centre square shrunk to `size`: (size, size, 3) uint8."""
        height, width = self.arrays[index].shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = self.arrays[index][top : top + side, left : left + side]
        return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS))

    def crop(self, index: int, size: int, rng: np.random.Generator, zoom: bool = True) -> np.ndarray:
        """A random, randomly mirrored square of `size` pixels; with `zoom`, half of them taken from a random
        larger square and shrunk, so that whole objects are seen too."""
        return self._cut(index, size, *self._place(index, size, rng, zoom))

    def _place(self, index: int, size: int, rng: np.random.Generator, zoom: bool = True) -> tuple[int, int, int, bool]:
        """Top, left, side and mirroring of a random square: all that is random about a crop."""
        height, width = self.arrays[index].shape[:2]
        side = size
        if zoom and min(height, width) > size and rng.random() < 0.5:
            side = int(rng.integers(size, min(height, width) + 1))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        return top, left, side, bool(rng.random() < 0.5)

    def _cut(self, index: int, size: int, top: int, left: int, side: int, mirror: bool) -> np.ndarray:
        square = self.arrays[index][top : top + side, left : left + side]
        if side != size:
            square = np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS))
        return square[:, ::-1] if mirror else square

    def batch(
        self,
        rng: np.random.Generator,
        b: int,
        size: int,
        weights: np.ndarray | None = None,
        rows: slice = slice(None),
    ) -> tuple[np.ndarray, np.ndarray]:
        """(b, 3, size, size) uint8 crops and (b,) labels; of these only `rows`, with the random numbers of all."""
        index = rng.choice(len(self), size=b, p=weights)
        places = [(int(i), size, *self._place(int(i), size, rng)) for i in index]
        return stack([self._cut(*place) for place in places[rows]]), self.labels[index[rows]]


def load_pictures(path: str | Path, split: str, size: int, largest: int | None = None) -> Pictures:
    """Read one split ("train" or "val"); pictures are shrunk to a short side of `largest` (about 9/8 `size` where not
    given) and enlarged to `size` where smaller. Those that cannot be used are left out, and the log names them.
    ValueError with one sentence if the place holds no usable pictures."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no data at {path}: give a folder or a zip of pictures in one folder per class")
    arrays, classes, names = [], [], []
    every_class: set[str] = set()
    bad: list[str] = []
    for name, read in picture_files(path):
        parts = [part for part in name.split("/") if part]
        if len(parts) < 2:
            continue
        own = unicodedata.normalize("NFC", parts[-2])
        every_class.add(own)
        if _split_of(parts, name) != split:
            continue
        try:
            arrays.append(_fitted(open_image(read()).image, size, largest or round(size * 9 / 8)))
        except Exception as error:  # whatever a zip or a decoder makes of damaged bytes is that file's alone
            bad.append(f"{name} ({' '.join(str(error).split()) or type(error).__name__})")
            continue
        classes.append(own)
        names.append(name)
    if not arrays:
        what = f"no usable {split} pictures: {bad[0]}" if bad else f"no {split} pictures"
        raise ValueError(f"{path} holds {what}; expected {split}/<class>/<picture> or <class>/<picture>")
    if bad:
        more = ", ..." if len(bad) > _NAMED else ""
        log.warning("%d of %d %s pictures left out: %s", len(bad), len(bad) + len(arrays), split,
                    ", ".join(bad[:_NAMED]) + more)  # fmt: skip
    class_names = tuple(sorted(every_class))
    labels = np.array([class_names.index(c) for c in classes], dtype=np.int64)
    return Pictures(arrays, labels, class_names, tuple(names))


def _split_of(parts: list[str], name: str) -> str:
    for part in parts[:-2]:
        if part in ("train", "val"):
            return part
    return "val" if zlib.crc32(name.encode()) % _VALIDATION_SHARE == 0 else "train"


def _fitted(image: Image.Image, size: int, wanted: int) -> np.ndarray:
    """(H, W, 3) uint8 with a short side from `size` to `wanted`."""
    short = min(image.size)
    if max(image.size) > _THINNEST * short:
        raise ValueError(f"it is {image.width} x {image.height} pixels: too thin")
    if short > wanted or short < size:
        target = wanted if short > wanted else size
        new = (max(size, round(image.width * target / short)), max(size, round(image.height * target / short)))
        image = image.resize(new, Image.Resampling.LANCZOS)
    return np.asarray(image)


def stack(squares: list[np.ndarray]) -> np.ndarray:
    """Pictures (H, W, 3) of one size -> (b, 3, H, W)."""
    return np.ascontiguousarray(np.stack(squares).transpose(0, 3, 1, 2))


def to_model(batch: np.ndarray, device: torch.device) -> Tensor:
    """(b, 3, H, W) uint8 -> [-1, 1] float32."""
    return torch.from_numpy(batch).to(device).float() / 127.5 - 1
