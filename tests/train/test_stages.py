"""The stages, by their commands on pictures drawn here: cut runs equal uncut ones, two processes equal one, and what
comes out works in the editor."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from commands import SHARED
from PIL import Image
from shapes import draw, folder

from var_core import Chance, Edit, Engine
from var_core.model.checkpoints import load_model
from var_core.model.superres import SuperResolutionConfig, load_superres
from var_core.model.tiny import TinyDecoder, TinyEncoder
from var_core.pictures.data import stack, to_model
from var_core.train.__main__ import build_parser, main
from var_core.train.parts import compare_parts
from var_core.train.run import load_state, save_state
from var_core.train.superres import edges, softened

COMMON = ["--float32", "--device", "cpu"]
OPTIONS = {
    "tokenizer": ["--sides", "1,2,3,4", "--channels", "8", "--vocab", "32", "--batch", "4", "--cut", "1"],
    "transformer": ["--depth", "2", "--width", "32", "--heads", "2", "--batch", "4"],
    "decoder": ["--batch", "4", "--most", "1"],
    "refiner": ["--batch", "4", "--width", "32"],
    "superres": ["--batch", "4", "--width", "8", "--blocks", "1"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data"), ("disc", "box"), 24)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of every stage."""
    out = tmp_path_factory.mktemp("runs")
    for stage in OPTIONS:
        assert main([*command(stage, data, out), "--out", str(out / stage), "--steps", "3"]) == 0
    return out


def command(stage: str, data: Path, runs: Path) -> list[str]:
    earlier = [] if stage == "tokenizer" else ["--tokenizer", str(runs / "tokenizer")]
    earlier += ["--transformer", str(runs / "transformer")] if stage in ("decoder", "refiner") else []
    return [stage, "--data", str(data), *earlier, *OPTIONS[stage], *COMMON]


def state(path: Path) -> dict:
    found = load_state(path / "state.pt")
    assert found is not None
    return found


@pytest.mark.parametrize("stage", OPTIONS)
def test_a_cut_run_equals_an_uncut_one(stage: str, data: Path, runs: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert main([*command(stage, data, runs), "--out", str(tmp_path), "--steps", "3", "--max-steps", "2"]) == 0
    whole, cut = state(runs / stage), state(tmp_path)
    assert whole["step"] == cut["step"] == 3
    for part in ("trained", "average"):
        assert all(torch.equal(whole[part][name], cut[part][name]) for name in whole[part])
    if stage in ("decoder", "superres"):
        assert whole["ratio"] == cut["ratio"] > 0


@pytest.mark.parametrize("stage", ["tokenizer", "transformer", "decoder", "superres"])
def test_two_processes_equal_one_with_the_same_batch(stage: str, data: Path, runs: Path, tmp_path: Path) -> None:
    """Shares of 2 and 3 pictures; of the decoder's those of one process are all cut short, of the others rebuilt."""
    common = [*command(stage, data, runs), "--steps", "2", "--batch", "5"]
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    done = commands.command(*SHARED, "-m", "var_core.train", *common, "--out", tmp_path / "two", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert [line[:1] for line in done.stdout.splitlines()].count("{") == 1  # figures of the first process only
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    assert one["step"] == two["step"] == 2
    # weights hardly move in a few warm-up steps; the optimizers' mean gradients tell every mistake
    for a, b in zip(moments(one), moments(two), strict=True):
        assert a.norm() > 0 and (a - b).norm() < 2e-3 * a.norm()
    if stage in ("decoder", "superres"):
        assert float(two["ratio"]) == pytest.approx(float(one["ratio"]), rel=1e-3)
        nets = [torch.cat([v.flatten() for v in run["critics"]["nets"].values()]) for run in (one, two)]
        assert (nets[0] - nets[1]).norm() < 1e-3 * nets[0].norm()


def moments(saved: dict) -> list[torch.Tensor]:
    """The mean gradients of every optimizer."""
    states = saved["optimizer"].get("each", [saved["optimizer"]])
    kinds = [next(name for name in ("exp_avg", "momentum_buffer") if name in of["state"][0]) for of in states]
    return [torch.cat([m[k].flatten() for m in of["state"].values()]) for of, k in zip(states, kinds, strict=True)]


def last_row(path: Path) -> dict[str, str]:
    with path.open() as file:
        return list(csv.DictReader(file))[-1]


def test_runs_leave_pictures_and_logs(runs: Path) -> None:
    for stage in ("tokenizer", "decoder"):
        assert (runs / stage / "grid.png").stat().st_size
        assert 0 < float(last_row(runs / stage / "measures.csv")["psnr"]) < 40
    found = last_row(runs / "transformer" / "validation.csv")
    assert 0 < float(found["loss"]) < 10 and 0 < float(found["withheld 4"]) < 10 and "shown 1" in found
    assert float(last_row(runs / "transformer" / "log.csv")["loss"]) > 0


def test_an_export_works_in_the_editor(runs: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "mine.safetensors"
    names = ["--tokenizer", str(runs / "tokenizer"), "--transformer", str(runs / "transformer")]
    assert main(["export", *names, "--out", str(out)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == out.stat().st_size and said["steps"] == 3
    engine = Engine.load(str(out), "cpu")
    assert engine.name == "mine" and engine.class_names == ("box", "disc")
    frames = list(engine.run(Edit(label="disc"), Chance(seed=0)))
    assert len(frames) == 4 and frames[-1].result is not None
    assert frames[-1].result.images[0].size == (32, 32)


def test_a_decoder_run_leaves_the_tokens_alone(data: Path, runs: Path, tmp_path: Path, capsys) -> None:
    before, after = (state(runs / stage)["average"] for stage in ("tokenizer", "decoder"))
    for name, value in before.items():
        assert torch.equal(value, after[name]) == (not name.startswith("decoder.")), name
    mine, sharper = tmp_path / "mine.safetensors", tmp_path / "sharper.safetensors"
    trained = ["--transformer", str(runs / "transformer")]
    assert main(["export", "--tokenizer", str(runs / "tokenizer"), *trained, "--out", str(mine)]) == 0
    place = ["--tokenizer", str(runs / "decoder"), "--transformer", str(mine)]  # a run with a model
    assert main(["export", *place, "--out", str(sharper), "--licence", "CC0"]) == 0
    one, other = (Engine.load(str(path), "cpu") for path in (mine, sharper))
    drawn = [engine.draw(Edit(label=1), Chance(seed=2)) for engine in (one, other)]
    assert all(torch.equal(a, b) for a, b in zip(*(result.passes[0].tokens for result in drawn), strict=True))
    assert drawn[0].images[0].tobytes() != drawn[1].images[0].tobytes()
    assert load_model(sharper).card["licence"] == "CC0" and load_model(mine).card["licence"] == "MIT"
    stranger = tmp_path / "stranger"
    again = [*command("tokenizer", data, runs), "--out", str(stranger), "--steps", "1", "--seed", "5"]
    assert main(again) == 0
    capsys.readouterr()
    for partner in (mine, runs / "transformer"):
        wrong = ["export", "--tokenizer", str(stranger), "--transformer", str(partner), "--out", str(sharper)]
        assert main(wrong) == 1 and "other tokens" in capsys.readouterr().err
    wrong = [*command("transformer", data, tmp_path), "--tokenizer", str(stranger), "--out", str(runs / "transformer")]
    assert main([*wrong, "--steps", "9"]) == 1 and "other tokens" in capsys.readouterr().err


def test_a_refiner_goes_into_the_file(data: Path, runs: Path, model_file: Path, tmp_path: Path, capsys) -> None:
    found, place = last_row(runs / "refiner" / "validation.csv"), tmp_path / "mine.safetensors"
    assert float(found["refined"]) > 0 and float(found["plain 4"]) > 0
    names = ["--tokenizer", str(runs / "tokenizer"), "--transformer", str(runs / "transformer")]
    assert main(["export", *names, "--refiner", str(runs / "refiner"), "--out", str(place)]) == 0
    assert load_model(place).transformer.refiner is not None and Engine.load(str(place)).draw(Edit(label=0), Chance())
    # of a finished model of the other kind, without infill conditioning and with other classes
    names = ["--tokenizer", str(model_file), "--transformer", str(model_file)]
    common = ["refiner", "--data", str(data), *names, *OPTIONS["refiner"], *COMMON, "--out", str(tmp_path / "run")]
    assert main([*common, "--steps", "1"]) == 0
    assert main(["export", *names, "--refiner", str(tmp_path / "run"), "--out", str(place)]) == 0
    refiner = load_model(place).transformer.refiner
    assert refiner is not None and refiner.config.length == 204 and refiner.config.code_dim == 8
    capsys.readouterr()
    assert main(["export", *names, "--refiner", str(runs / "refiner"), "--out", str(place)]) == 1
    assert "another transformer" in capsys.readouterr().err


def test_what_sharpens_is_a_file_of_its_own(runs: Path) -> None:
    net = load_superres(runs / "superres" / "superres.safetensors")
    trained = state(runs / "superres")["average"]
    assert net.config == SuperResolutionConfig(width=8, blocks=1) and trained["out.weight"].abs().max() > 0
    assert torch.equal(net.state_dict()["out.weight"], trained["out.weight"].bfloat16().float())
    assert Image.open(runs / "superres" / "grid.png").size == (6 * 56, 5 * 56)


@pytest.mark.parametrize("times", [1.3, 2.0])
def test_crops_are_made_soft_and_stay_in_place(times: float) -> None:
    """Rebuilt or not, what the network is given is the crop that it is to make."""
    ramp = np.linspace(0, 255, 60).astype(np.uint8)
    picture = np.dstack((np.tile(ramp, (60, 1)), np.tile(ramp[:, None], (1, 60)), np.full((60, 60), 90, np.uint8)))
    soft = softened(picture, times)
    assert soft.shape == picture.shape and np.abs(soft.astype(int) - picture).max() <= 4
    dots = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    sharp = [float(edges(to_model(stack([each]), torch.device("cpu")))) for each in (dots, softened(dots, times))]
    assert sharp[1] < (0.6 if times < 2 else 0.3) * sharp[0]


def test_parts_are_compared_in_a_table(tmp_path: Path) -> None:
    """The commands are those of the stages; the runs themselves are told above."""
    asked: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        asked.append(arguments)
        args = build_parser().parse_args(arguments)
        args.out.mkdir(parents=True)
        figures = "validation.csv" if args.stage == "transformer" else "measures.csv"
        heads = "step,loss,withheld,shown 1" if args.stage == "transformer" else "step,psnr,frechet"
        (args.out / figures).write_text(f"{heads}\n1,9,9,9\n2,{len(asked)},0.5,7\n"[: None if "loss" in heads else -3])
        return len(asked) == 14

    options = {"tokenizer": "--channels 8 --batch 3", "transformer": None}
    table = compare_parts(run, ["--data", "x", "--steps", "2"], options, tmp_path, None)
    assert [len(rows) for rows in table.values()] == [5, 2, 5] and len(asked) == 12
    assert all(line[1:5] == ["--data", "x", "--steps", "2"] for line in asked)
    assert all("--channels" in line for line in asked[:5]) and "--channels" not in asked[6]
    parsed = [build_parser().parse_args(line) for line in asked]
    assert [args.cut for args in parsed[:5]] == [2, 2, 2, 2, 0] and [args.features for args in parsed[2:4]] == [0.1, 0]
    assert [args.pull for args in parsed[5:7]] == [0.5, 0.0] and parsed[
        5
    ].tokenizer == tmp_path / "tokenizer" / "recipe"
    found = [(args.seed, args.corruption, args.muon, args.weighted) for args in parsed[7:]]
    usual = (0, 0.3, True, True)
    assert found == [usual, (1, *usual[1:]), (0, 0.0, True, True), (0, 0.3, False, True), (0, 0.3, True, False)]
    assert "| AdamW for the matrices | 11 | 0.5 |" in (tmp_path / "table.md").read_text()
    assert compare_parts(run, [], {}, tmp_path, ["decoder"])["decoder"] == table["decoder"] and len(asked) == 12
    (tmp_path / "decoder" / "no-critics" / "finished").unlink()
    shutil.rmtree(tmp_path / "decoder")
    with pytest.raises(ValueError, match="no critics"):
        compare_parts(run, ["--data", "x", "--steps", "2"], {}, tmp_path, ["decoder"])


def test_an_older_state_goes_on(data: Path, runs: Path, tmp_path: Path) -> None:
    """One from before transformers wrote down their tokens, with what nobody needs any more."""
    saved = state(runs / "transformer")
    del saved["tokens"]
    save_state(tmp_path / "state.pt", saved | {"held": True, "critics": {}})
    assert main([*command("transformer", data, runs), "--out", str(tmp_path), "--steps", "4"]) == 0
    assert state(tmp_path)["step"] == 4 and "tokens" in state(tmp_path)


def test_published_weights_are_the_start(data: Path, runs: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    parts = {"encoder": TinyEncoder(8, 32, 3, 3), "decoder": TinyDecoder(8, 32, 3, 3)}
    for name, part in parts.items():
        torch.save(part.layers.state_dict(), tmp_path / f"{name}.pth")
    start = ["--start", *(str(tmp_path / f"{name}.pth") for name in parts)]
    out = ["--out", str(tmp_path / "run"), "--steps", "8"]
    assert main([*command("tokenizer", data, runs), *start, *out, "--max-steps", "1"]) == 0
    trained = state(tmp_path / "run")["trained"]
    for name, value in parts["encoder"].state_dict().items():  # held at first
        assert torch.equal(trained[f"encoder.{name}"], value)
    assert main([*command("tokenizer", data, runs), *start, *out, "--max-steps", "2"]) == 0
    assert not torch.equal(
        state(tmp_path / "run")["trained"]["encoder.layers.0.weight"], parts["encoder"].layers[0].weight
    )


def test_a_model_is_the_start_of_a_transformer(data: Path, runs: Path, tmp_path: Path, capsys) -> None:
    mine, out = tmp_path / "mine.safetensors", tmp_path / "run"
    pair = ["--tokenizer", str(runs / "tokenizer"), "--transformer", str(runs / "transformer")]
    assert main(["export", *pair, "--out", str(mine)]) == 0
    further = [*command("transformer", data, runs), "--start", str(mine), "--out", str(out), "--rate", "1e-9"]
    assert main([*further, "--depth", "5", "--steps", "1"]) == 0  # the shape is the start's
    before, after = state(runs / "transformer")["average"], state(out)["trained"]
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0.01, atol=1e-6)
    other = tmp_path / "other"
    again = [*command("tokenizer", data, runs), "--out", str(other), "--steps", "1", "--seed", "5"]
    assert main(again) == 0
    capsys.readouterr()
    wrong = [*further[:-4], "--tokenizer", str(other), "--out", str(tmp_path / "wrong"), "--steps", "1"]
    assert main(wrong) == 1 and "other tokens" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["nothing", "a file", "no pictures", "a broken picture", "no run"])
def test_what_cannot_be_used_is_one_sentence(what: str, data: Path, tmp_path: Path, capsys) -> None:
    path, stage = tmp_path / "data", "tokenizer"
    if what == "a file":
        path.write_text("hello")
    elif what == "no pictures":
        path.mkdir()
    elif what == "a broken picture":
        (path / "train" / "box").mkdir(parents=True)
        (path / "train" / "box" / "1.png").write_bytes(b"no picture")
    elif what == "no run":
        path, stage = data, "transformer"
    assert main([*command(stage, path, tmp_path), "--out", str(tmp_path / "o"), "--steps", "1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_pictures_in_one_folder(tmp_path: Path) -> None:
    """The README's commands end to end, at tiny settings, until what is kept is like the pictures."""
    (tmp_path / "data").mkdir()
    for n in range(60):
        draw(("disc", "box", "ring", "bar")[n % 4], n).save(tmp_path / "data" / f"{n}.png")
    for stage, steps in (("tokenizer", "300"), ("transformer", "40"), ("decoder", "20")):
        common = command(stage, tmp_path / "data", tmp_path)
        assert main([*common, "--out", str(tmp_path / stage), "--steps", steps]) == 0
    assert float(last_row(tmp_path / "tokenizer" / "measures.csv")["psnr"]) > 14
    out = tmp_path / "m.safetensors"
    names = ["--tokenizer", str(tmp_path / "decoder"), "--transformer", str(tmp_path / "transformer")]
    assert main(["export", *names, "--out", str(out)]) == 0
    assert Engine.load(str(out), "cpu").draw(Edit(label="picture"), Chance(seed=0)).patches
