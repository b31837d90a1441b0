"""What a tokenizer keeps is told picture by picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build_model

from var_core.measures.metrics import psnr
from var_core.measures.reconstruction import RoundTrip, centres, rebuild
from var_core.pictures.data import Pictures, stack, to_model


def test_reconstruction_is_that_of_each_picture() -> None:
    tokenizer, rng = build_model((1, 2, 4)).tokenizer, np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (18, 20, 3), dtype=np.uint8) for _ in range(35)]
    pictures = Pictures(arrays, np.arange(35) % 3, ("a-x", "a-y", "b"), tuple(map(str, range(35))))
    size = tokenizer.config.resolution
    squares, kinds = centres(pictures, size)
    assert len(squares) == 35 and kinds.count("b") == 11 and len(centres(pictures, size, 4)[0]) == 4
    assert {square.tobytes() for square in squares} == {pictures.centre(i, size).tobytes() for i in range(35)}
    found, made, tokens = RoundTrip(squares, kinds)(tokenizer), [], []
    with torch.inference_mode():
        for square in squares:
            ids, canvases = tokenizer.quantize(tokenizer.features(to_model(stack([square]), torch.device("cpu"))))
            made.append(((tokenizer.decode(canvases[-1])[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
            tokens.append(torch.cat(ids, 1)[0].numpy())
    values = np.array([psnr(one, other) for one, other in zip(made, squares, strict=True)])
    assert found["pictures"] == 35 and found["psnr"] == pytest.approx(values.mean(), abs=0.011)
    for kind in "ab":
        own = values[np.array(kinds) == kind]
        assert found["by_kind"][kind] == {
            "pictures": len(own), "psnr": pytest.approx(own.mean(), abs=0.011), "ssim": found["by_kind"][kind]["ssim"]
        }  # fmt: skip
    ids = np.array(tokens)
    assert found["codes_per_scale"] == {
        "1": len(np.unique(ids[:, 0])), "2": len(np.unique(ids[:, 1:5])), "4": len(np.unique(ids[:, 5:]))
    }  # fmt: skip
    assert found["codes_used"] == pytest.approx(len(np.unique(ids)) / 64, abs=6e-4) and found["frechet"] > 0
    together = torch.cat(rebuild(tokenizer, squares)[1], 1).numpy()
    assert np.array_equal(together, ids) and "by_kind" in RoundTrip(squares)(tokenizer)
