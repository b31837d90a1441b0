"""Which of a camera's words may go with a saved picture: each by its name, and no others."""

from __future__ import annotations

from PIL import ExifTags, Image

from var_core.files.exif import harmless

CAMERA = ExifTags.IFD.Exif
GENERAL = {"Make", "Model", "Software", "DateTime", "Artist", "Copyright"}
SHOT = {
    "ExposureTime", "FNumber", "ExposureProgram", "ISOSpeedRatings", "SensitivityType", "RecommendedExposureIndex",
    "DateTimeOriginal", "DateTimeDigitized", "ShutterSpeedValue", "ApertureValue", "BrightnessValue",
    "ExposureBiasValue", "MaxApertureValue", "SubjectDistance", "MeteringMode", "LightSource", "Flash", "FocalLength",
    "SensingMethod", "CustomRendered", "ExposureMode", "WhiteBalance", "DigitalZoomRatio", "FocalLengthIn35mmFilm",
    "SceneCaptureType", "GainControl", "Contrast", "Saturation", "Sharpness", "SubjectDistanceRange",
    "LensSpecification", "LensMake", "LensModel",
}  # fmt: skip
LONGEST = 1000  # bytes of one entry, written alone


def camera(general: dict[int, object], shot: dict[int, object]) -> Image.Exif:
    exif = Image.Exif()
    exif.update(general)
    exif.get_ifd(CAMERA).update(shot)
    return exif


def kept(given: Image.Exif, size: tuple[int, int] = (40, 30)) -> tuple[dict[str, object], dict[str, object]]:
    """What is written, by name: in general, and of the shot."""
    exif = Image.Exif()
    exif.load(harmless(given, size))
    shot = exif.get_ifd(CAMERA)
    return tuple({ExifTags.TAGS[tag]: part[tag] for tag in part if tag != CAMERA} for part in (exif, shot))  # type: ignore[return-value]


def test_of_all_that_a_camera_can_say_the_harmless_is_kept() -> None:
    """Every entry that has a name, in both places, and every number beside those that have none."""
    numbers = {*ExifTags.TAGS, *(tag + 1 for tag in ExifTags.TAGS)} - {*ExifTags.IFD, 0x0201, 0x0202}
    general, shot = kept(camera(dict.fromkeys(numbers, "7"), dict.fromkeys(numbers, 7)))
    assert set(general) == GENERAL | {"Orientation"} and set(shot) == SHOT | {"ExifImageWidth", "ExifImageHeight"}
    assert {str(general[name]).strip("\0") for name in GENERAL} == {"7"}


def test_each_alone_is_kept_and_the_picture_is_upright_and_of_its_size() -> None:
    tags = {name: tag for tag, name in ExifTags.TAGS.items()}
    general, shot = kept(camera({tags["Artist"]: "Ada"}, {}))
    assert general == {"Artist": "Ada", "Orientation": 1} and shot == {"ExifImageWidth": 40, "ExifImageHeight": 30}
    general, shot = kept(camera({tags["Orientation"]: 6}, {tags["LensModel"]: "A lens"}), (30, 50))
    assert general == {"Orientation": 1}
    assert shot == {"LensModel": "A lens", "ExifImageWidth": 30, "ExifImageHeight": 50}
    assert harmless(camera({tags["Orientation"]: 6}, {tags["UserComment"]: "me"}), (40, 30)) == b""


def test_an_entry_is_no_longer_than_that() -> None:
    def written(length: int) -> int:
        alone = Image.Exif()
        alone[0x013B] = "a" * length
        return len(alone.tobytes())

    fits = max(length for length in range(LONGEST) if written(length) < LONGEST)
    assert written(fits) == LONGEST - 2 and written(fits + 1) == LONGEST, "all lengths are even"
    for length in (fits, fits + 1):
        assert (harmless(camera({0x013B: "a" * length}, {}), (40, 30)) == b"") == (length > fits)


def test_a_value_that_cannot_be_written_costs_only_itself() -> None:
    general, _ = kept(camera({0x010F: object(), 0x013B: "Ada", 0x0131: None}, {0x829A: "no number"}))
    assert general == {"Artist": "Ada", "Orientation": 1}
