"""Training pictures: a folder tree or zip, `train|val/<class>/<file>` or just `<class>/<file>`, held in memory."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
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


def load_pictures(path: str | Path, split: str, size: int) -> Pictures:
    """Read one split ("train" or "val"); pictures are shrunk to a short side of about 9/8 `size` and enlarged to
    `size` where smaller. ValueError with one sentence if the place holds no usable pictures."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no data at {path}: give a folder or a zip of pictures in one folder per class")
    arrays, classes, names = [], [], []
    every_class: set[str] = set()
    for name, read in _files(path):
        parts = [part for part in name.split("/") if part]
        if len(parts) < 2:
            continue
        belongs = _split_of(parts, name)
        every_class.add(parts[-2])
        if belongs != split:
            continue
        arrays.append(_decode(read(), size, name))
        classes.append(parts[-2])
        names.append(name)
    if not arrays:
        raise ValueError(f"{path} holds no {split} pictures: expected {split}/<class>/<picture> or <class>/<picture>")
    class_names = tuple(sorted(every_class))
    labels = np.array([class_names.index(c) for c in classes], dtype=np.int64)
    return Pictures(arrays, labels, class_names, tuple(names))


def _split_of(parts: list[str], name: str) -> str:
    for part in parts[:-2]:
        if part in ("train", "val"):
            return part
    return "val" if zlib.crc32(name.encode()) % _VALIDATION_SHARE == 0 else "train"


def _files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in _ENDINGS:
                yield file.relative_to(path).as_posix(), file.read_bytes
        return
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip file")
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(_ENDINGS):
                yield name, lambda name=name: archive.read(name)


def _decode(data: bytes, size: int, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise ValueError(f"{name} cannot be read as a picture: {error}") from error
    short, wanted = min(image.size), round(size * 9 / 8)
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
