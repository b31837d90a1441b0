"""Uploads -> upright 8-bit RGB, and back to files. What is not a usable picture is refused with one sentence."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from ..editing.geometry import binary

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 40_000_000
MIN_SIDE, MAX_SIDE = 16, 16_384


@dataclass(frozen=True)
class Upload:
    """An upright RGB picture; `alpha_mask` is "L", 255 where the upload was transparent (None if it had no
    transparency); `notices` say in one sentence each what was lost."""

    image: Image.Image
    alpha_mask: Image.Image | None
    notices: tuple[str, ...] = ()


def open_image(source: str | Path | bytes) -> Upload:
    """Read a PNG, JPEG or WebP, told by its content. ValueError with one sentence for anything else."""
    data = _read(source)
    with _open(data) as opened:
        _check_size(opened.size)
        notices = []
        if getattr(opened, "n_frames", 1) > 1:
            notices.append("This picture is animated: its first frame is used.")
        try:
            opened.load()
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise ValueError("This picture is damaged or cut off: save it again or choose another one.") from error
        profile = opened.info.get("icc_profile")
        image = ImageOps.exif_transpose(opened)
    rgb, alpha = _normalise(image, profile, notices)
    return Upload(rgb, alpha, tuple(notices))


def _read(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"There is no file {path.name}.")
        if path.stat().st_size > MAX_BYTES:
            raise _too_large(path.stat().st_size)
        data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    return data


def _too_large(size: int) -> ValueError:
    limit = MAX_BYTES // 2**20
    return ValueError(f"This file has {size / 2**20:.1f} MB, the limit is {limit} MB: choose a smaller one.")


def _open(data: bytes) -> Image.Image:
    """Parse the header only; nothing is decoded yet."""
    refusal = "This file is not a PNG, JPEG or WebP picture: choose one of these."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked right after
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"This picture has over {MAX_PIXELS // 10**6} megapixels: make it smaller first.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(refusal) from error


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise ValueError(f"This picture is {width} x {height} pixels: each side needs at least {MIN_SIDE}.")
    if max(size) > MAX_SIDE:
        raise ValueError(f"This picture is {width} x {height} pixels: no side may exceed {MAX_SIDE}.")
    if width * height > MAX_PIXELS:
        megapixels, limit = width * height / 1e6, MAX_PIXELS // 10**6
        raise ValueError(f"This picture has {megapixels:.0f} megapixels, the limit is {limit}: make it smaller first.")


def _normalise(image: Image.Image, profile: bytes | None, notices: list[str]) -> tuple[Image.Image, Image.Image | None]:
    alpha = None
    if image.mode.startswith("I") or image.mode == "F":
        notices.append("This picture has 16 bits per channel: it was reduced to 8.")
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        opacity = image.getchannel("A")
        if (np.asarray(opacity) < 255).any():
            alpha = binary(ImageOps.invert(opacity))
            notices.append("Transparent parts were laid on white and marked as mask.")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image).convert("RGB")
    if profile:
        image = _to_srgb(image, profile, notices)
    return image.convert("RGB"), alpha


def _to_srgb(image: Image.Image, profile: bytes, notices: list[str]) -> Image.Image:
    """Convert to sRGB by the embedded profile; CMYK and gray profiles included."""
    if image.mode == "P":
        image = image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        notices.append("The colour profile of this picture could not be read: colours may differ a little.")
        return image
    assert converted is not None
    notices.append("The colours were converted from the picture's own profile to sRGB.")
    return converted


def open_mask(source: str | Path | bytes | Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask as "L" of 0 and 255 at `size`, scaled with nearest. White (or, where the file has transparency and
    no brightness of its own, opaque) means repaint."""
    if isinstance(source, Image.Image):
        mask = source
    else:
        data = _read(source)
        with _open(data) as opened:
            _check_mask_size(opened.size)
            try:
                mask = ImageOps.exif_transpose(opened)
            except (OSError, SyntaxError, ValueError, EOFError) as error:
                raise ValueError("This mask is damaged or cut off: save it again.") from error
    if mask.mode in ("RGBA", "LA", "PA") or "transparency" in mask.info:
        mask = mask.convert("RGBA").getchannel("A")
    mask = mask.convert("L")
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.NEAREST)
    return binary(mask)


def _check_mask_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS or max(size) > MAX_SIDE:
        raise ValueError(f"This mask is {size[0]} x {size[1]} pixels: the limit is {MAX_PIXELS // 10**6} megapixels.")


def save_png(image: Image.Image, path: str | Path, text: dict[str, str] | None = None) -> None:
    """Write pixels and the given text chunks, nothing else: no camera data, no place."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value, zip=True)
    clean = Image.fromarray(np.asarray(image))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clean.save(path, format="PNG", pnginfo=chunks)


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """(b, 3, H, W) in [-1, 1] -> RGB pictures."""
    array = ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in array]
