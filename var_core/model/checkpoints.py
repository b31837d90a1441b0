"""Reading and writing models: the official `.pth` pairs, and our own one-file safetensors format.

Everything is strict: a file that does not fit is answered with one sentence that names it, what was found and
what was expected. Pickles are read with `weights_only=True`, so code in them never runs.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .tokenizer import Tokenizer, TokenizerConfig
from .transformer import Transformer, TransformerConfig

FORMAT = "var-editor/1"
Config = TypeVar("Config")

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


@dataclass(frozen=True)
class Model:
    """A tokenizer and a transformer that belong together. `card` holds the licence and the default sampling."""

    tokenizer: Tokenizer
    transformer: Transformer
    class_names: tuple[str, ...]
    name: str
    card: dict[str, Any] = field(default_factory=dict)


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def tokenizer_name(name: str, levels: int) -> str:
    """Official tokenizer entry -> ours. The official decoder counts its levels from fine to coarse."""
    name = re.sub(r"^decoder\.up\.(\d+)\.", lambda found: f"decoder.levels.{levels - 1 - int(found[1])}.", name)
    return _rename(name, _TOKENIZER_NAMES)


def transformer_name(name: str) -> str:
    """Official transformer entry -> ours."""
    return _rename(name, _TRANSFORMER_NAMES)


# official files


def _read_pickle(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give the path of an official .pth file")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name} holds more than weights and was not opened: only plain weight files are read"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} is damaged or not a weight file: download it again") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path.name} holds a {type(loaded).__name__}, expected a dictionary of weights")
    return loaded


def _unwrap(loaded: dict[str, Any], keys: tuple[str, ...], marker: str, path: Path) -> dict[str, Tensor]:
    """The state dict inside a trainer's file, without the prefixes that wrappers add."""
    state = loaded
    for _ in range(4):
        names = [re.sub(r"^(?:module\.|_orig_mod\.)+", "", name) for name in state]
        if marker in names:
            plain = {short: state[name] for short, name in zip(names, state, strict=True)}
            strangers = [name for name, value in plain.items() if not isinstance(value, Tensor)]
            if strangers:
                raise ValueError(f'{path.name} holds "{strangers[0]}" beside its weights, expected tensors only')
            return plain
        inner = next((key for key in keys if isinstance(state.get(key), dict)), None)
        if inner is None:
            break
        state = state[inner]
    found = ", ".join(list(state)[:3]) or "nothing"
    raise ValueError(f'{path.name} has no entry "{marker}" (found {found}, ...): is it the right one of the two files?')


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """One more than the largest number that `pattern` captures in any name."""
    return 1 + max((int(found[1]) for name in state if (found := re.match(pattern, name))), default=-1)


def _entry(state: dict[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in state:
        raise ValueError(f'{path.name} lacks the entry "{name}"')
    return state[name]


def _tokenizer_config(state: dict[str, Tensor], sides: tuple[int, ...], path: Path) -> TokenizerConfig:
    channels = _entry(state, "encoder.conv_in.weight", path).shape[0]
    levels = max(1, _count(state, r"encoder\.down\.(\d+)\."))
    widths = [_entry(state, f"encoder.down.{i}.block.0.conv1.weight", path).shape[0] for i in range(levels)]
    codes = _entry(state, "quantize.embedding.weight", path)
    hits = state.get("ema_vocab_hit_SV", state.get("quantize.ema_vocab_hit_SV"))
    if hits is not None and hits.shape[0] != len(sides):
        raise ValueError(f"{path.name} was made for {hits.shape[0]} scales, not {len(sides)}: these files are no pair")
    return TokenizerConfig(
        sides=sides,
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        residual_blocks=_count(state, r"encoder\.down\.0\.block\.(\d+)\."),
        code_dim=codes.shape[1],
        vocab_size=codes.shape[0],
        refine_count=max(1, _count(state, r"quantize\.quant_resi\.qresi_ls\.(\d+)\.")),
        attention=f"encoder.down.{levels - 1}.attn.0.norm.weight" in state,
    )


def _transformer_config(state: dict[str, Tensor], path: Path) -> TransformerConfig:
    scale_of = _entry(state, "lvl_1L", path).flatten().long()
    lengths = torch.bincount(scale_of).tolist()
    sides = tuple(round(length**0.5) for length in lengths)
    if any(side * side != length for side, length in zip(sides, lengths, strict=True)):
        raise ValueError(f"{path.name} has scales of {lengths} tokens, expected squares")
    word = _entry(state, "word_embed.weight", path)
    return TransformerConfig(
        sides=sides,
        depth=_count(state, r"blocks\.(\d+)\."),
        width=word.shape[0],
        heads=_entry(state, "blocks.0.attn.scale_mul_1H11", path).shape[1],
        mlp_width=_entry(state, "blocks.0.ffn.fc1.weight", path).shape[0],
        classes=_entry(state, "class_emb.weight", path).shape[0] - 1,
        code_dim=word.shape[1],
        vocab_size=_entry(state, "head.weight", path).shape[0],
        shared_modulation="shared_ada_lin.1.weight" in state,
    )


def _build(token_config: TokenizerConfig, config: TransformerConfig, source: str) -> tuple[Tokenizer, Transformer]:
    """Both modules without memory of their own (meta device), for `_fill`. ValueError if the sizes are impossible."""
    try:
        with torch.device("meta"):
            return Tokenizer(token_config), Transformer(config)
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "sizes do not go together"
        raise ValueError(f"{source} describes a model that cannot be built: {reason}") from error


def _fill(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Strict load by assignment into a module built on the meta device."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing:
        raise ValueError(f'{source} lacks "{missing[0]}" ({len(missing)} entries in all)')
    if extra:
        raise ValueError(f'{source} has the unknown entry "{extra[0]}" ({len(extra)} in all)')
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise ValueError(f'{source}: "{name}" has shape {tuple(state[name].shape)}, expected {shape}')
    module.load_state_dict(state, strict=True, assign=True)
    module.requires_grad_(False).eval()


def load_official(
    tokenizer_file: str | Path,
    transformer_file: str | Path,
    name: str = "official",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Read an official pair of `.pth` files, every size inferred from the tensors; `dtype` as in `load_model`.
    ValueError if they do not fit."""
    tokenizer_path, transformer_path = Path(tokenizer_file), Path(transformer_file)
    token_keys, model_keys = (
        ("trainer", "vae_local", "vae", "model", "state_dict"),
        ("trainer", "var_wo_ddp", "var", "model", "state_dict"),
    )
    token_state = _unwrap(_read_pickle(tokenizer_path), token_keys, "quantize.embedding.weight", tokenizer_path)
    state = _unwrap(_read_pickle(transformer_path), model_keys, "word_embed.weight", transformer_path)
    source = f"{tokenizer_path.name} with {transformer_path.name}"
    try:
        config = _transformer_config(state, transformer_path)
        token_config = _tokenizer_config(token_state, config.sides, tokenizer_path)
    except (IndexError, ZeroDivisionError, RuntimeError) as error:
        raise ValueError(f"{source} has entries of unexpected shapes: these are no official files") from error
    for what, of_tokens, of_model in (
        ("code channels", token_config.code_dim, config.code_dim),
        ("codes", token_config.vocab_size, config.vocab_size),
    ):
        if of_tokens != of_model:
            found = f"{tokenizer_path.name} has {of_tokens} {what} but {transformer_path.name} expects {of_model}"
            raise ValueError(f"{found}: these files are no pair")
    tokenizer, transformer = _build(token_config, config, source)
    levels = len(token_config.multipliers)
    plain = {tokenizer_name(n, levels): t for n, t in token_state.items() if not _DERIVED.search(n)}
    _fill(tokenizer, {n: t.to(_held_as(f"tokenizer.{n}", dtype)) for n, t in plain.items()}, tokenizer_path.name)
    plain = {transformer_name(n): t.to(dtype) for n, t in state.items() if not _DERIVED.search(n)}
    _fill(transformer, plain, transformer_path.name)
    return Model(tokenizer, transformer, class_names_for(config.classes), name, {"licence": "MIT"})


def class_names_for(classes: int) -> tuple[str, ...]:
    """ImageNet's names for 1,000 classes, numbers otherwise."""
    if classes == 1000:
        path = Path(__file__).parents[2] / "assets" / "imagenet_classes.txt"
        return tuple(path.read_text(encoding="utf-8").splitlines())
    return tuple(f"class {i}" for i in range(classes))


# our own format


def _held_as(name: str, dtype: torch.dtype) -> torch.dtype:
    """What an entry is computed in when the large parts are in `dtype`: the quantizer stays float32."""
    return torch.float32 if name.startswith(("tokenizer.codebook", "tokenizer.refine")) else dtype


def _stays_float32(name: str) -> bool:
    return name.startswith(("tokenizer.codebook", "tokenizer.refine")) or name.endswith(("log_scale",))


def save_model(model: Model, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write one safetensors file; `dtype` is what large tensors are stored as (codes and refine stay float32)."""
    tensors = {}
    for part, module in (("tokenizer", model.tokenizer), ("transformer", model.transformer)):
        for name, value in module.state_dict().items():
            full = f"{part}.{name}"
            keep = _stays_float32(full) or value.dim() < 2
            tensors[full] = value.detach().cpu().to(torch.float32 if keep else dtype).contiguous().clone()
    description = {
        "format": FORMAT,
        "name": model.name,
        "tokenizer": asdict(model.tokenizer.config),
        "transformer": asdict(model.transformer.config),
        "class_names": list(model.class_names),
        "card": model.card,
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"model": json.dumps(description)})


def load_model(path: str | Path, dtype: torch.dtype = torch.float32) -> Model:
    """Read a file written by `save_model`; `dtype` of the weights, codes and refine convolutions always float32 (never
    more than one entry is in memory twice). ValueError if it is not one."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no model file at {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).to(_held_as(name, dtype)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is damaged or not a safetensors file") from error
    try:
        description = json.loads(metadata["model"])
        if description["format"] != FORMAT:
            raise ValueError(f"{path.name} has the format {description['format']}, this version reads {FORMAT}")
        token_config, config = (
            config_from(TokenizerConfig, description["tokenizer"]),
            config_from(TransformerConfig, description["transformer"]),
        )
        class_names, name = tuple(map(str, description["class_names"])), str(description["name"])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f'{path.name} does not describe a model: convert it first with "python -m var_core models convert"'
        ) from error
    strangers = [name for name in tensors if not name.startswith(("tokenizer.", "transformer."))]
    if strangers:
        raise ValueError(f'{path.name} has the unknown entry "{strangers[0]}" ({len(strangers)} in all)')
    if token_config.sides != config.sides or len(class_names) != config.classes:
        raise ValueError(f"{path.name} contradicts itself about its scales or classes: write it again")
    tokenizer, transformer = _build(token_config, config, path.name)
    for part, module in (("tokenizer.", tokenizer), ("transformer.", transformer)):
        _fill(module, {n.removeprefix(part): t for n, t in tensors.items() if n.startswith(part)}, path.name)
    return Model(tokenizer, transformer, class_names, name, description.get("card", {}))


def config_from(kind: type[Config], values: dict[str, Any]) -> Config:
    """A configuration from its stored form, where tuples have become lists."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
