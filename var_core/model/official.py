"""Reading the official `.pth` pairs, every size inferred from the tensors. Pickles are read with `weights_only=True`,
so code in them never runs."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoints import Model, check_pair, config_from, count, existing, fill, held_as, quoted, sizes
from .tokenizer import Tokenizer, TokenizerConfig
from .transformer import Transformer, TransformerConfig

# Buffers that official files store although they follow from the sides.
_DERIVED = re.compile(r"(^|\.)(lvl_1L|attn_bias_for_masking|zero_k_bias|ema_vocab_hit_SV)$")

_TOKENIZER_NAMES = (
    (r"^quantize\.embedding\.", "codebook."),
    (r"^quantize\.quant_resi\.qresi_ls\.(\d+)\.", r"refine.\1."),
    (r"^quantize\.quant_resi\.qresi\.", "refine.0."),
    (r"^encoder\.down\.(\d+)\.", r"encoder.levels.\1."),
    (r"\.block\.(\d+)\.", r".blocks.\1."),
    (r"\.attn\.(\d+)\.", r".attention.\1."),
    (r"\.mid\.block_(\d)\.", r".middle.block\1."),
    (r"\.mid\.attn_1\.", ".middle.attention."),
    (r"\.proj_out\.", ".project."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"\.(?:downsample|upsample)\.conv\.", ".resample.conv."),
)
_TRANSFORMER_NAMES = (
    (r"^pos_start$", "start_embed"),
    (r"^pos_1LC$", "pos_embed"),
    (r"^lvl_embed\.", "scale_embed."),
    (r"^class_emb\.", "class_embed."),
    (r"^shared_ada_lin\.1\.", "shared_modulation."),
    (r"^head_nm\.ada_lin\.1\.", "head_norm."),
    (r"\.attn\.mat_qkv\.", ".qkv."),
    (r"\.attn\.([qv]_bias)$", r".\1"),
    (r"\.attn\.scale_mul_1H11$", ".log_scale"),
    (r"\.attn\.proj\.", ".project."),
    (r"\.ffn\.fc1\.", ".mlp_in."),
    (r"\.ffn\.fc2\.", ".mlp_out."),
    (r"\.ada_lin\.1\.", ".modulation."),
    (r"\.ada_gss$", ".modulation_bias"),
)


def _rename(name: str, rules: Iterable[tuple[str, str | Callable[[re.Match[str]], str]]]) -> str:
    """The name of an official entry -> ours."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _read_pickle(path: Path) -> dict[Any, Any]:
    held, unpacked, loaded = path.stat().st_size, 0, None
    try:
        if zipped := zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked <= held:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped or None)
    except Exception as error:  # a broken pickle raises anything
        raise ValueError(
            f"{path.name} is damaged or holds more than plain weights, and was not opened: download it again"
        ) from error
    if unpacked > held:
        raise ValueError(f"{path.name} would unpack to {unpacked / 1e6:.0f} MB from {held / 1e6:.1f}: it is no model")
    if not isinstance(loaded, dict):
        raise ValueError(f"{path.name} holds a {type(loaded).__name__}, expected a dictionary of weights")
    return loaded


def _unwrap(path: Path, keys: tuple[str, ...], marker: str) -> dict[str, Tensor]:
    """The state dict inside a trainer's file, without the prefixes that wrappers add."""
    state = _read_pickle(path)
    for _ in range(4):
        plain = {re.sub(r"^(?:module\.|_orig_mod\.)+", "", str(name)): value for name, value in state.items()}
        if marker in plain:
            for name, value in plain.items():
                if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
                    raise ValueError(f"{path.name} has {quoted(name)} beside its weights, expected tensors only")
            if sum(value.nbytes for value in plain.values()) > path.stat().st_size:
                raise ValueError(f"{path.name} claims more numbers than it holds: it is no weight file")
            return plain
        inner = next((key for key in keys if isinstance(state.get(key), dict)), None)
        if inner is None:
            break
        state = state[inner]
    found = ", ".join(str(name)[:40] for name in list(state)[:3]) or "nothing"
    raise ValueError(f'{path.name} has no entry "{marker}" (found {found}, ...): is it the right one of the two files?')


def _sides(state: dict[str, Tensor], path: Path) -> tuple[int, ...]:
    """The pyramid, from the scale of every token."""
    scale_of = state.get("lvl_1L", torch.empty(0)).flatten().long()
    if not len(scale_of) or scale_of.min() < 0 or scale_of.max() >= 32:
        raise ValueError(f'{path.name} lacks the entry "lvl_1L", or it does not tell the scale of each token')
    lengths = torch.bincount(scale_of).tolist()
    sides = tuple(math.isqrt(length) for length in lengths)
    if any(side * side != length for side, length in zip(sides, lengths, strict=True)):
        raise ValueError(f"{path.name} has scales of {str(lengths)[:60]} tokens, expected squares")
    return sides


def load_official(
    tokenizer_file: str | Path, transformer_file: str | Path, name: str = "official", dtype: torch.dtype = torch.float32
) -> Model:
    """Read an official pair of `.pth` files, every size inferred from the tensors; `dtype` as in `load_model`.
    ValueError if they do not fit."""
    token_path, path = existing(tokenizer_file), existing(transformer_file)
    first, second = token_path.name, path.name
    codes = _unwrap(token_path, ("trainer", "vae_local", "vae", "model", "state_dict"), "quantize.embedding.weight")
    state = _unwrap(path, ("trainer", "var_wo_ddp", "var", "model", "state_dict"), "word_embed.weight")
    sides = _sides(state, path)
    hits = codes.get("ema_vocab_hit_SV", codes.get("quantize.ema_vocab_hit_SV"))
    if hits is not None and len(hits) != len(sides):
        raise ValueError(f"{first} was made for {len(hits)} scales, not {len(sides)}: these files are no pair")
    last = count({name: () for name in codes}, r"encoder\.down\.(\d{1,4})\.") - 1
    turned = r"^decoder\.up\.(\d+)\.", lambda found: f"decoder.levels.{last - int(found[1])}."  # coarse to fine
    codes = {_rename(n, (turned, *_TOKENIZER_NAMES)): t for n, t in codes.items() if not _DERIVED.search(n)}
    state = {_rename(n, _TRANSFORMER_NAMES): t for n, t in state.items() if not _DERIVED.search(n)}
    code_shapes, shapes = ({n: tuple(t.shape) for n, t in part.items()} for part in (codes, state))
    found = {"sides": sides, **sizes(TokenizerConfig, code_shapes, first)}
    token_config = config_from(TokenizerConfig, found, first)
    config = config_from(TransformerConfig, {"sides": sides, **sizes(TransformerConfig, shapes, second)}, second)
    check_pair(token_config, config, f"{first} with {second}")
    with torch.device("meta"):
        tokenizer, transformer = Tokenizer(token_config), Transformer(config)
    fill(tokenizer, code_shapes, lambda n: codes[n].to(held_as(f"tokenizer.{n}", dtype)), first)
    fill(transformer, shapes, lambda n: state[n].to(dtype), second)
    return Model(tokenizer, transformer, class_names_for(config.classes), name, {"licence": "MIT"})


def class_names_for(classes: int) -> tuple[str, ...]:
    """ImageNet's names for 1,000 classes, numbers otherwise."""
    if classes == 1000:
        path = Path(__file__).parents[2] / "assets" / "imagenet_classes.txt"
        return tuple(path.read_text(encoding="utf-8").splitlines())
    return tuple(f"class {i}" for i in range(classes))
