"""The models by name: where their files are, and how missing ones are fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from .checkpoints import Model, existing, load_model
from .official import load_official

DEFAULT = "garden-2"
REPOSITORY = "FoundationVision/var"
BUNDLED = Path(__file__).parents[2] / "checkpoints"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One entry of the list. `files` are names in the hub repository (tokenizer, transformer), empty where the
    model comes with this project; `size_mb` is what a download fetches, in megabytes."""

    name: str
    title: str
    resolution: int
    parameters: str
    licence: str = "MIT"
    files: tuple[str, ...] = ()
    size_mb: int = 0
    depth: int = 0  # blocks of the transformer, 0 where the file itself says

    @property
    def bundled(self) -> bool:
        return not self.files


def _official(depth: int, resolution: int, parameters: str, size_mb: int) -> ModelInfo:
    return ModelInfo(
        name=f"var-d{depth}", title=f"VAR-d{depth}, ImageNet, {resolution} px", resolution=resolution,
        parameters=parameters, files=("vae_ch160v4096z32.pth", f"var_d{depth}.pth"), size_mb=size_mb, depth=depth,
    )  # fmt: skip


MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo(name=DEFAULT, title="Garden 2, photos, flowers, fruit, 128 px", resolution=128, parameters="17 M"),
        _official(16, 256, "310 M", 1_680),
        _official(20, 256, "600 M", 2_840),
        _official(24, 256, "1.0 B", 4_570),
        _official(30, 256, "2.0 B", 8_530),
        _official(36, 512, "2.3 B", 9_630),
    )
}


def _unknown(name: str) -> ValueError:
    return ValueError(f'there is no model "{name}": use one of {", ".join(MODELS)}, or the path of a .safetensors file')


def find_model(name_or_path: str) -> tuple[Path, ...]:
    """Files of a registered model, or of a path: one of our own, or an official (tokenizer, transformer) pair.

    ValueError says how to get what is missing.
    """
    if name_or_path.endswith(".safetensors"):
        return (existing(name_or_path),)
    info = MODELS.get(name_or_path)
    if info is None:
        raise _unknown(name_or_path)
    if info.bundled:
        path = BUNDLED / f"{info.name}.safetensors"
        if not path.is_file():
            raise ValueError(f"the bundled model is missing at checkpoints/{path.name}: restore it from the repository")
        return (path,)
    from .download import cached  # the hub's client is slow to import, and the bundled model does not need it

    paths = tuple(path for file in info.files if (path := cached(REPOSITORY, file)) is not None)
    if len(paths) < len(info.files):
        raise ValueError(f'{info.name} is not on disk: fetch it with "python -m var_core models download {info.name}"')
    return paths


def is_on_disk(name: str) -> bool:
    try:
        find_model(name)
    except ValueError:
        return False
    return True


def open_model(name_or_path: str, dtype: torch.dtype = torch.float32) -> Model:
    """Load a registered model or a file of our own format, its weights as `dtype`."""
    files = find_model(name_or_path)
    if len(files) == 1:
        return load_model(files[0], dtype)
    model = load_official(files[0], files[1], name_or_path, dtype)
    expected, found = MODELS[name_or_path].depth, model.transformer.config.depth
    if found != expected:
        raise ValueError(f"{files[1].name} has {found} blocks, but {name_or_path} has {expected}: download it again")
    return model


def download(name: str) -> tuple[Path, ...]:
    """Fetch a registered model into the hub's cache, with a progress bar on standard error; what is there already is
    verified, and replaced where it is damaged. ValueError with one sentence when the hub cannot be reached or a file
    arrives damaged; what has arrived is kept for the next try."""
    info = MODELS.get(name)
    if info is None:
        raise _unknown(name)
    if info.bundled:
        return find_model(name)
    from .download import fetch

    return tuple(fetch(REPOSITORY, file) for file in info.files)
