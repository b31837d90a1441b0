"""Training of the next-scale transformer on token maps of a trained tokenizer.

Tokens are cached once, several crops and mirrors of each picture. Most batches hold only the first scales: they
decide layout, colour and class, and cost a fraction of the whole pyramid; the rest hold all scales.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from ..measures.likelihood import scale_losses, token_cache, validate
from ..model.checkpoints import config_from
from ..model.tokenizer import Tokenizer, TokenizerConfig
from ..model.transformer import Block, Transformer, TransformerConfig
from ..pictures.data import load_pictures
from ..sampling.sampler import SampleOptions, sample
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
class TransformerTraining:
    """Choices of a run. `batch` counts pictures of full batches; short ones hold as many tokens."""

    batch: int = 8
    peak_rate: float = 1e-3
    warmup_steps: int = 50
    decay: float = 0.999
    weight_decay: float = 0.05
    label_drop: float = 0.1
    drop_path: float = 0.03
    variants: int = 2  # cached crops of each picture
    short_scales: int = 7  # short batches hold this many scales
    short_share: float = 0.6  # of all steps
    balance: float = 0.7
    patience: int = 4  # validations without a better loss after which the run ends
    save_minutes: float = 5.0
    seed: int = 0


def initialise(transformer: Transformer) -> None:
    """The reference's initialisation (parity rules, "Training")."""
    config = transformer.config
    std = math.sqrt(1 / (3 * config.width))
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    for embedding in (transformer.start_embed, transformer.pos_embed):
        nn.init.trunc_normal_(embedding, std=std)
    with torch.no_grad():
        transformer.head.weight.mul_(0.02)
        transformer.head_norm.weight.mul_(0.5)
        for block in transformer.blocks:
            assert isinstance(block, Block)
            for projection in (block.project, block.mlp_out):
                projection.weight.div_(math.sqrt(2 * config.depth))
            if not config.shared_modulation:
                block.modulation.weight[2 * config.width :].mul_(0.5)
                block.modulation.weight[: 2 * config.width].mul_(1e-3)
                # the reference opens the residual branches slowly; a short run wants them open from the start
                block.modulation.bias[: 2 * config.width].fill_(0.3)


def load_tokenizer(run: Path) -> tuple[Tokenizer, tuple[str, ...]]:
    """The averaged tokenizer of a training run, and its class names."""
    saved = load_state(run / "state.pt")
    if saved is None:
        raise ValueError(f"there is no tokenizer run at {run}: train one first")
    config = config_from(TokenizerConfig, saved["config"])
    tokenizer = Tokenizer(config)
    tokenizer.load_state_dict(saved["average"])
    return tokenizer.eval().requires_grad_(False), tuple(saved["class_names"])


def train_transformer(
    tokenizer_run: Path,
    training: TransformerTraining,
    data: str | Path,
    out: Path,
    *,
    depth: int,
    width: int,
    heads: int,
    length: Length,
    workers: Workers = Workers(),  # noqa: B008  frozen
    bfloat16: bool = True,
    compiled: bool = False,
) -> dict[str, float]:
    """Train on the tokens of `tokenizer_run`; pieces continue as in `train_tokenizer`."""
    where = workers.device
    tokenizer, _ = load_tokenizer(tokenizer_run)
    tokenizer.to(where)
    token_config = tokenizer.config
    train, val = (load_pictures(data, split, token_config.resolution) for split in ("train", "val"))
    train_file, val_file = out / "train-tokens.npy", out / "val-tokens.npy"
    workers.after_first(lambda: token_cache(tokenizer, train, training.variants, train_file, where))
    cache = token_cache(tokenizer, train, training.variants, train_file, where)
    val_cache = token_cache(tokenizer, val, 1, val_file, where) if workers.first else None
    config = TransformerConfig(
        sides=token_config.sides, depth=depth, width=width, heads=heads, mlp_width=4 * width,
        classes=len(train.class_names), code_dim=token_config.code_dim, vocab_size=token_config.vocab_size,
    )  # fmt: skip
    weights, rng = train.weights(training.balance), np.random.default_rng(training.seed)
    torch.manual_seed(training.seed)
    transformer = Transformer(config).to(where)
    initialise(transformer)
    for layer, block in enumerate(transformer.blocks):
        assert isinstance(block, Block)
        block.drop_path = training.drop_path * layer / max(1, depth - 1)
    average = Average(transformer, training.decay)
    decayed = [p for p in transformer.parameters() if p.dim() == 2]
    rest = [p for p in transformer.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": training.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=training.peak_rate, betas=(0.9, 0.95),
    )  # fmt: skip
    step, spent = 0, 0.0
    best: dict[str, Any] = {"loss": math.inf, "late": 0, "weights": None}
    saved = load_state(out / "state.pt")
    if saved is not None:
        best = saved["best"]
        transformer.load_state_dict(saved["transformer"])
        average.module.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["minutes"]
        restore_random_state(rng, saved["random"])
    workers.same_start(step)
    forward = torch.compile(transformer, dynamic=False) if compiled else transformer
    clock, log = Clock(length, spent, step), Log(out / "log.csv")

    def save() -> None:
        save_state(out / "state.pt", {
            "config": asdict(config), "transformer": transformer.state_dict(), "average": average.module.state_dict(),
            "optimizer": optimizer.state_dict(), "step": step, "minutes": clock.minutes, "random": random_state(rng),
            "class_names": list(train.class_names), "best": best,
        })  # fmt: skip

    def report() -> dict[str, float]:
        assert val_cache is not None
        speed = meter.read()
        figures = validate(average.module, tokenizer, val, val_cache) | speed
        if figures["loss"] < best["loss"]:
            weights = {name: value.detach().clone() for name, value in average.module.state_dict().items()}
            best.update(loss=figures["loss"], late=0, weights=weights)
        else:
            best["late"] += 1
        tqdm.write(f"step {step} {clock.minutes:.1f} min  " + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()))
        log.write({"step": step, "minutes": clock.minutes, **figures})
        meter.read()  # what validation took is not training's
        return figures

    count, short = len(config.sides), min(training.short_scales, len(config.sides))
    short_tokens = transformer.scales.spans[short - 1][1]
    short_batch = max(1, round(training.batch * transformer.scales.total / short_tokens))
    meter = Meter(workers, torch.bfloat16 if bfloat16 else torch.float32)
    whole = torch.zeros(1, transformer.scales.total, dtype=torch.long, device=where)
    flop = forward_flop(lambda: scale_losses(transformer, tokenizer, whole[:, 0], whole, count))
    last_save = clock.minutes
    bar = tqdm(initial=step, total=length.steps, unit="step", mininterval=5, disable=not workers.first)
    while True:
        progress, over = workers.agree([
            clock.progress(step), clock.finished(step) or clock.piece_over(step) or best["late"] >= training.patience
        ])  # fmt: skip
        if over:
            break
        is_short = rng.random() < training.short_share
        b, use = (short_batch, short) if is_short else (training.batch, count)
        index = rng.choice(len(train), size=b, p=weights)
        variant, rows = rng.integers(training.variants, size=b), workers.rows(b)
        flat = torch.from_numpy(cache[index[rows], variant[rows]].astype(np.int64)).to(where)
        labels = np.where(rng.random(b) < training.label_drop, config.null_label, train.labels[index])[rows]
        rate = learning_rate(training.peak_rate, step, progress, training.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        transformer.train()
        # drop path, on any device, differs between processes and steps yet not between a cut and an uncut run
        torch.manual_seed((training.seed * 1_000_003 + step * workers.count + workers.rank) % 2**63)
        with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
            loss, _, _ = scale_losses(forward, tokenizer, torch.from_numpy(labels).to(where), flat, use)
        optimizer.zero_grad(set_to_none=True)
        (loss * workers.part(b)).backward()
        workers.add_gradients(transformer.parameters())
        nn.utils.clip_grad_norm_(transformer.parameters(), 2.0)
        optimizer.step()
        average.update(transformer, step)
        meter.add(b, flop * (short_tokens / transformer.scales.total if is_short else 1.0))
        step += 1
        bar.update()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", rate=f"{rate:.1e}")
        if workers.first and clock.minutes - last_save > training.save_minutes:
            report()
            save()
            sample_grid(average.module, tokenizer, out / "samples.png")
            last_save = clock.minutes
    bar.close()
    figures = report() if workers.first else {}
    workers.after_first(save)
    if workers.first:
        sample_grid(average.module, tokenizer, out / "samples.png")
    return figures


def sample_grid(
    transformer: Transformer, tokenizer: Tokenizer, path: Path, *, rows: int = 1, options: SampleOptions | None = None
) -> None:
    """Uncurated samples, one column a class in order (wrapped at ten), seeds 0, 1, ..."""
    transformer.eval()
    options = options or SampleOptions(guidance=4.0, top_k=100, top_p=0.8)
    classes, size = transformer.config.classes, tokenizer.config.resolution
    labels = torch.arange(classes).repeat_interleave(rows).to(transformer.device)
    seeds = [i % rows for i in range(len(labels))]
    pictures = []
    for at in range(0, len(labels), 20):
        steps = sample(transformer, tokenizer, labels[at : at + 20], options, seeds=seeds[at : at + 20])
        canvas = list(steps)[-1].canvas
        with torch.inference_mode():
            pictures.append(((tokenizer.decode(canvas) + 1) * 127.5).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu())
    cells = torch.cat(pictures).numpy()
    columns = 10 if rows == 1 else rows
    lines = -(-len(cells) // columns)
    sheet = np.full((lines * size, columns * size, 3), 255, dtype=np.uint8)
    for i, cell in enumerate(cells):
        y, x = divmod(i, columns)
        sheet[y * size : (y + 1) * size, x * size : (x + 1) * size] = cell
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
