"""What each part of the tokenizer's recipe is worth: the same short run, with one thing changed at a time."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ..measures.classifier import Classifier, load_classifier, look
from ..measures.metrics import frechet, psnr
from ..measures.reconstruction import decoded, rebuild, reconstruct
from ..model.tokenizer import Tokenizer, TokenizerConfig
from ..pictures.data import Pictures, load_pictures
from .run import Length, Workers
from .tokenizer import TokenizerTraining, train_tokenizer
from .transformer import load_tokenizer

# what differs from the recipe: of the training, and of the sizes
CHANGES: dict[str, tuple[dict, dict]] = {
    "recipe": ({}, {}),
    "recipe, another seed": ({"seed": 1}, {}),
    "no warm-up": ({"warmup_steps": 0}, {}),
    "random start of the codebook": ({"kmeans": False}, {}),
    "no restarts": ({"restart_every": 0}, {}),
    "random start, no restarts": ({"kmeans": False, "restart_every": 0}, {}),
    "all scales in every picture": ({"cut_share": 0.0}, {}),
    "rotation trick": ({"rotation": True}, {}),
    "L1 + L2 only": ({"plain_pixels": True}, {}),
    "with a perceptual loss": ({"perceptual": 0.5}, {}),
    "32 groups a norm": ({}, {"groups": 32}),
}


@torch.inference_mode()
def figures(tokenizer: Tokenizer, val: Pictures, judge: Classifier) -> dict[str, float]:
    """Of the whole validation split: PSNR, SSIM, PSNR after half of the scales, use of the codes, and the Frechet
    distance of reconstructions to their originals in the judge's features."""
    found, half = reconstruct(tokenizer, val), len(tokenizer.scales) // 2
    made, real, early = [], [], []
    for some in rebuild(tokenizer, val, range(len(val))):
        made += decoded(tokenizer, some.canvases[-1])
        real += some.real
        rough = decoded(tokenizer, some.canvases[half - 1])
        early += [psnr(one, other) for one, other in zip(rough, some.real, strict=True)]
    return {
        "psnr": found["psnr"],
        "ssim": found["ssim"],
        "psnr_half_of_the_scales": round(float(np.mean(early)), 2),
        "frechet": round(frechet(look(judge, made)[0], look(judge, real)[0]), 2),
        "codes_used": found["codes_used"],
        "fewest_codes_at_a_scale": min(list(found["codes_per_scale"].values())[1:]),
    }


def compare(
    config: TokenizerConfig,
    training: TokenizerTraining,
    data: str | Path,
    out: Path,
    *,
    length: Length,
    judge: Path,
    workers: Workers = Workers(),  # noqa: B008  frozen
    only: list[str] | None = None,
    bfloat16: bool = True,
) -> dict[str, dict[str, float]]:
    """Train every variant of CHANGES (or `only` those) for `length`, each in its own folder of `out`; finished ones
    are not trained again. Writes `out`/table.md and returns its figures."""
    if workers.count > 1:
        raise ValueError("variants are compared in one process: start one for each with --only instead")
    unknown = sorted(set(only or ()) - set(CHANGES))
    if unknown:
        raise ValueError(f'there is no variant "{unknown[0]}": choose among {"; ".join(CHANGES)}')
    pictures = load_pictures(data, "train", config.resolution), load_pictures(data, "val", config.resolution)
    classifier, table = load_classifier(judge), {}
    for name in only or CHANGES:
        changed, sizes = CHANGES[name]
        place = out / name.replace(" ", "-").replace(",", "")
        result = place / "figures.json"
        if not result.exists():
            own = replace(training, **changed, judge=str(judge))
            train_tokenizer(
                replace(config, **sizes), own, pictures, place, length=length, workers=workers, bfloat16=bfloat16
            )
            found = figures(load_tokenizer(place)[0], pictures[1], classifier)
            result.write_text(json.dumps({**found, "training": asdict(own), "sizes": asdict(replace(config, **sizes))}))
        found = json.loads(result.read_text())
        table[name] = {key: value for key, value in found.items() if key not in ("training", "sizes")}
        (out / "table.md").write_text(as_markdown(table))
    return table


def as_markdown(table: dict[str, dict[str, float]]) -> str:
    """One line a variant."""
    heads = list(next(iter(table.values())))
    lines = ["| | " + " | ".join(head.replace("_", " ") for head in heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{row[head]:g}" for head in heads) + " |" for name, row in table.items()]
    return "\n".join(lines) + "\n"
