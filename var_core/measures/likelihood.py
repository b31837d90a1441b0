"""How well a transformer foretells the tokens of pictures: their cache, and the loss of every scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..model.tokenizer import Tokenizer
from ..model.transformer import Transformer
from ..pictures.data import Pictures, stack, to_model


@torch.inference_mode()
def token_cache(
    tokenizer: Tokenizer, pictures: Pictures, variants: int, path: Path | None, device: torch.device
) -> np.ndarray:
    """(n, variants, L) uint16 token ids of random crops, kept on disk where a path is given; for one variant of the
    centre square, in float32 (validation)."""
    if path is not None and path.exists():
        cached = np.load(path, mmap_mode=None)
        if cached.shape == (len(pictures), variants, tokenizer.scales.total):
            return cached
    tokenizer.eval()
    size = tokenizer.config.resolution
    out = np.empty((len(pictures), variants, tokenizer.scales.total), dtype=np.uint16)
    rng = np.random.default_rng(17)
    for variant in tqdm(range(variants), desc="tokens"):
        for at in range(0, len(pictures), 64):
            part = range(at, min(at + 64, len(pictures)))
            single = variants == 1
            crops = [pictures.centre(i, size) if single else pictures.crop(i, size, rng) for i in part]
            image = to_model(stack(crops), device)
            with torch.autocast(device.type, torch.bfloat16, enabled=variants > 1):
                features = tokenizer.quant_conv(tokenizer.encoder(image)).float()
            tokens = torch.cat(tokenizer.quantize(features)[0], dim=1)
            out[at : at + len(part), variant] = tokens.cpu().numpy().astype(np.uint16)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, out)
        partial.replace(path)  # a cut run never leaves half a file
    return out


def split_scales(tokenizer: Tokenizer, flat: Tensor, count: int) -> list[Tensor]:
    """(b, L) token ids -> the first `count` scales, each (b, l)."""
    return [flat[:, start:stop] for start, stop in tokenizer.scales.spans[:count]]


def scale_losses(
    forward: Callable[[Tensor, Tensor], Tensor], tokenizer: Tokenizer, labels: Tensor, flat: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy over the tokens of the first `count` scales, and (count,) losses and accuracies per scale."""
    tokens = split_scales(tokenizer, flat, count)
    with torch.no_grad(), torch.autocast(flat.device.type, enabled=False):
        inputs = tokenizer.teacher_inputs(tokens)
    logits = forward(labels, inputs)
    target = torch.cat(tokens, dim=1)
    each = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")  # (b, L')
    hit = (logits.argmax(-1) == target).float()
    spans = tokenizer.scales.spans[:count]
    losses = torch.stack([each[:, a:b].mean() for a, b in spans])
    accuracies = torch.stack([hit[:, a:b].mean() for a, b in spans])
    return each.mean(), losses.detach(), accuracies


@torch.inference_mode()
def validate(transformer: Transformer, tokenizer: Tokenizer, pictures: Pictures, cache: np.ndarray) -> dict[str, float]:
    """Loss in nats and accuracy per scale over the validation tokens, with their labels."""
    transformer.eval()
    device, count = transformer.device, len(transformer.scales)
    losses, accuracies = torch.zeros(count), torch.zeros(count)
    for at in range(0, len(pictures), 32):
        flat = torch.from_numpy(cache[at : at + 32, 0].astype(np.int64)).to(device)
        labels = torch.from_numpy(pictures.labels[at : at + 32]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            _, loss, accuracy = scale_losses(transformer, tokenizer, labels, flat, count)
        losses += loss.cpu() * len(flat)
        accuracies += accuracy.float().cpu() * len(flat)
    losses, accuracies = losses / len(pictures), accuracies / len(pictures)
    lengths = torch.tensor(transformer.scales.lengths)
    figures = {"loss": float((losses * lengths).sum() / lengths.sum())}
    figures |= {f"loss {s}": float(v) for s, v in zip(transformer.scales.sides, losses, strict=True)}
    figures |= {f"accuracy {s}": float(v) for s, v in zip(transformer.scales.sides, accuracies, strict=True)}
    return figures
