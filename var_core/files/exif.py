"""Camera data that may go with a saved picture: what is known to be harmless, and nothing else."""

from __future__ import annotations

from PIL import Image

_CAMERA = 0x8769  # where the numbers of the shot lie
_GENERAL = (0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)  # make, model, software, date, artist, copyright
_SHOT = (  # exposure, dates, lens; no place or time zone, serial number, owner, comment or maker's notes
    0x829A, 0x829D, 0x8822, 0x8827, 0x8830, 0x8832, 0x9003, 0x9004, 0x9201, 0x9202, 0x9203, 0x9204, 0x9205, 0x9206,
    0x9207, 0x9208, 0x9209, 0x920A, 0xA217, 0xA401, 0xA402, 0xA403, 0xA404, 0xA405, 0xA406, 0xA407, 0xA408, 0xA409,
    0xA40A, 0xA40C, 0xA432, 0xA433, 0xA434,
)  # fmt: skip
_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 0xA002, 0xA003
_LONGEST = 1000  # bytes of one entry


def harmless(given: Image.Exif, size: tuple[int, int]) -> bytes:
    """Of a photo's camera data make, date, exposure, lens, artist and copyright, for an upright picture of that size.
    Empty where the photo has none of them."""
    general, shot = _held(given, _GENERAL), _held(_camera_part(given), _SHOT)
    if not general and not shot:
        return b""
    kept = Image.Exif()
    kept.update(general)
    kept[_ORIENTATION] = 1
    kept.get_ifd(_CAMERA).update(shot | {_WIDTH: size[0], _HEIGHT: size[1]})
    return kept.tobytes()


def _camera_part(given: Image.Exif) -> dict:
    try:
        return given.get_ifd(_CAMERA)
    except Exception:  # damaged data cost nothing but themselves
        return {}


def _held(entries: Image.Exif | dict, tags: tuple[int, ...]) -> dict[int, object]:
    """Those that are there and can be written again."""
    found = {}
    for tag in tags:
        try:
            value = entries.get(tag)
            alone = Image.Exif()
            alone[tag] = value
            if value is not None and len(alone.tobytes()) < _LONGEST:
                found[tag] = value
        except Exception:  # a value of the wrong kind, which Pillow reads and cannot write
            continue
    return found
