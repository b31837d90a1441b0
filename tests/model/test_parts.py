"""The pyramid, the tokenizer's arithmetic and the transformer's small parts, in numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import CODES, NOTHING, RED, STEPS, mean_colours
from conftest import build_model

from var_core.model.official import class_names_for
from var_core.model.scales import Scales
from var_core.model.tokenizer import Tokenizer, TokenizerConfig, Upsample
from var_core.model.transformer import Conditioning, KVCache, Transformer, TransformerConfig

# the pyramid


def test_a_pyramid_counts_its_tokens() -> None:
    scales = Scales((1, 2, 4))
    assert len(scales) == 3 and scales.finest == 4 and scales.lengths == (1, 4, 16) and scales.total == 21
    assert scales.spans == ((0, 1), (1, 5), (5, 21))
    assert [scales.ratio(k) for k in range(3)] == [0.0, 0.5, 1.0] and Scales((3,)).ratio(0) == 0.0
    assert Scales((2, 3)).sides == (2, 3) and type(Scales((np.int64(2),)).sides[0]) is int  # type: ignore[arg-type]


@pytest.mark.parametrize("sides", [(), (0, 1), (1, 1), (2, 1), (-1, 3), (1, 3, 2)])
def test_a_pyramid_grows(sides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positive and strictly increasing"):
        Scales(sides)


def test_which_convolution_serves_a_scale() -> None:
    """The reference's choice is data for ten scales and four convolutions; else the nearest tick."""
    ten = Scales((1, 2, 3, 4, 5, 6, 8, 10, 13, 16))
    assert [ten.refine_index(k, 4) for k in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert [ten.refine_index(k, 1) for k in range(10)] == [0] * 10
    assert [ten.refine_index(k, 2) for k in range(10)] == [0] * 5 + [1] * 5
    assert [Scales((1, 2, 3, 4)).refine_index(k, 4) for k in range(4)] == [0, 1, 2, 3]
    five = Scales((1, 2, 3, 4, 5))  # at 0, 1/4, 1/2 ...; ticks at 1/12, 4/12 ... for four, at 1/6, 1/2, 5/6 for three
    assert [five.refine_index(k, 4) for k in (0, 1, 3, 4)] == [0, 1, 2, 3]
    assert [five.refine_index(k, 3) for k in range(5)] == [0, 0, 1, 2, 2]


# the tokenizer


def test_sizes_follow_from_the_configuration() -> None:
    config = TokenizerConfig(sides=(1, 2, 4), channels=32, multipliers=(1, 2, 2, 4), residual_blocks=3, code_dim=6)
    assert config.stride == 8 and config.resolution == 32
    tokenizer = Tokenizer(config)
    assert [len(level.blocks) for level in tokenizer.encoder.levels] == [3] * 4
    assert [len(level.blocks) for level in tokenizer.decoder.levels] == [4] * 4
    assert [len(level.attention) for level in tokenizer.encoder.levels] == [0, 0, 0, 3]
    assert [len(level.attention) for level in tokenizer.decoder.levels] == [4, 0, 0, 0]
    assert tokenizer.encoder.conv_out.in_channels == 128 and tokenizer.decoder.conv_out.in_channels == 32
    assert tokenizer.codebook.weight.shape == (4096, 6) and len(tokenizer.refine) == 4
    with torch.inference_mode():
        assert tokenizer.features(torch.zeros(2, 3, 32, 32)).shape == (2, 6, 4, 4)
        assert tokenizer.decode(torch.zeros(2, 6, 4, 4)).shape == (2, 3, 32, 32)
    plain = Tokenizer(TokenizerConfig(sides=(1, 2), channels=32, multipliers=(1, 1), attention=False))
    assert not any(len(level.attention) for level in (*plain.encoder.levels, *plain.decoder.levels))
    norms = [module for module in plain.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert len(norms) > 4 and {norm.eps for norm in norms} == {1e-6}, "the reference's"


def test_what_is_not_said_is_as_in_the_official_files() -> None:
    config = TokenizerConfig()
    assert config.multipliers == (1, 1, 2, 2, 4) and (config.stride, config.resolution) == (16, 256)
    assert (config.channels, config.code_dim, config.vocab_size, config.refine_count) == (160, 32, 4096, 4)
    assert (TransformerConfig().depth, TransformerConfig().width, TransformerConfig().heads) == (16, 1024, 16)


@pytest.mark.parametrize("name", ["depth", "width", "heads", "mlp_width", "classes", "code_dim"])
def test_nothing_of_a_transformer_has_no_size(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        TransformerConfig(**{name: 0})


@torch.inference_mode()
def test_maps_are_shrunk_by_the_mean_and_enlarged_smoothly() -> None:
    tokenizer = mean_colours()
    maps = torch.arange(3 * 64.0).reshape(1, 3, 8, 8)
    assert torch.equal(tokenizer.shrink(maps, 5), maps.flatten(2).transpose(1, 2))
    four = tokenizer.shrink(maps, 1)
    assert four.shape == (1, 4, 3) and torch.allclose(four[0, 1], maps[0, :, :4, 4:].mean((1, 2)))
    assert torch.allclose(tokenizer.shrink(maps, 0)[0, 0], maps.mean((2, 3))[0])
    codes = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    grid = codes.transpose(1, 2).reshape(2, 3, 2, 2)
    expected = F.interpolate(grid, size=(8, 8), mode="bicubic")
    assert torch.allclose(tokenizer.enlarge(codes, 1), expected, atol=1e-5)
    assert torch.allclose(tokenizer.enlarge(codes, 1, side=2), grid, atol=1e-6)
    assert tokenizer.enlarge(codes, 1, side=4).shape == (2, 3, 4, 4)
    assert tokenizer.empty_canvas(2).shape == (2, 3, 8, 8) and not tokenizer.empty_canvas(2).any()
    tokenizer.refine[0].weight.mul_(3)
    tokenizer.refine[0].bias.fill_(1)
    assert torch.allclose(tokenizer.enlarge(codes, 1), 0.5 * expected + 0.5 * (3 * expected + 1), atol=1e-4), (
        "half of each"
    )


@torch.inference_mode()
def test_the_nearest_code_is_the_nearest() -> None:
    tokenizer = mean_colours()
    vectors = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.7
    expected = torch.cdist(vectors, CODES[None]).argmin(-1)
    assert torch.equal(tokenizer.nearest(vectors), expected) and tokenizer.nearest(vectors[0, 0]).shape == ()
    assert tokenizer.nearest(torch.zeros(3)).item() == NOTHING and tokenizer.nearest(torch.tensor([9.0, -9, -9])) == RED


@torch.inference_mode()
def test_a_picture_of_a_smaller_side_has_fewer_scales() -> None:
    tokenizer = mean_colours()
    assert [tokenizer.count_for(side) for side in (1, 4, 8)] == [1, 4, 6]
    with pytest.raises(ValueError, match="side 5 fits none of the scales"):
        tokenizer.count_for(5)
    features = torch.full((1, 3, 3, 3), 0.6)
    tokens, canvases = tokenizer.quantize(features)
    assert [part.shape[1] for part in tokens] == [1, 4, 9] and canvases[0].shape == (1, 3, 3, 3)
    assert torch.allclose(canvases[-1], features) and tokens[0].item() == len(CODES) - 1
    assert all((part == NOTHING).all() for part in tokens[1:])


@torch.inference_mode()
def test_each_scale_describes_what_is_left() -> None:
    tokenizer = mean_colours()
    features = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.5
    tokens, canvases = tokenizer.quantize(features)
    left = [(features - canvas).abs().mean().item() for canvas in canvases]
    assert left[0] > left[-1] and left[-1] < max(np.diff(STEPS)) / 4
    for k in range(1, 6):
        lack = tokenizer.shrink(features - canvases[k - 1], k)
        assert torch.equal(tokens[k], tokenizer.nearest(lack))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(tokenizer.canvases(tokens), canvases, strict=True))
    inputs = tokenizer.teacher_inputs(tokens)
    assert inputs.shape == (1, 129, 3) and torch.allclose(inputs[:, 4:13], tokenizer.shrink(canvases[1], 2), atol=1e-6)
    assert torch.allclose(inputs[:, :4], tokenizer.shrink(canvases[0], 1), atol=1e-6)
    assert torch.allclose(inputs[:, -64:], tokenizer.shrink(canvases[4], 5), atol=1e-6)
    grey = torch.zeros(1, 3, 32, 32)
    expected = tokenizer.quantize(tokenizer.features(grey))[0]
    assert all(torch.equal(a, b) for a, b in zip(tokenizer.encode(grey), expected, strict=True))


@torch.inference_mode()
def test_number_formats_change_convolutions_only() -> None:
    tokenizer = build_model().tokenizer
    for module in tokenizer.convolutions:
        module.to(torch.bfloat16)
    kinds = {name: parameter.dtype for name, parameter in tokenizer.named_parameters()}
    for name, kind in kinds.items():
        exact = name.startswith(("codebook", "refine"))
        assert kind == (torch.float32 if exact else torch.bfloat16), name
    assert tokenizer.features(torch.zeros(1, 3, 48, 48)).dtype == torch.float32
    made = tokenizer.decode(torch.full((1, 8, 12, 12), 50.0))
    assert made.dtype == torch.float32 and made.abs().max() <= 1


def test_wide_enlargements_are_folded_and_narrow_ones_are_not() -> None:
    config = TokenizerConfig(
        sides=(1, 2, 4), channels=64, multipliers=(1, 2, 2), residual_blocks=1, code_dim=4, vocab_size=8
    )
    tokenizer = Tokenizer(config).eval()
    canvas = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = tokenizer.decode(canvas)
        tokenizer.fold()
        folded = [len(m.phases) for m in tokenizer.decoder.modules() if isinstance(m, Upsample)]
        assert folded == [4, 4] and torch.allclose(tokenizer.decode(canvas), before, atol=1e-4)
        narrow = build_model().tokenizer
        narrow.fold()
    assert not any(m.phases for m in narrow.decoder.modules() if isinstance(m, Upsample))


def test_the_layout_is_of_the_convolutions() -> None:
    tokenizer = build_model().tokenizer
    tokenizer.set_channels_last(True)
    weight = tokenizer.decoder.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert tokenizer.encoder.conv_out.weight.is_contiguous(memory_format=torch.channels_last)
    tokenizer.set_channels_last(False)
    assert weight.is_contiguous() and tokenizer.refine[0].weight.is_contiguous()


def test_the_kernel_is_one_of_three_by_three() -> None:
    """Its format and layout stand for the convolutions': no norm and no product of single pixels."""
    tokenizer = build_model().tokenizer
    assert tokenizer.kernel is tokenizer.decoder.conv_in.weight
    first = torch.nn.GroupNorm(1, 3), torch.nn.Conv2d(3, 3, 1), torch.nn.Conv1d(3, 3, 3)
    tokenizer.decoder = torch.nn.Sequential(*first, torch.nn.Conv2d(3, 5, 3))  # type: ignore[assignment]
    assert tokenizer.kernel.shape == (5, 3, 3, 3)


# the transformer


def test_width_divides_into_heads() -> None:
    with pytest.raises(ValueError, match="width 30 does not divide into 4 heads"):
        Transformer(TransformerConfig(sides=(1, 2), depth=1, width=30, heads=4, mlp_width=8, classes=2))


def test_a_cache_grows_behind_what_it_holds() -> None:
    config = TransformerConfig(
        sides=(1, 2), depth=2, width=8, heads=2, mlp_width=8, classes=2, code_dim=3, vocab_size=4
    )
    cache = KVCache(config, 3, 5, torch.device("cpu"), torch.float32)
    assert cache.keys.shape == cache.values.shape == (2, 3, 2, 5, 4) and cache.length == 0
    first, second = torch.randn(3, 2, 1, 4), torch.randn(3, 2, 4, 4)
    keys, values = cache.append(1, first, -first)
    assert torch.equal(keys, first) and torch.equal(values, -first)
    cache.length = 1
    keys, values = cache.append(1, second, -second)
    assert torch.equal(keys, torch.cat((first, second), 2)) and torch.equal(values, -keys)
    made = Transformer(config).new_cache(3)
    assert made.keys.shape == (2, 3, 2, 5, 4) and made.keys.dtype == torch.float32


def test_a_scale_that_is_drawn_again_stands_where_it_stood() -> None:
    torch.manual_seed(0)
    config = TransformerConfig(
        sides=(1, 2), depth=2, width=8, heads=2, mlp_width=8, classes=2, code_dim=3, vocab_size=4
    )
    model = Transformer(config).eval()
    cache, conditioning = model.new_cache(1), model.condition(torch.tensor([1]))
    with torch.no_grad():
        model.step(torch.randn(1, 1, 8), conditioning, 0, 0, cache)
        tokens = torch.randn(1, 4, 8)
        model.step(torch.randn(1, 4, 8), conditioning, 1, 1, cache)
        again = model.step(tokens, conditioning, 1, 1, cache)
        first = model.step(tokens, conditioning, 1, 1, cache)
    assert cache.length == 5 and torch.equal(first, again)


def test_conditioning_is_cut() -> None:
    def make(*shape: int) -> torch.Tensor:
        return torch.arange(4.0).reshape(4, 1, 1) + torch.arange(8.0).reshape(-1, 1, 1, 1)[: shape[0]]

    one = Conditioning(make(1)[0], torch.stack([make(6), make(6) + 100]), make(2))
    for found, whole in zip(one.rows(slice(2)), one, strict=True):
        assert torch.equal(found, whole[..., :2, :, :])
    for found, whole in zip(one.rows(slice(None, None, 2)), one, strict=True):
        assert torch.equal(found, whole[..., ::2, :, :])


def test_who_may_look_at_whom() -> None:
    transformer = build_model((1, 2, 3)).transformer
    assert transformer.block_mask(1, 1) is None
    mask = transformer.block_mask(0, 2)
    scale = torch.tensor([0] + [1] * 4 + [2] * 9)
    assert mask is not None and torch.equal(mask, scale[:, None] >= scale[None])
    later = transformer.block_mask(1, 2)
    assert later is not None and torch.equal(later, (scale[:, None] >= scale[None])[1:])


@torch.inference_mode()
def test_attention_is_of_directions_scaled_by_what_is_learned() -> None:
    """Queries and keys have length one; the scale is at most a hundred; biases are for queries and values."""
    transformer = build_model((1, 2)).transformer
    block, x = transformer.blocks[0], torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    block.q_bias.normal_(), block.v_bias.normal_()
    for log_scale, scale in ((0.7, math.exp(0.7)), (9.0, 100.0)):
        block.log_scale.fill_(log_scale)
        q, k, v = F.linear(x, block.qkv.weight).reshape(2, 5, 3, 2, 16).permute(2, 0, 3, 1, 4)
        q = q + block.q_bias.reshape(2, 1, 16)
        v = v + block.v_bias.reshape(2, 1, 16)
        weights = (scale * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3)).softmax(-1)
        expected = block.project((weights @ v).transpose(1, 2).reshape(2, 5, 32))
        assert torch.allclose(block.attend(x, None, None, 0), expected, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("shared", [False, True])
def test_the_class_modulates_every_block(shared: bool) -> None:
    """Six vectors a block, from a layer of its own, or from one for all to which each adds what is its own."""
    config = TransformerConfig(
        sides=(1, 2), depth=2, width=8, heads=2, mlp_width=8, classes=2, code_dim=3, vocab_size=4,
        shared_modulation=shared,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Transformer(config).eval()
    names = {"modulation_bias"} if shared else {"modulation.weight", "modulation.bias"}
    own = {name.removeprefix("blocks.1.") for name in model.state_dict() if name.startswith("blocks.1.mod")}
    assert own == names and (model.shared_modulation is not None) == shared
    for parameter in model.parameters():
        parameter.normal_()
    labels = torch.tensor([1, 2, 0])
    found, act = model.condition(labels), F.silu(model.class_embed.weight[labels])
    assert found.start.shape == (3, 1, 8) and found.blocks.shape == (2, 6, 3, 1, 8) and found.head.shape == (2, 3, 1, 8)
    assert torch.allclose(found.start[:, 0], model.class_embed.weight[labels] + model.start_embed[0, 0])
    for number, block in enumerate(model.blocks):
        if shared:
            assert model.shared_modulation is not None and block.modulation_bias.shape == (1, 1, 6, 8)
            six = model.shared_modulation(act).reshape(3, 6, 8) + block.modulation_bias[0]
        else:
            six = block.modulation(act).reshape(3, 6, 8)
        assert torch.allclose(found.blocks[number, :, :, 0], six.transpose(0, 1), atol=1e-6)
    head = model.head_norm(act).reshape(3, 2, 8)
    assert torch.allclose(found.head[:, :, 0], head.transpose(0, 1), atol=1e-6)
    fresh = Transformer(config)
    assert not shared or not any(block.modulation_bias.any() for block in fresh.blocks)
    assert all(torch.allclose(block.log_scale.exp(), torch.full((1, 2, 1, 1), 4.0)) for block in fresh.blocks)
    assert not any(part.any() for part in (fresh.start_embed, fresh.pos_embed, fresh.blocks[0].q_bias))


def test_only_whole_scales_can_be_taught() -> None:
    transformer = build_model((1, 2, 3)).transformer
    for length, whole in ((0, True), (4, True), (13, True), (3, False), (14, False)):
        inputs = torch.zeros(1, length, 8)
        if whole:
            assert transformer(torch.tensor([0]), inputs).shape == (1, length + 1, 64)
        else:
            with pytest.raises(ValueError, match=f"{length + 1} tokens are not a whole number of the scales"):
                transformer(torch.tensor([0]), inputs)


def test_a_thousand_classes_have_imagenets_names() -> None:
    names = class_names_for(1000)
    assert len(names) == 1000 and names[207] == "golden retriever" and len(set(names)) >= 998
    assert class_names_for(3) == ("class 0", "class 1", "class 2") and len(class_names_for(999)) == 999
