"""Training pictures: a folder tree or zip, `[train|val/][<class>/]<file>`, held in memory."""

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
_VALIDATION_SHARE = 20  # one file in so many, where no folder says the split
_SPLITS = ("train", "val")
_ONLY_CLASS = "picture"  # of pictures in no folder


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

    def crop(self, index: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """A random, randomly mirrored square of `size` pixels; half of them taken from a random larger square and
        shrunk, so that whole objects are seen too."""
        height, width = self.arrays[index].shape[:2]
        side = size
        if min(height, width) > size and rng.random() < 0.5:
            side = int(rng.integers(size, min(height, width) + 1))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        mirror, square = bool(rng.random() < 0.5), self.arrays[index][top : top + side, left : left + side]
        if side != size:
            square = np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS))
        return square[:, ::-1] if mirror else square


def load_pictures(path: str | Path, split: str, size: int, largest: int | None = None) -> Pictures:
    """Read one split ("train" or "val"); pictures are shrunk to a short side of `largest` (about 9/8 `size` where not
    given) and enlarged to `size` where smaller. Those that cannot be used are left out, and the log names them.
    ValueError with one sentence if the place holds no usable pictures."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no data at {path}: give a folder or a zip of pictures")
    arrays, classes, names = [], [], []
    bad: list[str] = []
    places = _places([name for name, _ in picture_files(path)])
    for name, read in picture_files(path):
        own, belongs = places.get(name, ("", ""))
        if belongs != split:
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
        raise ValueError(f"{path} holds {what}; expected [{split}/][<class>/]<picture>")
    if bad:
        more = ", ..." if len(bad) > _NAMED else ""
        log.warning("%d of %d %s pictures left out: %s", len(bad), len(bad) + len(arrays), split,
                    ", ".join(bad[:_NAMED]) + more)  # fmt: skip
    class_names = tuple(sorted({own for own, _ in places.values()}))
    labels = np.array([class_names.index(c) for c in classes], dtype=np.int64)
    return Pictures(arrays, labels, class_names, tuple(names))


def _places(names: list[str]) -> dict[str, tuple[str, str]]:
    """Class and split of each picture that counts, by its name: those beside class folders do not. Where no folder says
    the split, one file in twenty is for validation, chosen by its name, and one at least."""
    parts = {name: [part for part in name.split("/") if part] for name in names}
    deep = {name: of for name, of in parts.items() if len(of) > 1} or {name: ["", *of] for name, of in parts.items()}
    if {of[-2] for of in deep.values()} <= set(_SPLITS):
        deep = {name: [*of[:-1], "", of[-1]] for name, of in deep.items()}
    own = {name: unicodedata.normalize("NFC", of[-2]) or _ONLY_CLASS for name, of in deep.items()}
    said = {name: next((part for part in of[:-2] if part in _SPLITS), None) for name, of in deep.items()}
    chance = {name: zlib.crc32(name.encode()) for name in said if said[name] is None}
    some = {name for name, value in chance.items() if value % _VALIDATION_SHARE == 0}
    if not some and len(chance) > 1 and "val" not in said.values():
        some = {min(chance, key=chance.__getitem__)}
    return {name: (own[name], said[name] or ("val" if name in some else "train")) for name in deep}


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


def to_images(batch: Tensor, device: torch.device) -> Tensor:
    """(b, 3, H, W) uint8 -> [-1, 1] float32, channels last."""
    image = batch.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
    return image.float() / 127.5 - 1


def to_model(batch: np.ndarray, device: torch.device) -> Tensor:
    """The same of an array."""
    return to_images(torch.from_numpy(batch), device)
