"""How well a transformer foretells the tokens of pictures, told and not told what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.infill import all_known_cells
from ..model.tokenizer import Tokenizer
from ..model.transformer import Transformer
from ..pictures.data import Pictures, stack, to_images

_BATCH = 16


def fill(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with what the hole hides painted over, as the editor fills it before it encodes."""
    if hole.all():
        return np.full_like(picture, 128)
    return cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)


@dataclass(frozen=True)
class Batch:
    """Pictures with holes, ready for a transformer."""

    labels: Tensor  # (b,) long
    features: Tensor  # (b, c, h, w) float32: of the filled picture where it is known, else of the true one
    known: Tensor  # (b, L, c + 1): what a transformer with infill conditioning is told
    unknown: list[Tensor]  # per scale (b, l) bool: cells that are not wholly known


@dataclass(frozen=True)
class Chain:
    """What one teacher-forced pass needs."""

    targets: Tensor  # (b, L) long: at every scale the codes nearest to what the canvas before it lacks
    inputs: Tensor  # (b, L - 1, c): the shrunk canvases


@torch.no_grad()
def encode_batch(
    tokenizer: Tokenizer, pictures: np.ndarray, holes: np.ndarray, labels: np.ndarray, bfloat16: bool = True
) -> Batch:
    """pictures (b, H, W, 3) uint8, holes (b, H, W) bool, labels (b,)."""
    both = stack([*pictures, *(fill(picture, hole) for picture, hole in zip(pictures, holes, strict=True))])
    some = (torch.from_numpy(part) for part in (both, holes, labels))
    return encode_filled(tokenizer, *some, bfloat16=bfloat16)


@torch.no_grad()
def encode_filled(tokenizer: Tokenizer, both: Tensor, holes: Tensor, labels: Tensor, *, bfloat16: bool) -> Batch:
    """both (2 b, 3, H, W) uint8: the pictures, then the same with their holes (b, H, W) bool filled; labels (b,)."""
    device, side = tokenizer.device, tokenizer.scales.finest
    image = to_images(both, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        true, told = tokenizer.features(image).chunk(2)
    open_ = (~holes.to(device, non_blocking=True)).float()[:, None]
    fraction = F.interpolate(open_, size=(side, side), mode="area")[:, 0]  # (b, h, w)
    known = all_known_cells(told, fraction, tokenizer.scales.sides)
    unknown = [cells.reshape(len(holes), -1) < 1 - 1e-6 for cells in known[..., -1].split(tokenizer.scales.lengths, 1)]
    return Batch(labels.to(device, non_blocking=True), torch.lerp(true, told, fraction[:, None]), known, unknown)


@torch.no_grad()
def true_chain(tokenizer: Tokenizer, features: Tensor) -> Chain:
    tokens = tokenizer.quantize(features)[0]
    return Chain(torch.cat(tokens, 1), tokenizer.teacher_inputs(tokens))


def unknown_logits(
    transformer: Transformer, batch: Batch, chain: Chain, known: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, v) float32 and targets (n,) of every token that is not wholly known, and where those stand (b, L)
    bool."""
    where = torch.cat(batch.unknown, 1)
    hidden, conditioning = transformer.hidden(batch.labels, chain.inputs, known)
    scale, shift = conditioning.head
    normal = F.layer_norm(hidden, hidden.shape[-1:], eps=1e-6)
    chosen = torch.addcmul(shift, normal, scale + 1)[where]  # (n, d): the others need no logits
    return transformer.head(chosen.to(transformer.dtype)).float(), chain.targets[where], where


def everything(side: int, rng: np.random.Generator) -> np.ndarray:
    """The hole that leaves nothing known."""
    return np.ones((side, side), bool)


class Likelihood:
    """Loss in nats and accuracy at every scale on the tokens to be drawn, of centre squares with holes.

    `sources` are pictures with whether their labels count. `loss` is told what is known where the transformer has the
    conditioning for it; `withheld` is what the same weights lose without.
    """

    def __init__(
        self, tokenizer: Tokenizer, sources: list[tuple[Pictures, bool]], null: int,
        hole: Callable[[int, np.random.Generator], np.ndarray], count: int = 48, bfloat16: bool = True,
    ) -> None:  # fmt: skip
        self.tokenizer, self.bfloat16, self.batches = tokenizer, bfloat16, list[Batch]()
        rng, size = np.random.default_rng(3), tokenizer.config.resolution
        for source, counts in sources:
            order = np.random.default_rng(0).permutation(len(source))[:count]
            for at in range(0, len(order), _BATCH):
                part = order[at : at + _BATCH]
                crops = np.stack([source.centre(int(i), size) for i in part])
                holes = np.stack([hole(size, rng) for _ in part])
                labels = source.labels[part] if counts else np.full(len(part), null)
                self.batches.append(encode_batch(tokenizer, crops, holes, labels.astype(np.int64), bfloat16))

    @torch.no_grad()
    def __call__(self, transformer: Transformer) -> dict[str, float]:
        """ "loss" and "accuracy" of all tokens, "shown 4" and "accuracy 4" of the side 4; with infill conditioning also
        "withheld" and "withheld 4"."""
        scales, device = transformer.scales, transformer.device
        rows = ("loss", "withheld") if transformer.known_embed is not None else ("loss",)
        level = torch.repeat_interleave(torch.arange(len(scales)), torch.tensor(scales.lengths)).to(device)
        sums = {name: torch.zeros(len(scales), device=device) for name in (*rows, "accuracy")}
        counts = torch.zeros(len(scales), device=device)
        for batch in self.batches:
            chain = true_chain(self.tokenizer, batch.features)
            for name in rows:
                told = batch.known if name == "loss" and len(rows) > 1 else None
                with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
                    logits, targets, where = unknown_logits(transformer, batch, chain, told)
                at = level.expand(len(where), -1)[where]
                sums[name].index_add_(0, at, F.cross_entropy(logits, targets, reduction="none"))
                if name == "loss":
                    sums["accuracy"].index_add_(0, at, (logits.argmax(1) == targets).float())
                    counts += torch.bincount(at, minlength=len(scales))
        figures = {name: float(values.sum() / counts.sum()) for name, values in sums.items()}
        for name, values in sums.items():
            of_scale, word = (values / counts.clamp_min(1)).tolist(), "shown" if name == "loss" else name
            figures |= {f"{word} {side}": value for side, value in zip(scales.sides, of_scale, strict=True)}
        return figures
