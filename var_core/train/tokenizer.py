"""Training of a multi-scale tokenizer with the tiny encoder and decoder, from published weights on or from none.

The codebook starts by k-means over the residuals of all scales. With published weights the encoder is held at first;
then everything learns, from pixels and features of lite0. A quarter of every batch is cut after a random scale, so that
each preview is a picture. Sharpness comes later, from critics that pull on the decoder alone (`decoder`): with the
encoder free, they make its features grow until the decoder's input saturates.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..measures.lite import Lite
from ..measures.reconstruction import RoundTrip, centres
from ..model.tiny import TinyDecoder, TinyEncoder, load_start
from ..model.tokenizer import Refine, Tokenizer, TokenizerConfig
from ..pictures.data import Pictures, stack, to_images, to_model
from .augment import Wild, own_chances, wild_batch
from .codes import cut_after, quantize_through, restart_codes, start_codes
from .critics import feature_loss, pixel_loss
from .run import Descent, Length, Log, Run
from .workers import Workers

_COLUMNS = 8  # of the grid of pictures
_LOOKED_AT = 4  # maps of lite0


@dataclass(frozen=True, kw_only=True)
class TokenizerTraining:
    """Choices of a run."""

    batch: int = 8
    peak_rate: float = 4e-4
    encoder_rate: float = 0.5  # of the peak
    encoder_from: float = 0.15  # of the run's length: before, a published encoder is held
    decay: float = 0.999  # of the averaged weights
    features: float = 0.4  # weight of lite0's features
    codebook: float = 1.0
    commitment: float = 0.25
    size: float = 0.05  # of the features' mean square: keeps them where the decoder's input does not saturate
    cut: int = 2  # pictures of each batch that end after a random scale
    cut_weight: float = 1.5  # of their pixels: nothing else pulls on them, and a grid is soon woven
    restart_every: int = 250  # steps over which a code must be used once
    start_pictures: int = 384  # for the k-means start
    save_minutes: float = 5.0
    measure_every: int = 3  # reports between measurements
    log_every: int = 50  # steps
    seed: int = 0


def start_tokenizer(config: TokenizerConfig, start: tuple[Path, Path] | None) -> Tokenizer:
    """A tiny tokenizer whose refinements are the identity, so that a code means what it says; its encoder and decoder
    from (encoder, decoder) files if given."""
    tokenizer = Tokenizer(config)
    for refine in tokenizer.refine:
        assert isinstance(refine, Refine) and refine.bias is not None
        nn.init.dirac_(refine.weight)
        nn.init.zeros_(refine.bias)
    if start is not None:
        assert isinstance(tokenizer.encoder, TinyEncoder) and isinstance(tokenizer.decoder, TinyDecoder)
        load_start(tokenizer.encoder, start[0])
        load_start(tokenizer.decoder, start[1])
    tokenizer.set_channels_last(True)
    return tokenizer


def _optimizer(tokenizer: Tokenizer, training: TokenizerTraining) -> torch.optim.AdamW:
    """The encoder learns more slowly; codes do not decay."""
    encoder, codes = list(tokenizer.encoder.parameters()), [tokenizer.codebook.weight]
    rest = [*tokenizer.decoder.parameters(), *tokenizer.refine.parameters()]
    groups = [{"params": encoder, "share": training.encoder_rate}, {"params": rest}]
    groups.append({"params": codes, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=training.peak_rate, betas=(0.9, 0.95), weight_decay=1e-2)


def train_tokenizer(
    config: TokenizerConfig,
    training: TokenizerTraining,
    sources: list[Pictures],
    val: Pictures,
    out: Path,
    *,
    length: Length,
    start: tuple[Path, Path] | None = None,
    workers: Workers = Workers(),  # noqa: B008  frozen
    bfloat16: bool = True,
) -> dict[str, Any]:
    """Train for `length` on crops of `sources`; the next call with the same `out` goes on where a piece ended. `start`
    are published (encoder, decoder) files. Returns the last figures on `val`, whose class names are written down."""
    torch.manual_seed(training.seed)
    tokenizer = start_tokenizer(config, start).to(workers.device)
    run = Run(
        out=out, trained=tokenizer, optimizer=_optimizer(tokenizer, training), length=length, workers=workers,
        descent=Descent(peak_rate=training.peak_rate, clip=1.0, decay=training.decay), bfloat16=bfloat16,
        about={"config": asdict(config), "class_names": list(val.class_names)},
        kept={"used": torch.zeros(config.vocab_size, device=workers.device), "reports": 0},
        save_minutes=training.save_minutes, seed=training.seed,
    )  # fmt: skip
    stage = _Stage(run, training, sources, val, 0.0 if start is None else training.encoder_from)
    return run.go(stage.step, stage.report)


class _Stage:
    """What a step of a tokenizer run is, and what is told of it."""

    def __init__(
        self, run: Run[Tokenizer], training: TokenizerTraining, sources: list[Pictures], val: Pictures,
        encoder_from: float,
    ) -> None:  # fmt: skip
        self.run, self.training, self.sources, self.encoder_from = run, training, sources, encoder_from
        self.lite, self.telling = Lite(0).to(run.workers.device), Telling(run, val, training.measure_every)
        if run.step == 0:
            self._start_codes()
        self.batches = run.batches(self.draw)

    def _start_codes(self) -> None:
        run, tokenizer, b = self.run, self.run.trained, self.training.start_pictures
        crops = wild_crops(self.sources, own_chances(run.rng, b, run.workers.rows(b)), tokenizer.config.resolution)
        with torch.no_grad(), run.half():
            parts = [to_images(part, run.workers.device) for part in crops.split(32)]
            features = torch.cat([tokenizer.encoder(part).float() for part in parts])
        start_codes(tokenizer, run.workers.whole(features, b), run.rng)
        run.workers.from_first(tokenizer.codebook.weight.data)
        run.averaged.codebook.load_state_dict(tokenizer.codebook.state_dict())

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """This process's crops (n, 3, H, W) uint8 of a batch, and how many scales each keeps."""
        b, tokenizer = self.training.batch, self.run.trained
        rows = self.run.workers.rows(b)
        crops = wild_crops(self.sources, own_chances(rng, b, rows), tokenizer.config.resolution)
        return crops, torch.from_numpy(cut_after(b, self.training.cut, len(tokenizer.scales), rng)[rows])

    def step(self, progress: float) -> dict[str, Any]:
        run, choices, tokenizer, b = self.run, self.training, self.run.trained, self.training.batch
        crops, kept = next(self.batches)
        whole = slice(int((kept < len(tokenizer.scales)).sum()), None)  # cut ones come first
        image, stops = to_images(crops, run.workers.device), kept.to(run.workers.device)
        learning = progress >= self.encoder_from
        with torch.set_grad_enabled(learning), run.half():
            features = tokenizer.encoder(image).float()
        canvas, distances, tokens, residuals = quantize_through(tokenizer, features, stops)
        with run.half():
            made = tokenizer.decoder(canvas).float()
        cut, distances = stops < len(tokenizer.scales), distances.sum(1) / b
        looks = self._looks(made[whole], image[whole])
        pixels = (pixel_loss(made, image) * torch.where(cut, choices.cut_weight, 1.0)).sum() / b
        loss = pixels + choices.features * looks + choices.codebook * distances[0]
        if learning:
            loss = loss + choices.commitment * distances[1] + choices.size * features.square().mean((1, 2, 3)).sum() / b
        run.descend(loss, b, progress)
        quality = decibels(made[whole], image[whole]).sum() / max(b - choices.cut, 1)
        self.telling.count(pixels=pixels, features=looks, codebook=distances[0], psnr=quality)
        ids = torch.cat(tokens, 1).flatten()
        used = torch.zeros_like(run.kept["used"]).index_add_(0, ids, torch.ones_like(ids, dtype=torch.float32))
        run.kept["used"] += run.workers.total(used)
        if run.step % choices.restart_every == 0:
            self._restart(residuals)
        return self.telling.log() if run.step % choices.log_every == 0 else {}

    def _looks(self, made: Tensor, image: Tensor) -> Tensor:
        """This process's part of the mean distance in lite0's features."""
        with torch.no_grad():
            real = self.lite.maps(image, _LOOKED_AT)
        return feature_loss(self.lite.maps(made, _LOOKED_AT), real).sum() / max(
            self.training.batch - self.training.cut, 1
        )

    def _restart(self, residuals: list[Tensor]) -> None:
        run = self.run
        whole = [run.workers.whole(part, self.training.batch) for part in residuals]
        moved = restart_codes(run.trained, run.optimizer, run.kept["used"], whole, run.rng)
        self.telling.restarted += len(moved)
        run.kept["used"].zero_()

    def report(self, last: bool) -> dict[str, Any]:
        return self.telling.report(last)


def wild_crops(sources: list[Pictures], rngs: list[np.random.Generator], size: int) -> Tensor:
    """(b, 3, size, size) uint8: a crop for each of `rngs`."""
    return torch.from_numpy(wild_batch(sources, rngs, size, Wild()))


@torch.no_grad()
def decibels(made: Tensor, real: Tensor) -> Tensor:
    """(n,) PSNR of pictures (n, 3, H, W) in [-1, 1]."""
    return -10 * ((made - real).square().mean((1, 2, 3)) / 4).clamp_min(1e-9).log10()


class Telling:
    """What a run tells of its tokenizer: means of steps in log.csv, at times figures of validation pictures in
    measures.csv, a grid of previews."""

    def __init__(self, run: Run[Tokenizer], val: Pictures, measure_every: int) -> None:
        self.run, self.val, self.measure_every = run, val, measure_every
        self.sums, self.steps, self.restarted = dict[str, Tensor](), 0, 0
        self.measure = RoundTrip(*centres(val, run.trained.config.resolution)) if run.workers.first else None

    def count(self, **parts: Tensor) -> None:
        """This process's part of the figures of a step."""
        self.steps += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()

    def log(self) -> dict[str, Any]:
        """Means over the steps since the last row."""
        names, steps = list(self.sums), self.steps
        means = (self.run.workers.total(torch.stack([self.sums[name] for name in names])) / steps).tolist()
        row = {"step": self.run.step, "minutes": self.run.clock.minutes, **dict(zip(names, means, strict=True))}
        row |= {"restarted": self.restarted, "pictures/s": self.run.speed()}
        self.sums.clear()
        self.steps = self.restarted = 0
        if self.run.workers.first:
            self.run.log.write(row)
        return {"psnr": f"{row['psnr']:.2f}", "features": f"{row['features']:.3f}"}

    def report(self, last: bool) -> dict[str, Any]:
        run = self.run
        run.kept["reports"] += 1
        sample_grid(run.averaged, self.val, run.out / "grid.png")
        if self.measure is None or (run.kept["reports"] % self.measure_every and not last):
            return {}
        found = self.measure(run.averaged, run.bfloat16)
        figures = {"psnr": found["psnr"], "frechet": found["frechet"], "codes": found["codes_used"]}
        Log(run.out / "measures.csv").write({"step": run.step, "minutes": run.clock.minutes, **figures})
        return figures


@torch.inference_mode()
def sample_grid(tokenizer: Tokenizer, pictures: Pictures, path: Path) -> None:
    """Originals, reconstructions, and the picture after every scale, one row each."""
    tokenizer.eval()
    size = tokenizer.config.resolution
    order = np.random.default_rng(1).permutation(len(pictures))[:_COLUMNS]
    image = to_model(stack([pictures.centre(int(i), size) for i in order]), tokenizer.device)
    canvases = tokenizer.quantize(tokenizer.features(image))[1]
    rows = torch.stack([image] + [tokenizer.decode(canvas) for canvas in reversed(canvases)])
    grid = ((rows + 1) * 127.5).clamp(0, 255).byte().permute(0, 3, 1, 4, 2)  # (rows, H, b, W, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid.reshape(len(rows) * size, len(order) * size, 3).cpu().numpy()).save(path)
