"""Reference mode: the published procedure done plainly, in float32 and without any of the engine's short cuts."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.checkpoints import Model
from ..sampling.sampler import SampleOptions, filter_logits


def _reference_block(block, x: Tensor, act: Tensor, shared: Tensor | None, past: list[Tensor] | None):
    """One block with its modulation computed here and its cache grown by concatenation."""
    width = x.shape[-1]
    six = block.modulation(act).view(-1, 1, 6, width) if shared is None else shared + block.modulation_bias
    gamma1, gamma2, scale1, scale2, shift1, shift2 = six.unbind(2)
    h = F.layer_norm(x, (width,), eps=1e-6).mul(scale1 + 1).add(shift1)
    bias = torch.cat((block.q_bias, torch.zeros_like(block.q_bias), block.v_bias))
    q, k, v = F.linear(h, block.qkv.weight, bias).view(*h.shape[:2], 3, block.heads, -1).permute(2, 0, 3, 1, 4)
    q = F.normalize(q, dim=-1) * block.log_scale.clamp_max(np.log(100)).exp()
    k = F.normalize(k, dim=-1)
    if past is not None:
        k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
    out = F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).reshape(h.shape)
    x = x + block.project(out).mul(gamma1)
    h = F.layer_norm(x, (width,), eps=1e-6).mul(scale2 + 1).add(shift2)
    return x + block.mlp_out(F.gelu(block.mlp_in(h), approximate="tanh")).mul(gamma2), [k, v]


class _Plain:
    """The plain forward, scale after scale, with the state it grows."""

    def __init__(self, model: Model, label: int, guidance: float, many: int = 1) -> None:
        self.transformer, self.tokenizer, self.guidance, self.many = model.transformer, model.tokenizer, guidance, many
        labels = [label] * many + [self.transformer.config.null_label] * many
        self.embed = self.transformer.class_embed(torch.tensor(labels, device=self.tokenizer.device))
        self.caches: list[list[Tensor] | None] = [None] * self.transformer.config.depth

    def logits(self, k: int, canvas: Tensor) -> Tensor:
        """Guided logits (b, l, v) of scale k, after the canvas of the scales before it."""
        transformer, scales, width = self.transformer, self.transformer.scales, self.transformer.config.width
        start, stop = scales.spans[k]
        if k:
            x = transformer.word_embed(self.tokenizer.shrink(canvas, k)).repeat(2, 1, 1)
        else:
            x = self.embed[:, None] + transformer.start_embed
        x = x + transformer.pos_embed[:, start:stop] + transformer.scale_embed.weight[k]
        act = F.silu(self.embed)
        shared = None
        if transformer.shared_modulation is not None:
            shared = transformer.shared_modulation(act).view(-1, 1, 6, width)
        for i, block in enumerate(transformer.blocks):
            x, self.caches[i] = _reference_block(block, x, act, shared, self.caches[i])
        scale, shift = transformer.head_norm(act).view(-1, 1, 2, width).unbind(2)
        logits = transformer.head(F.layer_norm(x, x.shape[-1:], eps=1e-6).mul(scale + 1).add(shift))
        t = self.guidance * scales.ratio(k)
        return (1 + t) * logits[: self.many] - t * logits[self.many :]

    def paint(self, canvas: Tensor, k: int, tokens: Tensor) -> Tensor:
        return canvas + self.tokenizer.enlarge(self.tokenizer.codebook(tokens), k)


@torch.inference_mode()
def reference(
    model: Model,
    label: int,
    options: SampleOptions,
    seed: int,
    picture: Tensor | None,
    keep: list[np.ndarray] | None,
    many: int = 1,
) -> tuple[Tensor, list[Tensor]]:
    """The published procedure, plainly. picture (1, 3, H, W) in [-1, 1] and keep maps for an edit by fixed tokens.
    Returns pixels (many, 3, H, W) in [-1, 1] and the tokens of every scale."""
    tokenizer, device = model.tokenizer, model.tokenizer.device
    known = tokenizer.encode(picture) if picture is not None else None
    plain, canvas = _Plain(model, label, options.guidance, many), tokenizer.empty_canvas(many)
    generator, out = torch.Generator(device).manual_seed(seed), []
    for k in range(len(model.transformer.scales)):
        logits = filter_logits(plain.logits(k, canvas), options.top_k, options.top_p)
        tokens = torch.multinomial(logits.flatten(0, 1).softmax(-1), 1, generator=generator).view(many, -1)
        if known is not None and keep is not None:
            tokens = torch.where(torch.from_numpy(keep[k]).flatten().to(device), known[k], tokens)
        canvas = plain.paint(canvas, k, tokens)
        out.append(tokens)
    return tokenizer.decode(canvas), out


@torch.inference_mode()
def reference_logits(model: Model, label: int, guidance: float, tokens: list[Tensor]) -> list[Tensor]:
    """Guided logits (1, l, v) of every scale, each after the given tokens (1, l) of the scales before it."""
    plain, canvas, out = _Plain(model, label, guidance), model.tokenizer.empty_canvas(1), []
    for k, chosen in enumerate(tokens):
        out.append(plain.logits(k, canvas))
        canvas = plain.paint(canvas, k, chosen)
    return out
