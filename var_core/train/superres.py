"""Training of the super-resolution network: real pictures, made soft as what models draw is soft.

Some crops of a batch are shrunk and enlarged again; the others are taken from whole squares that a tokenizer rebuilt at
its own size, with its own mistakes. Losses as for a decoder: pixels, features of lite0 and critics, of whose pull as
much is added as of the others'."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..measures.lite import Lite
from ..model.superres import SuperResolution, SuperResolutionConfig, save_superres
from ..model.tokenizer import Tokenizer
from ..pictures.data import Pictures, stack, to_images, to_model
from .augment import Wild, own_chances, wild
from .critics import Critics, balanced, feature_loss, pixel_loss
from .run import Descent, Length, Run
from .tokenizer import decibels
from .workers import Workers

_COMPARED = 4  # maps of lite0 in the feature loss; the critics look at all five, and at the pixels themselves
_STEEP = 16.0  # what is fine is so much smaller than features
_STILL = 1e-4  # mean squared Laplacian of what looks smooth, about 1.3 grey levels
_COLUMNS = 6  # of the grid


@dataclass(frozen=True, kw_only=True)
class SuperResolutionTraining:
    """Choices of a run."""

    batch: int = 8
    peak_rate: float = 4e-4
    critics_rate: float = 4e-4
    decay: float = 0.999  # of the averaged weights
    features: float = 0.1  # weight of lite0's features
    pull: float = 3.0  # of the critics, relative to the other losses' pull
    loose: float = 0.1  # weight of rebuilt crops' pixels: what a tokenizer has lost is anybody's guess
    liveliness: float = 0.3  # weight of having as much texture
    least: float = 1.3  # times that a crop is enlarged
    most: float = 2.0
    rebuilt: float = 0.5  # share of a batch
    save_minutes: float = 5.0
    log_every: int = 50  # steps
    seed: int = 0


class Soft(NamedTuple):
    """One process's rows of a batch: crops (n, 3, R, R) uint8, sharp and made soft, R the tokenizer's size. The first m
    are of squares that it rebuilds, (m, 3, R, R); `seen` says how large each of those squares is, and where the crop
    lies in it, down and across. noise (n, 1, R, R) is the network's."""

    sharp: Tensor
    soft: Tensor
    squares: Tensor
    noise: Tensor
    seen: list[tuple[int, int, int]]


def softened(picture: np.ndarray, times: float) -> np.ndarray:
    """(h, w, 3) uint8, shrunk by `times` and enlarged again."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (round(width / times), round(height / times)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _enlarged(picture: Tensor, side: int) -> Tensor:
    return F.interpolate(picture, (side, side), mode="bicubic", align_corners=False).clamp(-1, 1)


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def edges(picture: Tensor) -> Tensor:
    """(n, 3, H, W) -> (n,): the mean size of the Laplacian, which is how sharp it is."""
    return _laplacian(picture).abs().mean((1, 2, 3)).clamp_min(1e-4)


def _laplacian(picture: Tensor) -> Tensor:
    kernel = picture.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return F.conv2d(picture.mean(1, keepdim=True), kernel)


def _fine(picture: Tensor) -> Tensor:
    """(n, 3, H, W) -> (n, 12, H / 2, W / 2): what is finer than five pixels, as large as features are, for critics that
    must not be steep."""
    coarse = F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False)
    return F.pixel_unshuffle(_STEEP * (picture - coarse), 2)


def liveliness_loss(made: Tensor, real: Tensor) -> Tensor:
    """(n,): how far apart the logarithms of the mean squared Laplacian are, in squares of 16 pixels: as much texture in
    the same places, whatever its pixels are."""
    each = [F.avg_pool2d(_laplacian(picture).square(), 16, 8) for picture in (made, real)]
    return ((each[0] + _STILL).log() - (each[1] + _STILL).log()).abs().mean((1, 2, 3))


def train_superres(
    config: SuperResolutionConfig,
    tokenizer: Tokenizer,
    training: SuperResolutionTraining,
    sources: list[Pictures],
    val: Pictures,
    out: Path,
    *,
    length: Length,
    workers: Workers = Workers(),  # noqa: B008  frozen
    bfloat16: bool = True,
) -> dict[str, Any]:
    """Train a network for `length` on crops of `sources`; the next call with the same `out` goes on where a piece
    ended. Each report leaves a grid of validation pictures and the network so far, superres.safetensors."""
    torch.manual_seed(training.seed)
    tokenizer = tokenizer.float().to(workers.device).eval().requires_grad_(False)
    tokenizer.set_channels_last(True)
    net = SuperResolution(config).to(workers.device)
    critics = Critics(training.critics_rate, workers, bfloat16, before=(12,))
    run = Run(
        out=out, trained=net, length=length, workers=workers, bfloat16=bfloat16, seed=training.seed,
        optimizer=torch.optim.AdamW(net.parameters(), lr=training.peak_rate, betas=(0.9, 0.95), weight_decay=1e-2),
        descent=Descent(peak_rate=training.peak_rate, clip=1.0, decay=training.decay),
        about={"config": asdict(config)},
        kept={"ratio": torch.zeros((), device=workers.device), "critics": critics.state()},
        save_minutes=training.save_minutes,
    )  # fmt: skip
    critics.load(run.kept["critics"])
    stage = _Stage(run, training, tokenizer, critics, sources, val)
    return run.go(stage.step, stage.report)


class _Stage:
    """What a step of such a run is, and what is told of it."""

    def __init__(
        self, run: Run[SuperResolution], training: SuperResolutionTraining, tokenizer: Tokenizer, critics: Critics,
        sources: list[Pictures], val: Pictures,
    ) -> None:  # fmt: skip
        self.run, self.training, self.tokenizer, self.critics = run, training, tokenizer, critics
        self.sources, self.val, self.lite = sources, val, Lite(0).to(run.workers.device)
        self.side = tokenizer.config.resolution
        self.sums, self.steps = dict[str, Tensor](), 0
        self.batches = run.batches(self.draw)

    def draw(self, rng: np.random.Generator) -> Soft:
        """This process's rows of a batch."""
        choices, r = self.training, self.side
        rows = self.run.workers.rows(choices.batch)
        rebuilt = np.arange(choices.batch)[rows] < round(choices.rebuilt * choices.batch)
        sharp, soft, squares, noise, seen = [], [], [], [], []
        for own, whole in zip(own_chances(rng, choices.batch, rows), rebuilt, strict=True):
            pictures = self.sources[int(own.integers(len(self.sources)))]
            times = float(own.uniform(choices.least, choices.most))
            side = round(times * r) if whole else r
            square = wild(pictures.arrays[int(own.integers(len(pictures)))], side, own, Wild())
            top, left = (int(own.integers(side - r + 1)) for _ in range(2))
            crop = np.ascontiguousarray(square[top : top + r, left : left + r])
            sharp.append(crop)
            soft.append(softened(crop, times))
            noise.append(own.standard_normal((1, r, r), dtype=np.float32))
            if whole:
                squares.append(_shrunk(square, r))
                seen.append((side, top, left))
        none = np.zeros((0, 3, r, r), np.uint8)
        crops, soft, squares = (torch.from_numpy(stack(part) if part else none) for part in (sharp, soft, squares))
        return Soft(crops, soft, squares, torch.from_numpy(np.stack(noise)), seen)

    @torch.no_grad()
    def _soft(self, batch: Soft) -> Tensor:
        """(n, 3, R, R), what the network is given."""
        soft = to_images(batch.soft, self.run.workers.device)
        if batch.seen:
            made = self._rebuilt(to_images(batch.squares, soft.device))
            for i, (side, top, left) in enumerate(batch.seen):
                soft[i] = _enlarged(made[i : i + 1], side)[0, :, top : top + self.side, left : left + self.side]
        return soft

    def _rebuilt(self, image: Tensor) -> Tensor:
        with self.run.half():
            features = self.tokenizer.features(image)
        canvas = self.tokenizer.quantize(features)[1][-1]
        with self.run.half():
            return self.tokenizer.decode(canvas).float()

    def step(self, progress: float) -> dict[str, Any]:
        run, batch = self.run, next(self.batches)
        real, soft = to_images(batch.sharp, run.workers.device), self._soft(batch)
        with run.half():
            made = run.trained(soft, batch.noise.to(soft.device)).float()
        pull = self._pull(made.detach().requires_grad_(), real, len(batch.seen))
        run.descend((made * pull).sum(), self.training.batch, progress)  # whose gradient is the pull
        return self._log() if run.step % self.training.log_every == 0 else {}

    def _pull(self, made: Tensor, real: Tensor, rebuilt: int) -> Tensor:
        """The gradient of all losses with respect to the made pictures (n, 3, R, R), of which the first ones were
        `rebuilt`; the critics learn here."""
        run, choices, b = self.run, self.training, self.training.batch
        with torch.no_grad():
            true = self.lite.maps(real)
        maps, weight = self.lite.maps(made), torch.ones(len(made), device=made.device)
        weight[:rebuilt] = choices.loose
        pixels, looks = (
            (weight * pixel_loss(made, real)).sum() / b,
            feature_loss(maps[:_COMPARED], true[:_COMPARED]).sum() / b,
        )
        lively = liveliness_loss(made, real).sum() / b
        loss = pixels + choices.features * looks + choices.liveliness * lively
        (pull,) = torch.autograd.grad(loss, made, retain_graph=True)
        sharp = (edges(made.detach()) / edges(real)).sum() / b
        figures = {"pixels": pixels, "features": looks, "liveliness": lively, "sharpness": sharp}
        figures["psnr"] = decibels(made, real).sum() / b
        if choices.pull:
            (other,) = torch.autograd.grad(self.critics.fooling([_fine(made), *maps]).sum() / b, made)
            ratio = balanced(run, pull, other)
            drawn, wanted = [_fine(made), *maps], [_fine(real), *true]
            told, right = self.critics.learn(drawn, wanted, b)
            pull = pull + choices.pull * ratio * other
            figures |= {"critics": told, "right": right}
        self.steps += 1
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        return pull

    def _log(self) -> dict[str, Any]:
        """Means over the steps since the last row."""
        names, run = list(self.sums), self.run
        means = (run.workers.total(torch.stack([self.sums[name] for name in names])) / self.steps).tolist()
        row = {"step": run.step, "minutes": run.clock.minutes, **dict(zip(names, means, strict=True))}
        self.sums.clear()
        self.steps = 0
        if run.workers.first:
            run.log.write(row | {"pictures/s": run.speed()})
        return {"psnr": f"{row['psnr']:.2f}", "sharpness": f"{row['sharpness']:.2f}"}

    @torch.inference_mode()
    def report(self, last: bool) -> dict[str, Any]:
        """Validation pictures: real, rebuilt and enlarged, that sharpened, shrunk and enlarged, that sharpened."""
        run, net, side = self.run, self.run.averaged.eval(), round(self.side * 7 / 4)
        run.kept["critics"] = self.critics.state()
        order = np.random.default_rng(1).permutation(len(self.val))[:_COLUMNS]
        sharp = [self.val.centre(int(i), side) for i in order]
        rebuilt = self._rebuilt(to_model(stack([_shrunk(picture, self.side) for picture in sharp]), run.workers.device))
        softs = _enlarged(rebuilt, side), to_model(stack([softened(p, 7 / 4) for p in sharp]), run.workers.device)
        noise = torch.from_numpy(
            np.random.default_rng(0).standard_normal((len(order), 1, side, side), dtype=np.float32)
        )
        noise = noise.to(run.workers.device)
        rows = [
            to_model(stack(sharp), run.workers.device),
            *(part for soft in softs for part in (soft, net(soft, noise))),
        ]
        grid = ((torch.stack(rows) + 1) * 127.5).clamp(0, 255).byte().permute(0, 3, 1, 4, 2)
        pixels = grid.reshape(len(rows) * side, len(order) * side, 3).cpu().numpy()
        run.out.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(run.out / "grid.png")
        save_superres(net, run.out / "superres.safetensors")
        names = "sharpness rebuilt", "sharpness shrunk"
        shares = (float((edges(rows[i]) / edges(rows[0])).mean()) for i in (2, 4))
        return dict(zip(names, shares, strict=True))
