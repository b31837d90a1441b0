"""Training of the small classifier that evaluation and the perceptual loss judge by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..measures.classifier import Classifier, ClassifierConfig, accuracy, save_classifier
from ..pictures.data import load_pictures, to_model
from .run import Clock, Length, averaged, learning_rate


def _soften(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the pictures through a smaller size and back: a judge of content, not of sharpness."""
    side = image.shape[-1]
    some = torch.from_numpy(rng.random(len(image)) < 0.5).to(image.device)
    small = F.interpolate(image, size=int(rng.integers(side // 3, side)), mode="area")
    soft = F.interpolate(small, size=side, mode="bilinear", align_corners=False)
    return torch.where(some[:, None, None, None], soft, image)


def train_classifier(
    data: str | Path,
    out: Path,
    length: Length,
    *,
    batch: int = 64,
    rate: float = 2e-3,
    device: str = "cpu",
    bfloat16: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """Train and write `out`, a safetensors file; returns accuracy on the validation split. Label smoothing 0.1,
    crops, mirrors, softening, averaged weights."""
    side = ClassifierConfig(classes=1).side
    train, val = (load_pictures(data, split, side) for split in ("train", "val"))
    config = ClassifierConfig(classes=len(train.class_names))
    rng, where = np.random.default_rng(seed), torch.device(device)
    torch.manual_seed(seed)
    classifier = Classifier(config, train.class_names).to(where)
    average = averaged(classifier, 0.998)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=rate, weight_decay=0.05)
    weights, clock, step = train.weights(0.5), Clock(length, 0.0, 0), 0
    bar = tqdm(total=length.steps, unit="step", mininterval=5)
    while not (clock.finished(step) or clock.piece_over(step)):
        pixels, labels = train.batch(rng, batch, side, weights)
        image, target = _soften(to_model(pixels, where), rng), torch.from_numpy(labels).to(where)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(rate, step, clock.progress(step), warmup=100)
        with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(classifier(image).float(), target, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update_parameters(classifier)
        step += 1
        bar.update()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    bar.close()
    assert isinstance(average.module, Classifier)
    figures = accuracy(average.module, val) | {"steps": step, "minutes": round(clock.minutes, 1)}
    save_classifier(average.module, out)
    return figures
