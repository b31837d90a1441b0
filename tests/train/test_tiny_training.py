"""Training of the tiny tokenizer: its quantizer passes gradients, codes start near the data, cut runs go on exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from shapes import folder

from var_core.model.tokenizer import tiny_config
from var_core.pictures.data import load_pictures
from var_core.train.run import Length, load_state
from var_core.train.tiny import TinyTraining, kmeans, quantize_through, start_codes, start_tokenizer, train_tiny

SIDES = (1, 2, 3, 4)
CONFIG = tiny_config(SIDES, channels=8, vocab_size=16)


def test_kmeans_finds_groups() -> None:
    rng = np.random.default_rng(0)
    groups = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    vectors = groups.repeat_interleave(50, 0) + torch.randn(150, 2) * 0.1
    centres = kmeans(vectors, 6, 10, rng)
    assert float(torch.cdist(vectors, centres).min(1).values.max()) < 1


def test_the_canvas_passes_gradients_and_ends_where_a_picture_is_cut() -> None:
    torch.manual_seed(0)
    tokenizer = start_tokenizer(CONFIG, None)
    features = torch.randn(2, 32, 4, 4, requires_grad=True)
    start_codes(tokenizer, features.detach(), np.random.default_rng(0))
    canvas, distances, tokens, residuals = quantize_through(tokenizer, features, torch.tensor([2, 4]))
    canvases = tokenizer.quantize(features.detach())[1]
    assert torch.allclose(canvas[0], canvases[1][0], atol=1e-5)
    assert torch.allclose(canvas[1], canvases[3][1], atol=1e-5)
    assert [len(part[0]) for part in tokens] == [1, 4, 9, 16] and residuals[1].shape == (2, 4, 32)
    (canvas.sum() + distances.sum()).backward()
    assert features.grad is not None and tokenizer.codebook.weight.grad is not None
    assert tokenizer.refine[0].weight.grad is not None


def test_a_cut_run_equals_an_uncut_one(tmp_path: Path) -> None:
    place = folder(tmp_path / "data", ("disc", "box"), 24)
    train, val = (load_pictures(place, split, 32) for split in ("train", "val"))
    choices = TinyTraining(
        batch=3, cut=1, start_pictures=16, restart_every=2, encoder_from=0.25, critics_from=0.5, log_every=2
    )

    def run(out: str, piece: int | None) -> dict:
        length = Length(steps=4, max_steps=piece)
        figures = train_tiny(CONFIG, choices, [train], val, tmp_path / out, length=length, bfloat16=False)
        assert 0 < figures["codes"] <= 1 and figures["psnr"] > 0 and (tmp_path / out / "grid.png").exists()
        return load_state(tmp_path / out / "state.pt") or {}

    whole = run("whole", None)
    run("cut", 2)
    cut = run("cut", 2)
    for name, value in whole["trained"].items():
        assert torch.equal(value, cut["trained"][name]), name
    assert whole["ratio"] == cut["ratio"] > 0 and whole["held"]


def test_tokens_are_held_while_critics_pull(tmp_path: Path) -> None:
    place = folder(tmp_path / "data", ("disc", "box"), 24)
    train, val = (load_pictures(place, split, 32) for split in ("train", "val"))
    choices = TinyTraining(batch=3, cut=1, start_pictures=16, encoder_from=0.0, critics_from=0.5)
    states = []
    for piece in (3, 3):
        length = Length(steps=6, max_steps=piece)
        train_tiny(CONFIG, choices, [train], val, tmp_path / "run", length=length, bfloat16=False)
        states.append(load_state(tmp_path / "run" / "state.pt") or {})
    before, after = (state["average"] for state in states)
    assert not states[0]["held"] and states[1]["held"]
    for name, value in before.items():
        assert torch.equal(value, after[name]) == (not name.startswith("decoder.")), name
