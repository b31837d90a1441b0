"""Reading and writing models in our own one-file safetensors format, and what the official files share with it.

Everything is strict: a file that does not fit is answered with one sentence that names it, what was found and
what was expected. Every size follows from the shapes of the entries, or is held against them, before anything is built
or read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .refiner import Refiner, RefinerConfig
from .scales import Scales
from .tokenizer import Tokenizer, TokenizerConfig
from .transformer import Transformer, TransformerConfig

FORMAT = "var-editor/1"
Config = TypeVar("Config")
Shapes = dict[str, tuple[int, ...]]

_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Model:
    """A tokenizer and a transformer that belong together. `card` holds the licence and the default sampling."""

    tokenizer: Tokenizer
    transformer: Transformer
    class_names: tuple[str, ...]
    name: str
    card: dict[str, Any] = field(default_factory=dict)


def existing(path: str | Path) -> Path:
    """The path, if a file is there that is not just Git LFS's note of where it is."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no model file at {path}")
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError(f'{path.name} is a Git LFS pointer, not the model itself: fetch it with "git lfs pull"')
    return path


def quoted(name: object) -> str:
    """A name from a file as it can stand in a sentence."""
    return json.dumps(str(name)[:60])


def count(shapes: Shapes, pattern: str) -> int:
    """One more than the largest number that `pattern` captures in any name."""
    return 1 + max((int(found[1]) for name in shapes if (found := re.match(pattern, name))), default=-1)


def _tokenizer_sizes(shapes: Shapes) -> dict[str, Any]:
    codes = shapes["codebook.weight"]
    common = {"code_dim": codes[1], "vocab_size": codes[0], "refine_count": count(shapes, r"refine\.(\d{1,4})\.")}
    if "encoder.layers.0.weight" in shapes:
        layers = count(shapes, r"encoder\.layers\.(\d{1,4})\.")
        halvings = sum(bool(re.fullmatch(r"encoder\.layers\.\d{1,4}\.weight", name)) for name in shapes) - 2
        return common | {
            "kind": "tiny",
            "channels": shapes["encoder.layers.0.weight"][0],
            "multipliers": (1,) * (halvings + 1),
            "residual_blocks": (layers - 3) // halvings - 1,
        }
    channels, levels = shapes["encoder.conv_in.weight"][0], count(shapes, r"encoder\.levels\.(\d{1,4})\.")
    widths = [shapes[f"encoder.levels.{i}.blocks.0.conv1.weight"][0] for i in range(levels)]
    return common | {
        "channels": channels,
        "multipliers": tuple(width // channels for width in widths),
        "residual_blocks": count(shapes, r"encoder\.levels\.0\.blocks\.(\d{1,4})\."),
        "attention": f"encoder.levels.{levels - 1}.attention.0.norm.weight" in shapes,
    }


def _transformer_sizes(shapes: Shapes) -> dict[str, Any]:
    return {
        "depth": count(shapes, r"blocks\.(\d{1,4})\."),
        "width": shapes["word_embed.weight"][0],
        "heads": shapes["blocks.0.log_scale"][1],
        "mlp_width": shapes["blocks.0.mlp_in.weight"][0],
        "classes": shapes["class_embed.weight"][0] - 1,
        "code_dim": shapes["word_embed.weight"][1],
        "vocab_size": shapes["head.weight"][0],
        "shared_modulation": "shared_modulation.weight" in shapes,
        "infill": "known_embed.weight" in shapes,
    }


def _refiner_sizes(shapes: Shapes) -> dict[str, Any]:
    return {
        "depth": count(shapes, r"blocks\.(\d{1,4})\."),
        "width": shapes["hidden_in.weight"][0],
        "hidden": shapes["hidden_in.weight"][1],
        "code_dim": shapes["code_in.weight"][1],
        "length": shapes["pos_embed"][1],
    }


def sizes(kind: type, shapes: Shapes, source: str) -> dict[str, Any]:
    """What the entries of a file, by our names, say about its configuration."""
    try:
        return _SIZES[kind](shapes)
    except KeyError as error:
        raise ValueError(f'{source} lacks the entry "{error.args[0]}"') from error
    except (IndexError, ZeroDivisionError) as error:
        raise ValueError(f"{source} has entries of unexpected shapes: it is no such model") from error


_SIZES: dict[type, Callable[[Shapes], dict[str, Any]]] = {
    TokenizerConfig: _tokenizer_sizes, TransformerConfig: _transformer_sizes, RefinerConfig: _refiner_sizes,
}  # fmt: skip


def config_from(kind: type[Config], values: dict[str, Any], source: str = "this run") -> Config:
    """A configuration from its stored form, where tuples have become lists. ValueError names the file."""
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{source} describes a model that cannot be built: {str(error)[:120]}") from error


def check_pair(token_config: TokenizerConfig, config: TransformerConfig, source: str) -> None:
    """ValueError unless the transformer speaks of the tokenizer's tokens."""
    for name in ("sides", "code_dim", "vocab_size"):
        of_tokens, of_model = getattr(token_config, name), getattr(config, name)
        if of_tokens != of_model:
            found = f"{name} {of_tokens} in the tokenizer and {of_model} in the transformer"
            raise ValueError(f"{source}: {found}: these are no pair")


def check_refiner(config: RefinerConfig, of: TransformerConfig, source: str) -> None:
    """ValueError unless the refiner is for this transformer."""
    stops = [stop for _, stop in Scales(of.sides).spans]
    if (config.hidden, config.code_dim) != (of.width, of.code_dim) or config.length not in stops:
        found = f"width {config.hidden}, codes of {config.code_dim} and {config.length} tokens"
        raise ValueError(f"{source} has a refiner for another transformer, of {found}: these are no pair")


def fill(module: nn.Module, shapes: Shapes, read: Callable[[str], Tensor], source: str) -> None:
    """Strict load by assignment into a module built on the meta device, one entry after the other."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    missing, extra = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing:
        raise ValueError(f'{source} lacks "{missing[0]}" ({len(missing)} entries in all)')
    if extra:
        raise ValueError(f"{source} has the unknown entry {quoted(extra[0])} ({len(extra)} in all)")
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ValueError(f'{source}: "{name}" has shape {str(shapes[name])[:60]}, expected {shape}')
    state = {}
    for name in expected:
        state[name] = value = read(name)
        if not math.isfinite(value.detach().sum()):  # one NaN or infinity shows in the sum
            raise ValueError(f'{source}: "{name}" holds values that are no finite numbers: train or download it again')
    module.load_state_dict(state, strict=True, assign=True)
    module.requires_grad_(False).eval()


def held_as(name: str, dtype: torch.dtype) -> torch.dtype:
    """What an entry is computed in when the large parts are in `dtype`: the quantizer stays float32."""
    return torch.float32 if name.startswith(("tokenizer.codebook", "tokenizer.refine")) else dtype


def save_model(model: Model, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write one safetensors file; `dtype` is what large tensors are stored as (codes and refine stay float32)."""
    tensors = {}
    for part, module in (("tokenizer", model.tokenizer), ("transformer", model.transformer)):
        for name, value in module.state_dict().items():
            full = f"{part}.{name}"
            exact = value.dim() < 2 or name.endswith("log_scale")
            stored = torch.float32 if exact else held_as(full, dtype)
            tensors[full] = value.detach().cpu().to(stored).contiguous().clone()
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
    path = existing(path)
    source, parts = path.name, ("tokenizer.", "transformer.")
    try:
        with safe_open(path, "pt") as file:
            (token_config, config), class_names, name, card = _described(
                (file.metadata() or {}).get("model", ""), source
            )
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            strangers = [name for name in shapes if not name.startswith(parts)]
            if strangers:
                raise ValueError(f"{source} has the unknown entry {quoted(strangers[0])} ({len(strangers)} in all)")
            own = [{n.removeprefix(part): shape for n, shape in shapes.items() if n.startswith(part)} for part in parts]
            _check_sizes(token_config, own[0], source)
            _check_sizes(config, own[1], source)
            with torch.device("meta"):
                modules = Tokenizer(token_config), Transformer(config)
                modules[1].refiner = _refiner(own[1], config, source)
            for module, part, entries in zip(modules, parts, own, strict=True):
                read = lambda n, part=part: file.get_tensor(part + n).to(held_as(part + n, dtype))  # noqa: E731
                fill(module, entries, read, source)
    except SafetensorError as error:
        raise ValueError(f"{source} is damaged or not a safetensors file: download it again") from error
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror or error}") from error
    return Model(*modules, class_names, name, card)


def _refiner(shapes: Shapes, config: TransformerConfig, source: str) -> Refiner | None:
    """The refiner among a transformer's entries, if there is one, on the meta device."""
    own = {name.removeprefix("refiner."): shape for name, shape in shapes.items() if name.startswith("refiner.")}
    if not own:
        return None
    of_refiner = config_from(RefinerConfig, sizes(RefinerConfig, own, source), source)
    check_refiner(of_refiner, config, source)
    return Refiner(of_refiner)


def _check_sizes(config: TokenizerConfig | TransformerConfig, shapes: Shapes, source: str) -> None:
    """ValueError unless the weights have the sizes that the file says."""
    for name, value in sizes(type(config), shapes, source).items():
        if getattr(config, name) != value:
            said = f"its {name} is {getattr(config, name)}, but its weights have {value}"
            raise ValueError(f"{source} says that {said}: it was changed after it was written")


def _described(text: str, source: str) -> tuple[tuple[TokenizerConfig, TransformerConfig], tuple[str, ...], str, dict]:
    """What a file says about itself: configurations, class names, name and card, checked against each other."""
    try:
        described = json.loads(text)
        form, names, name = (described[key] for key in ("format", "class_names", "name"))
        card = described.get("card", {})
        of_tokens, of_model = described["tokenizer"], described["transformer"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f'{source} does not describe a model: convert it first with "python -m var_core models convert"'
        ) from error
    if form != FORMAT:
        raise ValueError(f"{source} has the format {quoted(form)}, this version reads {FORMAT}")
    token_config = config_from(TokenizerConfig, of_tokens, source)
    config = config_from(TransformerConfig, of_model, source)
    check_pair(token_config, config, source)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names) or len(names) != config.classes:
        raise ValueError(f"{source} does not name its {config.classes} classes: write it again")
    sampling = card.get("sampling", {}) if isinstance(card, dict) else None
    if not isinstance(name, str) or not isinstance(sampling, dict):
        raise ValueError(f"{source} has no name, or a card that is no table: write it again")
    for key, value in sampling.items():
        if type(value) not in (int, float) or not 0 <= value <= 10**6:
            raise ValueError(f"{source} has the sampling default {quoted(key)} of {str(value)[:40]}, expected a number")
    return (token_config, config), tuple(names), name, card
