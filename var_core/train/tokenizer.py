"""Training of the multi-scale tokenizer without collapse.

Recipe: a warm-up without quantization, a codebook started by k-means over residuals of every scale, restarts of
codes that a long window did not use, a random cut of the last scales for a share of each batch (so that every
coarse canvas decodes to a picture), and pixel, multi-scale and gradient losses.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from ..tokenizer import Refine, Tokenizer, TokenizerConfig
from .data import Pictures, load_pictures
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
    restart_every: int = 200  # steps over which a code must be used once
    commitment: float = 0.25
    balance: float = 0.5
    save_minutes: float = 4.0
    seed: int = 0


def initialise(tokenizer: Tokenizer) -> None:
    """Refine convolutions start as the identity, so that a code means what it says."""
    for refine in tokenizer.refine:
        assert isinstance(refine, Refine) and refine.bias is not None
        nn.init.dirac_(refine.weight)
        nn.init.zeros_(refine.bias)


def quantize_straight_through(
    tokenizer: Tokenizer, features: Tensor, stops: Tensor
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Residual quantization with gradients.

    features (b, c, h, w); stops (b,) how many scales each picture keeps. Returns the canvas for the decoder with
    straight-through gradients, the codebook and commitment distances (averaged over scales), tokens per scale
    and residual vectors (b, l, c) per scale.
    """
    side = features.shape[-1]
    count = tokenizer.count_for(side)
    fixed = features.detach()
    canvas = torch.zeros_like(fixed)
    chosen = torch.zeros_like(fixed)
    tokens, residuals = [], []
    codebook_loss = commitment_loss = features.new_zeros(())
    for k in range(count):
        with torch.no_grad():
            residual = tokenizer.shrink(fixed - canvas, k)
            ids = tokenizer.nearest(residual)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(ids), k, side)
        codebook_loss = codebook_loss + (canvas - fixed).square().mean() / count
        commitment_loss = commitment_loss + (canvas.detach() - features).square().mean() / count
        chosen = torch.where((stops == k + 1)[:, None, None, None], canvas, chosen)
        tokens.append(ids)
        residuals.append(residual)
    return features + (chosen - features).detach(), torch.stack((codebook_loss, commitment_loss)), tokens, residuals


def picture_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 + L2 in [-1, 1], L1 at two coarser sizes, and L1 of horizontal and vertical differences."""
    loss = 0.5 * (made - real).abs().mean() + 2.0 * (made - real).square().mean()
    for factor in (2, 4):
        loss = loss + 0.25 * (F.avg_pool2d(made, factor) - F.avg_pool2d(real, factor)).abs().mean()
    for dim in (2, 3):
        loss = loss + 0.25 * (made.diff(dim=dim) - real.diff(dim=dim)).abs().mean()
    return loss


@torch.no_grad()
def start_codebook(tokenizer: Tokenizer, features: Tensor, rng: np.random.Generator) -> None:
    """k-means over what each scale would have to describe if the scales before it were perfect averages."""
    vectors = []
    canvas = torch.zeros_like(features)
    side = features.shape[-1]
    for k in range(tokenizer.count_for(side)):
        shrunk = tokenizer.shrink(features - canvas, k)
        vectors.append(shrunk.reshape(-1, shrunk.shape[-1]))
        canvas = canvas + tokenizer.enlarge(shrunk, k, side)
        if k + 1 == tokenizer.count_for(side) - 1:  # the last residual would be what remains: keep some of it
            break
    vectors.append((features - canvas).flatten(2).transpose(1, 2).reshape(-1, features.shape[1]))
    per_scale = 4096
    pool = torch.cat([v[torch.from_numpy(rng.permutation(len(v))[:per_scale])] for v in vectors])
    size = tokenizer.config.vocab_size
    codes = pool[torch.from_numpy(rng.choice(len(pool), size, replace=len(pool) < size))].clone()
    for _ in range(8):
        owner = torch.cdist(pool, codes).argmin(1)
        counts = torch.bincount(owner, minlength=size).clamp_min(1)
        sums = torch.zeros_like(codes).index_add_(0, owner, pool)
        used = torch.bincount(owner, minlength=size) > 0
        codes[used] = (sums / counts[:, None])[used]
    tokenizer.codebook.weight.copy_(codes)


@torch.no_grad()
def restart_codes(
    tokenizer: Tokenizer,
    optimizer: torch.optim.Optimizer,
    used: Tensor,
    residuals: list[Tensor],
    rng: np.random.Generator,
) -> int:
    """Move codes that a whole window left unused onto residuals of random scales. Returns how many."""
    dead = (used == 0).nonzero()[:, 0]
    if not len(dead):
        return 0
    scale = rng.integers(len(residuals), size=len(dead))
    rows = [residuals[k].reshape(-1, residuals[k].shape[-1]) for k in range(len(residuals))]
    picked = torch.stack([rows[k][int(rng.integers(len(rows[k])))] for k in scale])
    tokenizer.codebook.weight[dead] = picked
    moments = optimizer.state.get(tokenizer.codebook.weight, {})
    for name in ("exp_avg", "exp_avg_sq"):
        if name in moments:
            moments[name][dead] = 0
    return len(dead)


def to_model(batch: np.ndarray, device: torch.device) -> Tensor:
    """(b, 3, H, W) uint8 -> [-1, 1] float32."""
    return torch.from_numpy(batch).to(device).float() / 127.5 - 1


def train_tokenizer(
    config: TokenizerConfig,
    training: TokenizerTraining,
    data: str | Path,
    out: Path,
    *,
    length: Length,
    workers: Workers = Workers(),  # noqa: B008  frozen
    bfloat16: bool = True,
) -> dict[str, float]:
    """Train for `length`; the next call with the same `out` goes on where a piece ended. Returns the last
    validation figures (of the first process)."""
    where = workers.device
    train, val = load_pictures(data, "train", config.resolution), load_pictures(data, "val", config.resolution)
    weights = train.weights(training.balance)
    rng = np.random.default_rng(training.seed)
    torch.manual_seed(training.seed)
    tokenizer = Tokenizer(config).to(where)
    initialise(tokenizer)
    average = Average(tokenizer, training.decay)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=training.peak_rate, betas=(0.9, 0.99), weight_decay=1e-2)
    used = torch.zeros(config.vocab_size, device=where)
    step, spent = 0, 0.0
    saved = load_state(out / "state.pt")
    if saved is not None:
        tokenizer.load_state_dict(saved["tokenizer"])
        average.module.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        used.copy_(saved["used"])
        step, spent = saved["step"], saved["minutes"]
        restore_random_state(rng, saved["random"])
    workers.same_start(step)
    clock, log = Clock(length, spent, step), Log(out / "log.csv")
    meter = Meter(workers, torch.bfloat16 if bfloat16 else torch.float32)
    probe = torch.zeros(1, 3, config.resolution, config.resolution, device=where)
    flop = forward_flop(lambda: tokenizer.decode(tokenizer.features(probe)))

    def save() -> None:
        save_state(out / "state.pt", {
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
        with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
            features = tokenizer.quant_conv(tokenizer.encoder(image)).float()
        if step == training.warmup_steps:
            start_codebook(tokenizer, workers.whole(features.detach(), b), rng)
            workers.from_first(tokenizer.codebook.weight.data)
            average.module.codebook.load_state_dict(tokenizer.codebook.state_dict())
        residuals: list[Tensor] = []
        distances = features.new_zeros(2)
        canvas = features
        if step >= training.warmup_steps:
            count = tokenizer.count_for(features.shape[-1])
            stops = np.where(rng.random(b) < training.cut_share, rng.integers(1, count + 1, size=b), count)
            with torch.autocast(where.type, enabled=False):
                canvas, distances, tokens, residuals = quantize_straight_through(
                    tokenizer, features, torch.from_numpy(stops[rows]).to(where)
                )
            ids = torch.cat([t.flatten() for t in tokens])
            used += workers.total(torch.bincount(ids, minlength=config.vocab_size))
        with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
            made = tokenizer.decoder(tokenizer.post_quant_conv(canvas)).float()
        pixels = picture_loss(made, image)
        loss = pixels + distances[0] + training.commitment * distances[1]
        if step < training.warmup_steps:
            loss = loss + 0.01 * features.square().mean()  # keeps the features' size near one
        optimizer.zero_grad(set_to_none=True)
        (loss * workers.part(b)).backward()
        workers.add_gradients(tokenizer.parameters())
        nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        average.update(tokenizer, step)
        meter.add(b, flop * (size / config.resolution) ** 2)
        step += 1
        bar.update()
        if residuals and step % training.restart_every == 0:
            moved = restart_codes(tokenizer, optimizer, used, [workers.whole(r, b) for r in residuals], rng)
            squares = (made.detach() - image).square().mean() / 4
            means = torch.stack((loss.detach(), pixels.detach(), distances[0].detach(), squares)) * workers.part(b)
            total, picture, codebook, error = workers.total(means).tolist()
            row = {"step": step, "minutes": clock.minutes, "rate": rate, "size": size, "loss": total}
            row |= {"pixels": picture, "codebook": codebook, "restarted": moved}
            row |= {"psnr": -10 * math.log10(max(error, 1e-9)), **meter.read()}
            if workers.first:
                log.write(row)
            bar.set_postfix(psnr=f"{row['psnr']:.2f}", restarted=moved, size=size)
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
