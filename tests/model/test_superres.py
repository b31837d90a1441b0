"""The network that sharpens: part by part as in one piece, its file, and what the bundled one does to a real photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from var_core.model import superres
from var_core.model.superres import (
    SuperResolution,
    SuperResolutionConfig,
    bundled_superres,
    load_superres,
    save_superres,
)

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


def learned(width: int = 8, blocks: int = 2) -> SuperResolution:
    """Something that changes pictures by all that it may see."""
    torch.manual_seed(0)
    net = SuperResolution(SuperResolutionConfig(width=width, blocks=blocks))
    torch.nn.init.normal_(net.out.weight, std=0.2)
    return net.eval()


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and noise."""
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (height, width, 3)).astype(np.float32), rng.normal(size=(height, width)).astype("f4")


def test_one_that_has_learned_nothing_changes_nothing() -> None:
    picture, noise = scene(31, 41)
    made = SuperResolution(SuperResolutionConfig(width=8, blocks=1)).sharpened(picture, noise, slice(0, 31))
    assert made.shape == picture.shape and np.abs(made - picture).max() < 1e-3
    changed = learned().sharpened(picture, noise, slice(0, 31))
    assert np.abs(changed - picture).mean() > 1
    assert not np.array_equal(learned().sharpened(picture, -noise, slice(0, 31)), changed)


@pytest.mark.parametrize("blocks", [1, 3])
def test_rows_are_the_same_however_many_are_asked_for(blocks: int) -> None:
    net, (picture, noise) = learned(blocks=blocks), scene(173, 37)
    whole = net.sharpened(picture, noise, slice(0, 173))
    for start, stop in ((0, 40), (40, 41), (60, 121), (120, 173), (172, 173)):
        assert np.abs(net.sharpened(picture, noise, slice(start, stop)) - whole[start:stop]).max() < 1e-3
    # and the reach is not merely large enough: beyond it nothing counts, a little within it something does
    far = picture.copy()
    far[: 100 - net.config.reach] += 50
    assert np.array_equal(net.sharpened(far, noise, slice(0, 173))[100:], whole[100:])
    far[100 - net.config.reach // 2] += 50
    assert not np.array_equal(net.sharpened(far, noise, slice(0, 173))[100:], whole[100:])


def test_a_file_brings_the_network_back(tmp_path: Path) -> None:
    net, place = learned(), tmp_path / "deep" / "net.safetensors"
    save_superres(net, place)
    again = load_superres(place)
    assert again.config == net.config and not any(p.requires_grad for p in again.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.bfloat16().float()), name
        assert again.state_dict()[name].dtype == torch.float32


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / "cut.safetensors"
    save_superres(learned(), cut)
    cut.write_bytes(cut.read_bytes()[:-100])
    for place in (cut, model_file):
        with pytest.raises(ValueError, match=f"^{place.name} is damaged, or no super-resolution network: restore it"):
            load_superres(place)
    monkeypatch.setattr(superres, "FILE", tmp_path / "superres.safetensors")
    bundled_superres.cache_clear()
    with pytest.raises(ValueError, match=r"^there is no model file at .*superres\.safetensors$"):
        bundled_superres()


def test_the_bundled_one_sharpens_photographs() -> None:
    photo = cv2.cvtColor(cv2.imread(str(EXAMPLES / "dandelion.jpg")), cv2.COLOR_BGR2RGB)[:400, :400]
    height, width = photo.shape[:2]
    small = cv2.resize(photo, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    made = bundled_superres().sharpened(soft, noise, slice(0, height))

    def edges(picture: np.ndarray) -> float:
        grey = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)
        return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())

    assert edges(soft) * 1.3 < edges(made) < edges(photo), "nearer to the photo's sharpness"
    back = cv2.resize(made, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    assert np.abs(back - small).mean() < 4, "it is the same picture"
