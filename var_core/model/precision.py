"""Which number format and memory layout pay on this machine, measured in a blink instead of guessed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .winograd import WinogradConv

_LARGE = 200e6  # bytes of weight files; below it the conversions cost what the products save
_PAYS = 1.3  # how much faster bfloat16 must be before it is taken: near ties never change a picture's bytes


def best_dtype(size: int, device: torch.device) -> torch.dtype:
    """bfloat16 for a large model (`size` bytes on disk) where it multiplies clearly faster here, else float32."""
    if size < _LARGE:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if bfloat16_gain() >= _PAYS else torch.float32


def _seconds(work: Callable[[], object]) -> float:
    """Best of five, after one that does not count."""
    times = []
    for _ in range(6):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:])


@lru_cache(maxsize=1)
@torch.inference_mode()
def bfloat16_gain() -> float:
    """How many times faster a bfloat16 matrix product is than a float32 one on this machine's CPU."""
    a, b = torch.randn(256, 1024), torch.randn(1024, 1024)
    half_a, half_b = a.bfloat16(), b.bfloat16()
    return _seconds(lambda: a @ b) / _seconds(lambda: half_a @ half_b)


@lru_cache(maxsize=2)
@torch.inference_mode()
def channels_last_pays(dtype: torch.dtype) -> bool:
    """Whether a convolution between two norms is faster with channels last on this machine's CPU."""
    picture, weight = torch.randn(1, 160, 48, 48, dtype=dtype), torch.randn(160, 160, 3, 3, dtype=dtype)

    def seconds(layout: torch.memory_format) -> float:
        x, w = picture.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
        return _seconds(lambda: F.conv2d(F.silu(F.group_norm(x, 32)), w, padding=1))

    return seconds(torch.contiguous_format) > 1.02 * seconds(torch.channels_last)


@lru_cache(maxsize=1)
@torch.inference_mode()
def winograd_pays() -> bool:
    """Whether `WinogradConv` beats a direct float32 convolution on this machine's CPU."""
    layer = nn.Conv2d(160, 160, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    picture = torch.randn(1, 160, 64, 64).contiguous(memory_format=torch.channels_last)
    fast = WinogradConv(layer)
    return _seconds(lambda: layer(picture)) > 1.1 * _seconds(lambda: fast(picture))


def linear(layer: nn.Linear, x: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """(..., in) -> (..., out): the layer's product plus `bias`, then GELU (its tanh form) if asked for."""
    if layer.weight.is_mkldnn:
        activation = ("gelu", [], "tanh") if gelu else ("none", [], "")
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, bias, *activation)
    out = F.linear(x, layer.weight, bias)
    return F.gelu(out, approximate="tanh") if gelu else out


def pack(layer: nn.Linear) -> None:
    """Keep the weight in the order in which oneDNN multiplies, instead of reordering it in every call. For inference
    on the CPU through `linear`; the layer's weight is no parameter any more: it is neither saved nor converted."""
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = torch.ops.mkldnn._reorder_linear_weight(weight)  # type: ignore[assignment]


@lru_cache(maxsize=2)
@torch.inference_mode()
def packing_pays(dtype: torch.dtype) -> bool:
    """Whether packed weights multiply no slower on this machine's CPU (they usually are a fifth faster)."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    plain, packed = nn.Linear(512, 2048).to(dtype), nn.Linear(512, 2048).to(dtype)
    pack(packed)
    x = torch.randn(64, 512, dtype=dtype)
    return _seconds(lambda: linear(packed, x, packed.bias)) < 1.1 * _seconds(lambda: linear(plain, x, plain.bias))
