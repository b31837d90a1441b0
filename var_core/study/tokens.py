"""What the members learn, computed once because the tokenizer is fixed: features and tokens of some crops a picture.

Four alphabets of the same encoder and decoder: "ten", the tokenizer's own scales; "five", scales that double, with the
same codebook; "flat", one scale of the finest side with a codebook of its own by k-means; "features", none at all.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..model.checkpoints import config_from
from ..model.precision import prefers_channels_last
from ..model.tokenizer import Tokenizer, TokenizerConfig
from ..pictures.data import Pictures, load_pictures, stack, to_model
from ..train.codes import kmeans, nearest
from ..train.export import fingerprint, load_tokenizer
from ..train.run import load_state, save_state

KINDS = ("ten", "five", "flat", "features")
_CHUNK = 64  # pictures between two notes of how far it is
_SAMPLE, _ROUNDS = 200_000, 12  # vectors and rounds of the k-means


@dataclass(frozen=True)
class Words:
    """The alphabets. `mean` and `deviation` (c, 1, 1) are those of the features over the training crops."""

    ten: Tokenizer
    five: Tokenizer
    flat: Tensor  # (v, c)
    mean: Tensor
    deviation: Tensor

    def to(self, device: torch.device) -> Words:
        tensors = (part.to(device) for part in (self.flat, self.mean, self.deviation))
        return Words(self.ten.to(device), self.five.to(device), *tensors)


@dataclass(frozen=True)
class Batch:
    labels: Tensor  # (b,) long
    content: Tensor  # (b, L) long token ids, or (b, c, h, w) float32 features

    @staticmethod
    def of(labels: np.ndarray, content: np.ndarray, device: torch.device) -> Batch:
        return Batch(torch.from_numpy(labels).to(device), torch.from_numpy(content).to(device))


@dataclass(frozen=True)
class Data:
    """One split: labels (n,), and per kind (n, crops, ...)."""

    labels: np.ndarray
    content: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, kind: str, index: np.ndarray, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels (b,) and content (b, ...) of these pictures and crops, as in a batch."""
        return self.labels[index], self.content[kind][index, crops].astype(np.float32 if kind == "features" else int)

    def batch(self, kind: str, index: np.ndarray, crops: np.ndarray, device: torch.device) -> Batch:
        return Batch.of(*self.some(kind, index, crops), device)

    def random(self, kind: str, b: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """As `some`, any pictures and crops."""
        return self.some(kind, rng.integers(len(self), size=b), rng.integers(self.content[kind].shape[1], size=b))


def doubling(finest: int) -> tuple[int, ...]:
    """Sides that double up to the finest. ValueError where it is no power of two."""
    if finest & (finest - 1):
        raise ValueError(f"scales that double do not end at a side of {finest}: use a tokenizer whose finest is 16")
    return tuple(2**i for i in range(finest.bit_length()))


def rescaled(tokenizer: Tokenizer, sides: tuple[int, ...]) -> Tokenizer:
    """The same weights with other scales."""
    other = Tokenizer(replace(tokenizer.config, sides=sides))
    other.load_state_dict(tokenizer.state_dict())
    return other.eval().requires_grad_(False)


def gather(places: list[str], split: str, side: int) -> Pictures:
    """The pictures of several folders or zips as one set; classes of the same name are one."""
    parts = [load_pictures(place, split, side) for place in places]
    names = tuple(sorted({name for part in parts for name in part.class_names}))
    parts = [part.of(names) for part in parts]
    return Pictures(
        [array for part in parts for array in part.arrays], np.concatenate([part.labels for part in parts]), names,
        tuple(name for part in parts for name in part.names),
    )  # fmt: skip


class _Making:
    """The arrays of one folder, made piece by piece."""

    def __init__(self, out: Path, about: dict[str, Any]) -> None:
        self.out, self.note = out, out / "about.json"
        out.mkdir(parents=True, exist_ok=True)
        known = json.loads(self.note.read_text()) if self.note.exists() else {**about, "done": {}}
        if {name: known[name] for name in about} != about:
            raise ValueError(f"{out} holds tokens of another tokenizer, other pictures or crops: give a new folder")
        self.about, self.done = known, known["done"]

    def say(self, **facts: Any) -> None:
        self.about.update(facts)
        partial = self.note.with_suffix(".partial")
        partial.write_text(json.dumps(self.about, indent=1))
        os.replace(partial, self.note)

    def array(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        path = self.out / f"{name}.npy"
        fresh = not path.exists()
        given = {"dtype": dtype, "shape": shape} if fresh else {}
        return np.lib.format.open_memmap(path, "w+" if fresh else "r+", **given)

    def chunks(self, name: str, n: int, until: float | None) -> Any:
        """Places still to do, some at a time; what was yielded is done when the next is asked for."""
        start = self.done.get(name, 0)
        with tqdm(total=n, initial=start, desc=name, leave=False) as bar:
            for at in range(start, n, _CHUNK):
                if until is not None and time.monotonic() >= until:
                    return
                part = range(at, min(at + _CHUNK, n))
                yield part
                self.done[name] = part.stop
                self.say()
                bar.update(len(part))

    def over(self, name: str, n: int) -> bool:
        return self.done.get(name, 0) >= n


def make_tokens(
    place: Path, data: list[str], out: Path, crops: int = 4, max_minutes: float | None = None, half: bool = False,
    device: torch.device = torch.device("cpu"),  # noqa: B008  cannot be changed
) -> bool:  # fmt: skip
    """Fill `out`; True once all is there. The next call goes on where a piece ended, to the same arrays."""
    until = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    tokenizer, _ = load_tokenizer(place)
    names, tokenizer = [Path(part).name for part in data], tokenizer.to(device)
    tokenizer.set_channels_last(prefers_channels_last(device))
    making = _Making(out, {"crops": crops, "data": names, "tokenizer": fingerprint(tokenizer)})
    if tokenizer.config.vocab_size > 2**15:
        raise ValueError(f"{tokenizer.config.vocab_size} codes do not fit the cache: at most {2**15}")
    five = rescaled(tokenizer, doubling(tokenizer.scales.finest)).to(device)
    whole = True
    for split in ("val", "train"):
        pictures = gather(data, split, tokenizer.config.resolution)
        making.say(classes=list(pictures.class_names))
        np.save(out / f"{split}-labels.npy", pictures.labels)
        _encode(making, split, pictures, tokenizer, five, 1 if split == "val" else crops, until, half)
        whole = whole and making.over(split, len(pictures))
    return whole and _flatten(making, tokenizer, until, device)


@torch.inference_mode()
def _encode(
    making: _Making, split: str, pictures: Pictures, tokenizer: Tokenizer, five: Tokenizer, crops: int,
    until: float | None, half: bool,
) -> None:  # fmt: skip
    """Features and multi-scale tokens: random crops of training pictures (a picture's are its own, whatever came
    before), the centre squares of the others."""
    n, size, side = len(pictures), tokenizer.config.resolution, tokenizer.scales.finest
    dims = (n, crops, tokenizer.config.code_dim, side, side)
    features = making.array(f"{split}-features", dims, "float16")
    ten = making.array(f"{split}-ten", (n, crops, tokenizer.scales.total), "int16")
    twos = making.array(f"{split}-five", (n, crops, five.scales.total), "int16")
    for part in making.chunks(split, n, until):
        squares = []
        for i in part:
            rng = np.random.default_rng((17, i))
            squares += [
                pictures.centre(i, size) if split == "val" else pictures.crop(i, size, rng) for _ in range(crops)
            ]
        for at in range(0, len(squares), _CHUNK):
            image = to_model(stack(squares[at : at + _CHUNK]), tokenizer.device)
            with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
                found = tokenizer.features(image)
            where = np.arange(at, at + len(image)) + part.start * crops
            where = (where // crops, where % crops)
            features[where] = found.cpu().numpy().astype(np.float16)
            for array, words in ((ten, tokenizer), (twos, five)):
                array[where] = torch.cat(words.quantize(found)[0], 1).cpu().numpy().astype(np.int16)


@torch.inference_mode()
def _flatten(making: _Making, tokenizer: Tokenizer, until: float | None, device: torch.device) -> bool:
    """The single-scale codebook, and the codes of every crop; True once all is there."""
    out, c = making.out, tokenizer.config.code_dim
    if not (out / "words.pt").exists():
        features = np.load(out / "train-features.npy", mmap_mode="r")
        rng = np.random.default_rng(3)
        some = np.sort(rng.choice(len(features), min(len(features), 4096), replace=False))
        vectors = torch.from_numpy(features[some, 0].astype(np.float32)).transpose(1, 3).reshape(-1, c)
        mean, deviation = vectors.mean(0).view(c, 1, 1), vectors.std(0).view(c, 1, 1)
        chosen = vectors[torch.from_numpy(rng.permutation(len(vectors))[:_SAMPLE])]
        codes = kmeans(chosen.to(device), tokenizer.config.vocab_size, _ROUNDS, rng).cpu()
        save_state(out / "words.pt", {
            "config": asdict(tokenizer.config), "weights": tokenizer.cpu().state_dict(), "flat": codes, "mean": mean,
            "deviation": deviation,
        })  # fmt: skip
    flat, whole = (load_state(out / "words.pt") or {})["flat"].to(device), True
    for split in ("val", "train"):
        features = np.load(out / f"{split}-features.npy", mmap_mode="r")
        n, crops, length = len(features), features.shape[1], features.shape[-1] ** 2
        array = making.array(f"{split}-flat", (n, crops, length), "int16")
        for part in making.chunks(f"{split}-flat", n, until):
            some = torch.from_numpy(features[part.start : part.stop].astype(np.float32))
            vectors = some.flatten(3).transpose(2, 3).reshape(-1, c).to(device)
            array[part.start : part.stop] = nearest(vectors, flat).view(len(part), crops, length).cpu().numpy()
        whole = whole and making.over(f"{split}-flat", n)
    return whole


@dataclass(frozen=True)
class Cache:
    """What `make_tokens` left."""

    words: Words
    train: Data
    val: Data
    class_names: tuple[str, ...]

    def to(self, device: torch.device) -> Cache:
        return replace(self, words=self.words.to(device))

    @property
    def resolution(self) -> int:
        return self.words.ten.config.resolution


def open_tokens(out: Path) -> Cache:
    """ValueError where not all is there yet."""
    note = out / "about.json"
    about = json.loads(note.read_text()) if note.exists() else {"done": {}}
    saved, data = load_state(out / "words.pt"), {}
    for split in ("train", "val"):
        labels = out / f"{split}-labels.npy"
        data[split] = np.load(labels) if labels.exists() else None
        parts = (split, f"{split}-flat")
        if saved is None or data[split] is None or any(about["done"].get(p, 0) < len(data[split]) for p in parts):
            raise ValueError(f"there are no whole tokens at {out}: run python -m var_core.study tokens first")
    assert saved is not None
    ten = Tokenizer(config_from(TokenizerConfig, saved["config"]))
    ten.load_state_dict(saved["weights"])
    ten.eval().requires_grad_(False)
    words = Words(ten, rescaled(ten, doubling(ten.scales.finest)), saved["flat"], saved["mean"], saved["deviation"])
    train, val = (
        Data(data[split], {kind: np.load(out / f"{split}-{kind}.npy", mmap_mode="r") for kind in KINDS})
        for split in ("train", "val")
    )
    return Cache(words, train, val, tuple(about["classes"]))


def canvas_of(words: Words, kind: str, content: Tensor) -> Tensor:
    """What a picture's tokens (b, L) or features say: the canvas (b, c, h, w) for the decoder."""
    if kind == "features":
        return content
    if kind == "flat":
        side = int(content.shape[1] ** 0.5)
        return words.flat[content].transpose(1, 2).unflatten(2, (side, side))
    tokenizer = words.ten if kind == "ten" else words.five
    return tokenizer.canvases([content[:, a:b] for a, b in tokenizer.scales.spans])[-1]
