"""The training suite on pictures drawn here: losses fall, cut runs equal uncut ones, an export works in the editor."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import draw, folder

from var_core import Chance, Edit, Engine
from var_core.model.tokenizer import Tokenizer, TokenizerConfig
from var_core.pictures.data import load_pictures
from var_core.train.__main__ import main

SIDES = "1,2,3,4,6,8"
TOKENIZER = ["--sides", SIDES, "--channels", "32", "--multipliers", "1,1,1", "--code-dim", "8", "--vocab", "64"]
TOKENIZER += ["--warmup", "4", "--batch", "4", "--float32", "--device", "cpu"]
TRANSFORMER = ["--depth", "2", "--width", "32", "--heads", "2", "--variants", "2", "--batch", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data"), ("disc", "box"), 40)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of both stages."""
    out = tmp_path_factory.mktemp("runs")
    tokenizer = ["tokenizer", "--data", str(data), "--out", str(out / "tokenizer"), "--steps", "24", *TOKENIZER]
    assert main(tokenizer) == 0
    names = ["--tokenizer", str(out / "tokenizer"), "--out", str(out / "transformer")]
    assert main(["transformer", "--data", str(data), *names, "--steps", "12", *TRANSFORMER]) == 0
    return out


def states(path: Path) -> dict:
    return torch.load(path / "state.pt", weights_only=True)


def test_an_export_works_in_the_editor(runs: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "mine.safetensors"
    names = ["--tokenizer", str(runs / "tokenizer"), "--transformer", str(runs / "transformer")]
    assert main(["export", *names, "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == out.stat().st_size
    engine = Engine.load(str(out), "cpu")
    assert engine.name == "mine" and engine.class_names == ("box", "disc")
    frames = list(engine.run(Edit(label="disc"), Chance(seed=0)))
    assert len(frames) == 6 and frames[-1].result is not None
    assert frames[-1].result.images[0].size == (32, 32)


def test_a_decoder_is_trained_by_itself(data: Path, runs: Path, tmp_path: Path, capsys) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "decoder"
    names = ["--tokenizer", str(runs / "tokenizer"), "--transformer", str(runs / "transformer")]
    assert main(["export", *names, "--out", str(whole)]) == 0
    more = ["tokenizer", "--data", str(data), "--out", str(out), "--steps", "6", "--batch", "4", "--device", "cpu"]
    assert main([*more, "--decoder-of", str(whole), "--small-share", "0"]) == 0
    mine = tmp_path / "mine.safetensors"
    assert main(["export", "--tokenizer", str(out), "--transformer", str(whole), "--out", str(mine)]) == 0
    before, after = (Engine.load(str(path), "cpu") for path in (whole, mine))
    for name, value in before.tokenizer.state_dict().items():
        decodes = name.startswith(("decoder.", "post_quant_conv."))
        assert decodes or torch.equal(value, after.tokenizer.state_dict()[name]), name
    one, other = (engine.draw(Edit(label=1), Chance(seed=2)) for engine in (before, after))
    assert all(torch.equal(a, b) for a, b in zip(one.passes[0].tokens, other.passes[0].tokens, strict=True))
    assert one.images[0].tobytes() != other.images[0].tobytes()
    capsys.readouterr()
    stranger = tmp_path / "stranger"
    assert main(["tokenizer", "--data", str(data), "--out", str(stranger), "--steps", "2", *TOKENIZER]) == 0
    assert main(["export", "--tokenizer", str(stranger), "--transformer", str(whole), "--out", str(mine)]) == 1
    assert "different tokens" in capsys.readouterr().err


def test_runs_leave_pictures_and_a_log(runs: Path) -> None:
    assert (runs / "tokenizer" / "grid.png").stat().st_size and (runs / "transformer" / "samples.png").stat().st_size
    with (runs / "transformer" / "log.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert 0 < float(row["loss"]) < 10 and 0 <= float(row["accuracy 8"]) <= 1


@pytest.mark.parametrize("stage", ["tokenizer", "transformer"])
def test_a_cut_run_equals_an_uncut_one(stage: str, data: Path, runs: Path, tmp_path: Path) -> None:
    options = TOKENIZER if stage == "tokenizer" else ["--tokenizer", str(runs / "tokenizer"), "--float32", *TRANSFORMER]
    common = [stage, "--data", str(data), "--steps", "10", *options]
    assert main([*common, "--out", str(tmp_path / "whole")]) == 0
    for _ in range(3):
        assert main([*common, "--out", str(tmp_path / "cut"), "--max-steps", "4"]) == 0
    whole, cut = states(tmp_path / "whole"), states(tmp_path / "cut")
    assert whole["step"] == cut["step"] == 10
    for part in ("trained", "average"):
        assert all(torch.equal(whole[part][name], cut[part][name]) for name in whole[part])


def with_two_processes(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).parents[2]
    return subprocess.run(
        [*command, "-m", "var_core.train", *arguments], cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("stage", ["tokenizer", "transformer"])
def test_two_processes_equal_one_with_the_same_batch(stage: str, data: Path, runs: Path, tmp_path: Path) -> None:
    """Shares of 3 and 2 pictures; the tokenizer run crosses the start of the codebook."""
    options = TOKENIZER
    if stage == "transformer":
        options = ["--tokenizer", str(runs / "tokenizer"), "--float32", *TRANSFORMER, "--drop-path", "0"]
    common = [stage, "--data", str(data), "--steps", "6", *options, "--batch", "5"]
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    done = with_two_processes([*common, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert [line[:1] for line in done.stdout.splitlines()].count("{") == 1  # figures of the first process only
    one, two = states(tmp_path / "one"), states(tmp_path / "two")
    assert one["step"] == two["step"] == 6
    # the weights hardly move in a few warm-up steps; the optimizer's mean gradients tell every mistake
    means = [torch.cat([m["exp_avg"].flatten() for m in run["optimizer"]["state"].values()]) for run in (one, two)]
    assert means[0].norm() > 0 and (means[0] - means[1]).norm() < 1e-3 * means[0].norm()
    if stage == "tokenizer":
        assert one["used"].sum() > 0 and torch.equal(one["used"].sum(), two["used"].sum())


def test_the_loss_falls(data: Path, tmp_path: Path) -> None:
    pictures = load_pictures(data, "train", 32)
    assert len(pictures) + len(load_pictures(data, "val", 32)) == 40
    out = tmp_path / "run"
    common = ["tokenizer", "--data", str(data), "--out", str(out), "--steps", "120", *TOKENIZER]
    assert main([*common, "--max-steps", "1"]) == 0
    image = torch.from_numpy(pictures.batch(np.random.default_rng(0), 8, 32)[0]).float() / 127.5 - 1

    def error() -> float:
        tokenizer = Tokenizer(TokenizerConfig(sides=(1, 2, 3, 4, 6, 8), channels=32, multipliers=(1, 1, 1),
                              residual_blocks=1, groups=8, code_dim=8, vocab_size=64))  # fmt: skip
        tokenizer.load_state_dict(states(out)["trained"])
        with torch.inference_mode():
            return (
                (tokenizer.decode(tokenizer.quantize(tokenizer.features(image))[1][-1]) - image).square().mean().item()
            )

    first = error()
    assert main([*common, "--max-steps", "99"]) == 0
    assert error() < first / 2


@pytest.mark.parametrize("what", ["nothing", "a file", "no classes", "a broken picture"])
def test_unusable_data_is_one_sentence(what: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "data"
    if what == "a file":
        path.write_text("hello")
    elif what == "no classes":
        path.mkdir()
        draw("box", 1).save(path / "1.png")
    elif what == "a broken picture":
        (path / "train" / "box").mkdir(parents=True)
        (path / "train" / "box" / "1.png").write_bytes(b"no picture")
    assert main(["tokenizer", "--data", str(path), "--out", str(tmp_path / "o"), "--steps", "1", *TOKENIZER]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_two_hundred_pictures_in_four_classes(tmp_path: Path) -> None:
    """The README's commands end to end, at tiny settings."""
    data = folder(tmp_path / "data", ("disc", "box", "ring", "bar"), 200)
    runs = ["--tokenizer", str(tmp_path / "t")]
    assert main(["tokenizer", "--data", str(data), "--out", str(tmp_path / "t"), "--minutes", "2", *TOKENIZER]) == 0
    common = ["transformer", "--data", str(data), "--out", str(tmp_path / "v"), "--minutes", "1", *runs, *TRANSFORMER]
    assert main(common) == 0
    out = tmp_path / "m.safetensors"
    assert main(["export", *runs, "--transformer", str(tmp_path / "v"), "--out", str(out)]) == 0
    assert Engine.load(str(out), "cpu").draw(Edit(label="ring"), Chance(seed=0)).patches
