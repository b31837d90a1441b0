"""The tiny kind of tokenizer: its shapes, its file, and a start from published weights."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path

import pytest
import torch

from var_core.model.checkpoints import Model, load_model, save_model
from var_core.model.tiny import TinyBlock, TinyDecoder, TinyEncoder, load_start
from var_core.model.tokenizer import Tokenizer, tiny_config
from var_core.model.transformer import Transformer, TransformerConfig

SIDES = (1, 2, 3, 4)


def build() -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(tiny_config(SIDES, channels=16, vocab_size=32)).eval()


def test_pictures_become_tokens_and_pictures_again() -> None:
    tokenizer = build()
    assert tokenizer.config.stride == 8 and tokenizer.config.resolution == 32
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    tokens = tokenizer.encode(image)
    assert [tuple(part.shape) for part in tokens] == [(2, side * side) for side in SIDES]
    assert tokenizer.decode(tokenizer.canvases(tokens)[-1]).shape == image.shape


def test_the_published_layout_is_sixteen_and_twenty_entries_with_1_34_million_parameters() -> None:
    tokenizer = Tokenizer(tiny_config())
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    assert isinstance(encoder, TinyEncoder) and isinstance(decoder, TinyDecoder)
    assert (len(encoder.layers), len(decoder.layers)) == (15, 20)
    assert tuple(tokenizer.codebook.weight.shape) == (4096, 32), "as many codes as the large kind has"
    for part in (encoder, decoder):
        assert 1.3e6 < sum(p.numel() for p in part.parameters()) < 1.4e6
    seeing = [n for n, layer in enumerate(encoder.layers) if isinstance(layer, TinyBlock) and layer.pool is not None]
    assert seeing == [11, 12, 13], "only the coarsest blocks see the whole map"
    seeing = [n for n, layer in enumerate(decoder.layers) if isinstance(layer, TinyBlock) and layer.pool is not None]
    assert seeing == [3, 4, 5], "in the decoder as well"
    shapes = {name: tuple(value.shape) for name, value in decoder.layers.state_dict().items()}
    assert shapes["3.pool.0.weight"] == (256, 64, 1, 1) and shapes["3.pool.3.weight"] == (64, 256, 1, 1)
    assert not {"3.pool.0.bias", "3.pool.3.bias", "7.bias", "12.bias", "17.bias"} & shapes.keys()
    assert {"1.bias", "3.conv.0.bias", "3.conv.2.bias", "3.conv.4.bias", "19.bias"} <= shapes.keys()
    assert [n for n, layer in enumerate(encoder.layers) if getattr(layer, "stride", 0) == (2, 2)] == [2, 6, 10]
    assert all(encoder.layers[n].bias is None for n in (2, 6, 10)) and encoder.layers[14].bias is not None


@pytest.mark.parametrize("pool", [False, True])
def test_a_block_adds_what_it_makes_to_what_it_was_given(pool: bool) -> None:
    """Written out: a convolution is a product with each pixel's neighbours, a norm is over groups of maps."""
    torch.manual_seed(0)
    block, x = TinyBlock(4, pool), torch.randn(2, 4, 5, 6)

    def convolved(layer: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
        weight, bias = layer.weight, layer.bias
        around = torch.nn.functional.pad(values, (weight.shape[-1] // 2,) * 4)
        out = torch.zeros(2, len(weight), 5, 6) if bias is None else bias.expand(2, 5, 6, -1).permute(0, 3, 1, 2)
        for down in range(weight.shape[2]):
            for across in range(weight.shape[3]):
                part = around[:, :, down : down + 5, across : across + 6]
                out = out + torch.einsum("oc,bchw->bohw", weight[:, :, down, across], part)
        return out

    given = x
    if block.pool is not None:
        wide, norm, _, narrow = block.pool
        groups = convolved(wide, x).view(2, 4, -1)  # 64 maps each
        mean, variance = groups.mean(2, keepdim=True), groups.var(2, keepdim=True, unbiased=False)
        normal = ((groups - mean) / (variance + norm.eps) ** 0.5).view(2, 256, 5, 6).clamp_min(0)
        given = x + convolved(narrow, normal)
    made = convolved(block.conv[4], convolved(block.conv[2], convolved(block.conv[0], given).clamp_min(0)).clamp_min(0))
    assert torch.allclose(block(x), (given + made).clamp_min(0), atol=1e-5)
    assert torch.equal(given, x) != pool


def test_a_start_is_taken_from_a_file_or_refused(tmp_path: Path) -> None:
    source, other = build(), Tokenizer(tiny_config(SIDES, channels=16, vocab_size=32))
    assert isinstance(source.encoder, TinyEncoder) and isinstance(other.encoder, TinyEncoder)
    file = tmp_path / "encoder.pth"
    torch.save({name: value.half() for name, value in source.encoder.layers.state_dict().items()}, file)
    load_start(other.encoder, file)
    assert torch.equal(other.encoder.layers[0].weight, source.encoder.layers[0].weight.half().float())
    assert isinstance(other.decoder, TinyDecoder)
    with pytest.raises(ValueError, match="does not fit a TinyDecoder"):
        load_start(other.decoder, file)
    with pytest.raises(ValueError, match="no file"):
        load_start(other.decoder, tmp_path / "missing.pth")


class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_start_that_is_damaged_or_more_than_weights_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder, path = build().encoder, tmp_path / "evil.pth"
    assert isinstance(encoder, TinyEncoder)
    torch.save({"0.weight": Code()}, path)
    for data in (path.read_bytes(), pickle.dumps({"0.weight": Code()}, 2), b"no weights at all", b""):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"evil\.pth is damaged or holds more than plain weights") as error:
            load_start(encoder, path)
        assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


def test_a_start_that_a_gpu_wrote_is_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, path = build().encoder, tmp_path / "encoder.pth"
    assert isinstance(encoder, TinyEncoder)
    state = {name: value + 1 for name, value in encoder.layers.state_dict().items()}
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    torch.save(state, path)
    assert b"cuda:0" in path.read_bytes()
    load_start(encoder, path)
    assert all(torch.equal(value, state[name]) for name, value in encoder.layers.state_dict().items())


def test_a_model_with_both_new_parts_is_written_and_read(tmp_path: Path) -> None:
    config = TransformerConfig(
        sides=SIDES, depth=2, width=32, heads=2, mlp_width=64, classes=2, vocab_size=32, shared_modulation=True,
        infill=True,
    )  # fmt: skip
    model = Model(build(), Transformer(config).eval(), ("a", "b"), "both", {})
    save_model(model, tmp_path / "both.safetensors")
    read = load_model(tmp_path / "both.safetensors")
    assert read.tokenizer.config == model.tokenizer.config and read.transformer.config == config
    for name, value in model.transformer.state_dict().items():
        assert torch.equal(value, read.transformer.state_dict()[name]), name


def test_values_of_pictures_are_moved_to_those_of_the_published_weights_and_back() -> None:
    tokenizer = build()
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    assert isinstance(encoder, TinyEncoder) and isinstance(decoder, TinyDecoder)
    encoder.layers = decoder.layers = torch.nn.Sequential()
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0]).view(1, 1, 2, 2)
    assert encoder(values).flatten().tolist() == [0.0, 0.5, 0.75, 1.0]
    assert decoder(values).flatten().tolist() == [-3.0, -1.0, 0.0, 1.0]


def test_what_the_decoder_is_given_is_squashed_softly() -> None:
    """By a hyperbolic tangent that ends at three: small values stay, large ones bend."""
    squash = build().decoder.layers[0]
    values = torch.tensor([0.0, 0.01, 1.5, -3.0, 100.0])
    expected = [3 * math.tanh(value / 3) for value in values.tolist()]
    assert squash(values).tolist() == pytest.approx(expected, abs=1e-6) and squash(values)[4] == 3
