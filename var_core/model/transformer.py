"""The next-scale transformer (VAR, section 3.1): every token sees all tokens of its own and earlier scales.

Weights may be bfloat16; the residual stream, norms and softmax stay float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precision import linear, pack
from .refiner import Refiner
from .scales import Scales, check_sizes

_RANGES = {
    "sides": (1, 128),
    "depth": (1, 128),
    "width": (1, 2**14),
    "heads": (1, 256),
    "mlp_width": (1, 2**16),
    "classes": (1, 10**5),
    "code_dim": (1, 1024),
    "vocab_size": (2, 2**20),
}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of a transformer. Official depth d has width 64 d, d heads and d blocks. ValueError if a size is out of its
    range or they do not go together."""

    sides: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    depth: int = 16
    width: int = 1024
    heads: int = 16
    mlp_width: int = 4096
    classes: int = 1000
    code_dim: int = 32
    vocab_size: int = 4096
    shared_modulation: bool = False
    infill: bool = False  # whether each cell is also told what is known in it (`infill.known_cells`)

    def __post_init__(self) -> None:
        check_sizes(self, _RANGES)
        Scales(self.sides)
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads")

    @property
    def null_label(self) -> int:
        """The label that stands for "no class"."""
        return self.classes


class KVCache:
    """Keys and values of the scales so far, preallocated: depth x (b, heads, L, width / heads)."""

    def __init__(
        self, config: TransformerConfig, b: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.depth, b, config.heads, length, config.width // config.heads)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store (b, heads, l, head) after the first `length` tokens; return everything so far."""
        stop = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : stop] = k
        self.values[layer, :, :, self.length : stop] = v
        return self.keys[layer, :, :, :stop], self.values[layer, :, :, :stop]

    def filled(self) -> tuple[Tensor, Tensor]:
        """Copies of the keys and values so far (depth, b, heads, l, head)."""
        return self.keys[:, :, :, : self.length].clone(), self.values[:, :, :, : self.length].clone()

    def begin(self, keys: Tensor, values: Tensor, candidates: int) -> None:
        """Start with what is `filled` for one candidate: every guidance half is repeated for all."""
        self.length = keys.shape[3]
        for own, given in ((self.keys, keys), (self.values, values)):
            own[:, :, :, : self.length] = given.repeat_interleave(candidates, dim=1)


class Conditioning(NamedTuple):
    """What the class decides, constant over all scales: computed once per call. All float32."""

    start: Tensor  # (b, 1, d), input of the first scale before positions
    blocks: Tensor  # (depth, 6, b, 1, d): gamma1, gamma2, scale1, scale2, shift1, shift2
    head: Tensor  # (2, b, 1, d): scale, shift

    def rows(self, which: slice) -> Conditioning:
        """Some of the b rows only."""
        return Conditioning(*(part[..., which, :, :] for part in self))


def _modulate(x: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    x = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return torch.addcmul(shift, x, scale + 1).to(dtype)


class Block(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.attention: Callable[..., Tensor] = F.scaled_dot_product_attention  # training has a faster one
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(d))
        self.v_bias = nn.Parameter(torch.zeros(d))
        self.log_scale = nn.Parameter(torch.full((1, config.heads, 1, 1), 4.0).log())
        self.project = nn.Linear(d, d)
        self.mlp_in = nn.Linear(d, config.mlp_width)
        self.mlp_out = nn.Linear(config.mlp_width, d)
        if config.shared_modulation:
            self.modulation_bias = nn.Parameter(torch.zeros(1, 1, 6, d))
        else:
            self.modulation = nn.Linear(d, 6 * d)

    def attend(self, x: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        b, l, d = x.shape
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv = linear(self.qkv, x, bias).view(b, l, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (3, b, heads, l, head)
        qk, v = qkv[:2].float(), qkv[2]
        length = torch.linalg.vector_norm(qk, dim=-1, keepdim=True).clamp_min(1e-12)
        scale = self.log_scale.float().clamp_max(math.log(100)).exp()
        q, k = (qk / torch.stack((length[0] / scale, length[1]))).to(x.dtype)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        out = self.attention(q, k, v, attn_mask=mask, scale=1.0)
        return linear(self.project, out.transpose(1, 2).reshape(b, l, d), self.project.bias)

    def forward(self, x: Tensor, modulation: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation.unbind(0)
        dtype = self.qkv.weight.dtype
        branch = self.attend(_modulate(x, scale1, shift1, dtype), mask, cache, layer)
        x = x + branch * gamma1
        hidden = linear(self.mlp_in, _modulate(x, scale2, shift2, dtype), self.mlp_in.bias, gelu=True)
        return x + linear(self.mlp_out, hidden, self.mlp_out.bias) * gamma2


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.scales = Scales(config.sides)
        d = config.width
        self.class_embed = nn.Embedding(config.classes + 1, d)
        self.word_embed = nn.Linear(config.code_dim, d)
        self.known_embed = nn.Linear(config.code_dim + 1, d, bias=False) if config.infill else None
        self.start_embed = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.scales.total, d))
        self.scale_embed = nn.Embedding(len(self.scales), d)
        self.shared_modulation = nn.Linear(d, 6 * d) if config.shared_modulation else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_norm = nn.Linear(d, 2 * d)
        self.head = nn.Linear(d, config.vocab_size)
        self.refiner: Refiner | None = None  # trained by itself, for a finished transformer

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.head.weight.dtype

    def pack(self) -> None:
        """Lay the large matrices out for the CPU: inference only, and in the dtype they have now (see `precision`)."""
        for block in self.blocks:
            assert isinstance(block, Block)
            for layer in (block.qkv, block.project, block.mlp_in, block.mlp_out):
                pack(layer)
        pack(self.head)

    def new_cache(self, b: int) -> KVCache:
        return KVCache(self.config, b, self.scales.total, self.device, self.dtype)

    def condition(self, labels: Tensor) -> Conditioning:
        """labels (b,) long in [0, classes]; `classes` is the null label."""
        return self.conditioned(self.class_embed(labels))

    def conditioned(self, embed: Tensor) -> Conditioning:
        """The same for any (b, d) in place of a class's."""
        act = F.silu(embed)
        width = self.config.width
        shared = None if self.shared_modulation is None else self.shared_modulation(act).view(-1, 1, 6, width)
        blocks = []
        for block in self.blocks:
            assert isinstance(block, Block)
            six = block.modulation(act).view(-1, 1, 6, width) if shared is None else shared + block.modulation_bias
            blocks.append(six.float().movedim(2, 0))
        head = self.head_norm(act).float().view(-1, 1, 2, width).movedim(2, 0)
        return Conditioning(embed.float()[:, None] + self.start_embed.float(), torch.stack(blocks), head)

    def embed(
        self, inputs: Tensor | None, conditioning: Conditioning, first: int, last: int, known: Tensor | None = None
    ) -> Tensor:
        """Input of scales first..last: (b, l, d) float32.

        `inputs` (b, l, c) are the shrunk canvases of those scales except scale 0, whose input is the class; `known`
        (b, l, c + 1) what is known in each cell of all of them, for a model with infill conditioning.
        """
        parts = [conditioning.start] if first == 0 else []
        if inputs is not None and inputs.shape[1]:
            parts.append(self.word_embed(inputs.to(self.word_embed.weight.dtype)).float())
        spans, lengths = self.scales.spans, self.scales.lengths
        where = torch.cat([torch.full((lengths[k],), k, device=self.device) for k in range(first, last + 1)])
        place = self.pos_embed[:, spans[first][0] : spans[last][1]].float() + self.scale_embed(where).float()
        x = torch.cat(parts, dim=1) + place
        if known is None:
            return x
        if self.known_embed is None:
            raise ValueError("this model has no infill conditioning: leave out what is known")
        return x + self.known_embed(known.to(self.known_embed.weight.dtype)).float()

    def block_mask(self, first: int, last: int) -> Tensor | None:
        """(l, L so far) bool, True where a token of scales first..last may look; None where all may look."""
        if first == last:
            return None
        spans = self.scales.spans
        mask = torch.ones(spans[last][1] - spans[first][0], spans[last][1], dtype=torch.bool, device=self.device)
        for start, stop in spans[first:last]:
            mask[start - spans[first][0] : stop - spans[first][0], stop:] = False
        return mask

    def step(self, x: Tensor, conditioning: Conditioning, first: int, last: int, cache: KVCache | None) -> Tensor:
        """Run the blocks over embedded scales first..last, after whatever the cache holds. (b, l, d) -> (b, l, d)."""
        mask = self.block_mask(first, last)
        if cache is not None:
            cache.length = self.scales.spans[first][0]
        for layer, (block, modulation) in enumerate(zip(self.blocks, conditioning.blocks.unbind(0), strict=True)):
            x = block(x, modulation, mask, cache, layer)
        if cache is not None:
            cache.length = self.scales.spans[last][1]
        return x

    def logits(self, hidden: Tensor, conditioning: Conditioning) -> Tensor:
        """(b, l, d) -> (b, l, v) float32."""
        x = _modulate(hidden, conditioning.head[0], conditioning.head[1], self.head.weight.dtype)
        return linear(self.head, x, self.head.bias).float()

    def refinement(self, out: Tensor) -> Tensor:
        """(b, l, d) of the refiner -> what it adds to the logits, (b, l, v) float32."""
        return linear(self.head, out.to(self.head.weight.dtype), None).float()

    def hidden(self, labels: Tensor, inputs: Tensor, known: Tensor | None = None) -> tuple[Tensor, Conditioning]:
        """Teacher-forced: labels (b,), inputs (b, L' - 1, c) and, with infill conditioning, known (b, L', c + 1) for a
        whole number of scales -> (b, L', d) and what `logits` needs beside it."""
        length = inputs.shape[1] + 1
        stops = [stop for _, stop in self.scales.spans]
        if length not in stops:
            raise ValueError(f"{length} tokens are not a whole number of the scales {self.scales.sides}")
        last = stops.index(length)
        conditioning = self.condition(labels)
        x = self.embed(inputs, conditioning, 0, last, known)
        return self.step(x, conditioning, 0, last, None), conditioning

    def forward(self, labels: Tensor, inputs: Tensor, known: Tensor | None = None) -> Tensor:
        """As `hidden`, on to the logits (b, L', v)."""
        return self.logits(*self.hidden(labels, inputs, known))
