"""A model whose every weight is chosen by hand, so that one can say in advance what it must do.

The encoder takes the mean colour of a cell, the decoder paints it back with a red tint; the codebook is a lattice of
colours; the transformer has no opinion but that a class begins with its own colour and later scales add nothing.
"""

from __future__ import annotations

from itertools import product

import torch

from var_core.model.tokenizer import Tokenizer, TokenizerConfig
from var_core.model.transformer import Transformer, TransformerConfig

SIDES, STRIDE = (1, 2, 3, 4, 6, 8), 4
CELLS, SQUARE = SIDES[-1], SIDES[-1] * STRIDE
STEPS = (-0.6, -0.25, -0.1, -0.04, 0.0, 0.04, 0.1, 0.25, 0.6)
CODES = torch.tensor(list(product(STEPS, repeat=3)))  # (729, 3): what a token adds to red, green and blue
NOTHING, RED, GREEN = (
    CODES.tolist().index(torch.tensor(c).tolist()) for c in ((0, 0, 0), (0.6, -0.6, -0.6), (-0.6, 0.6, -0.6))
)
TINT = 20  # grey levels of red that the decoder adds
LARGE = 30.0  # channels of +-LARGE beside the colours keep every norm from changing them


@torch.no_grad()
def mean_colours() -> Tokenizer:
    """Channels 4 i and 4 i + 1 hold colour i and its negative, 4 i + 2 and 4 i + 3 hold +-LARGE: a group of four has
    mean 0 and a deviation of LARGE / sqrt(2), whatever the picture, so that a norm only divides."""
    config = TokenizerConfig(
        sides=SIDES, channels=16, multipliers=(1, 1, 1), residual_blocks=1, code_dim=3, vocab_size=len(CODES),
        refine_count=1, groups=4,
    )  # fmt: skip
    tokenizer = Tokenizer(config).eval()
    for parameter in tokenizer.parameters():
        parameter.zero_()
    steady = LARGE * torch.tensor([0.0, 0, 1, -1] * 3 + [1, -1, 1, -1])
    for net, colours in ((tokenizer.encoder, 3), (tokenizer.decoder, 3)):
        for i in range(colours):
            net.conv_in.weight[4 * i, i, 1, 1], net.conv_in.weight[4 * i + 1, i, 1, 1] = 1, -1
        net.conv_in.bias.copy_(steady)
        net.norm_out.weight.fill_(LARGE / 2**0.5)
        net.norm_out.bias.fill_(LARGE)  # so large that SiLU lets everything through
        for i in range(colours):
            net.conv_out.weight[i, 4 * i, 1, 1] = 1
        net.conv_out.bias.fill_(-LARGE)
    tokenizer.decoder.conv_out.bias[0] += TINT / 127.5
    for i in range(16):
        for level in tokenizer.encoder.levels[:-1]:  # the mean of four pixels
            level.resample.conv.weight[i, i, :2, :2] = 0.25
        for level in tokenizer.decoder.levels[:-1]:
            level.resample.conv.weight[i, i, 1, 1] = 1
    for same in (tokenizer.quant_conv, tokenizer.post_quant_conv, tokenizer.refine[0]):
        for i in range(3):
            same.weight[i, i, 1, 1] = 1
    tokenizer.codebook.weight.copy_(CODES)
    return tokenizer


@torch.no_grad()
def without_opinion() -> Transformer:
    """Width 8. Input 0 and 1 stand for the classes at the first scale, 7 for every later scale; the head reads them."""
    config = TransformerConfig(
        sides=SIDES, depth=1, width=8, heads=1, mlp_width=8, classes=2, code_dim=3, vocab_size=len(CODES)
    )
    transformer = Transformer(config).eval()
    for parameter in transformer.parameters():
        parameter.zero_()
    transformer.class_embed.weight[0, 0] = transformer.class_embed.weight[1, 1] = 1
    transformer.scale_embed.weight[1:, 7] = 1
    transformer.head.weight[RED, 0] = transformer.head.weight[GREEN, 1] = transformer.head.weight[NOTHING, 7] = 2
    return transformer
