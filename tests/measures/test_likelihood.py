"""Losses of every scale are those of the logits, and the cached tokens those of the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import build_model
from torch import Tensor

from var_core.measures.likelihood import scale_losses, token_cache, validate
from var_core.measures.metrics import psnr
from var_core.measures.reconstruction import reconstruct
from var_core.model.checkpoints import Model
from var_core.pictures.data import Pictures, stack, to_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    return build_model((1, 2, 4))


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (18, 20, 3), dtype=np.uint8) for _ in range(35)]
    return Pictures(arrays, np.arange(35) % 3, ("a-x", "a-y", "b"), tuple(map(str, range(35))))


def test_losses_and_accuracies_are_those_of_the_logits(model: Model) -> None:
    """Every token is 5; scales get logits that say so with weight 0, 1 and 3 (the last names 6)."""
    flat, labels, given = torch.full((2, 21), 5), torch.tensor([1, 2]), []

    def forward(wanted: Tensor, inputs: Tensor) -> Tensor:
        given.append((wanted, inputs))
        logits = torch.zeros(2, 21, 64)
        logits[:, 1:5, 5], logits[:, 5:, 6] = 1.0, 3.0
        return logits

    loss, losses, accuracies = scale_losses(forward, model.tokenizer, labels, flat, 3)
    each = [np.log(64), np.log(63 + np.e) - 1, np.log(63 + np.e**3)]
    assert losses.tolist() == pytest.approx(each, rel=1e-5)
    assert loss.item() == pytest.approx(np.dot(each, (1, 4, 16)) / 21, rel=1e-5)
    assert accuracies.tolist() == [0, 1, 0]
    with torch.no_grad():
        expected = model.tokenizer.teacher_inputs([flat[:, :1], flat[:, 1:5], flat[:, 5:]])
    assert torch.equal(given[0][0], labels) and torch.equal(given[0][1], expected)


def test_the_cache_holds_the_tokens_of_centres(model: Model, pictures: Pictures, tmp_path: Path) -> None:
    cache = token_cache(model.tokenizer, pictures, 1, tmp_path / "a" / "cache.npy", CPU)
    assert cache.shape == (35, 1, 21) and cache.dtype == np.uint16
    size = model.tokenizer.config.resolution
    with torch.inference_mode():
        image = to_model(stack([pictures.centre(i, size) for i in (0, 33)]), CPU)
        tokens = torch.cat(model.tokenizer.encode(image), dim=1)
    assert np.array_equal(cache[[0, 33], 0], tokens.numpy())
    np.save(tmp_path / "a" / "cache.npy", cache + 1)
    assert np.array_equal(token_cache(model.tokenizer, pictures, 1, tmp_path / "a" / "cache.npy", CPU), cache + 1)
    more = token_cache(model.tokenizer, pictures, 3, tmp_path / "a" / "cache.npy", CPU)  # another number of crops
    assert more.shape == (35, 3, 21) and not np.array_equal(more[:, 0], more[:, 1])
    assert np.array_equal(np.load(tmp_path / "a" / "cache.npy"), more)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["cache.npy"]


def test_validation_weighs_pictures_and_tokens_alike(model: Model, pictures: Pictures) -> None:
    cache = token_cache(model.tokenizer, pictures, 1, None, CPU)
    found = validate(model.transformer.train(), model.tokenizer, pictures, cache)  # 32 pictures, then 3
    flat, labels = torch.from_numpy(cache[:, 0].astype(np.int64)), torch.from_numpy(pictures.labels)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        loss, losses, accuracies = scale_losses(model.transformer.eval(), model.tokenizer, labels, flat, 3)
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-3)
    assert [found[f"loss {side}"] for side in (1, 2, 4)] == pytest.approx(losses.tolist(), rel=1e-3)
    assert [found[f"accuracy {side}"] for side in (1, 2, 4)] == pytest.approx(accuracies.tolist(), abs=1e-2)


def test_reconstruction_is_that_of_each_picture(model: Model, pictures: Pictures) -> None:
    found = reconstruct(model.tokenizer, pictures)
    values: dict[str, list[float]] = {"a": [], "b": []}
    with torch.inference_mode():
        for i in range(35):
            real = pictures.centre(i, model.tokenizer.config.resolution)
            features = model.tokenizer.features(to_model(stack([real]), CPU))
            made = model.tokenizer.decode(model.tokenizer.quantize(features)[1][-1])
            square = ((made[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            values[pictures.kind(i)].append(psnr(square, real))
    assert found["pictures"] == 35 and found["psnr"] == pytest.approx(np.mean(values["a"] + values["b"]), abs=0.011)
    for kind in "ab":
        assert found["by_kind"][kind]["psnr"] == pytest.approx(np.mean(values[kind]), abs=0.011)
        assert found["by_kind"][kind]["pictures"] == len(values[kind])
    cache = token_cache(model.tokenizer, pictures, 1, None, CPU)[:, 0]
    assert found["codes_per_scale"] == {
        "1": len(np.unique(cache[:, 0])), "2": len(np.unique(cache[:, 1:5])), "4": len(np.unique(cache[:, 5:]))
    }  # fmt: skip
    assert found["codes_used"] == pytest.approx(len(np.unique(cache)) / 64, abs=6e-4)
    assert reconstruct(model.tokenizer, pictures, 4)["pictures"] == 4
