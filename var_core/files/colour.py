"""Colours as a file means them -> sRGB: by its ICC profile, or by a PNG's gamma and chromaticities."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageCms

Convert = Callable[[Image.Image], Image.Image]
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SAME = 2  # grey levels by which a profile of sRGB may round otherwise than lcms
_GAMMA, _CORNERS = 0.45455, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # sRGB's; x, y of white, red, green, blue


def to_srgb(profile: bytes, mode: str) -> tuple[Convert, str]:
    """What converts pictures of a mode ("L", "RGB" or "CMYK") to sRGB, and the notice due; pixels stay as they are,
    without a notice, where the profile is sRGB by what it does, whatever it is called."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = getattr(source.profile, "xcolor_space", "")
        own = _MODES.get(space, "")
        if own != mode and (own, mode) != ("RGB", "L"):
            raise ValueError(f"a profile of {space} for a picture of mode {mode}")
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), own, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return plain, "The colour profile of this picture could not be read: colours may differ a little."

    def convert(picture: Image.Image) -> Image.Image:
        return ImageCms.applyTransform(picture.convert(own), transform) or picture

    cube = (np.indices((6, 6, 6)).reshape(1, 3, -1) * 51).astype(np.uint8)
    probe = Image.fromarray(np.ascontiguousarray(cube.transpose(0, 2, 1))).convert(own)
    if np.abs(np.asarray(convert(probe), int) - np.asarray(probe.convert("RGB"), int)).max() <= _SAME:
        return plain, ""
    return convert, "The colours were converted from the picture's own profile to sRGB."


def from_srgb(profile: bytes) -> Convert | None:
    """What converts sRGB to the colours of an RGB profile; None where it cannot say how."""
    try:
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), target, "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return lambda picture: ImageCms.applyTransform(picture, transform) or picture


def plain(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def described(info: Mapping[Any, Any]) -> tuple[Convert, str]:
    """The same by what a PNG without a profile may say: one exponent (gAMA) and its primaries (cHRM)."""
    gamma, corners = info.get("gamma", _GAMMA), info.get("chromaticity", _CORNERS)
    if "srgb" in info or len(corners) != 8 or not 0.1 < gamma < 10 or min(corners[1::2]) <= 0:
        return plain, ""
    same = abs(gamma / _GAMMA - 1) < 0.02 and np.abs(np.subtract(corners, _CORNERS)).max() < 0.002
    primaries = _primaries(corners)
    if same or abs(np.linalg.det(primaries)) < 1e-6:
        return plain, ""
    matrix = np.linalg.solve(_primaries(_CORNERS), primaries)
    matrix = (matrix / matrix.sum(axis=1, keepdims=True)).T.astype(np.float32)  # white stays white
    light = (np.arange(256, dtype=np.float32) / 255) ** (1 / gamma)

    def convert(picture: Image.Image) -> Image.Image:
        linear = (light[np.asarray(picture.convert("RGB"))] @ matrix).clip(0, 1)
        values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return Image.fromarray((values * 255).round().astype(np.uint8))

    return convert, "The colours were converted from the picture's own gamma to sRGB."


def _primaries(corners: Sequence[float]) -> np.ndarray:
    """(XYZ, rgb): what full red, green and blue are, so that together they are the white."""
    x, y = np.reshape(corners, (4, 2)).T
    white, *three = np.stack((x, y, 1 - x - y), axis=1) / y[:, None]
    columns = np.stack(three, axis=1)
    return columns * np.linalg.lstsq(columns, white)[0]
