"""Training of a transformer with infill conditioning: pictures with random holes, encoded as they come.

Half of each batch are labelled pictures of the classes, cropped mildly, half any pictures, recoloured and turned. The
features of the picture with its hole filled stand where pixels are known, the true ones elsewhere, as when editing; the
loss counts cells that are not wholly known. The rate stays level until the last part of the run, so that a run may be
lengthened until then.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.infill import all_known_cells
from ..model.tokenizer import Tokenizer
from ..model.transformer import Block, Transformer, TransformerConfig
from ..pictures.data import Pictures, to_model
from ..pictures.masks import random_hole
from .augment import Wild, mild, wild
from .corruption import Chain, corrupted_chain, near_codes
from .run import Descent, Length, Log, Run, Together
from .scalewise import ScalewiseAttention
from .transformer import begin
from .workers import Workers


@dataclass(frozen=True, kw_only=True)
class InfillTraining:
    """Choices of a run; shares are of the batch's pictures unless another is named."""

    batch: int = 16
    peak_rate: float = 1e-3
    warmup_steps: int = 200
    falling: float = 0.3  # share of the run, at its end, in which the rate falls
    decay: float = 0.999  # of the averaged weights
    weight_decay: float = 0.05
    labelled: float = 0.5
    balance: float = 0.5  # of classes
    all_unknown: float = 1 / 6
    label_drop: float = 0.5  # where something is known
    label_drop_unknown: float = 0.1  # where nothing is
    corruption: float = 0.3  # largest share of replaced codes
    near: int = 24  # codes among which a wrong one is drawn
    muon: bool = True
    save_minutes: float = 5.0
    measure_every: int = 4  # reports between validations
    seed: int = 0


def fill(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with what the hole hides painted over, as the editor fills it before it encodes."""
    if hole.all():
        return np.full_like(picture, 128)
    return cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)


@dataclass(frozen=True)
class Batch:
    """Pictures with holes, ready for the transformer."""

    labels: Tensor  # (b,) long
    features: Tensor  # (b, c, h, w) float32: of the filled picture where it is known, else of the true one
    known: Tensor  # (b, L, c + 1)
    unknown: list[Tensor]  # per scale (b, l) bool: cells that are not wholly known


@torch.no_grad()
def encode_batch(tokenizer: Tokenizer, pictures: np.ndarray, holes: np.ndarray, labels: np.ndarray) -> Batch:
    """pictures (b, H, W, 3) uint8, holes (b, H, W) bool, labels (b,)."""
    filled = np.stack([fill(picture, hole) for picture, hole in zip(pictures, holes, strict=True)])
    both = np.ascontiguousarray(np.concatenate((pictures, filled)).transpose(0, 3, 1, 2))
    image = to_model(both, tokenizer.device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(tokenizer.device.type, torch.bfloat16):
        true, told = tokenizer.encoder(image).float().chunk(2)
    side, b = tokenizer.scales.finest, len(pictures)
    open_ = torch.from_numpy(~holes).float()[:, None]
    fraction = F.interpolate(open_, size=(side, side), mode="area")[:, 0]  # (b, h, w)
    known = all_known_cells(told, fraction, tokenizer.scales.sides)
    unknown = [cells.reshape(b, -1) for cells in known[..., -1].split(tokenizer.scales.lengths, 1)]
    unknown = [cells < 1 - 1e-6 for cells in unknown]
    mixed = torch.lerp(true, told, fraction[:, None])
    return Batch(torch.from_numpy(labels), mixed, known, unknown)


def _optimizer(transformer: Transformer, training: InfillTraining) -> Together:
    """Muon for the blocks' matrices where asked for, AdamW for the rest, of which only matrices decay."""
    blocks = [p for p in transformer.blocks.parameters() if p.dim() == 2] if training.muon else []
    own = {id(p) for p in blocks}
    rest = [p for p in transformer.parameters() if id(p) not in own]
    rate, decay = training.peak_rate, training.weight_decay
    groups = [
        {"params": [p for p in rest if p.dim() == 2], "weight_decay": decay},
        {"params": [p for p in rest if p.dim() != 2], "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))]
    if blocks:
        found.append(torch.optim.Muon(blocks, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return Together(*found)


def begin_infill(config: TransformerConfig) -> Transformer:
    """A transformer to train whose conditioning says nothing yet, with attention in pieces."""
    transformer = begin(config, 0.0)
    if transformer.known_embed is not None:
        nn.init.zeros_(transformer.known_embed.weight)
    attention = ScalewiseAttention(transformer.scales)
    for block in transformer.blocks:
        assert isinstance(block, Block)
        block.attention = attention
    return transformer


def train_infill(
    tokenizer: Tokenizer,
    config: TransformerConfig,
    training: InfillTraining,
    classes: list[Pictures],
    free: list[Pictures],
    out: Path,
    *,
    length: Length,
    measure: InfillMeasure | None = None,
    bfloat16: bool = True,
    compiled: bool = False,
) -> dict[str, Any]:
    """Train for `length`, in one process; the next call with the same `out` goes on where a piece ended.

    `classes` are sources of pictures whose labels count (all with the same class names), `free` of any pictures.
    """
    torch.manual_seed(training.seed)
    transformer = begin_infill(config)
    run = Run(
        out=out, trained=transformer, optimizer=_optimizer(transformer, training), length=length, workers=Workers(),
        descent=Descent(
            peak_rate=training.peak_rate, warmup=training.warmup_steps, clip=2.0, decay=training.decay,
            falling=training.falling,
        ),
        about={"config": asdict(config), "class_names": list(classes[0].class_names)}, kept={"reports": 0},
        bfloat16=bfloat16, save_minutes=training.save_minutes, seed=training.seed,
    )  # fmt: skip
    for block in transformer.blocks if compiled else ():
        block.compile(dynamic=False)
    stage = _Stage(run, training, tokenizer, classes, free, measure)
    return run.go(stage.step, stage.report)


class _Stage:
    """What a step of an infill run is, and what is told of it."""

    def __init__(
        self,
        run: Run[Transformer],
        training: InfillTraining,
        tokenizer: Tokenizer,
        classes: list[Pictures],
        free: list[Pictures],
        measure: InfillMeasure | None,
    ) -> None:
        self.run, self.training, self.measure = run, training, measure
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.tokenizer.set_channels_last(True)
        self.classes, self.free = classes, free
        self.chances = [source.weights(training.balance) for source in classes]
        self.near = near_codes(tokenizer.codebook.weight.float(), training.near)
        lengths = run.trained.scales.lengths
        self.weights = torch.cat([torch.full((n,), 1 / math.sqrt(n)) for n in lengths])  # 1 / side for every token
        self.losses: list[float] = []

    def _picture(self, labelled: bool) -> tuple[np.ndarray, int]:
        """A random crop (H, W, 3) uint8 and its label, `null` where none counts."""
        rng, size = self.run.rng, self.tokenizer.config.resolution
        if not labelled:
            source = self.free[int(rng.integers(len(self.free)))]
            crop = wild(source.arrays[int(rng.integers(len(source)))], size, rng, Wild())
            return crop, self.run.trained.config.null_label
        which = int(rng.integers(len(self.classes)))
        source = self.classes[which]
        index = int(rng.choice(len(source), p=self.chances[which]))
        return mild(source.arrays[index], size, rng), int(source.labels[index])

    def batch(self) -> Batch:
        """A random batch: labelled pictures first."""
        choices, rng, size = self.training, self.run.rng, self.tokenizer.config.resolution
        pictures, labels, holes = [], [], []
        for i in range(choices.batch):
            picture, label = self._picture(i < round(choices.batch * choices.labelled))
            everything = rng.random() < choices.all_unknown
            dropped = rng.random() < (choices.label_drop_unknown if everything else choices.label_drop)
            pictures.append(picture)
            labels.append(self.run.trained.config.null_label if dropped else label)
            holes.append(np.ones((size, size), bool) if everything else random_hole(size, rng))
        return encode_batch(self.tokenizer, np.stack(pictures), np.stack(holes), np.array(labels, dtype=np.int64))

    def step(self, progress: float) -> dict[str, Any]:
        run, choices, batch = self.run, self.training, self.batch()
        rate = torch.from_numpy(run.rng.random(choices.batch, dtype=np.float32)) * choices.corruption
        chain = corrupted_chain(self.tokenizer, batch.features, self.near, rate, batch.unknown, run.rng)
        with run.half():
            each, where = token_losses(run.trained, batch, chain, batch.known)
        weight = self.weights.expand(choices.batch, -1)[where]
        run.descend((each * weight).sum() / weight.sum(), choices.batch, progress, 0.0)
        self.losses.append(each.mean().item())
        return {} if run.step % 20 else {"loss": f"{np.mean(self.losses[-20:]):.3f}", "rate": f"{run.rate:.1e}"}

    def report(self, last: bool) -> dict[str, Any]:
        """The mean loss of training since the last report, in log.csv; at times validation, in validation.csv."""
        run, place = self.run, {"step": self.run.step, "minutes": self.run.clock.minutes}
        row = {"loss": float(np.mean(self.losses or [0.0])), "pictures/s": run.meter.read()["pictures/s"]}
        run.log.write(place | row)
        self.losses.clear()
        run.kept["reports"] += 1
        if self.measure is None or (run.kept["reports"] % self.training.measure_every and not last):
            return row
        figures = self.measure(run.averaged)
        Log(run.out / "validation.csv").write(place | figures)
        return row | figures


def token_losses(transformer: Transformer, batch: Batch, chain: Chain, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats of every token that is not wholly known (n,), and where those stand (b, L) bool."""
    where = torch.cat(batch.unknown, 1)
    hidden, conditioning = transformer.hidden(batch.labels, chain.inputs, known)
    scale, shift = conditioning.head
    normal = F.layer_norm(hidden, hidden.shape[-1:], eps=1e-6)
    chosen = torch.addcmul(shift, normal, scale + 1)[where]  # (n, d): the others need no logits
    return F.cross_entropy(transformer.head(chosen).float(), chain.targets[where], reduction="none"), where


class InfillMeasure:
    """Validation loss of every scale on the tokens to be drawn, with what is known shown and withheld."""

    def __init__(
        self, tokenizer: Tokenizer, pictures: list[Pictures], labelled: list[bool], null: int, count: int = 48,
        bfloat16: bool = True,
    ) -> None:  # fmt: skip
        self.bfloat16 = bfloat16
        rng, size = np.random.default_rng(3), tokenizer.config.resolution
        self.tokenizer, self.batches = tokenizer, []
        for source, counts in zip(pictures, labelled, strict=True):
            order = np.random.default_rng(0).permutation(len(source))[:count]
            for at in range(0, len(order), 16):
                part = order[at : at + 16]
                crops = np.stack([source.centre(int(i), size) for i in part])
                holes = np.stack([random_hole(size, rng) for _ in part])
                labels = source.labels[part] if counts else np.full(len(part), null)
                self.batches.append(encode_batch(tokenizer, crops, holes, labels.astype(np.int64)))

    @torch.no_grad()
    def __call__(self, transformer: Transformer) -> dict[str, float]:
        sides, lengths = transformer.scales.sides, transformer.scales.lengths
        sums = torch.zeros(2, len(sides))
        counts = torch.zeros(len(sides))
        level = torch.repeat_interleave(torch.arange(len(sides)), torch.tensor(lengths))
        none = torch.zeros(1, 1, dtype=torch.long)
        for batch in self.batches:
            b = len(batch.labels)
            chain = corrupted_chain(
                self.tokenizer, batch.features, none.expand(self.tokenizer.config.vocab_size, 1), torch.zeros(b),
                batch.unknown, np.random.default_rng(0),
            )  # fmt: skip
            for row, known in enumerate((batch.known, None)):
                with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                    each, where = token_losses(transformer, batch, chain, known)
                at = level.expand(b, -1)[where]
                sums[row] += torch.zeros(len(sides)).index_add_(0, at, each)
            counts += torch.bincount(at, minlength=len(sides))
        shown, withheld = (sums / counts.clamp_min(1)).tolist()
        total = sums.sum(1) / counts.sum()
        figures = {"loss": float(total[0]), "withheld": float(total[1])}
        figures |= {f"shown {side}": value for side, value in zip(sides, shown, strict=True)}
        return figures | {f"withheld {side}": value for side, value in zip(sides, withheld, strict=True)}
