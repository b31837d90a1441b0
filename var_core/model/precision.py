"""Which number format and memory layout pay here: the processor's features decide, never a stopwatch, so that the same
request gives the same bytes in every process."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LARGE = 200e6  # bytes of weight files; below it the conversions cost what the products save


def describe(matrix: Tensor, kernel: Tensor) -> str:
    """What a model computes in, for a recipe: bytes agree where this and the machine do. One of its large matrices, one
    of its 3x3 kernels, as they are now; packed: in the order in which oneDNN multiplies."""
    words = [str(matrix.dtype).removeprefix("torch.")]
    words += ["channels last"] * kernel.is_contiguous(memory_format=torch.channels_last)
    return ", ".join(words + ["packed"] * matrix.is_mkldnn)


def best_dtype(size: int, device: torch.device) -> torch.dtype:
    """bfloat16 for a large model (`size` bytes on disk) where the device is made for it, else float32."""
    return torch.bfloat16 if size >= _LARGE and fast_bfloat16(device) else torch.float32


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 multiplies clearly faster than float32: GPUs that have it, CPUs with AMX, and AMD's with
    AVX-512 BF16, where it is twice as fast; Intel's without AMX are half as fast in it as in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    has = torch.cpu.get_capabilities()
    return bool(has.get("amx_bf16") or (has.get("avx512_bf16") and "Intel" not in str(has.get("cpu_name"))))


def prefers_channels_last(device: torch.device) -> bool:
    """Whether convolutions are faster with channels last: cuDNN's and oneDNN's are, by a fifth to two thirds."""
    return device.type == "cuda" or (device.type == "cpu" and torch.backends.mkldnn.is_available())


def packs(dtype: torch.dtype) -> bool:
    """Whether this machine's CPU can multiply by packed weights; where it can they are no slower, and a fifth to a
    third faster for few rows."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


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
