"""Training of the multi-scale tokenizer without collapse.

Recipe: a warm-up without quantization, a codebook started by k-means over residuals of every scale, restarts of
codes that a long window did not use, a random cut of the last scales for a share of each batch (so that every
coarse canvas decodes to a picture), and pixel, multi-scale and gradient losses. Each part can be left out, and others
put in, for a comparison (`python -m var_core.train compare`). The decoder of a finished model can be trained further by
itself: its tokens stay what they are, so its transformer stays right.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..measures.classifier import Classifier, load_classifier
from ..measures.reconstruction import reconstruct
from ..model.registry import open_model
from ..model.tokenizer import Refine, Tokenizer, TokenizerConfig
from ..pictures.data import Pictures, load_pictures, stack, to_model
from .codebook import cuts, quantize_with_gradients, restart_codes, start_codebook
from .losses import Perceptual, picture_loss, tokenizer_loss
from .run import Descent, Length, Run, Workers, forward_flop

_COLUMNS = 8  # of the grid of pictures


@dataclass(frozen=True, kw_only=True)
class TokenizerTraining:
    """Choices of a run; `small_share` of it sees crops of half the size."""

    batch: int = 32
    peak_rate: float = 1e-3
    decay: float = 0.999  # of the averaged weights
    warmup_steps: int = 400  # without quantization
    small_share: float = 0.5
    cut_share: float = 0.2  # of each batch: the last scales are left out
    restart_every: int = 200  # steps over which a code must be used once; 0: no restarts
    commitment: float = 0.25
    kmeans: bool = True  # the codebook's start; otherwise random vectors
    rotation: bool = False  # gradients by rotation instead of straight through
    plain_pixels: bool = False  # no multi-scale and gradient terms
    perceptual: float = 0.0  # weight of distances in features of `judge`
    judge: str | None = None  # file of a classifier trained on the same pictures
    decoder_of: str | None = None  # a model whose decoder alone is trained further, from its weights on
    balance: float = 0.5
    save_minutes: float = 4.0
    seed: int = 0

    @property
    def window(self) -> int:
        """Steps between rows of the log."""
        return self.restart_every or 200


def _judge(path: str | None) -> Classifier:
    if path is None:
        raise ValueError("a perceptual loss needs a judge: train one with python -m var_core.train classifier")
    return load_classifier(Path(path))


def _begin(config: TokenizerConfig, decoder_of: str | None) -> Tokenizer:
    """A tokenizer to train: a new one, or a model's own with all but its decoder held."""
    if decoder_of is not None:
        tokenizer = open_model(decoder_of).tokenizer.float().requires_grad_(False)
        tokenizer.decoder.requires_grad_(True)
        tokenizer.post_quant_conv.requires_grad_(True)
        return tokenizer
    tokenizer = Tokenizer(config)
    initialise(tokenizer)
    return tokenizer


def initialise(tokenizer: Tokenizer) -> None:
    """Refine convolutions start as the identity, so that a code means what it says."""
    for refine in tokenizer.refine:
        assert isinstance(refine, Refine) and refine.bias is not None
        nn.init.dirac_(refine.weight)
        nn.init.zeros_(refine.bias)


def train_tokenizer(
    config: TokenizerConfig,
    training: TokenizerTraining,
    data: str | Path | tuple[Pictures, Pictures],
    out: Path,
    *,
    length: Length,
    workers: Workers = Workers(),  # noqa: B008  frozen
    bfloat16: bool = True,
) -> dict[str, Any]:
    """Train for `length` on a place of pictures, or on both splits; the next call with the same `out` goes on where a
    piece ended. Returns the last validation figures (of the first process)."""
    torch.manual_seed(training.seed)
    tokenizer = _begin(config, training.decoder_of).to(workers.device)
    config = tokenizer.config
    if training.decoder_of is not None:
        training = replace(training, warmup_steps=0, kmeans=False, restart_every=0)
    if not isinstance(data, tuple):
        data = load_pictures(data, "train", config.resolution), load_pictures(data, "val", config.resolution)
    learning = [p for p in tokenizer.parameters() if p.requires_grad]
    run = Run(
        out=out, trained=tokenizer, length=length, workers=workers, bfloat16=bfloat16, seed=training.seed,
        optimizer=torch.optim.AdamW(learning, lr=training.peak_rate, betas=(0.9, 0.99), weight_decay=1e-2),
        descent=Descent(peak_rate=training.peak_rate, clip=1.0, decay=training.decay),
        about={"config": asdict(config), "class_names": list(data[0].class_names)},
        kept={"used": torch.zeros(config.vocab_size, device=workers.device)}, save_minutes=training.save_minutes,
    )  # fmt: skip
    stage = _Stage(run, training, *data)
    return run.go(stage.step, stage.report)


class _Stage:
    """What a step of a tokenizer run is, and what is told of it."""

    def __init__(self, run: Run[Tokenizer], training: TokenizerTraining, train: Pictures, val: Pictures) -> None:
        self.run, self.training, self.train, self.val = run, training, train, val
        self.weights = train.weights(training.balance)
        self.perceptual = Perceptual(_judge(training.judge)).to(run.workers.device) if training.perceptual else None
        tokenizer = run.trained
        probe = torch.zeros(1, 3, tokenizer.config.resolution, tokenizer.config.resolution, device=run.workers.device)
        self.flop = forward_flop(lambda: tokenizer.decode(tokenizer.features(probe)))  # of a whole picture

    def step(self, progress: float) -> dict[str, Any]:
        run, training, tokenizer = self.run, self.training, self.run.trained
        small = progress < training.small_share
        size = tokenizer.config.resolution // (2 if small else 1)
        b = training.batch * (2 if small else 1)
        batch, _ = self.train.batch(run.rng, b, size, self.weights, run.workers.rows(b))
        image = to_model(batch, run.workers.device)
        with run.half(training.decoder_of is None):  # held tokens are exact ones
            features = tokenizer.quant_conv(tokenizer.encoder(image)).float()
        if run.step == training.warmup_steps:
            self._start_codes(features.detach(), b)
        canvas, distances = features, features.new_zeros(2)
        residuals: list[Tensor] = []
        if run.step >= training.warmup_steps:
            canvas, distances, residuals = self._quantize(features, b)
        with run.half():
            made = tokenizer.decoder(tokenizer.post_quant_conv(canvas)).float()
            pixels = picture_loss(made, image, training.plain_pixels)
            if self.perceptual is not None:
                pixels = pixels + training.perceptual * self.perceptual(made, image)
        loss = tokenizer_loss(pixels, distances, training.commitment, None if residuals else features)
        run.descend(loss, b, progress, self.flop * (size / tokenizer.config.resolution) ** 2)
        if not residuals or run.step % training.window:
            return {}
        moved = self._restart(residuals, b)
        error = (made.detach() - image).square().mean() / 4
        means = torch.stack((loss.detach(), pixels.detach(), distances[0].detach(), error)) * run.workers.part(b)
        return self._log(run.workers.total(means).tolist(), size, moved)

    def _start_codes(self, features: Tensor, b: int) -> None:
        run, codebook = self.run, self.run.trained.codebook
        if self.training.kmeans:
            start_codebook(run.trained, run.workers.whole(features, b), run.rng)
        run.workers.from_first(codebook.weight.data)
        run.averaged.codebook.load_state_dict(codebook.state_dict())

    def _quantize(self, features: Tensor, b: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Canvas, distances and residuals as of `quantize_with_gradients`, with a share of the pictures cut short;
        counts the codes in use."""
        run, tokenizer = self.run, self.run.trained
        stops = cuts(b, tokenizer.count_for(features.shape[-1]), self.training.cut_share, run.rng)
        stops = torch.from_numpy(stops[run.workers.rows(b)]).to(features.device)
        canvas, distances, tokens, residuals = quantize_with_gradients(
            tokenizer, features, stops, self.training.rotation
        )
        ids = torch.cat([t.flatten() for t in tokens])
        run.kept["used"] += run.workers.total(torch.bincount(ids, minlength=tokenizer.config.vocab_size))
        return canvas, distances, residuals

    def _restart(self, residuals: list[Tensor], b: int) -> int:
        """Move the codes that the window left unused, and begin the next window. Returns how many."""
        run, moved = self.run, 0
        if self.training.restart_every:
            whole = [run.workers.whole(r, b) for r in residuals]
            moved = len(restart_codes(run.trained, run.optimizer, run.kept["used"], whole, run.rng))
        run.kept["used"].zero_()
        return moved

    def _log(self, means: list[float], size: int, moved: int) -> dict[str, Any]:
        run, (loss, pixels, codebook, error) = self.run, means
        psnr = -10 * math.log10(max(error, 1e-9))
        row = {"step": run.step, "minutes": run.clock.minutes, "rate": run.rate, "size": size, "loss": loss}
        row |= {"pixels": pixels, "codebook": codebook, "restarted": moved, "psnr": psnr, **run.meter.read()}
        if run.workers.first:
            run.log.write(row)
        return {"psnr": f"{psnr:.2f}", "restarted": moved, "size": size}

    def report(self, last: bool) -> dict[str, Any]:
        sample_grid(self.run.averaged, self.val, self.run.out / "grid.png")
        return reconstruct(self.run.averaged, self.val, None if last else 128)


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
