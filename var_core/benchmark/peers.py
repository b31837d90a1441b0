"""What people would use instead at 256 px: a diffusion transformer, and a raster-order autoregressive one.

Public configurations with random weights, one picture, guidance in two rows. Only the transformers' own time counts:
no text, no schedule, no decoding of latents or tokens to pixels. A few steps are timed after a warm-up and the total
is extrapolated from them; VAR-d16 beside them is timed whole. The libraries are in requirements-dev.txt.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from .measure import measure

# DiT-XL/2 as published for ImageNet at 256 px, with learned sigma
DIT_XL_2 = {
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "sample_size": 32,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "activation_fn": "gelu-approximate",
}
# width, depth and heads of VAR-d16 over the codes of a 16 x 16 grid after one class token
RASTER = {"n_embd": 1024, "n_layer": 16, "n_head": 16, "vocab_size": 16384, "n_positions": 257}
TOKENS = 256


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is not installed: pip install -r requirements-dev.txt") from error


def _ready(model: torch.nn.Module, dtype: torch.dtype) -> Any:
    return torch.nn.Module.to(model.eval(), dtype)  # diffusers' own `to` warns of layers that this model has not


def _median_seconds(step: Callable[[], object], runs: int) -> float:
    step()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _described(name: str, library: Any, model: Any, dtype: torch.dtype) -> dict:
    return {
        "model": name,
        "library": f"{library.__name__} {library.__version__}",
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": "random",
        "dtype": str(dtype).removeprefix("torch."),
        "rows": 2,
        "extrapolated": True,
    }


@torch.inference_mode()
def diffusion(dtype: torch.dtype, runs: int, steps: tuple[int, ...] = (50, 250), sizes: dict = DIT_XL_2) -> list[dict]:
    """DiT with classifier-free guidance, one entry per number of steps. All steps cost the same."""
    library = _library("diffusers")
    model = _ready(library.DiTTransformer2DModel(**sizes), dtype)
    side, classes = sizes["sample_size"], sizes["num_embeds_ada_norm"]
    latents = torch.randn(2, sizes["in_channels"], side, side, dtype=dtype)
    when, labels = torch.full((2,), 500), torch.tensor([0, classes])
    a_step = _median_seconds(lambda: model(latents, timestep=when, class_labels=labels), runs)
    described = _described("DiT-XL/2", library, model, dtype)
    return [
        {**described, "steps": n, "steps_measured": runs, "seconds_per_step": a_step, "seconds": n * a_step}
        for n in steps
    ]


@torch.inference_mode()
def raster(dtype: torch.dtype, runs: int, parts: int = 8, sizes: dict = RASTER) -> dict:
    """GPT-2 drawing one token a step through its cache. Steps are timed in the middle of `parts` equal stretches of
    the 256, since they grow dearer with what the cache holds."""
    library = _library("transformers")
    model = _ready(library.GPT2LMHeadModel(library.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)), dtype)
    stretch = TOKENS // parts
    runs = min(runs, stretch // 2 - 1)  # every step lengthens the cache
    token, lengths = torch.zeros(2, 1, dtype=torch.long), [stretch * i + stretch // 2 for i in range(parts)]
    seconds = []
    for length in lengths:
        past = model(token.expand(-1, length), use_cache=True, logits_to_keep=1).past_key_values
        seconds.append(
            _median_seconds(
                lambda past=past: model(token, past_key_values=past, use_cache=True, logits_to_keep=1), runs
            )
        )
    total = stretch * sum(seconds)
    return {
        **_described("raster transformer of VAR-d16's size (GPT-2)", library, model, dtype),
        "steps": TOKENS,
        "steps_measured": runs * parts,
        "seconds_per_step": total / TOKENS,
        "seconds_per_step_by_length": dict(zip(lengths, seconds, strict=True)),
        "seconds": total,
    }


def compare(dtype: torch.dtype, runs: int) -> dict:
    """VAR-d16 and its peers in one process, as the JSON document."""
    for name in ("diffusers", "transformers"):  # before a minute of work
        _library(name)
    ours = measure("var-d16", "generate", dtype, runs)
    own = round(ours["parts"]["transformer"] + ours["parts"]["head_and_sampling"], 4)
    peers = [*diffusion(dtype, runs), raster(dtype, runs)]
    for peer in peers:
        peer["times_var_d16"] = round(peer["seconds"] / own, 2)
    return {
        "pixels": 256,
        "batch": 1,
        "threads": torch.get_num_threads(),
        "counted": "the transformers' own time, without decoding to pixels; totals of the peers are extrapolated "
        "from the measured steps",
        "var_d16_transformer_seconds": own,  # with its head and its draws
        "peers": peers,
        "var_d16": ours,
    }
