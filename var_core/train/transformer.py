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
from torch import Tensor, nn

from ..measures.likelihood import scale_losses, token_cache, validate
from ..model.checkpoints import config_from
from ..model.tokenizer import Tokenizer, TokenizerConfig
from ..model.transformer import Block, Transformer, TransformerConfig
from ..pictures.data import Pictures, load_pictures
from ..sampling.sampler import SampleOptions, sample
from .run import Descent, Length, Run, Workers, forward_flop, load_state


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


def _optimizer(transformer: Transformer, training: TransformerTraining) -> torch.optim.AdamW:
    """AdamW that lets only matrices decay."""
    decayed = [p for p in transformer.parameters() if p.dim() == 2]
    rest = [p for p in transformer.parameters() if p.dim() != 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": training.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=training.peak_rate, betas=(0.9, 0.95),
    )  # fmt: skip


def begin(config: TransformerConfig, drop_path: float) -> Transformer:
    """A transformer to train; the share of dropped branches grows from 0 in the first block to `drop_path`."""
    transformer = Transformer(config)
    initialise(transformer)
    for layer, block in enumerate(transformer.blocks):
        assert isinstance(block, Block)
        block.drop_path = drop_path * layer / max(1, config.depth - 1)
    return transformer


def drop_labels(labels: np.ndarray, null: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """The (b,) labels with a random `share` of them `null`: how the transformer learns what has no class."""
    return np.where(rng.random(len(labels)) < share, null, labels)


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
) -> dict[str, Any]:
    """Train on the tokens of `tokenizer_run`; pieces continue as in `train_tokenizer`."""
    tokenizer, _ = load_tokenizer(tokenizer_run)
    tokenizer.to(workers.device)
    sizes = tokenizer.config
    train, val = (load_pictures(data, split, sizes.resolution) for split in ("train", "val"))
    config = TransformerConfig(
        sides=sizes.sides, depth=depth, width=width, heads=heads, mlp_width=4 * width,
        classes=len(train.class_names), code_dim=sizes.code_dim, vocab_size=sizes.vocab_size,
    )  # fmt: skip
    torch.manual_seed(training.seed)
    transformer = begin(config, training.drop_path).to(workers.device)
    run = Run(
        out=out, trained=transformer, length=length, workers=workers, bfloat16=bfloat16, seed=training.seed,
        optimizer=_optimizer(transformer, training),
        descent=Descent(
            peak_rate=training.peak_rate, warmup=training.warmup_steps, clip=2.0, decay=training.decay
        ),
        about={"config": asdict(config), "class_names": list(train.class_names)},
        kept={"best": {"loss": math.inf, "late": 0, "weights": None}}, save_minutes=training.save_minutes,
    )  # fmt: skip
    stage = _Stage(run, training, tokenizer, train, val, compiled)
    return run.go(stage.step, stage.report, lambda: run.kept["best"]["late"] >= training.patience)


class _Stage:
    """What a step of a transformer run is, and what is told of it."""

    def __init__(
        self,
        run: Run[Transformer],
        training: TransformerTraining,
        tokenizer: Tokenizer,
        train: Pictures,
        val: Pictures,
        compiled: bool,
    ) -> None:
        self.run, self.training, self.tokenizer, self.train, self.val = run, training, tokenizer, train, val
        workers, scales = run.workers, run.trained.scales
        place, variants, where = run.out / "train-tokens.npy", training.variants, workers.device
        workers.after_first(lambda: token_cache(tokenizer, train, variants, place, where))
        self.cache = token_cache(tokenizer, train, variants, place, where)
        if workers.first:
            self.val_cache = token_cache(tokenizer, val, 1, run.out / "val-tokens.npy", where)
        self.forward = torch.compile(run.trained, dynamic=False) if compiled else run.trained
        self.weights = train.weights(training.balance)
        self.short = min(training.short_scales, len(scales))
        self.short_part = scales.spans[self.short - 1][1] / scales.total  # of all tokens
        flat = torch.zeros(1, scales.total, dtype=torch.long, device=where)
        self.flop = forward_flop(lambda: scale_losses(run.trained, tokenizer, flat[:, 0], flat, len(scales)))
        run.meter.read()  # what the caches took is not training's

    def step(self, progress: float) -> dict[str, Any]:
        run, training, transformer = self.run, self.training, self.run.trained
        short = run.rng.random() < training.short_share
        b = max(1, round(training.batch / self.short_part)) if short else training.batch
        labels, flat = self._batch(b)
        transformer.train()
        # drop path, on any device, differs between processes and steps yet not between a cut and an uncut run
        workers = run.workers
        torch.manual_seed((training.seed * 1_000_003 + run.step * workers.count + workers.rank) % 2**63)
        with run.half():
            count = self.short if short else len(transformer.scales)
            loss, _, _ = scale_losses(self.forward, self.tokenizer, labels, flat, count)
        run.descend(loss, b, progress, self.flop * (self.short_part if short else 1.0))
        return {} if run.step % 20 else {"loss": f"{loss.item():.3f}", "rate": f"{run.rate:.1e}"}

    def _batch(self, b: int) -> tuple[Tensor, Tensor]:
        """Labels, some of them dropped, and tokens (b, L): this process's rows of b random pictures."""
        run, training = self.run, self.training
        index = run.rng.choice(len(self.train), size=b, p=self.weights)
        variant, rows = run.rng.integers(training.variants, size=b), run.workers.rows(b)
        null = run.trained.config.null_label
        labels = drop_labels(self.train.labels[index], null, training.label_drop, run.rng)[rows]
        flat = self.cache[index[rows], variant[rows]].astype(np.int64)
        return torch.from_numpy(labels).to(run.workers.device), torch.from_numpy(flat).to(run.workers.device)

    def report(self, last: bool) -> dict[str, Any]:
        """Validation of the averaged weights, which are kept where they are the best ones; a log row and samples."""
        run, best = self.run, self.run.kept["best"]
        speed = run.meter.read()
        figures = validate(run.averaged, self.tokenizer, self.val, self.val_cache) | speed
        if figures["loss"] < best["loss"]:
            weights = {name: value.detach().clone() for name, value in run.averaged.state_dict().items()}
            best.update(loss=figures["loss"], late=0, weights=weights)
        else:
            best["late"] += 1
        run.log.write({"step": run.step, "minutes": run.clock.minutes, **figures})
        sample_grid(run.averaged, self.tokenizer, run.out / "samples.png")
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
