"""A saved picture draws itself again, to the byte, and tells its settings."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SIDES, rectangle, scenery, whole_alpha
from PIL import Image
from test_engine import finish

from var_core import Engine, save_png
from var_core.__main__ import main
from var_core.files import recipe
from var_core.files.images import read_private

SIZE = (140, 90)
TWO = rectangle(SIZE, (10, 10, 30, 40))
TWO.paste(255, (100, 50, 130, 80))


@pytest.mark.parametrize(
    "request_",
    [
        dict(label="rose", seed=3, candidates=2),
        dict(task="inpaint", image=scenery(*SIZE), mask=rectangle(SIZE, (30, 20, 70, 60)), seed=1, candidates=2),
        dict(task="edit", label=1, image=scenery(*SIZE), mask=TWO, seed=1, feather=9, context=1.2),
        dict(task="outpaint", image=scenery(60, 50), left=10, top=0, right=40, bottom=12, seed=4),
        dict(task="inpaint", image=scenery(*SIZE), mask=TWO, seed=1, smooth=True, color_match=False),
        dict(task="inpaint", image=Image.new("RGB", SIZE), mask=TWO, seed=4),
        dict(task="inpaint", image=scenery(*SIZE), mask=TWO, seed=4, detail=False),
        dict(task="inpaint", image=scenery(*SIZE), mask=TWO, seed=4, start_scale=2),
        dict(task="vary", image=scenery(70, 70), start_scale=3, seed=1),
    ],
    ids=["generate", "inpaint", "edit", "outpaint", "smooth", "black under the fade", "no detail", "half kept", "vary"],
)
def test_replay_to_the_byte(engine: Engine, request_: dict, tmp_path: Path) -> None:
    _, result = finish(engine, **request_)
    for index, image in enumerate(result.images):
        path = tmp_path / f"{index}.png"
        engine.save(result, path, index)
        assert engine.replay(path).tobytes() == image.tobytes()


def test_replay_uses_the_tokens_not_the_picture(engine: Engine, tmp_path: Path) -> None:
    mask = rectangle(SIZE, (30, 20, 70, 60))
    _, result = finish(engine, task="inpaint", image=scenery(*SIZE), mask=mask, seed=1)
    spoiled = result.images[0].copy()
    spoiled.paste((0, 0, 0), mask=whole_alpha(result))
    save_png(spoiled, tmp_path / "s.png", recipe.write(result, 0).encode())
    assert engine.replay(tmp_path / "s.png").tobytes() == result.images[0].tobytes()


def test_settings_come_back(engine: Engine, tmp_path: Path) -> None:
    _, result = finish(engine, label="rose", seed=8, top_k=7, guidance=1.5)
    engine.save(result, tmp_path / "o.png")
    again = recipe.read(tmp_path / "o.png")
    assert (again.seed, again.model, again.settings["label"], again.settings["top_k"]) == (8, "tiny", "rose", 7)
    _, repeated = finish(engine, **again.settings)
    assert repeated.images[0].tobytes() == result.images[0].tobytes()


def test_files_from_before_there_was_detail_are_replayed(engine: Engine, tmp_path: Path) -> None:
    mask = rectangle(SIZE, (30, 20, 70, 60))
    _, result = finish(engine, task="inpaint", image=scenery(*SIZE), mask=mask, seed=1, detail=False)
    engine.save(result, tmp_path / "old.png")

    def older(document: dict) -> None:
        document["version"] = 3
        document["settings"].pop("detail")
        document["passes"][0].pop("detail")

    altered(tmp_path / "old.png", older)
    assert engine.replay(tmp_path / "old.png").tobytes() == result.images[0].tobytes()


def test_what_carries_no_recipe_says_so(engine: Engine, tmp_path: Path) -> None:
    scenery(40, 40).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("hello")
    save_png(scenery(40, 40), tmp_path / "odd.png", json.dumps({"version": 1}).encode())
    for name, words in (
        ("plain", "carries no recipe"),
        ("text", "carries no recipe"),
        ("odd", "carries no recipe"),
        ("none", "no file none.png"),
    ):
        with pytest.raises(ValueError, match=words):
            engine.replay(tmp_path / f"{name}.png")
    _, result = finish(engine, label="rose", seed=8)
    save_png(result.images[0], tmp_path / "other.png", recipe.write(replace(result, model="another"), 0).encode())
    with pytest.raises(ValueError, match="made with another"):
        engine.replay(tmp_path / "other.png")


def test_command_line(model_file: Path, tmp_path: Path, capsys) -> None:
    first, again = tmp_path / "a.png", tmp_path / "b.png"
    common = ["--model", str(model_file), "--quiet"]
    assert main(["generate", "--label", "rose", "--out", str(first), *common]) == 0
    assert main(["replay", str(first), "--out", str(again), *common]) == 0
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(again)))


def altered(path: Path, change) -> None:
    """The same picture with another recipe."""
    private = read_private(path)
    assert private is not None
    document = json.loads(private)
    changed = change(document)
    text = changed if isinstance(changed, str) else json.dumps(document)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    save_png(picture, path, text.encode())


def mask_of(size: tuple[int, int]) -> str:
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def numbers(*values: int) -> str:
    return base64.b64encode(np.array(values, dtype="<u2").tobytes()).decode()


HOSTILE = {
    "a token beyond the codes": lambda d: d["passes"][0]["tokens"].__setitem__(0, numbers(64)),
    "one token among many beyond the codes": lambda d: d["passes"][0]["tokens"].__setitem__(1, numbers(1, 2, 64, 3)),
    "too few tokens": lambda d: d["passes"][0]["tokens"].__setitem__(1, numbers(1)),
    "too many tokens": lambda d: d["passes"][0]["tokens"].__setitem__(0, numbers(*range(60_000))),
    "99 scales": lambda d: d["passes"][0].update(tokens=[numbers(1)] * 99),
    "no scales": lambda d: d["passes"][0].update(tokens=[]),
    "tokens no base64": lambda d: d["passes"][0]["tokens"].__setitem__(0, "%%%"),
    "tokens a number": lambda d: d["passes"][0].update(tokens=7),
    "an odd byte": lambda d: d["passes"][0]["tokens"].__setitem__(0, "AAAA"),
    "settings a list": lambda d: d.update(settings=[1]),
    "settings nothing": lambda d: d.update(settings=None),
    "settings a text": lambda d: d.update(settings="x"),
    "no windows": lambda d: d.update(passes=[]),
    "a thousand windows": lambda d: d.update(passes=d["passes"] * 1000),
    "a window is a text": lambda d: d.update(passes=["x"]),
    "a box of two": lambda d: d["passes"][0].update(box=[1, 2]),
    "a box of no size": lambda d: d["passes"][0].update(box=[4, 4, 4, 4]),
    "a box of fractions": lambda d: d["passes"][0].update(box=[0.0, 0.0, 80.0, 80.0]),
    "a box of texts": lambda d: d["passes"][0].update(box=["0", "0", "80", "80"]),
    "a box with one fraction": lambda d: d["passes"][0]["box"].__setitem__(2, float(d["passes"][0]["box"][2])),
    "a box of yes": lambda d: d["passes"][0].update(box=[True, 0, 80, 80]),
    "a large box": lambda d: d["passes"][0].update(box=[0, 0, 9000, 9000]),
    "a box elsewhere": lambda d: d["passes"][0].update(box=[500, 0, 580, 80]),
    "an oblong box": lambda d: d["passes"][0].update(box=[0, 0, 80, 60]),
    "a large mask": lambda d: d["passes"][0].update(alpha=mask_of((4000, 4000))),
    "a mask of another size": lambda d: d["passes"][0].update(alpha=mask_of((3, 3))),
    "an unknown detail": lambda d: d["passes"][0].update(detail="magic"),
    "a list of details": lambda d: d["passes"][0].update(detail=["refined"]),
    "a seed below 0": lambda d: d.update(seed=-1),
    "a seed too large": lambda d: d.update(seed=2**32),
    "a candidate too large": lambda d: d.update(candidate=2**32),
    "a candidate below 0": lambda d: d.update(candidate=-1),
    "no mask": lambda d: d["passes"][0].pop("alpha"),
    "a fade elsewhere": lambda d: d["fades"][0].update(at=[139, 89]),
    "a fade before": lambda d: d["fades"][0].update(at=[-1, 0]),
    "a fade nowhere": lambda d: d["fades"][0].update(at=None),
    "no fades": lambda d: d.pop("fades"),
    "codes beside": lambda d: d["passes"][0].update(codes=[numbers(1, 2)]),
    "codes that are no numbers": lambda d: d["passes"][0].update(
        codes=[base64.b64encode(np.full(8 * n * n, np.nan, "<f4").tobytes()).decode() for n in SIDES]
    ),
    "codes of another width at the last scale": lambda d: d["passes"][0].update(
        codes=[base64.b64encode(bytes(4 * n * n * (16 if n == SIDES[-1] else 8))).decode() for n in SIDES]
    ),
    "the model a list": lambda d: d.update(model=[]),
    "a deep nest": lambda d: "[" * 100_000,
    "no JSON": lambda d: "{",
    "an old version": lambda d: d.update(version=1),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_file_says_is_checked_first(engine: Engine, tmp_path: Path, case: str, monkeypatch) -> None:
    path = tmp_path / "hostile.png"
    _, result = finish(engine, task="inpaint", image=scenery(*SIZE), mask=rectangle(SIZE, (30, 20, 70, 60)), seed=1)
    engine.save(result, path)
    altered(path, HOSTILE[case])
    monkeypatch.setattr(engine, "redraw", lambda *_: pytest.fail("drawn before it was checked"))
    with pytest.raises(ValueError, match="recipe") as told:
        engine.replay(path)
    assert "\n" not in str(told.value) and len(str(told.value)) < 300
    assert isinstance(recipe.settings_of_file(path), dict)


def test_a_picture_that_others_open_and_that_says_what_it_was_computed_in(engine: Engine, tmp_path: Path) -> None:
    """The recipe lies in a private chunk, not among the texts that Pillow refuses when they are long."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 1300, 3), dtype=np.uint8))
    mask = rectangle((1300, 1000), (200, 200, 1100, 800))
    _, result = finish(engine, task="inpaint", image=noise, mask=mask, seed=1, feather=200, detail=False)
    path = tmp_path / "large.png"
    engine.save(result, path)
    private = read_private(path)
    assert private is not None and len(private) > 2**20
    with Image.open(path) as opened:
        assert opened.size == (1300, 1000) and not opened.info.keys() & {"var-editor"}
        assert np.array_equal(np.asarray(opened), np.asarray(result.image(0)))
    assert engine.replay(path).tobytes() == result.image(0).tobytes()
    assert recipe.read(path).precision == engine.precision and "float32" in engine.precision
