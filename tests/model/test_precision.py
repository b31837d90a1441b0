"""Number format and layout: what the processor is decides, and the engine can say what was chosen."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from conftest import build_model

from var_core import Engine
from var_core.model import precision

CPU = torch.device("cpu")
PROCESSORS = {
    "Xeon with AMX": ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, torch.bfloat16),
    "EPYC": ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC 9R14"}, torch.bfloat16),
    "Xeon without AMX": ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, torch.float32),
    "without bfloat16": ({"avx2": True, "cpu_name": "AMD Ryzen"}, torch.float32),
    "of another kind": ({"neon": True, "architecture": "aarch64"}, torch.float32),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_features_choose_the_number_format(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, wanted = PROCESSORS[name]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert precision.best_dtype(200_000_000, CPU) == wanted
    assert precision.best_dtype(199_000_000, CPU) == torch.float32, "a small model gains nothing"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert precision.best_dtype(10**9, CPU) == torch.float32


def test_a_graphics_card_without_bfloat16_is_not_made_to_imitate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for real in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, r=real: r or including_emulation
        )
        wanted = torch.bfloat16 if real else torch.float32
        assert precision.best_dtype(10**9, torch.device("cuda")) == wanted


def test_no_clock_is_asked(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> float:
        raise AssertionError("loading a model looked at the clock")

    for name in ("perf_counter", "monotonic", "process_time", "time"):
        monkeypatch.setattr(time, name, asked)
    assert Engine.load(str(model_file), "cpu").precision == "float32, packed"


def test_the_engine_says_what_it_computes_in(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Engine(build_model()).precision == "float32"
    assert Engine.load(str(model_file), "cpu").precision == "float32, packed"
    monkeypatch.setattr("var_core.editing.preview._LARGE", 1)
    found = Engine.load(str(model_file), "cpu", torch.bfloat16).precision
    assert found == "bfloat16, channels last, packed"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert Engine.load(str(model_file), "cpu").precision == "float32"
