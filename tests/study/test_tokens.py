"""Tokens are the tokenizer's, and a cache made in pieces is the one made at once."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shapes import folder
from study_small import KINDS, model_at

from var_core.model.registry import open_model
from var_core.pictures.data import to_model
from var_core.study.__main__ import main
from var_core.study.tokens import Cache, canvas_of, doubling, gather, make_tokens, open_tokens


def test_validation_tokens_are_those_of_centre_squares(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", KINDS, 24)
    file = model_at(tmp_path / "m.safetensors")
    assert make_tokens(file, [str(data)], tmp_path / "t", crops=2)
    made, tokenizer = open_tokens(tmp_path / "t"), open_model(str(file)).tokenizer
    val = gather([str(data)], "val", 32)
    square = np.ascontiguousarray(val.centre(1, 32).transpose(2, 0, 1)[None])
    with torch.no_grad():
        true = torch.cat(tokenizer.encode(to_model(square, torch.device("cpu"))), 1)
    some = made.val.batch("ten", np.array([1]), np.array([0]), torch.device("cpu"))
    assert torch.equal(some.content, true) and int(some.labels[0]) == val.labels[1]
    assert len(np.unique(made.train.content["ten"])) > 8, "one token says nothing"
    assert not np.array_equal(made.train.content["ten"][:, 0], made.train.content["ten"][:, 1])


def test_the_alphabets_describe_the_same_features(tokens: Cache) -> None:
    def some(kind: str) -> torch.Tensor:
        content = tokens.val.batch(kind, np.arange(4), np.zeros(4, int), torch.device("cpu")).content
        return canvas_of(tokens.words, kind, content)

    true = some("features")
    assert tokens.words.five.scales.sides == (1, 2, 4)
    for kind in ("ten", "five"):
        tokenizer = tokens.words.ten if kind == "ten" else tokens.words.five
        assert torch.allclose(some(kind), tokenizer.quantize(true)[1][-1], atol=0.2), kind
    near = torch.cdist(true.flatten(2).transpose(1, 2), tokens.words.flat[None]).min(-1).values
    assert torch.allclose((some("flat") - true).norm(dim=1).flatten(1), near, atol=1e-2)


def test_a_cache_made_in_pieces_is_the_one_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("var_core.study.tokens._CHUNK", 5)
    data, file = folder(tmp_path / "data", KINDS, 24), model_at(tmp_path / "m.safetensors")
    assert make_tokens(file, [str(data)], tmp_path / "whole", crops=2)
    ticks = iter(range(10**6))
    monkeypatch.setattr("var_core.study.tokens.time.monotonic", lambda: float(next(ticks)))
    pieces = 0
    while not make_tokens(file, [str(data)], tmp_path / "cut", crops=2, max_minutes=3 / 60):
        pieces += 1
        if pieces == 1:
            with pytest.raises(ValueError, match="no whole tokens"):
                open_tokens(tmp_path / "cut")
    assert pieces > 2
    for array in sorted((tmp_path / "whole").glob("*.npy")):
        assert np.array_equal(np.load(array), np.load(tmp_path / "cut" / array.name)), array.name
    assert torch.equal(open_tokens(tmp_path / "whole").words.flat, open_tokens(tmp_path / "cut").words.flat)
    with pytest.raises(ValueError, match="another tokenizer, other pictures or crops"):
        make_tokens(file, [str(data)], tmp_path / "cut", crops=3)


def test_scales_double_or_are_refused() -> None:
    assert doubling(16) == (1, 2, 4, 8, 16)
    with pytest.raises(ValueError, match="do not end at a side of 12"):
        doubling(12)


def test_from_the_command_line_to_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file = folder(tmp_path / "data", KINDS, 24), model_at(tmp_path / "m.safetensors")
    out = ["--out", str(tmp_path / "study")]
    assert main(["tokens", "--tokenizer", str(file), "--data", str(data), *out]) == 0
    assert main(["peers", "train", "five", "--depth", "1", "--flop", "1e7", "--rate", "1e-3", *out]) == 0
    assert main(["peers", "sample", "five", "--guidance", "1", "--count", "3", *out]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[0]["whole"] and said[1]["whole"]
    assert Image.open(said[2]["pictures"][0]).size == (3 * 34, 34)
    with (tmp_path / "study" / "csv" / "members.csv").open() as file_:
        assert next(csv.DictReader(file_))["depth"] == "1"
    assert main(["tokens", "--tokenizer", str(file), "--data", str(data), "--crops", "3", *out]) == 1
    assert "another tokenizer, other pictures or crops" in capsys.readouterr().err
