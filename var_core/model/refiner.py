"""A logit refiner: two causal blocks on a transformer's hidden states, by which the tokens of the coarse scales are
drawn one after another. Without it, those of one scale are drawn without seeing each other, and what two cells decide
may not go together.

It adds to the logits; one that has learned nothing adds exactly 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .scales import Scales, check_sizes

_HEAD = 32  # width of an attention head
_RANGES = {"depth": (1, 16), "width": (_HEAD, 2**12), "hidden": (1, 2**14), "code_dim": (1, 1024), "length": (1, 2**14)}


@dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """Sizes: blocks, their width, that of the hidden states, of codes, and how many tokens are drawn so (all of the
    first scales). ValueError if a size is out of its range."""

    depth: int = 2
    width: int = 384
    hidden: int = 1024
    code_dim: int = 32
    length: int = 155  # of the official scales up to the side 8

    def __post_init__(self) -> None:
        check_sizes(self, _RANGES)
        if self.width % _HEAD:
            raise ValueError(f"a refiner's width {self.width} does not divide into heads of {_HEAD}")


class RefinerBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: tuple[Tensor, Tensor] | None = None, at: int = 0
    ) -> Tensor:
        """(b, l, width) -> the same; with a cache (b, heads, cells, head) for the one cell `at`, after those before."""
        b, l, d = x.shape
        q, k, v = self.qkv(F.layer_norm(x, (d,))).view(b, l, 3, d // _HEAD, _HEAD).permute(2, 0, 3, 1, 4)
        if cache is not None:
            for held, new in zip(cache, (k, v), strict=True):
                held[:, :, at : at + 1] = new
            k, v = (held[:, :, : at + 1] for held in cache)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.project(out.transpose(1, 2).reshape(b, l, d))
        return x + self.mlp_out(F.gelu(self.mlp_in(F.layer_norm(x, (d,)))))


class Refiner(nn.Module):
    """Hidden states (b, l, hidden) of a scale and the codes (b, l, c) drawn in it so far -> (b, l, hidden): what the
    transformer's head turns into an addition to the logits."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_in = nn.Linear(config.hidden, config.width)
        self.code_in = nn.Linear(config.code_dim, config.width, bias=False)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.length, config.width))
        self.blocks = nn.ModuleList(RefinerBlock(config.width) for _ in range(config.depth))
        self.out = nn.Linear(config.width, config.hidden, bias=False)

    def begin(self) -> None:
        """Weights of one that has learned nothing."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=self.config.width**-0.5 / 2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.zeros_(self.out.weight)

    @property
    def dtype(self) -> torch.dtype:
        return self.out.weight.dtype

    def refines(self, stop: int) -> bool:
        """Whether the scale that ends before the place `stop` of all tokens is drawn so."""
        return stop <= self.config.length

    def embed(self, hidden: Tensor, first: int) -> Tensor:
        """(b, l, hidden) of the tokens from the place `first` on -> (b, l, width)."""
        normal = F.layer_norm(hidden, hidden.shape[-1:]).to(self.dtype)
        return self.hidden_in(normal) + self.pos_embed[:, first : first + hidden.shape[1]]

    def forward(self, hidden: Tensor, codes: Tensor, scales: Scales) -> Tensor:
        """All scales that are refined at once, (b, length, ...), each token given the true codes before it."""
        before, length = torch.zeros_like(codes), self.config.length
        before[:, 1:] = codes[:, :-1]
        starts = [start for start, stop in scales.spans if stop <= length]
        before[:, starts] = 0
        level = torch.bucketize(torch.arange(length), torch.tensor(starts), right=True).to(codes.device)
        mask = (level[:, None] == level[None]).tril()
        x = self.embed(hidden, 0) + self.code_in(before.to(self.dtype))
        for block in self.blocks:
            x = block(x, mask)
        return self.out(x)


class Refining:
    """One scale drawn cell by cell: `step` for every cell in order."""

    def __init__(self, refiner: Refiner, hidden: Tensor, first: int) -> None:
        """hidden (b, l, d) of the scale whose tokens begin at the place `first` of all."""
        self.refiner, self.x, self.at = refiner, refiner.embed(hidden, first), 0
        b, l, width = self.x.shape
        shape = (b, width // _HEAD, l, _HEAD)
        self.caches = [(self.x.new_empty(shape), self.x.new_empty(shape)) for _ in refiner.blocks]

    def step(self, code: Tensor | None) -> Tensor:
        """The code (b, 1, c) of the cell before, none at first -> (b, 1, hidden)."""
        x = self.x[:, self.at : self.at + 1]
        if code is not None:
            x = x + self.refiner.code_in(code.to(self.refiner.dtype))
        for block, cache in zip(self.refiner.blocks, self.caches, strict=True):
            x = block(x, None, cache, self.at)
        self.at += 1
        return self.refiner.out(x)
