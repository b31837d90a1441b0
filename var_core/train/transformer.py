"""Training of a transformer with infill conditioning: pictures with random holes, encoded as they come.

Half of each batch are labelled pictures of the classes, cropped mildly, half any pictures, recoloured and turned. The
features of the picture with its hole filled stand where pixels are known, the true ones elsewhere, as when editing; the
loss counts cells that are not wholly known. The rate stays level until the last part of the run, so that a run may be
lengthened until then.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..measures.likelihood import Batch, Chain, Likelihood, encode_filled, fill, unknown_logits
from ..model.refiner import Refiner
from ..model.scales import Scales
from ..model.tokenizer import Tokenizer
from ..model.transformer import Block, Transformer, TransformerConfig
from ..pictures.data import Pictures, stack
from ..pictures.masks import random_hole
from .augment import Wild, mild, own_chances, uniform, wild
from .corruption import corrupted_chain, near_codes
from .export import fingerprint
from .run import Descent, Length, Log, Run, Together
from .scalewise import ScalewiseAttention
from .workers import Workers


@dataclass(frozen=True, kw_only=True)
class TransformerTraining:
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
    weighted: bool = True  # tokens count as 1 / side of their scale, else alike
    save_minutes: float = 5.0
    measure_every: int = 4  # reports between validations
    seed: int = 0


def optimizer_of(module: Transformer | Refiner, training: TransformerTraining) -> Together:
    """Muon for the blocks' matrices where asked for, AdamW for the rest, of which only matrices decay."""
    blocks = [p for p in module.blocks.parameters() if p.dim() == 2] if training.muon else []
    own = {id(p) for p in blocks}
    rest = [p for p in module.parameters() if id(p) not in own]
    rate, decay = training.peak_rate, training.weight_decay
    groups = [
        {"params": [p for p in rest if p.dim() == 2], "weight_decay": decay},
        {"params": [p for p in rest if p.dim() != 2], "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))]
    if blocks:
        found.append(torch.optim.Muon(blocks, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return Together(*found)


def begin(config: TransformerConfig) -> Transformer:
    """A transformer to train: the reference's initialisation (parity rules, "Training"), a conditioning that says
    nothing yet, attention in pieces."""
    transformer, std = Transformer(config), math.sqrt(1 / (3 * config.width))
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    for embedding in (transformer.start_embed, transformer.pos_embed):
        nn.init.trunc_normal_(embedding, std=std)
    if transformer.known_embed is not None:
        nn.init.zeros_(transformer.known_embed.weight)
    with torch.no_grad():
        transformer.head.weight.mul_(0.02)
        transformer.head_norm.weight.mul_(0.5)
        for block in transformer.blocks:
            assert isinstance(block, Block)
            for projection in (block.project, block.mlp_out):
                projection.weight.div_(math.sqrt(2 * config.depth))
            block.attention = ScalewiseAttention(transformer.scales)
    return transformer


def take_over(transformer: Transformer, of: Transformer, known: tuple[str, ...], names: tuple[str, ...]) -> None:
    """The weights of a trained one, in place; of its class embeddings (names `known`) those of classes that are among
    `names`, and that of no class. ValueError where it has another shape or is not told what is known."""
    if of.known_embed is None:
        raise ValueError("the start has no infill conditioning: begin with a model that was trained here")
    if replace(of.config, classes=transformer.config.classes) != transformer.config:
        raise ValueError("the start is a transformer of another shape")
    weights = {name: value.float() for name, value in of.state_dict().items() if not name.startswith("refiner.")}
    old, rows = weights["class_embed.weight"], transformer.class_embed.weight.detach().clone()
    rows[-1] = old[-1]
    for place, name in enumerate(names):
        if name in known:
            rows[place] = old[known.index(name)]
    transformer.load_state_dict(weights | {"class_embed.weight": rows})


def train_transformer(
    config: TransformerConfig,
    training: TransformerTraining,
    pictures: HoledPictures,
    out: Path,
    *,
    length: Length,
    measure: Likelihood | None = None,
    bfloat16: bool = True,
    compiled: bool = False,
    start: tuple[Transformer, tuple[str, ...]] | None = None,
) -> dict[str, Any]:
    """Train for `length` on batches of `pictures`; the next call with the same `out` goes on where a piece ended.
    `measure` holds validation pictures; a new run begins from the weights of `start`, if given, a transformer and its
    class names."""
    workers, tokens = pictures.workers, fingerprint(pictures.tokenizer)
    torch.manual_seed(training.seed)
    transformer = begin(config)
    if start is not None:
        take_over(transformer, *start, pictures.class_names)
    transformer.to(workers.device)
    run = Run(
        out=out, trained=transformer, optimizer=optimizer_of(transformer, training), length=length, workers=workers,
        descent=Descent(
            peak_rate=training.peak_rate, warmup=training.warmup_steps, clip=2.0, decay=training.decay,
            falling=training.falling,
        ),
        about={"config": asdict(config), "class_names": list(pictures.class_names)},
        kept={"reports": 0, "tokens": tokens}, bfloat16=bfloat16, seed=training.seed,
        save_minutes=training.save_minutes,
    )  # fmt: skip
    if run.kept["tokens"] != tokens:
        raise ValueError(f"the run at {out} was trained on other tokens: give its own tokenizer, or a new folder")
    for block in transformer.blocks if compiled else ():
        block.compile(dynamic=False)
    stage = _Stage(run, training, pictures, measure)
    return run.go(stage.step, stage.report)


class Holed(NamedTuple):
    """One process's rows of a batch: pictures with holes, labelled ones first."""

    both: Tensor  # (2 n, 3, H, W) uint8: pictures, then the same with their holes filled
    holes: Tensor  # (n, H, W) bool
    labels: Tensor  # (n,) long
    rate: Tensor  # (n,) share of the codes that are wrong
    chance: Tensor  # (n, 2, L) in [0, 1)


class HoledPictures:
    """Random batches of pictures with holes. `classes` are sources of pictures whose labels count (all with the same
    class names), `free` of any pictures; `null` stands for no class."""

    def __init__(
        self, tokenizer: Tokenizer, training: TransformerTraining, classes: list[Pictures], free: list[Pictures],
        workers: Workers, bfloat16: bool, null: int | None = None,
    ) -> None:  # fmt: skip
        self.tokenizer = tokenizer.eval().requires_grad_(False).to(workers.device)
        self.tokenizer.set_channels_last(True)
        self.training, self.workers, self.bfloat16 = training, workers, bfloat16
        self.classes, self.free = classes, free
        self.class_names = classes[0].class_names if classes else ()
        self.null = len(self.class_names) if null is None else null
        self.chances = [source.weights(training.balance) for source in classes]

    def _picture(self, labelled: bool, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """A random crop (H, W, 3) uint8 and its label, `null` where none counts."""
        size = self.tokenizer.config.resolution
        if not labelled:
            source = self.free[int(rng.integers(len(self.free)))]
            return wild(source.arrays[int(rng.integers(len(source)))], size, rng, Wild()), self.null
        which = int(rng.integers(len(self.classes)))
        source = self.classes[which]
        index = int(rng.choice(len(source), p=self.chances[which]))
        return mild(source.arrays[index], size, rng), int(source.labels[index])

    def __call__(self, rng: np.random.Generator) -> Holed:
        choices, size = self.training, self.tokenizer.config.resolution
        rows = self.workers.rows(choices.batch)
        rngs, pictures, labels, holes = own_chances(rng, choices.batch, rows), [], [], []
        for i, own in enumerate(rngs, rows.start):
            picture, label = self._picture(i < round(choices.batch * choices.labelled), own)
            everything = own.random() < choices.all_unknown
            dropped = own.random() < (choices.label_drop_unknown if everything else choices.label_drop)
            pictures.append(picture)
            labels.append(self.null if dropped else label)
            holes.append(np.ones((size, size), bool) if everything else random_hole(size, own))
        filled = [fill(picture, hole) for picture, hole in zip(pictures, holes, strict=True)]
        both, hidden = torch.from_numpy(stack([*pictures, *filled])), torch.from_numpy(np.stack(holes))
        rate = torch.tensor([choices.corruption * own.random() for own in rngs])
        return Holed(both, hidden, torch.tensor(labels), rate, uniform(rngs, self.tokenizer.scales.total))

    def encoded(self, holed: Holed, near: Tensor) -> tuple[Batch, Chain]:
        """The batch as a transformer is given it, and what it is to foretell, with wrong codes among the `near` ones
        (as of `near_codes`)."""
        batch = encode_filled(self.tokenizer, holed.both, holed.holes, holed.labels, bfloat16=self.bfloat16)
        rate, chance = (part.to(near.device, non_blocking=True) for part in (holed.rate, holed.chance))
        return batch, corrupted_chain(self.tokenizer, batch.features, near, rate, chance, batch.unknown)


def token_weights(scales: Scales, power: float) -> Tensor:
    """(L,) weight of every token: the number of tokens of its scale to the power -`power`."""
    return torch.cat([torch.full((n,), n**-power) for n in scales.lengths])


def mean(losses: list[Tensor]) -> float:
    """Of scalars; 0 of none. They stay where they were computed until then: a GPU need not wait."""
    return float(torch.stack(losses).mean()) if losses else 0.0


class _Stage:
    """What a step of a transformer run is, and what is told of it."""

    def __init__(
        self, run: Run[Transformer], training: TransformerTraining, pictures: HoledPictures, measure: Likelihood | None
    ) -> None:
        self.run, self.training, self.pictures, self.measure = run, training, pictures, measure
        self.near = near_codes(pictures.tokenizer.codebook.weight.float(), training.near)
        self.weights = token_weights(run.trained.scales, 0.5 * training.weighted).to(run.workers.device)
        self.losses: list[Tensor] = []
        self.batches = run.batches(pictures)

    def step(self, progress: float) -> dict[str, Any]:
        run, workers = self.run, self.run.workers
        batch, chain = self.pictures.encoded(next(self.batches), self.near)
        with run.half():
            logits, targets, where = unknown_logits(run.trained, batch, chain, batch.known)
        each, weight = F.cross_entropy(logits, targets, reduction="none"), self.weights.expand(len(where), -1)[where]
        run.descend((each * weight).sum() / workers.total(weight.sum()), self.training.batch, progress)
        both = workers.total(torch.stack((each.detach().sum(), where.sum().float())))
        self.losses.append(both[0] / both[1])
        return {} if run.step % 20 else {"loss": f"{mean(self.losses[-20:]):.3f}", "rate": f"{run.rate:.1e}"}

    def report(self, last: bool) -> dict[str, Any]:
        """The mean loss of training since the last report, in log.csv; at times validation, in validation.csv."""
        run, place = self.run, {"step": self.run.step, "minutes": self.run.clock.minutes}
        row = {"loss": mean(self.losses), "pictures/s": run.speed()}
        run.log.write(place | row)
        self.losses.clear()
        run.kept["reports"] += 1
        if self.measure is None or (run.kept["reports"] % self.training.measure_every and not last):
            return row
        figures = self.measure(run.averaged)
        Log(run.out / "validation.csv").write(place | figures)
        return row | figures
