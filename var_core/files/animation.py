"""Pictures of a run, coarse to fine, as a moving picture: WebP or GIF by Pillow, MP4 where imageio-ffmpeg is there.

imageio-ffmpeg is no requirement: it brings the whole of FFmpeg (68 MB to fetch, 170 MB on disk, under the GPL).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from ..settings import check_settings, setting, settings_of
from .images import whole_file

SUFFIXES = {".webp": "webp", ".gif": "gif", ".mp4": "mp4"}
MOST_BYTES = 8 * 2**20  # of a file: what chats and issue trackers take
_RATE = 20  # pictures a second while one fades into the next
_MOST_PIXELS = 30_000_000  # of all pictures together, which Pillow holds in memory
_MOST_FADE = 8  # pictures between two scales
_TRIES = 4
_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class Animation:
    """How a run is shown. ValueError with one sentence for a setting out of range."""

    format: str = setting(
        "webp", str, choices=("webp", "gif", "mp4"), label="Animation",
        help="webp is small and fine, gif plays everywhere, mp4 needs the package imageio-ffmpeg",
    )  # fmt: skip
    view: str = setting(
        "photo", str, choices=("photo", "window"), label="View", help="the whole photo, or what lies around the change"
    )
    side: int = setting(640, int, low=64, high=1280, label="Side", help="pixels of the long side")
    seconds: float = setting(6.0, float, low=1, high=30, label="Seconds", help="how long it lasts, the end held")

    def __post_init__(self) -> None:
        check_settings(self)


ANIMATION = settings_of(Animation)


def format_of(path: str | Path) -> str:
    """The kind of animation that a file's name asks for. ValueError for a name of none."""
    found = SUFFIXES.get(Path(path).suffix.lower())
    if found is None:
        raise ValueError(f"{path} is no name for an animation: end it in .webp, .gif or .mp4")
    return found


def save_animation(pictures: Sequence[Image.Image], path: str | Path, animation: Animation | None = None) -> None:
    """Write pictures (RGB, one size, coarse to fine) as one fading into the next, the last one held. The file is at
    most MOST_BYTES large, smaller in pixels if need be, and appears whole or not at all; its name does not matter.
    ValueError where MP4 is asked for and cannot be made."""
    animation = Animation() if animation is None else animation
    write = {"webp": _webp, "gif": _gif, "mp4": _mp4}[animation.format]
    with whole_file(path) as beside:
        for _ in range(_TRIES):
            write(*frames(pictures, animation.seconds), beside)
            size = beside.stat().st_size
            if size <= MOST_BYTES:
                break
            factor = 0.9 * math.sqrt(MOST_BYTES / size)
            pictures = [_smaller(picture, factor) for picture in pictures]


def frames(pictures: Sequence[Image.Image], seconds: float) -> tuple[list[Image.Image], list[int]]:
    """What is shown one after the other, and for how many milliseconds each. Pixels that two pictures share stay as
    they are between them."""
    steps = len(pictures) - 1
    hold = max(1.0, seconds / 4) if steps else seconds
    each = 1000 * (seconds - hold) / max(1, steps)  # of the rest a third rests, the other fades
    room = _MOST_PIXELS // (pictures[0].width * pictures[0].height * max(1, steps)) - 1
    fading = max(0, min(round(each * 2 / 3 / 1000 * _RATE), room, _MOST_FADE))
    beat = 10 * max(2, round(each * 2 / 3 / (fading + 1) / 10)) if fading else 0  # GIF knows hundredths of a second
    shown: list[Image.Image] = []
    lasting: list[int] = []
    for one, two in pairwise(pictures):
        shown += [one, *(Image.blend(one, two, _eased((i + 1) / (fading + 1))) for i in range(fading))]
        lasting += [10 * max(2, round((each - beat * fading) / 10)), *[beat] * fading]
    return [*shown, pictures[-1]], [*lasting, 10 * round(hold * 100)]


def _eased(share: float) -> float:
    return share * share * (3 - 2 * share)


def _smaller(picture: Image.Image, factor: float) -> Image.Image:
    size = max(2, int(picture.width * factor)), max(2, int(picture.height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _webp(shown: list[Image.Image], lasting: list[int], path: Path) -> None:
    shown[0].save(
        path, format="WEBP", save_all=True, append_images=shown[1:], duration=lasting, loop=0, quality=_QUALITY,
        method=2,
    )  # fmt: skip


def _gif(shown: list[Image.Image], lasting: list[int], path: Path) -> None:
    first, *more = _in_256_colours(shown)
    first.save(path, format="GIF", save_all=True, append_images=more, duration=lasting, loop=0, disposal=1)


def _in_256_colours(shown: list[Image.Image]) -> list[Image.Image]:
    """All in the same colours; what does not change keeps its grain."""
    some = [shown[round(i * (len(shown) - 1) / 3)] for i in range(4)]
    sheet = Image.new("RGB", (some[0].width, sum(picture.height for picture in some)))
    for i, picture in enumerate(some):
        sheet.paste(picture, (0, i * picture.height))
    palette = sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    made = [shown[0].quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)]
    for before, now in pairwise(shown):
        following = made[-1].copy()
        if box := ImageChops.difference(before, now).getbbox():
            following.paste(now.crop(box).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG), box[:2])
        made.append(following)
    return made


def _mp4(shown: list[Image.Image], lasting: list[int], path: Path) -> None:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        way = "install the package imageio-ffmpeg, or save WebP or GIF"
        raise ValueError(f"an MP4 cannot be written here: {way}") from error
    options = ["-preset", "veryfast", "-movflags", "+faststart", "-f", "mp4"]
    width, height = (length - length % 2 for length in shown[0].size)  # as films need it
    film = write_frames(
        str(path), (width, height), fps=_RATE, codec="libx264", pix_fmt_out="yuv420p", quality=6,
        macro_block_size=2, ffmpeg_log_level="error", output_params=options,
    )  # fmt: skip
    film.send(None)
    try:
        for picture in _steadily(shown, lasting):
            film.send(np.ascontiguousarray(picture.crop((0, 0, width, height))))
    finally:
        film.close()


def _steadily(shown: list[Image.Image], lasting: list[int]) -> Iterator[Image.Image]:
    """The same as _RATE pictures a second."""
    due, sent = 0.0, 0
    for picture, milliseconds in zip(shown, lasting, strict=True):
        due += milliseconds / 1000 * _RATE
        while sent < round(due):
            sent += 1
            yield picture
