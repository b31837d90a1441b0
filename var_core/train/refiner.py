"""Training of a logit refiner for a finished transformer, which stays as it is: the refiner learns what the tokens of a
coarse scale say about each other, from the transformer's hidden states and the true tokens before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..measures.likelihood import Batch, Chain, Likelihood, true_chain
from ..model.checkpoints import Model
from ..model.refiner import Refiner, RefinerConfig
from ..model.transformer import Transformer
from .corruption import near_codes
from .export import fingerprint
from .run import Descent, Length, Log, Run
from .transformer import HoledPictures, TransformerTraining, mean, optimizer_of, token_weights

SIDE = 8  # of the last scale that is drawn so: up to it comes 88 % of the gain for 16 % of the time
DEFAULTS = TransformerTraining(peak_rate=5e-4, corruption=0.1)


def refined_logits(
    transformer: Transformer, refiner: Refiner, batch: Batch, chain: Chain, codes: Tensor
) -> tuple[Tensor, Tensor]:
    """Teacher-forced logits (b, length, v) of the refiner's scales without it, and what it adds; `codes` (v, c)."""
    length = refiner.config.length
    told = None if transformer.known_embed is None else batch.known[:, :length]
    with torch.no_grad():
        hidden, conditioning = transformer.hidden(batch.labels, chain.inputs[:, : length - 1], told)
        plain = transformer.logits(hidden, conditioning)
    out = refiner(hidden, codes[chain.targets[:, :length]], transformer.scales)
    return plain, transformer.refinement(out)


def begin(transformer: Transformer, width: int) -> Refiner:
    """A refiner that has learned nothing, of the scales up to SIDE. ValueError where there are none."""
    config, scales = transformer.config, transformer.scales
    stops = [stop for side, (_, stop) in zip(scales.sides, scales.spans, strict=True) if side <= SIDE]
    if not stops:
        raise ValueError(
            f"the first scale of this model has the side {scales.sides[0]}, and a refiner's {SIDE} at most"
        )
    refiner = Refiner(RefinerConfig(width=width, hidden=config.width, code_dim=config.code_dim, length=stops[-1]))
    refiner.begin()
    return refiner


def train_refiner(
    model: Model,
    training: TransformerTraining,
    pictures: HoledPictures,
    out: Path,
    *,
    width: int,
    length: Length,
    measure: Likelihood | None = None,
    bfloat16: bool = True,
) -> dict[str, Any]:
    """Train a refiner of the model's transformer for `length` on batches of `pictures`; the next call with the same
    `out` goes on where a piece ended. `measure` holds validation pictures."""
    torch.manual_seed(training.seed)
    transformer = model.transformer.float().requires_grad_(False).to(pictures.workers.device)
    refiner, of = begin(transformer, width).to(pictures.workers.device), fingerprint(transformer)
    run = Run(
        out=out, trained=refiner, optimizer=optimizer_of(refiner, training), length=length, workers=pictures.workers,
        descent=Descent(
            peak_rate=training.peak_rate, warmup=training.warmup_steps, clip=2.0, decay=training.decay,
            falling=training.falling,
        ),
        about={"config": asdict(refiner.config), "class_names": list(model.class_names), "of": of},
        kept={"reports": 0}, bfloat16=bfloat16, save_minutes=training.save_minutes, seed=training.seed,
    )  # fmt: skip
    stage = _Stage(run, training, transformer, pictures, measure)
    return run.go(stage.step, stage.report)


class _Stage:
    """What a step of a refiner run is, and what is told of it."""

    def __init__(
        self, run: Run[Refiner], training: TransformerTraining, transformer: Transformer, pictures: HoledPictures,
        measure: Likelihood | None,
    ) -> None:  # fmt: skip
        self.run, self.training, self.transformer = run, training, transformer
        self.pictures, self.measure = pictures, measure
        self.codes, self.stop = pictures.tokenizer.codebook.weight.float(), run.trained.config.length
        self.near = near_codes(self.codes, training.near)
        self.weights = token_weights(transformer.scales, 0.5)[: self.stop].to(run.workers.device)
        self.losses: list[Tensor] = []
        self.batches = run.batches(pictures)

    def step(self, progress: float) -> dict[str, Any]:
        run, workers = self.run, self.run.workers
        batch, chain = self.pictures.encoded(next(self.batches), self.near)
        with run.half():
            plain, added = refined_logits(self.transformer, run.trained, batch, chain, self.codes)
        where = torch.cat(batch.unknown, 1)[:, : self.stop]
        each = F.cross_entropy((plain + added)[where], chain.targets[:, : self.stop][where], reduction="none")
        weight = self.weights.expand(len(where), -1)[where]
        total = workers.total(torch.stack((weight.sum(), where.sum().float())))
        run.descend((each * weight).sum() / total[0], self.training.batch, progress)
        self.losses.append(workers.total(each.detach().sum()) / total[1])
        return {} if run.step % 20 else {"loss": f"{mean(self.losses[-20:]):.3f}"}

    def report(self, last: bool) -> dict[str, Any]:
        """The mean loss of training since the last report, in log.csv; at times validation, in validation.csv."""
        run, place = self.run, {"step": self.run.step, "minutes": self.run.clock.minutes}
        row = {"loss": mean(self.losses), "pictures/s": run.speed()}
        run.log.write(place | row)
        self.losses.clear()
        run.kept["reports"] += 1
        if self.measure is None or (run.kept["reports"] % self.training.measure_every and not last):
            return row
        figures = gain(self.transformer, run.averaged, self.measure, run.half)
        Log(run.out / "validation.csv").write(place | figures)
        return row | figures


@torch.no_grad()
def gain(
    transformer: Transformer, refiner: Refiner, measure: Likelihood, half: Callable[[], torch.autocast]
) -> dict[str, float]:
    """Nats a token of validation pictures over the refiner's scales, "plain" without it and "refined", and of each
    side."""
    stop, codes = refiner.config.length, measure.tokenizer.codebook.weight.float()
    spans = {side: span for side, span in zip(transformer.scales.sides, transformer.scales.spans, strict=True)}
    sums, counts = torch.zeros(2, stop, device=codes.device), torch.zeros(stop, device=codes.device)
    for batch in measure.batches:
        chain = true_chain(measure.tokenizer, batch.features)
        with half():
            plain, added = refined_logits(transformer, refiner, batch, chain, codes)
        where, targets = torch.cat(batch.unknown, 1)[:, :stop], chain.targets[:, :stop]
        for row, logits in zip(sums, (plain, plain + added), strict=True):
            row += (F.cross_entropy(logits.transpose(1, 2), targets, reduction="none") * where).sum(0)
        counts += where.sum(0)
    figures = {}
    for name, row in zip(("plain", "refined"), sums, strict=True):
        figures[name] = float(row.sum() / counts.sum().clamp_min(1))
        for side, (a, b) in spans.items():
            if b <= stop:
                figures[f"{name} {side}"] = float(row[a:b].sum() / counts[a:b].sum().clamp_min(1))
    return figures
