"""What a tokenizer keeps of pictures."""

from __future__ import annotations

import numpy as np
import torch

from ..model.tokenizer import Tokenizer
from ..pictures.data import Pictures
from .metrics import psnr, ssim


@torch.inference_mode()
def reconstruct(tokenizer: Tokenizer, pictures: Pictures, limit: int | None = None) -> dict:
    """Figures of encode-decode; means of per-picture values."""
    size = tokenizer.config.resolution
    order = np.random.default_rng(0).permutation(len(pictures))[: limit or len(pictures)]
    kinds: dict[str, list[tuple[float, float]]] = {}
    codes: list[set[int]] = [set() for _ in tokenizer.scales.sides]
    for index in order:
        real = pictures.centre(int(index), size)
        image = torch.from_numpy(real.copy()).permute(2, 0, 1)[None].float().to(tokenizer.device) / 127.5 - 1
        tokens, canvases = tokenizer.quantize(tokenizer.features(image))
        made = ((tokenizer.decode(canvases[-1])[0] + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
        kind = pictures.class_names[pictures.labels[index]].split("-")[0]
        kinds.setdefault(kind, []).append((psnr(made, real), ssim(made, real)))
        for k, ids in enumerate(tokens):
            codes[k].update(ids.flatten().tolist())
    every = [pair for pairs in kinds.values() for pair in pairs]

    def means(pairs: list[tuple[float, float]]) -> dict[str, float]:
        values = np.array(pairs).mean(axis=0)
        return {"pictures": len(pairs), "psnr": round(float(values[0]), 2), "ssim": round(float(values[1]), 3)}

    return {
        **means(every),
        "by_kind": {kind: means(pairs) for kind, pairs in sorted(kinds.items())},
        "codes_per_scale": {str(side): len(codes[k]) for k, side in enumerate(tokenizer.scales.sides)},
        "codes_used": round(len(set().union(*codes)) / tokenizer.config.vocab_size, 3),
    }
