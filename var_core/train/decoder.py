"""Training of a finished tokenizer's decoder alone, on the tokens that it will be given: its own, and those that a
transformer draws (RobusTok, Qiu et al. 2025). Its tokens stay what they are, so its transformer stays right.

In a part of every batch some tokens are replaced by teacher-forced top-k draws; the target is the true picture, in
pixels, features of lite0 and by critics. As much of the critics' pull is added as of the others', whatever their
scales.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..measures.lite import Lite
from ..model.tokenizer import Tokenizer
from ..model.transformer import Transformer
from ..pictures.data import Pictures, to_images
from ..sampling.sampler import filter_logits
from .augment import own_chances, uniform
from .codes import cut_after
from .critics import Critics, balanced, feature_loss, pixel_loss
from .run import Descent, Length, Run
from .tokenizer import Telling, decibels, wild_crops
from .workers import Workers

_COMPARED = 4  # maps of lite0 in the feature loss; the critics look at all five


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """Choices of a run."""

    batch: int = 8
    peak_rate: float = 1.5e-4
    critics_rate: float = 2e-4
    decay: float = 0.999  # of the averaged weights
    features: float = 0.4  # weight of lite0's features
    pull: float = 0.5  # of the critics on the picture, relative to the other losses' pull
    drawn: float = 0.5  # share of the batch with drawn tokens, where there is a transformer
    most: float = 0.5  # of such a picture's tokens that are drawn ones, at most
    top_k: int = 100
    cut: int = 2  # pictures of each batch that end after a random scale
    cut_weight: float = 4.0  # of their pixels
    save_minutes: float = 5.0
    measure_every: int = 3  # reports between measurements
    log_every: int = 50  # steps
    seed: int = 0


@torch.no_grad()
def drawn_tokens(
    transformer: Transformer, tokenizer: Tokenizer, tokens: list[Tensor], top_k: int, share: Tensor, chance: Tensor,
    half: torch.autocast,
) -> list[Tensor]:  # fmt: skip
    """True tokens (b, l) of every scale -> the same with a `share` (b,) of each picture's replaced by what the
    transformer, given the true tokens before and no class, draws among its `top_k` likeliest; `chance` (b, 2, L) are
    random numbers in [0, 1)."""
    b, flat = len(tokens[0]), torch.cat(tokens, 1)
    labels = torch.full((b,), transformer.config.null_label, device=flat.device)
    inputs = tokenizer.teacher_inputs(tokens)
    with half:
        logits = filter_logits(transformer(labels, inputs), top_k, 0.0)
    point, other = chance.unbind(1)  # (b, L) each
    sums = logits.softmax(-1).cumsum(-1)
    drawn = (sums < (point * sums[..., -1])[..., None]).sum(-1).clamp_max(logits.shape[-1] - 1)
    return list(torch.where(other < share[:, None], drawn, flat).split([part.shape[1] for part in tokens], 1))


def train_decoder(
    tokenizer: Tokenizer,
    transformer: Transformer | None,
    training: DecoderTraining,
    sources: list[Pictures],
    val: Pictures,
    out: Path,
    *,
    length: Length,
    workers: Workers = Workers(),  # noqa: B008  frozen
    bfloat16: bool = True,
) -> dict[str, Any]:
    """Train the decoder of `tokenizer` for `length` on crops of `sources`, with draws of `transformer` if given; the
    next call with the same `out` goes on where a piece ended. Returns the last figures on `val`."""
    torch.manual_seed(training.seed)
    tokenizer = tokenizer.float().to(workers.device).requires_grad_(False)
    tokenizer.set_channels_last(True)
    learning = [*tokenizer.decoder.parameters(), *tokenizer.post_quant_conv.parameters()]
    for parameter in learning:
        parameter.requires_grad_(True)
    critics = Critics(training.critics_rate, workers, bfloat16)
    run = Run(
        out=out, trained=tokenizer, length=length, workers=workers, bfloat16=bfloat16, seed=training.seed,
        optimizer=torch.optim.AdamW(learning, lr=training.peak_rate, betas=(0.9, 0.95), weight_decay=1e-2),
        descent=Descent(peak_rate=training.peak_rate, clip=1.0, decay=training.decay),
        about={"config": asdict(tokenizer.config), "class_names": list(val.class_names)},
        kept={"ratio": torch.zeros((), device=workers.device), "reports": 0, "critics": critics.state()},
        save_minutes=training.save_minutes,
    )  # fmt: skip
    critics.load(run.kept["critics"])
    stage = _Stage(run, training, transformer, critics, sources, val)
    return run.go(stage.step, stage.report)


class Drawn(NamedTuple):
    """One process's rows of a batch."""

    crops: Tensor  # (n, 3, H, W) uint8
    stops: Tensor  # (n,) scales that each keeps
    some: Tensor  # (n,) bool: tokens are drawn
    share: Tensor  # (n,) of the tokens that are drawn, where any are
    chance: Tensor  # (n, 2, L) in [0, 1)


class _Stage:
    """What a step of a decoder run is, and what is told of it."""

    def __init__(
        self, run: Run[Tokenizer], training: DecoderTraining, transformer: Transformer | None, critics: Critics,
        sources: list[Pictures], val: Pictures,
    ) -> None:  # fmt: skip
        self.run, self.training, self.sources, self.critics = run, training, sources, critics
        self.transformer = None if transformer is None else transformer.to(run.workers.device).eval()
        self.lite, self.telling = Lite(0).to(run.workers.device), Telling(run, val, training.measure_every)
        self.batches = run.batches(self.draw)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """This process's rows of a batch."""
        choices, scales = self.training, self.run.trained.scales
        b, rows = choices.batch, self.run.workers.rows(choices.batch)
        rngs = own_chances(rng, b, rows)
        crops = wild_crops(self.sources, rngs, self.run.trained.config.resolution)
        stops = torch.from_numpy(cut_after(b, choices.cut, len(scales), rng)[rows])
        some = torch.arange(b)[rows] >= b - round(choices.drawn * b)
        share = torch.tensor([choices.most * own.random() for own in rngs])
        return Drawn(crops, stops, some, share, uniform(rngs, scales.total))

    @torch.no_grad()
    def _canvases(self, image: Tensor, batch: Drawn) -> Tensor:
        """What the decoder is given: (b, c, h, w) after as many scales as each picture keeps, with drawn tokens where
        the batch says so."""
        tokenizer = self.run.trained
        with self.run.half():
            features = tokenizer.features(image)
        tokens, canvases = tokenizer.quantize(features)
        if self.transformer is not None and batch.some.any():
            where = batch.some.nonzero()[:, 0]
            share, chance = (part[where].to(image.device) for part in (batch.share, batch.chance))
            where = where.to(image.device)
            true = [part[where] for part in tokens]
            drawn = drawn_tokens(
                self.transformer, tokenizer, true, self.training.top_k, share, chance, self.run.half()
            )  # fmt: skip
            for canvas, other in zip(canvases, tokenizer.canvases(drawn), strict=True):
                canvas[where] = other
        stops = batch.stops.to(image.device)
        return torch.stack(canvases)[stops - 1, torch.arange(len(stops), device=image.device)]

    def step(self, progress: float) -> dict[str, Any]:
        run, tokenizer, batch = self.run, self.run.trained, next(self.batches)
        image = to_images(batch.crops, run.workers.device)
        canvas = self._canvases(image, batch)
        with run.half():
            made = tokenizer.decoder(tokenizer.post_quant_conv(canvas)).float()
        pull = self._pull(made.detach().requires_grad_(), image, int((batch.stops < len(tokenizer.scales)).sum()))
        run.descend((made * pull).sum(), self.training.batch, progress)  # whose gradient is the pull
        return self.telling.log() if run.step % self.training.log_every == 0 else {}

    def _pull(self, made: Tensor, image: Tensor, cut: int) -> Tensor:
        """The gradient of all losses with respect to the made pictures (n, 3, H, W), of which `cut` come first; the
        critics learn here."""
        run, choices = self.run, self.training
        b, count = choices.batch, max(choices.batch - choices.cut, 1)
        with torch.no_grad():
            real = self.lite.maps(image[cut:])
        maps, weight = self.lite.maps(made[cut:]), torch.ones(len(made), device=made.device)
        weight[:cut] = choices.cut_weight
        pixels = (pixel_loss(made, image) * weight).sum() / b
        looks = feature_loss(maps[:_COMPARED], real[:_COMPARED]).sum() / count
        (pull,) = torch.autograd.grad(pixels + choices.features * looks, made, retain_graph=True)
        figures = {"pixels": pixels, "features": looks, "psnr": decibels(made[cut:], image[cut:]).sum() / count}
        if choices.pull:
            (other,) = torch.autograd.grad(self.critics.fooling(maps).sum() / count, made)
            ratio = balanced(run, pull[cut:], other[cut:])
            loss, right = self.critics.learn(maps, real, count)
            pull = pull + choices.pull * ratio * other
            figures |= {"critics": loss, "right": right}
        self.telling.count(**figures)
        return pull

    def report(self, last: bool) -> dict[str, Any]:
        self.run.kept["critics"] = self.critics.state()
        return self.telling.report(last)
