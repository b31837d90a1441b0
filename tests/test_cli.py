"""The command line on real files, in a process of its own where exit codes matter."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from commands import PYTHON, SHARED, command
from conftest import rectangle, scenery
from PIL import Image
from reference import GOLDEN, Case

from var_core.__main__ import main


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    scenery(120, 90).save(path)
    rectangle((120, 90), (30, 20, 80, 60)).save(tmp_path / "mask.png")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    assert main([str(word) for word in words]) == 0
    return json.loads(capsys.readouterr().out)


def test_generate(model_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "a.png"
    common = ("generate", "--model", model_file, "--label", "rose", "--candidates", 2, "--json", "--out", out)
    strip = tmp_path / "strip.png"
    answer = run(capsys, *common, "--seed", 4, "--strip", strip)
    assert answer["seed"] == 4 and len(answer["files"]) == 3
    assert Image.open(strip).size == (10 * 54 - 6, 48)
    first = Path(answer["files"][0]).read_bytes()
    run(capsys, *common, "--seed", 4)
    assert Path(answer["files"][0]).read_bytes() == first


@pytest.mark.parametrize("method", ["evidence", "requantize", "official"])
def test_inpaint(model_file: Path, photo: Path, tmp_path: Path, capsys, method: str) -> None:
    out, mask = tmp_path / "o.png", photo.with_name("mask.png")
    words = ("inpaint", photo, "--mask", mask, "--model", model_file, "--out", out, "--json", "--method", method)
    run(capsys, *words, "--feather", 0)
    before, after = np.asarray(Image.open(photo)), np.asarray(Image.open(out))
    outside = np.asarray(Image.open(mask)) == 0
    assert np.array_equal(before[outside], after[outside]) and not np.array_equal(before, after)


def test_edit_outpaint_and_vary(model_file: Path, photo: Path, tmp_path: Path, capsys) -> None:
    out, mask = tmp_path / "o.png", photo.with_name("mask.png")
    run(capsys, "edit", photo, "--mask", mask, "--label", "tulip", "--model", model_file, "--out", out, "--json")
    answer = run(
        capsys, "outpaint", photo, "--ratio", "16:9", "--anchor", "left", "--model", model_file, "--out", out, "--json"
    )
    assert answer["size"] == [160, 90]
    answer = run(capsys, "outpaint", photo, "--top", 10, "--model", model_file, "--out", out, "--json")
    assert answer["size"] == [120, 100]
    run(capsys, "vary", photo, "--start-scale", 3, "--model", model_file, "--out", out, "--json")


def test_failures_are_one_sentence_and_an_exit_code(model_file: Path, photo: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "bad.png").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    Image.new("L", (120, 90)).save(tmp_path / "empty.png")
    mask = photo.with_name("mask.png")
    for words, word in [
        (("inpaint", tmp_path / "bad.png", "--mask", mask), "PNG, JPEG or WebP"),
        (("inpaint", photo, "--mask", tmp_path / "empty.png"), "mask is empty"),
        (("inpaint", tmp_path / "none.png", "--mask", mask), "no file"),
        (("generate", "--label", "rosse"), "did you mean rose"),
        (("generate", "--model", "var-d99"), "there is no model"),
    ]:
        model = () if "--model" in words else ("--model", model_file)
        assert main([str(w) for w in (*words, *model, "--quiet")]) == 1
        error = capsys.readouterr().err
        assert word in error and len(error.strip().splitlines()) == 1
    assert command(PYTHON, "-m", "var_core", "dream").returncode == 2
    missing = command(PYTHON, "-m", "var_core", "models", "verify", tmp_path / "none.safetensors")
    assert missing.returncode == 1 and "Traceback" not in missing.stderr


def test_convert_and_verify(tmp_path: Path, capsys) -> None:
    tokenizer, transformer = Case("tiny", GOLDEN).write_official(tmp_path)
    out = tmp_path / "tiny.safetensors"
    assert main(["models", "convert", str(tokenizer), str(transformer), str(out)]) == 0
    assert main(["models", "verify", str(out)]) == 0
    assert "every entry fits" in capsys.readouterr().out


def test_a_folder_of_pictures(model_file: Path, photo: Path, tmp_path: Path, capsys) -> None:
    pictures, masks, out = tmp_path / "pictures", tmp_path / "masks", tmp_path / "new"
    pictures.mkdir()
    masks.mkdir()
    for name in ("a.png", "b.png"):
        (pictures / name).write_bytes(photo.read_bytes())
        (masks / name).write_bytes(photo.with_name("mask.png").read_bytes())
    (pictures / "c.jpg").write_bytes(b"no picture")
    words = ["inpaint", pictures, "--mask", masks, "--model", model_file, "--json", "--quiet", "--seed", 1]
    assert main([str(word) for word in (*words, "--out", out)]) == 1
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert [Path(one["files"][0]).name for one in answer["results"]] == ["a.png", "b.png"]
    assert [Path(one["image"]).name for one in answer["failed"]] == ["c.jpg"] and "c.jpg" in printed.err
    assert (out / "a.png").read_bytes() == (out / "b.png").read_bytes(), "same picture, mask and seed"
    (pictures / "c.jpg").unlink()
    assert main([str(word) for word in (*words, "--out", out)]) == 0
    assert main([str(word) for word in (*words, "--out", pictures)]) == 1
    assert "folder of the originals" in capsys.readouterr().err


@pytest.fixture
def album(photo: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for i in range(5):
        with Image.open(photo) as opened:
            opened.rotate(90 * i, expand=True).save(folder / f"{i}.png")
    return folder


def folder_command(capsys, album: Path, model_file: Path, out: Path, *words: object) -> dict:
    common = ["outpaint", album, "--left", 12, "--no-detail", "--model", model_file, "--out", out, "--seed", 3]
    assert main([str(word) for word in (*common, "--json", "--quiet", *words)]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_interrupted_folder_goes_on(album: Path, model_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    folder_command(capsys, album, model_file, out)
    (out / "3.png").unlink()
    answer = folder_command(capsys, album, model_file, out)
    assert [Path(one["image"]).name for one in answer["results"]] == ["3.png"] and answer["skipped"] == 4
    assert len(folder_command(capsys, album, model_file, out, "--again")["results"]) == 5


@pytest.mark.parametrize("start", [(PYTHON,), SHARED], ids=["alone", "shared"])
def test_the_real_command_shares_a_folder(album: Path, model_file: Path, tmp_path: Path, start: tuple) -> None:
    """As it is typed; under torchrun every process draws a share. What is no picture is named, the others are drawn."""
    photo = (album / "0.png").read_bytes()
    for path in album.iterdir():
        path.unlink()
    for i in range(160):  # one of two processes has no picture: it waits until the other has drawn all of its own
        (album / f"{i:03}.png").write_bytes(b"no picture" if i % 2 else photo)
    drawn = [f"{i:03}.png" for i in range(0, 160, 2)]
    words = ["outpaint", album, "--left", 12, "--model", model_file, "--out", tmp_path / "out", "--seed", 3, "--quiet"]
    done = command(*start, "-m", "var_core", *words, "--no-detail", OMP_NUM_THREADS="1")
    assert done.returncode == 1 and f"error: {album / '003.png'}: This file is not a PNG" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == drawn
    lines = [line for line in done.stdout.splitlines() if "seed 3" in line]
    assert sorted(Path(line.split("  ")[0]).name for line in lines) == drawn


def test_results_among_the_originals_are_no_pictures_to_draw(album: Path, model_file: Path, capsys) -> None:
    for _ in range(2):
        answer = folder_command(capsys, album, model_file, album / "out")
    assert answer["results"] == [] and answer["skipped"] == 5
    assert sorted(path.name for path in (album / "out").rglob("*")) == [f"{i}.png" for i in range(5)]


def test_the_name_says_the_format(model_file: Path, photo: Path, tmp_path: Path) -> None:
    """Of one result; of a folder's --format does."""
    mask, common = photo.with_name("mask.png"), ("--model", model_file, "--seed", "3", "--quiet")
    Image.open(photo).save(tmp_path / "photo.jpg", exif=_exif(), quality=95)
    for name, kind in (("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("a.png", "PNG")):
        words = ("inpaint", tmp_path / "photo.jpg", "--mask", mask, "--out", tmp_path / name, "--keep-exif", *common)
        assert main([str(word) for word in words]) == 0
        with Image.open(tmp_path / name) as opened:
            assert opened.format == kind and opened.getexif()[0x010F] == "Maker"
    small = ("--quality", "20", "--out", tmp_path / "small.jpg")
    words = ("inpaint", tmp_path / "photo.jpg", "--mask", mask, *small, *common)
    assert main([str(word) for word in words]) == 0
    assert (tmp_path / "small.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size / 2
    assert not Image.open(tmp_path / "small.jpg").getexif()
    (tmp_path / "album").mkdir()
    Image.open(photo).save(tmp_path / "album" / "one.png")
    words = ("vary", tmp_path / "album", "--out", tmp_path / "new", "--format", "webp", *common)
    assert main([str(word) for word in words]) == 0
    assert [(path.name, Image.open(path).format) for path in (tmp_path / "new").iterdir()] == [("one.webp", "WEBP")]


def test_runs_as_animations(model_file: Path, photo: Path, tmp_path: Path, capsys) -> None:
    """With the picture, one a candidate, and afterwards out of its recipe."""
    out, moving, mask = tmp_path / "a.png", tmp_path / "run.webp", photo.with_name("mask.png")
    words = (
        "inpaint",
        photo,
        "--mask",
        mask,
        "--model",
        model_file,
        "--candidates",
        2,
        "--animation",
        moving,
        "--json",
    )
    assert main([str(word) for word in (*words, "--out", out, "--quiet", "--seed", "3")]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [Path(name).name for name in files] == ["a-1.png", "run-1.webp", "a-2.png", "run-2.webp"]
    assert [getattr(Image.open(name), "n_frames", 1) > 10 for name in files] == [False, True, False, True]
    words = ("animate", tmp_path / "a-2.png", tmp_path / "b.gif", "--model", model_file, "--view", "window")
    assert main([str(word) for word in (*words, "--side", "80", "--seconds", "2")]) == 0
    with Image.open(tmp_path / "b.gif") as opened:
        assert opened.format == "GIF" and max(opened.size) == 80
    for more, said in (
        (("animate", photo, tmp_path / "c.webp"), "no recipe"),
        (("animate", tmp_path / "a-2.png", tmp_path / "c.avi"), "end it in .webp, .gif or .mp4"),
        (("animate", tmp_path / "a-2.png", tmp_path / "c.gif", "--side", "5"), "the side must be"),
        (("generate", "--animation", tmp_path / "c.png"), "end it in .webp, .gif or .mp4"),
    ):
        assert main([str(word) for word in (*more, "--model", model_file)]) == 1
        assert said in capsys.readouterr().err


def test_a_command_that_hangs_fails_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The bound of all commands here: what was said is told, and a process of its own has ended as well."""
    child = "import os, time; open('born', 'w').write(str(os.getpid())); time.sleep(600)"
    code = f"import os, subprocess, sys; os.chdir({str(tmp_path)!r}); print('begun', flush=True); "
    code += f"subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(pytest.fail.Exception, match=r"hung, and was ended after 5 s:\nbegun"):
        command(PYTHON, "-c", code, seconds=5)
    with contextlib.suppress(ProcessLookupError):
        while True:  # until it is gone
            os.kill(int((tmp_path / "born").read_text()), 0)
            time.sleep(0.05)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    return exif


def test_outputs_and_devices_that_cannot_be(model_file: Path, tmp_path: Path, capsys) -> None:
    for words, said in [
        (("--out", tmp_path / "a.gif"), "end it in .png, .jpg or .webp"),
        (("--out", tmp_path / "a.png", "--format", "jpeg"), "leave --format out"),
        (("--strip", tmp_path / "a.jpg"), "end it in .png"),
        (("--quality", "0"), "the quality must be a whole number from 1 to 100"),
        (("--device", "banana"), 'no device "banana"'),
        (("--device", "cuda:99"), 'no device "cuda:99"'),
    ]:
        assert main([str(word) for word in ("generate", "--model", model_file, "--quiet", *words)]) == 1
        error = capsys.readouterr().err
        assert said in error and len(error.strip().splitlines()) == 1


def test_what_was_given_is_not_written_over(model_file: Path, photo: Path, capsys) -> None:
    mask, before = photo.with_name("mask.png"), photo.read_bytes()
    for out in (photo, mask):
        words = ("inpaint", photo, "--mask", mask, "--model", model_file, "--quiet", "--out", out)
        assert main([str(word) for word in words]) == 1
        assert "choose another name for the result" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_a_name_that_the_console_cannot_print_ends_nothing(model_file: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for name in ("一", "two"):
        scenery(60, 50).save(album / f"{name}.png")
    words = ["outpaint", album, "--left", "9", "--model", model_file, "--quiet", "--out", tmp_path / "new"]
    done = command(PYTHON, "-m", "var_core", *words, "--no-detail", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    assert "\\u4e00.png" in done.stdout and {path.stem for path in (tmp_path / "new").glob("*.png")} == {"一", "two"}
