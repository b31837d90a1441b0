"""Training of a tokenizer with the tiny encoder and decoder, from published weights on.

Over the run: at first the encoder is held, quantizer and decoder learn (k-means start over the residuals of all
scales); then the encoder learns too; at last the tokens are held as they are, on average, and critics on lite0's maps
pull the decoder's pictures towards sharpness (with the encoder free, critics make its features grow until the
decoder's input saturates). A transformer may be trained as soon as the tokens are held. A quarter of every batch is cut
after a random scale, so that each preview is a picture.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..measures.lite import Lite, lite_features, principal_frechet
from ..model.tiny import TinyDecoder, TinyEncoder, load_start
from ..model.tokenizer import Tokenizer, TokenizerConfig
from ..pictures.data import Pictures, to_model
from .augment import Wild, wild_batch
from .codebook import restart_codes
from .critics import Critics, feature_loss
from .run import Descent, Length, Log, Run
from .tokenizer import initialise, sample_grid
from .workers import Workers


@dataclass(frozen=True, kw_only=True)
class TinyTraining:
    """Choices of a run; shares marked "of the run" are of its length."""

    batch: int = 8
    peak_rate: float = 4e-4
    encoder_rate: float = 0.5  # of the peak
    decay: float = 0.999  # of the averaged weights
    encoder_from: float = 0.15  # of the run: before, the encoder is held
    critics_from: float = 0.6  # of the run: from then on, tokens are held
    features: float = 0.4  # weight of lite0's features
    pull: float = 0.5  # of the critics on the picture, relative to the other losses' pull
    codebook: float = 1.0
    commitment: float = 0.25
    size: float = 0.05  # of the features' mean square: keeps them where the decoder's input does not saturate
    cut: int = 2  # pictures of each batch that end after a random scale
    cut_weight: float = 4.0  # of their pixels: nothing else pulls on them, and a grid is soon woven
    restart_every: int = 250  # steps over which a code must be used once
    start_pictures: int = 384  # for the k-means start
    save_minutes: float = 5.0
    measure_every: int = 3  # reports between measurements
    log_every: int = 50  # steps
    seed: int = 0


def start_tokenizer(config: TokenizerConfig, start: tuple[Path, Path] | None) -> Tokenizer:
    """A tiny tokenizer with identity refinements, its encoder and decoder from (encoder, decoder) files if given."""
    tokenizer = Tokenizer(config)
    initialise(tokenizer)
    if start is not None:
        assert isinstance(tokenizer.encoder, TinyEncoder) and isinstance(tokenizer.decoder, TinyDecoder)
        load_start(tokenizer.encoder, start[0])
        load_start(tokenizer.decoder, start[1])
    tokenizer.set_channels_last(True)
    return tokenizer


@torch.no_grad()
def kmeans(vectors: Tensor, size: int, rounds: int, rng: np.random.Generator) -> Tensor:
    """(n, c) -> (size, c) centres; a centre that loses all its vectors moves onto a random one."""
    centres = vectors[torch.from_numpy(rng.choice(len(vectors), size, replace=len(vectors) < size))].clone()
    for _ in range(rounds):
        owner = (centres.square().sum(1) - 2 * vectors @ centres.T).argmin(1)
        counts = torch.bincount(owner, minlength=size)
        sums = torch.zeros_like(centres).index_add_(0, owner, vectors)
        centres = sums / counts.clamp_min(1)[:, None]
        lost = (counts == 0).nonzero()[:, 0]
        centres[lost] = vectors[torch.from_numpy(rng.integers(len(vectors), size=len(lost)))]
    return centres


@torch.no_grad()
def start_codes(tokenizer: Tokenizer, features: Tensor, rng: np.random.Generator, each: int = 6000) -> None:
    """The codebook from k-means over the residuals of all scales, where every scale was quantized by codes of its own.

    features (n, c, h, w) of some hundred pictures; at most `each` vectors of a scale count.
    """
    pool, canvas, size = [], torch.zeros_like(features), tokenizer.config.vocab_size
    for k in range(len(tokenizer.scales)):
        shrunk = tokenizer.shrink(features - canvas, k)  # (n, l, c)
        vectors = shrunk.flatten(0, 1)
        vectors = vectors[torch.from_numpy(rng.permutation(len(vectors))[:each])]
        pool.append(vectors)
        own = kmeans(vectors, min(size // 4, len(vectors)), 4, rng)
        ids = (own.square().sum(1) - 2 * shrunk.flatten(0, 1) @ own.T).argmin(1).view(shrunk.shape[:2])
        canvas = canvas + tokenizer.enlarge(own[ids], k)
    tokenizer.codebook.weight.copy_(kmeans(torch.cat(pool), size, 12, rng))


def quantize_through(
    tokenizer: Tokenizer, features: Tensor, stops: Tensor
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Residual quantization whose canvas passes gradients to codes and refinements, and straight on to the features.

    features (b, c, h, w) float32; stops (b,) how many scales each picture keeps. Returns the canvas, the (2,) codebook
    and commitment distances averaged over scales, and the tokens (b, l) and residuals (b, l, c) of each scale.
    """
    fixed, count = features.detach(), len(tokenizer.scales)
    canvas = chosen = torch.zeros_like(fixed)
    tokens, residuals, distances = [], [], features.new_zeros(2)
    for k in range(count):
        with torch.no_grad():
            residual = tokenizer.shrink(fixed - canvas, k)
            ids = tokenizer.nearest(residual)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(ids), k)
        codebook, commitment = (canvas - fixed).square().mean(), (canvas.detach() - features).square().mean()
        distances = distances + torch.stack((codebook, commitment)) / count
        chosen = torch.where((stops == k + 1)[:, None, None, None], canvas, chosen)
        tokens.append(ids)
        residuals.append(residual)
    return chosen + (features - fixed), distances, tokens, residuals


def _optimizer(tokenizer: Tokenizer, training: TinyTraining) -> torch.optim.AdamW:
    """The encoder learns more slowly; codes do not decay."""
    encoder, codes = list(tokenizer.encoder.parameters()), [tokenizer.codebook.weight]
    rest = [*tokenizer.decoder.parameters(), *tokenizer.refine.parameters()]
    groups = [{"params": encoder, "share": training.encoder_rate}, {"params": rest}]
    groups.append({"params": codes, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=training.peak_rate, betas=(0.9, 0.95), weight_decay=1e-2)


def train_tiny(
    config: TokenizerConfig,
    training: TinyTraining,
    sources: list[Pictures],
    val: Pictures,
    out: Path,
    *,
    length: Length,
    start: tuple[Path, Path] | None = None,
    bfloat16: bool = True,
) -> dict[str, Any]:
    """Train for `length` on crops of `sources`, in one process; the next call with the same `out` goes on where a piece
    ended. `start` are published (encoder, decoder) files. Returns the last figures on `val`, whose class names are
    written down."""
    torch.manual_seed(training.seed)
    tokenizer = start_tokenizer(config, start)
    run = Run(
        out=out, trained=tokenizer, optimizer=_optimizer(tokenizer, training), length=length, workers=Workers(),
        descent=Descent(peak_rate=training.peak_rate, clip=1.0, decay=training.decay), bfloat16=bfloat16,
        about={"config": asdict(config), "class_names": list(val.class_names)},
        kept={"used": torch.zeros(config.vocab_size), "ratio": 0.0, "critics": {}, "reports": 0, "held": False},
        save_minutes=training.save_minutes, seed=training.seed,
    )  # fmt: skip
    stage = _Stage(run, training, sources, val)
    return run.go(stage.step, stage.report)


class _Stage:
    """What a step of a tiny run is, and what is told of it."""

    def __init__(self, run: Run[Tokenizer], training: TinyTraining, sources: list[Pictures], val: Pictures) -> None:
        self.run, self.training, self.sources, self.val = run, training, sources, val
        self.shares = [1 / len(sources)] * len(sources)
        self.lite, self.critics = Lite(0), Critics(training.peak_rate / 2, bfloat16=run.bfloat16)
        if run.kept["critics"]:
            self.critics.load(run.kept["critics"])
        self.measure = Measure(val, run.trained.config.resolution, bfloat16=run.bfloat16)
        self.sums: dict[str, float] = {}
        if run.step == 0:
            self._start_codes()

    def _batch(self, b: int) -> Tensor:
        size = self.run.trained.config.resolution
        image = to_model(wild_batch(self.sources, self.shares, b, size, self.run.rng, Wild()), torch.device("cpu"))
        return image.contiguous(memory_format=torch.channels_last)

    def _start_codes(self) -> None:
        tokenizer = self.run.trained
        with torch.no_grad(), self.run.half():
            batches = range(0, self.training.start_pictures, 32)
            features = torch.cat([tokenizer.encoder(self._batch(32)).float() for _ in batches])
        start_codes(tokenizer, features, self.run.rng)
        self.run.averaged.codebook.load_state_dict(tokenizer.codebook.state_dict())

    def _count(self, **figures: float) -> None:
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def step(self, progress: float) -> dict[str, Any]:
        run, choices, tokenizer = self.run, self.training, self.run.trained
        held = progress >= choices.critics_from
        if held:
            self._hold()
        image, learning = self._batch(choices.batch), choices.encoder_from <= progress and not held
        with torch.set_grad_enabled(learning), run.half():
            features = tokenizer.encoder(image).float()
        count, cut = len(tokenizer.scales), choices.cut
        stops = torch.full((choices.batch,), count)
        stops[:cut] = torch.from_numpy(run.rng.integers(1, count, size=cut))
        with torch.set_grad_enabled(not held):
            canvas, distances, tokens, residuals = quantize_through(tokenizer, features, stops)
        with run.half():
            made = tokenizer.decoder(canvas).float()
        pull = self._pull(made.detach(), image, held)
        loss = (made * pull).sum() + choices.codebook * distances[0]  # the first term's gradient is the pull
        if learning:
            loss = loss + choices.commitment * distances[1] + choices.size * features.square().mean()
        run.descend(loss, choices.batch, progress, 0.0)
        self._count(steps=1, codebook=distances[0].item())
        run.kept["used"] += torch.bincount(torch.cat(tokens, 1).flatten(), minlength=len(run.kept["used"]))
        if run.step % choices.restart_every == 0 and not held:
            moved = restart_codes(tokenizer, run.optimizer, run.kept["used"], residuals, run.rng)
            self._count(restarted=len(moved))
            run.kept["used"].zero_()
        return self._log() if run.step % choices.log_every == 0 else {}

    def _hold(self) -> None:
        """Once, as the tokens stop changing: go on with their averaged weights."""
        run = self.run
        if run.kept["held"]:
            return
        run.kept["held"] = True
        for part in ("encoder", "codebook", "refine"):
            getattr(run.trained, part).load_state_dict(getattr(run.averaged, part).state_dict())

    def _pull(self, made: Tensor, image: Tensor, fooling: bool) -> Tensor:
        """The gradient of all picture losses with respect to the made pictures (b, 3, H, W); the critics learn here."""
        cut, kept = self.training.cut, self.run.kept
        made = made.requires_grad_()
        difference = made - image
        pixels = difference.abs().mean() + 2 * difference.square().mean()
        with torch.no_grad():
            real = self.lite.maps(image[cut:])
        maps = self.lite.maps(made[cut:], 5 if fooling else 4)
        features = feature_loss(maps[:4], real[:4])
        (pull,) = torch.autograd.grad(pixels + self.training.features * features, made, retain_graph=fooling)
        pull[:cut] *= self.training.cut_weight
        squares = difference.detach()[cut:].square().mean((1, 2, 3)) / 4
        self._count(pixels=pixels.item(), features=features.item(), psnr=float((-10 * squares.log10()).mean()))
        if not fooling:
            return pull
        (other,) = torch.autograd.grad(self.critics.fooling(maps), made)
        ratio = float(pull[cut:].norm() / other[cut:].norm().clamp_min(1e-12))
        kept["ratio"] = ratio if kept["ratio"] == 0 else 0.98 * kept["ratio"] + 0.02 * ratio
        loss, right = self.critics.learn(maps, real)
        self._count(critics=loss, right=right, ratio=ratio)
        return pull + self.training.pull * kept["ratio"] * other

    def _log(self) -> dict[str, Any]:
        """Means since the last row, to log.csv."""
        steps = max(self.sums.get("steps", 0.0), 1.0)
        names = ("pixels", "features", "codebook", "psnr", "critics", "right", "ratio")
        row: dict[str, Any] = {"step": self.run.step, "minutes": self.run.clock.minutes}
        row |= {name: self.sums.get(name, 0.0) / steps for name in names}
        row["restarted"] = self.sums.get("restarted", 0.0)
        self.sums.clear()
        self.run.log.write(row)
        return {"psnr": f"{row['psnr']:.2f}", "features": f"{row['features']:.3f}"}

    def report(self, last: bool) -> dict[str, Any]:
        """A grid of previews; at times the averaged weights' figures, in measures.csv."""
        run = self.run
        run.kept["critics"] = self.critics.state()
        run.kept["reports"] += 1
        sample_grid(run.averaged, self.val, run.out / "grid.png")
        if run.kept["reports"] % self.training.measure_every and not last:
            return {}
        figures = self.measure.figures(run.averaged)
        Log(run.out / "measures.csv").write({"step": run.step, "minutes": run.clock.minutes, **figures})
        return figures


class Measure:
    """Round trips of validation pictures: PSNR (mean over pictures), Frechet distance of lite2, codes in use."""

    def __init__(self, val: Pictures, size: int, limit: int = 256, bfloat16: bool = True) -> None:
        self.bfloat16 = bfloat16
        order = np.random.default_rng(0).permutation(len(val))[:limit]
        self.pictures = [val.centre(int(i), size) for i in order]
        self.lite = Lite(2)
        self.real = lite_features(self.lite, self.pictures)

    @torch.inference_mode()
    def figures(self, tokenizer: Tokenizer) -> dict[str, float]:
        made, errors, codes = [], [], torch.zeros(tokenizer.config.vocab_size)
        for at in range(0, len(self.pictures), 32):
            part = np.stack(self.pictures[at : at + 32]).transpose(0, 3, 1, 2)
            image = to_model(np.ascontiguousarray(part), torch.device("cpu"))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                features = tokenizer.features(image.contiguous(memory_format=torch.channels_last))
            tokens, canvases = tokenizer.quantize(features)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                out = tokenizer.decode(canvases[-1])
            codes += torch.bincount(torch.cat(tokens, 1).flatten(), minlength=len(codes))
            whole = ((out + 1) * 127.5).round().byte()
            errors += ((whole.float() - (image + 1) * 127.5).square().mean((1, 2, 3))).tolist()
            made += list(whole.permute(0, 2, 3, 1).numpy())
        share = float((codes > 0).float().mean())
        psnr = float(np.mean([10 * math.log10(255**2 / max(error, 1e-9)) for error in errors]))
        return {"psnr": psnr, "frechet": principal_frechet(self.real, lite_features(self.lite, made)), "codes": share}
