"""What every member of the study is built on: the model's own blocks (class modulation, normalised queries and keys),
all started alike, attention that computes no more than it must, and what a training step costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.scales import Scales
from ..model.transformer import Block, Conditioning, KVCache, Transformer, TransformerConfig
from ..sampling.sampler import exponential_noise, filter_logits
from ..train.scalewise import ScalewiseAttention
from ..train.transformer import begin as begin_transformer

WIDTH = 24  # of a member, times its depth; a head has as many
TOP_P = 0.95  # of every drawn token
OPEN = 0.3  # of the residual branches at the start: the reference opens them slowly, short runs have no time
_PIECE = 128  # queries that are computed at once where attention is causal


def shape(depth: int, sides: tuple[int, ...], classes: int, code_dim: int, vocab_size: int) -> TransformerConfig:
    """The one shape of all sizes: width and heads grow with the depth."""
    width = WIDTH * depth
    return TransformerConfig(
        sides=sides, depth=depth, width=width, heads=depth, mlp_width=4 * width, classes=classes, code_dim=code_dim,
        vocab_size=vocab_size, shared_modulation=True,
    )  # fmt: skip


def size(config: TransformerConfig) -> int:
    """N: the weights of the blocks' matrices and of the head, without embeddings and class modulation."""
    d, w = config.depth, config.width
    return d * (4 * w * w + 2 * w * config.mlp_width) + w * config.vocab_size


class Attention(nn.Module):
    """In place of scaled_dot_product_attention: `whole` where the queries are as many as the keys, and the plain one
    where earlier keys come from a cache, of which every query may see all."""

    def __init__(self, whole: Callable[..., Tensor], pairs: int) -> None:
        super().__init__()
        self.whole, self.pairs = whole, pairs  # of queries and keys that `whole` multiplies

    def forward(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, scale: float = 1.0) -> Tensor:
        if q.shape[2] != k.shape[2]:
            return F.scaled_dot_product_attention(q, k, v, scale=scale)
        return self.whole(q, k, v, scale=scale)


def scalewise(scales: Scales) -> Attention:
    """Every token sees its own and earlier scales."""
    pieces = ScalewiseAttention(scales)
    later = [(stop - start) * stop for start, stop in scales.spans if stop > pieces.first]

    return Attention(pieces, pieces.first**2 + sum(later))


def mutual(length: int) -> Attention:
    """Every token sees all."""
    return Attention(_whole, length**2)


def _fused(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool = False) -> Tensor:
    """A GPU's own kernel, in the numbers of v."""
    return F.scaled_dot_product_attention(q.to(v), k.to(v), v, is_causal=causal, scale=scale)


def _whole(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    if q.is_cuda:
        return _fused(q, k, v, scale)
    return ((q * scale) @ k.transpose(-1, -2)).softmax(-1) @ v


def causal(length: int) -> Attention:
    """Every token sees itself and earlier ones; in pieces, so that little is computed to be masked."""
    starts = range(0, length, _PIECE)
    pairs = sum((min(start + _PIECE, length) - start) * min(start + _PIECE, length) for start in starts)

    def whole(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if q.is_cuda:
            return _fused(q, k, v, scale, causal=True)
        pieces = []
        for start in range(0, q.shape[2], _PIECE):
            stop = min(start + _PIECE, q.shape[2])
            scores = (q[:, :, start:stop] * scale) @ k[:, :, :stop].transpose(-1, -2)
            later = torch.ones(stop - start, stop, dtype=torch.bool, device=q.device).triu(start + 1)
            pieces.append(scores.masked_fill(later, -torch.inf).softmax(-1) @ v[:, :, :stop])
        return torch.cat(pieces, 2)

    return Attention(whole, pairs)


def begin(config: TransformerConfig, attention: Attention) -> Transformer:
    """A transformer to train, its residual branches open from the start."""
    trunk = begin_transformer(config)
    for block in trunk.blocks:
        assert isinstance(block, Block)
        block.attention = attention
        torch.nn.init.constant_(block.modulation_bias[:, :, :2], OPEN)
    return trunk


def through(trunk: Transformer, x: Tensor, conditioning: Conditioning, cache: KVCache | None = None) -> Tensor:
    """(b, l, d) -> (b, l, d), after whatever the cache holds."""
    for layer, (block, modulation) in enumerate(zip(trunk.blocks, conditioning.blocks.unbind(0), strict=True)):
        x = block(x, modulation, None, cache, layer)
    if cache is not None:
        cache.length += x.shape[1]
    return x


def twice(labels: Tensor, null: int, guidance: float) -> Tensor:
    """(b,) -> (2b,): with and without the class; only (b,) where there is nothing to guide."""
    return torch.cat((labels, torch.full_like(labels, null))) if guidance else labels


def guided(both: Tensor, guidance: float) -> Tensor:
    """(2b, ...) -> (b, ...): (1 + g) * with class - g * without."""
    if not guidance:
        return both
    own, null = both.chunk(2)
    return (1 + guidance) * own - guidance * null


def pick(logits: Tensor, seeds: list[int], number: int) -> Tensor:
    """(b, l, v) -> (b, l) long, a draw that depends on each seed and `number` alone."""
    noise = exponential_noise(seeds, number, logits.shape[1], logits.shape[2], logits.device)
    return (filter_logits(logits, 0, TOP_P).softmax(-1) / noise).argmax(-1)


def foretold(logits: Tensor, content: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """logits (b, l, v), true tokens (b, l) -> nats (b, l), and whether the best token is the true one (b, l), which is
    not looked up in training."""
    nats = F.cross_entropy(logits.flatten(0, 1), content.flatten(), reduction="none").view(content.shape)
    right = torch.zeros_like(content, dtype=torch.bool) if training else logits.argmax(-1) == content
    return nats, right


@dataclass(frozen=True)
class Cost:
    """FLOP of the matrix products of one picture's forward pass. `inputs`: those whose input needs no gradient."""

    inputs: float
    rest: float

    @property
    def forward(self) -> float:
        return self.inputs + self.rest

    @property
    def training(self) -> float:
        """Forward and backward: two more products for each, one where the input needs no gradient."""
        return 2 * self.inputs + 3 * self.rest


def cost(trunk: Transformer, length: int, embedded: int) -> Cost:
    """Of a pass over `length` tokens, of which `embedded` come in through a product with code vectors. Attention as it
    is computed, head and class modulation included; norms, softmax and everything else by element are not counted."""
    config, block = trunk.config, trunk.blocks[0]
    assert isinstance(block, Block) and isinstance(block.attention, Attention)
    d, w = config.depth, config.width
    blocks = 2 * length * d * (4 * w * w + 2 * w * config.mlp_width) + 4 * w * block.attention.pairs * d
    rest = blocks + 2 * length * w * config.vocab_size + 2 * w * 8 * w
    return Cost(2 * embedded * config.code_dim * w, rest)
