"""Sizes of models: what they are when nothing is said, and how far they may go."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from var_core.model import checkpoints
from var_core.model.checkpoints import load_model
from var_core.model.refiner import RefinerConfig
from var_core.model.scales import Scales
from var_core.model.tokenizer import TokenizerConfig, tiny_config
from var_core.model.transformer import TransformerConfig

SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
BOUNDS: list[tuple[type, str, int, int, dict[str, Any]]] = [  # a size, its least and most, and what goes with them
    (TokenizerConfig, "channels", 1, 4096, {"groups": 1}), (TokenizerConfig, "residual_blocks", 1, 16, {}),
    (TokenizerConfig, "code_dim", 1, 1024, {}), (TokenizerConfig, "vocab_size", 2, 2**20, {}),
    (TokenizerConfig, "refine_count", 1, 32, {}), (TokenizerConfig, "groups", 1, 1024, {"channels": 1024}),
    (TransformerConfig, "depth", 1, 128, {}), (TransformerConfig, "width", 1, 2**14, {"heads": 1}),
    (TransformerConfig, "heads", 1, 256, {"width": 1024}), (TransformerConfig, "mlp_width", 1, 2**16, {}),
    (TransformerConfig, "classes", 1, 10**5, {}), (TransformerConfig, "code_dim", 1, 1024, {}),
    (TransformerConfig, "vocab_size", 2, 2**20, {}),
    (RefinerConfig, "depth", 1, 16, {}), (RefinerConfig, "width", 32, 2**12, {}),
    (RefinerConfig, "hidden", 1, 2**14, {}), (RefinerConfig, "code_dim", 1, 1024, {}),
    (RefinerConfig, "length", 1, 2**14, {}),
]  # fmt: skip


def test_what_is_not_said_is_as_in_the_official_files() -> None:
    """VAR-d16 and its tokenizer; a refiner for it."""
    assert asdict(TokenizerConfig()) == {
        "kind": "var", "sides": SIDES, "channels": 160, "multipliers": (1, 1, 2, 2, 4), "residual_blocks": 2,
        "code_dim": 32, "vocab_size": 4096, "refine_count": 4, "attention": True, "groups": 32,
    }  # fmt: skip
    assert asdict(TransformerConfig()) == {
        "sides": SIDES, "depth": 16, "width": 1024, "heads": 16, "mlp_width": 4096, "classes": 1000, "code_dim": 32,
        "vocab_size": 4096, "shared_modulation": False, "infill": False,
    }  # fmt: skip
    assert asdict(RefinerConfig()) == {"depth": 2, "width": 384, "hidden": 1024, "code_dim": 32, "length": 155}
    assert RefinerConfig().length == sum(side * side for side in SIDES if side <= 8)
    assert TransformerConfig(classes=7).null_label == 7


def test_the_tiny_kind_is_as_published() -> None:
    assert asdict(tiny_config()) == {
        "kind": "tiny", "sides": SIDES, "channels": 64, "multipliers": (1, 1, 1, 1), "residual_blocks": 3,
        "code_dim": 32, "vocab_size": 4096, "refine_count": 4, "attention": False, "groups": 4,
    }  # fmt: skip
    assert asdict(tiny_config((1, 2), 32, 64)) == asdict(tiny_config()) | {
        "sides": (1, 2), "channels": 32, "vocab_size": 64
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "least", "most", "more"), BOUNDS)
def test_both_bounds_of_a_size_are_fine_and_nothing_beyond(
    kind: Any, name: str, least: int, most: int, more: dict[str, Any]
) -> None:
    for value in (least, most):
        assert getattr(kind(**more | {name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValueError, match=f"^{name} must be int of {least} to {most}, got {value}$"):
            kind(**more | {name: value})


@pytest.mark.parametrize(
    ("kind", "name", "most", "more"),
    [
        (TokenizerConfig, "sides", 128, {}), (TransformerConfig, "sides", 128, {}),
        (TokenizerConfig, "multipliers", 64, {"sides": (1, 2)}),
    ],
)  # fmt: skip
def test_sizes_in_a_row(kind: Any, name: str, most: int, more: dict[str, Any]) -> None:
    """Each is checked; there is one at least, and 32 at most."""
    for value in ((1,), (most,), (1, most)):
        assert getattr(kind(**more | {name: value}), name) == value
    for wrong in ((), (0, 1), (1, most + 1), (1, "2"), [1, 2], 1, (1,) * 33):
        with pytest.raises(ValueError, match=f"^{name} must be tuple of 1 to {most}, got "):
            kind(**more | {name: wrong})
    many = tuple(range(1, 33))
    assert TransformerConfig(sides=many).sides == many


@pytest.mark.parametrize("wrong", [{"attention": 1}, {"attention": None}, {"channels": True}, {"channels": 64.0}])
def test_flags_are_flags_and_numbers_whole_ones(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        TokenizerConfig(**wrong)
    assert TokenizerConfig(attention=False).attention is False


def test_sizes_go_together() -> None:
    """Pictures have 2048 pixels a side at most; channels divide into groups, widths into heads."""
    assert TokenizerConfig(sides=(1, 128)).resolution == 2048
    for wrong, words in (
        ({"sides": (1, 65), "multipliers": (1,) * 6}, "pictures of 2080 px are above the limit of 2048"),
        ({"channels": 48}, "48 channels do not divide into 32 groups"),
        ({"kind": "other"}, 'a tokenizer of kind "other" is unknown: expected "var" or "tiny"'),
        ({"sides": (2, 1)}, "positive and strictly increasing"),
    ):
        with pytest.raises(ValueError, match=words):
            TokenizerConfig(**wrong)
    with pytest.raises(ValueError, match="a refiner's width 48 does not divide into heads of 32"):
        RefinerConfig(width=48)
    with pytest.raises(ValueError, match="width 1024 does not divide into 15 heads"):
        TransformerConfig(heads=15)
    with pytest.raises(ValueError, match="positive and strictly increasing"):
        TransformerConfig(sides=(2, 1))


def test_which_convolution_serves_a_scale() -> None:
    """The one whose tick is nearest, the ticks lying evenly. Half a step from both ends; for four a third of one, as
    in the reference, where ten scales are an exception."""
    for count, expected in {
        1: [0] * 14,
        2: [0] * 7 + [1] * 7,  # 1/4, 3/4
        3: [0] * 5 + [1] * 4 + [2] * 5,  # 1/6, 1/2, 5/6
        4: [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3],  # 1/12, 13/36, 23/36, 11/12
        6: [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5],  # 1/12, 3/12 ... 11/12
    }.items():
        assert [Scales(tuple(range(1, 15))).refine_index(k, count) for k in range(14)] == expected, count
    ten = Scales(tuple(range(3, 13)))
    assert [ten.refine_index(k, 4) for k in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert [ten.refine_index(k, 5) for k in range(10)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("value", "fine"),
    [(0, True), (10**6, True), (0.5, True), (-1, False), (10**6 + 1, False), (1e6 + 1, False), (True, False),
     ("4", False), (None, False), ([4.0], False)],
)  # fmt: skip
def test_a_sampling_default_is_a_number_within_reason(
    model_file: Path, value: object, fine: bool, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(model_file.read_bytes())
    with checkpoints.safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["model"])
    described["card"]["sampling"]["guidance"] = value
    save_file(load_file(path), path, metadata={"model": json.dumps(described)})
    if fine:
        assert load_model(path).card["sampling"]["guidance"] == value
    else:
        with pytest.raises(ValueError, match=r'has the sampling default "guidance" of .*, expected a number'):
            load_model(path)
