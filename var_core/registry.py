"""The models by name: where their files are, and how missing ones are fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .checkpoints import Model, load_model, load_official

REPOSITORY = "FoundationVision/var"
_BUNDLED = Path(__file__).parent.parent / "checkpoints"
_TOKENIZER_FILE = "vae_ch160v4096z32.pth"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One entry of the list. `files` are names in the hub repository (tokenizer, transformer), empty where the
    model comes with this project; `size_mb` is what a download fetches, in megabytes."""

    name: str
    title: str
    resolution: int
    parameters: str
    licence: str
    files: tuple[str, ...] = ()
    size_mb: int = 0

    @property
    def bundled(self) -> bool:
        return not self.files


def _official(depth: int, resolution: int, parameters: str, size_mb: int) -> ModelInfo:
    return ModelInfo(
        name=f"var-d{depth}",
        title=f"VAR-d{depth}, ImageNet, {resolution} px",
        resolution=resolution,
        parameters=parameters,
        licence="MIT",
        files=(_TOKENIZER_FILE, f"var_d{depth}.pth"),
        size_mb=size_mb,
    )


MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo(
            name="garden-128",
            title="Garden, flowers and fruit, 128 px",
            resolution=128,
            parameters="16 M",
            licence="MIT",
        ),
        _official(16, 256, "310 M", 1_680),
        _official(20, 256, "600 M", 2_840),
        _official(24, 256, "1.0 B", 4_570),
        _official(30, 256, "2.0 B", 8_530),
        _official(36, 512, "2.3 B", 9_630),
    )
}


def _unknown(name: str) -> ValueError:
    return ValueError(f'there is no model "{name}": use one of {", ".join(MODELS)}, or the path of a .safetensors file')


def _cached(file: str) -> Path | None:
    """The file in the hub's own cache, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(REPOSITORY, file)
    return Path(found) if isinstance(found, str) else None


def find_model(name_or_path: str) -> tuple[Path, ...]:
    """Files of a registered model, or of a path: one of our own, or an official (tokenizer, transformer) pair.

    ValueError says how to get what is missing.
    """
    if name_or_path.endswith(".safetensors"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ValueError(f"there is no model file at {path}")
        return (path,)
    info = MODELS.get(name_or_path)
    if info is None:
        raise _unknown(name_or_path)
    if info.bundled:
        path = _BUNDLED / f"{info.name}.safetensors"
        if not path.is_file():
            raise ValueError(f"the bundled model is missing at checkpoints/{path.name}: restore it from the repository")
        return (path,)
    paths = [_cached(file) for file in info.files]
    if any(path is None for path in paths):
        raise ValueError(f'{info.name} is not on disk: fetch it with "python -m var_core models download {info.name}"')
    return tuple(path for path in paths if path is not None)


def is_on_disk(name: str) -> bool:
    try:
        find_model(name)
    except ValueError:
        return False
    return True


def open_model(name_or_path: str) -> Model:
    """Load a registered model or a file of our own format."""
    files = find_model(name_or_path)
    if len(files) == 1:
        return load_model(files[0])
    return load_official(files[0], files[1], name_or_path)


def download(name: str, report: Callable[[str], None] = print) -> tuple[Path, ...]:
    """Fetch a registered model into the hub's cache, resuming what is there; the hub's client checks sizes and
    we check digests. ValueError with one sentence when the hub cannot be reached or a file is damaged."""
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    info = MODELS.get(name)
    if info is None:
        raise _unknown(name)
    if info.bundled:
        report(f"{name} comes with this project, nothing to download")
        return find_model(name)
    paths = []
    for file in info.files:
        report(f"{file}: fetching from {REPOSITORY}")
        try:
            path = Path(hf_hub_download(REPOSITORY, file))
        except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.TransportError) as error:
            raise ValueError(
                f"the model hub cannot be reached, so {file} was not fetched: check the connection and try again"
            ) from error
        except HfHubHTTPError as error:
            raise ValueError(f"the model hub refused {file}: {error.response.status_code}") from error
        except OSError as error:
            raise ValueError(f"{file} did not arrive whole ({error}): try again, what is there is kept") from error
        _verify(path, file)
        paths.append(path)
    return tuple(paths)


def _verify(path: Path, file: str) -> None:
    """Compare with the sha256 that names the cached blob; a damaged file is removed."""
    import hashlib

    blob = path.resolve()
    expected = blob.name
    if len(expected) != 64:  # not a large-file blob: nothing to compare with
        return
    digest = hashlib.sha256()
    with blob.open("rb") as stream:
        while block := stream.read(2**22):
            digest.update(block)
    if digest.hexdigest() != expected:
        blob.unlink()
        path.unlink(missing_ok=True)
        raise ValueError(f"{file} is damaged (its sha256 differs) and was removed: download it again")
