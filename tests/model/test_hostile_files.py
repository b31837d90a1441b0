"""Files that lie, are damaged or were made to hurt: one sentence each, before anything is built or memory is taken."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import build_model
from reference import GOLDEN, Case
from safetensors.torch import load_file, save_file

from var_core.model import checkpoints, official
from var_core.model.checkpoints import load_model, save_model
from var_core.model.official import load_official
from var_core.model.tokenizer import TokenizerConfig
from var_core.model.transformer import TransformerConfig

Change = Callable[[dict[str, Any]], Any]


def set_size(part: str, name: str, value: object) -> Change:
    return lambda described: described[part].update({name: value})


DESCRIPTIONS: dict[str, Change] = {
    "heads 0": set_size("transformer", "heads", 0),
    "groups 0": set_size("tokenizer", "groups", 0),
    "groups that do not divide": set_size("tokenizer", "groups", 5),
    "depth 10^5": set_size("transformer", "depth", 10**5),
    "depth 100, which could be": set_size("transformer", "depth", 100),
    "classes 10^9": set_size("transformer", "classes", 10**9),
    "a negative width": set_size("transformer", "width", -32),
    "text": set_size("transformer", "vocab_size", "64"),
    "a fraction": set_size("tokenizer", "channels", 32.0),
    "a flag of text": set_size("tokenizer", "attention", "no"),
    "true for one": set_size("tokenizer", "code_dim", [8]),
    "sides that do not grow": set_size("tokenizer", "sides", [1, 2, 2]),
    "one side": set_size("tokenizer", "sides", 5),
    "no sides": set_size("transformer", "sides", []),
    "a side of 10^6": set_size("transformer", "sides", [1, 10**6]),
    "nested sides": set_size("transformer", "sides", [[1], [2]]),
    "huge pictures": set_size("tokenizer", "multipliers", [1] * 12),
    "another codebook": lambda described: (
        described["tokenizer"].update(vocab_size=128), described["transformer"].update(vocab_size=128)),
    "another width of the middle": set_size("transformer", "mlp_width", 65),
    "a size left out": lambda described: described["transformer"].pop("heads"),
    "an unknown size": set_size("transformer", "colour", 3),
    "sizes that are a list": lambda described: described.update(tokenizer=["sides"]),
    "a card that is a list": lambda described: described.update(card=["MIT"]),
    "sampling that is a list": lambda described: described["card"].update(sampling=[4.0]),
    "guidance of text": lambda described: described["card"]["sampling"].update(guidance="4"),
    "guidance that is no number": lambda described: described["card"]["sampling"].update(guidance=float("nan")),
    "classes as one text": lambda described: described.update(class_names="abc"),
    "classes as numbers": lambda described: described.update(class_names=[1, 2, 3]),
    "a class too few": lambda described: described["class_names"].pop(),
    "a name of numbers": lambda described: described.update(name=5),
    "another format": lambda described: described.update(format=["var-editor/1"]),
}  # fmt: skip
TEXTS = {
    "nested 10^5 deep": "[" * 10**5 + "]" * 10**5,
    "a number of 5000 digits": "1" * 5000,
    "a list": "[]",
    "nothing": "",
    "null": "null",
}


def refused(load: Callable[[], object], *names: str) -> str:
    with pytest.raises(ValueError) as error:
        load()
    text = str(error.value)
    assert "\n" not in text and len(text) < 300 and any(name in text for name in names), text
    return text


@pytest.fixture
def ours(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor], dict]:
    path = tmp_path / "odd.safetensors"
    save_model(build_model(), path)
    with checkpoints.safe_open(path, "pt") as file:
        return path, load_file(path), json.loads(file.metadata()["model"])


def forbid(monkeypatch: pytest.MonkeyPatch, module: object, *names: str) -> None:
    def built(*_: object) -> None:
        raise AssertionError("something was built")

    for name in names:
        monkeypatch.setattr(module, name, built)


@pytest.mark.parametrize("change", DESCRIPTIONS)
def test_a_description_that_lies(ours, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tensors, described = ours
    DESCRIPTIONS[change](described)
    save_file(tensors, path, metadata={"model": json.dumps(described)})
    forbid(monkeypatch, checkpoints, "Tokenizer", "Transformer", "fill")
    refused(lambda: load_model(path), "odd.safetensors")


@pytest.mark.parametrize("text", TEXTS)
def test_a_description_that_is_none(ours, text: str) -> None:
    path, tensors, _ = ours
    save_file(tensors, path, metadata={"model": TEXTS[text]})
    assert "does not describe a model" in refused(lambda: load_model(path), "odd.safetensors")


@pytest.mark.parametrize("name", ["transformer.head.weight", "tokenizer.codebook.weight", "transformer.pos_embed"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(ours, name: str, value: float) -> None:
    path, tensors, described = ours
    tensors[name].view(-1)[7] = value
    save_file(tensors, path, metadata={"model": json.dumps(described)})
    assert name.split(".", 1)[1] in refused(lambda: load_model(path, torch.bfloat16), "odd.safetensors")


def test_entries_that_do_not_belong(ours) -> None:
    path, tensors, described = ours
    strange = "transformer.blocks.\n" + "9" * 5000
    save_file(tensors | {strange: torch.zeros(1)}, path, metadata={"model": json.dumps(described)})
    refused(lambda: load_model(path), "odd.safetensors")
    for name in ("tokenizer.encoder.conv_in.weight", "transformer.word_embed.weight"):
        for other in (torch.zeros(()), torch.zeros(0, 0, 0, 0)):
            save_file(tensors | {name: other}, path, metadata={"model": json.dumps(described)})
            refused(lambda: load_model(path), "odd.safetensors")


def test_a_pointer_of_git_lfs_is_called_what_it_is(official_files, tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 23906012\n"
    ours, theirs = tmp_path / "m.safetensors", tmp_path / "var.pth"
    for path in (ours, theirs):
        path.write_text(pointer)
    assert "git lfs pull" in refused(lambda: load_model(ours), "m.safetensors")
    assert "git lfs pull" in refused(lambda: load_official(official_files[0], theirs), "var.pth")


@pytest.fixture
def official_files(tmp_path: Path) -> tuple[Path, Path]:
    return Case("tiny", GOLDEN).write_official(tmp_path)


def test_a_zip_that_unpacks_to_more_than_it_holds(official_files, tmp_path: Path, monkeypatch) -> None:
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}, 2))
        archive.writestr("bomb/data/0", bytes(2**26))
    forbid(monkeypatch, official.torch, "load")
    assert "67 MB" in refused(lambda: load_official(bomb, official_files[1]), "bomb.pth")


def save_legacy(state: object) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_broken_pickles(official_files, tmp_path: Path, zipped: bool) -> None:
    state = torch.load(official_files[1], weights_only=True)
    whole = official_files[1].read_bytes() if zipped else save_legacy(state)
    rng, broken = random.Random(0), tmp_path / "broken.pth"
    seen = 0
    for _ in range(60):
        data = bytearray(whole[: rng.choice([len(whole), rng.randrange(1, len(whole))])])
        for _ in range(3):
            data[rng.randrange(min(3000, len(data)))] = rng.randrange(256)
        broken.write_bytes(data)
        try:
            load_official(official_files[0], broken)
        except ValueError as error:
            assert "\n" not in str(error) and "broken.pth" in str(error), str(error)
            seen += 1
    assert seen > 30


def stretched(state: dict) -> dict:
    return state | {"lvl_1L": torch.zeros(1, dtype=torch.long).expand(10**9)}


OFFICIAL: dict[str, Callable[[dict], Any]] = {
    "integer keys": lambda state: {1: torch.zeros(2), 2: {3: torch.zeros(1)}},
    "integer keys beside its own": lambda state: state | {7: torch.zeros(2)},
    "a list": lambda state: [1, 2],
    "nothing": lambda state: {},
    "nested": lambda state: {"trainer": {"trainer": {"trainer": {"trainer": {"trainer": state}}}}},
    "numbers it does not hold": stretched,
    "scales beyond counting": lambda state: state | {"lvl_1L": torch.tensor([[0, 2**40]])},
    "negative scales": lambda state: state | {"lvl_1L": torch.tensor([[-1, 0]])},
    "no scales": lambda state: state | {"lvl_1L": torch.zeros(1, 0)},
    "a scale of two tokens": lambda state: state | {"lvl_1L": torch.tensor([[0, 0]])},
    "a block of a high number": lambda state: state | {"blocks.5000.attn.q_bias": torch.zeros(64)},
    "a flat matrix": lambda state: state | {"word_embed.weight": torch.zeros(3)},
    "a scalar": lambda state: state | {"class_emb.weight": torch.zeros(())},
    "no numbers": lambda state: state | {"head.bias": torch.full_like(state["head.bias"], float("nan"))},
    "a sparse matrix": lambda state: state | {"head.bias": state["head.bias"].to_sparse()},
    "a matrix without memory": lambda state: state | {"head.bias": torch.empty(10, device="meta")},
    "text": lambda state: state | {"head.bias": "zero"},
}


@pytest.mark.parametrize("change", OFFICIAL)
def test_official_files_that_lie(official_files, tmp_path: Path, change: str) -> None:
    path = tmp_path / "var_odd.pth"
    torch.save(OFFICIAL[change](torch.load(official_files[1], weights_only=True)), path)
    refused(lambda: load_official(official_files[0], path), "var_odd.pth")


@pytest.mark.parametrize(
    ("name", "shape"), [("encoder.conv_in.weight", (0, 3, 3, 3)), ("quantize.embedding.weight", (4,))]
)
def test_official_tokenizers_that_lie(official_files, tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / "vae_odd.pth"
    torch.save(torch.load(official_files[0], weights_only=True) | {name: torch.zeros(shape)}, path)
    refused(lambda: load_official(path, official_files[1]), "vae_odd.pth")


def test_sizes_are_checked_where_they_are_written_down() -> None:
    for wrong in ({"heads": 0}, {"heads": 3}, {"depth": 0}, {"sides": [1, 2]}, {"shared_modulation": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TransformerConfig(**wrong)  # type: ignore[arg-type]
    for wrong in ({"groups": 0}, {"groups": 33}, {"multipliers": ()}, {"multipliers": (1, 0)}, {"vocab_size": 2**21}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TokenizerConfig(**wrong)  # type: ignore[arg-type]
    assert TransformerConfig(sides=(1, 128)).sides[-1] == 128 and TransformerConfig(width=2**14).width == 2**14
    for wrong in ({"sides": (1, 129)}, {"width": 2**14 + 16}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            TransformerConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit of 2048"):
        TokenizerConfig(multipliers=(1,) * 9)
