"""Training pictures: folders and zips, good and bad."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from shapes import folder

from var_core.pictures.data import load_pictures


def test_a_zip_is_the_same_as_its_folder(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", ("disc", "box"), 40)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted(data.rglob("*.png")):
            archive.write(file, file.relative_to(data))
    one, other = load_pictures(data, "train", 32), load_pictures(tmp_path / "data.zip", "train", 32)
    assert one.names == other.names and one.class_names == other.class_names
    assert all(np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True))
