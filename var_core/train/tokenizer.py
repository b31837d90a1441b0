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

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from ..measures.classifier import Classifier, load_classifier
from ..model.registry import open_model
from ..model.tokenizer import Refine, Tokenizer, TokenizerConfig
from ..pictures.data import Pictures, load_pictures, to_model
from .codebook import MovingCodes, quantize_with_gradients, restart_codes, start_codebook
from .losses import Adversary, Perceptual, picture_loss
from .run import (
    Average,
    Clock,
    Length,
    Log,
    Meter,
    Workers,
    forward_flop,
    learning_rate,
    load_state,
    random_state,
    restore_random_state,
    save_state,
)


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
    moving_codes: bool = False  # codes as moving averages instead of by gradients
    plain_pixels: bool = False  # no multi-scale and gradient terms
    perceptual: float = 0.0  # weight of distances in features of `judge`
    judge: str | None = None  # file of a classifier trained on the same pictures
    adversarial: float = 0.0  # pull of the adversary, relative to the other losses
    adversarial_from: float = 0.6  # share of the run
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
) -> dict[str, float]:
    """Train for `length` on a place of pictures, or on both splits; the next call with the same `out` goes on where a
    piece ended. Returns the last validation figures (of the first process)."""
    where = workers.device
    rng = np.random.default_rng(training.seed)
    torch.manual_seed(training.seed)
    tokenizer = _begin(config, training.decoder_of).to(where)
    config, held = tokenizer.config, training.decoder_of is not None
    if held:
        training = replace(training, warmup_steps=0, kmeans=False, restart_every=0, moving_codes=False)
    if not isinstance(data, tuple):
        data = load_pictures(data, "train", config.resolution), load_pictures(data, "val", config.resolution)
    train, val = data
    weights = train.weights(training.balance)
    average = Average(tokenizer, training.decay)
    learning = [p for p in tokenizer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=training.peak_rate, betas=(0.9, 0.99), weight_decay=1e-2)
    used = torch.zeros(config.vocab_size, device=where)
    moving = MovingCodes(tokenizer) if training.moving_codes else None
    perceptual = Perceptual(_judge(training.judge)).to(where) if training.perceptual else None
    adversary = Adversary(training.adversarial, training.peak_rate / 4, where) if training.adversarial else None
    step, spent = 0, 0.0
    saved = load_state(out / "state.pt")
    if saved is not None:
        tokenizer.load_state_dict(saved["tokenizer"])
        average.module.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        used.copy_(saved["used"])
        for part, name in ((moving, "moving"), (adversary, "adversary")):
            if part is not None:
                part.load(saved[name])
        step, spent = saved["step"], saved["minutes"]
        restore_random_state(rng, saved["random"])
    workers.same_start(step)
    clock, log = Clock(length, spent, step), Log(out / "log.csv")
    meter = Meter(workers, torch.bfloat16 if bfloat16 else torch.float32)
    probe = torch.zeros(1, 3, config.resolution, config.resolution, device=where)
    flop = forward_flop(lambda: tokenizer.decode(tokenizer.features(probe)))

    def save() -> None:
        extra = {"moving": moving.state()} if moving is not None else {}
        extra |= {"adversary": adversary.state()} if adversary is not None else {}
        save_state(out / "state.pt", extra | {
            "config": asdict(config), "tokenizer": tokenizer.state_dict(), "average": average.module.state_dict(),
            "optimizer": optimizer.state_dict(), "used": used, "step": step, "minutes": clock.minutes,
            "random": random_state(rng), "class_names": list(train.class_names),
        })  # fmt: skip

    last_save = clock.minutes
    bar = tqdm(initial=step, total=length.steps, unit="step", mininterval=5, disable=not workers.first)
    while True:
        progress, over = workers.agree([clock.progress(step), clock.finished(step) or clock.piece_over(step)])
        if over:
            break
        size = config.resolution // 2 if progress < training.small_share else config.resolution
        b = training.batch * 2 if size < config.resolution else training.batch
        rows = workers.rows(b)
        image = to_model(train.batch(rng, b, size, weights, rows)[0], where)
        rate = learning_rate(training.peak_rate, step, progress)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16 and not held):  # held tokens are exact ones
            features = tokenizer.quant_conv(tokenizer.encoder(image)).float()
        if step == training.warmup_steps:
            if training.kmeans:
                start_codebook(tokenizer, workers.whole(features.detach(), b), rng)
            workers.from_first(tokenizer.codebook.weight.data)
            if moving is not None:
                moving.restart()
            average.module.codebook.load_state_dict(tokenizer.codebook.state_dict())
        residuals: list[Tensor] = []
        tokens: list[Tensor] = []
        distances = features.new_zeros(2)
        canvas = features
        if step >= training.warmup_steps:
            count = tokenizer.count_for(features.shape[-1])
            stops = np.where(rng.random(b) < training.cut_share, rng.integers(1, count + 1, size=b), count)
            with torch.autocast(where.type, enabled=False):
                canvas, distances, tokens, residuals = quantize_with_gradients(
                    tokenizer, features, torch.from_numpy(stops[rows]).to(where), training.rotation
                )
            ids = torch.cat([t.flatten() for t in tokens])
            used += workers.total(torch.bincount(ids, minlength=config.vocab_size))
        with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
            made = tokenizer.decoder(tokenizer.post_quant_conv(canvas)).float()
            pixels = picture_loss(made, image, training.plain_pixels)
            if perceptual is not None:
                pixels = pixels + training.perceptual * perceptual(made, image)
        fooling = adversary is not None and progress >= training.adversarial_from
        loss = pixels + distances[0] + training.commitment * distances[1]
        if step < training.warmup_steps:
            loss = loss + 0.01 * features.square().mean()  # keeps the features' size near one
        if fooling and adversary is not None:
            loss = loss + adversary.loss(made, pixels, workers, workers.part(b))
        optimizer.zero_grad(set_to_none=True)
        (loss * workers.part(b)).backward()
        workers.add_gradients(learning)
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        if fooling and adversary is not None:
            adversary.learn(made, image, workers, workers.part(b))
        if moving is not None and residuals:
            moving.update(tokens, residuals, workers)
        average.update(tokenizer, step)
        meter.add(b, flop * (size / config.resolution) ** 2)
        step += 1
        bar.update()
        if residuals and step % training.window == 0:
            moved = torch.zeros(0)
            if training.restart_every:
                moved = restart_codes(tokenizer, optimizer, used, [workers.whole(r, b) for r in residuals], rng)
                if moving is not None:
                    moving.restart(moved)
            squares = (made.detach() - image).square().mean() / 4
            means = torch.stack((loss.detach(), pixels.detach(), distances[0].detach(), squares)) * workers.part(b)
            total, picture, codebook, error = workers.total(means).tolist()
            row = {"step": step, "minutes": clock.minutes, "rate": rate, "size": size, "loss": total}
            row |= {"pixels": picture, "codebook": codebook, "restarted": len(moved)}
            row |= {"psnr": -10 * math.log10(max(error, 1e-9)), **meter.read()}
            if workers.first:
                log.write(row)
            bar.set_postfix(psnr=f"{row['psnr']:.2f}", restarted=len(moved), size=size)
            used.zero_()
        if workers.first and clock.minutes - last_save > training.save_minutes:
            save()
            last_save = clock.minutes
            figures = validate(average.module, val, limit=128)
            tqdm.write(f"step {step} {clock.minutes:.1f} min  " + "  ".join(f"{k} {v:.2f}" for k, v in figures.items()))
            sample_grid(average.module, val, out / "grid.png")
            meter.read()  # what it took is not training's
    bar.close()
    workers.after_first(save)
    if not workers.first:
        return {}
    figures = validate(average.module, val)
    sample_grid(average.module, val, out / "grid.png")
    return figures


@torch.inference_mode()
def validate(tokenizer: Tokenizer, pictures: Pictures, limit: int | None = None) -> dict[str, float]:
    """PSNR in dB over centre squares (mean of per-picture values), by the first word of the class, and codes used."""
    tokenizer.eval()
    size, n = tokenizer.config.resolution, len(pictures)
    order = np.random.default_rng(0).permutation(n)[: limit or n]
    kinds: dict[str, list[float]] = {}
    codes: list[set[int]] = [set() for _ in tokenizer.scales.sides]
    device = tokenizer.device
    for at in range(0, len(order), 32):
        part = order[at : at + 32]
        batch = np.stack([pictures.centre(int(i), size) for i in part]).transpose(0, 3, 1, 2)
        image = to_model(np.ascontiguousarray(batch), device)
        tokens, canvases = tokenizer.quantize(tokenizer.features(image))
        error = (tokenizer.decode(canvases[-1]) - image).square().mean((1, 2, 3)) / 4
        for i, value in zip(part, error.tolist(), strict=True):
            kind = pictures.class_names[pictures.labels[i]].split("-")[0]
            kinds.setdefault(kind, []).append(-10 * math.log10(max(value, 1e-9)))
        for k, ids in enumerate(tokens):
            codes[k].update(ids.flatten().tolist())
    every = [value for values in kinds.values() for value in values]
    figures = {"psnr": float(np.mean(every))}
    figures |= {f"psnr {kind}": float(np.mean(values)) for kind, values in sorted(kinds.items())}
    figures |= {f"codes {side}": len(codes[k]) for k, side in enumerate(tokenizer.scales.sides)}
    figures["codes used"] = len(set().union(*codes)) / tokenizer.config.vocab_size
    return figures


@torch.inference_mode()
def sample_grid(tokenizer: Tokenizer, pictures: Pictures, path: Path, columns: int = 8) -> None:
    """Originals, reconstructions, and the picture after every scale, one row each."""
    tokenizer.eval()
    size = tokenizer.config.resolution
    order = np.random.default_rng(1).permutation(len(pictures))[:columns]
    batch = np.stack([pictures.centre(int(i), size) for i in order]).transpose(0, 3, 1, 2)
    image = to_model(np.ascontiguousarray(batch), tokenizer.device)
    canvases = tokenizer.quantize(tokenizer.features(image))[1]
    rows = torch.stack([image] + [tokenizer.decode(canvas) for canvas in reversed(canvases)])
    grid = ((rows + 1) * 127.5).clamp(0, 255).byte().permute(0, 3, 1, 4, 2)  # (rows, H, b, W, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid.reshape(len(rows) * size, columns * size, 3).cpu().numpy()).save(path)
