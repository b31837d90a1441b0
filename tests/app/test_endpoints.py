"""The named endpoints without a server: every argument reaches the edit or the chance that it is for."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from conftest import SIDES, rectangle, scenery
from gradio.utils import get_upload_folder
from PIL import Image

from app.api import Api, _arguments, _endpoint, sent
from app.engines import Engines
from app.work import MOST, Waiting, Work
from var_core import CHANCE, EDIT, TASKS, save_png
from var_core.files.images import read_private

VISITOR = SimpleNamespace(session_hash="one", client=None)
OTHER: dict[str, Any] = {  # of every setting a value that is not its default
    "seed": 17, "candidates": 3, "guidance": 2.5, "top_k": 40, "top_p": 0.7, "random_scales": 4, "smooth": True,
    "stop_scale": 5, "start_scale": 3, "method": "requantize", "evidence": 3.0, "fill": "mean", "guess": False,
    "context": 3.5, "feather": 9, "color_match": False, "detail": False, "left": 1, "top": 2, "right": 3, "bottom": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def work(model_file: Path) -> Iterator[Work]:
    made = Work(Engines(str(model_file)))
    yield made
    made.engines.close()


@pytest.fixture
def upload() -> Iterator[Any]:
    """Puts a picture where uploads lie and says so as a client does."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=get_upload_folder()))
    made = []

    def put(picture: Image.Image, name: str = "photo.png") -> dict[str, str]:
        made.append(folder / name)
        picture.save(made[-1])
        return {"path": str(made[-1])}

    yield put
    for path in made:
        path.unlink(missing_ok=True)
    folder.rmdir()


def defaults(task: str, **changes: Any) -> dict[str, Any]:
    given = {each.name: each.default for each in _arguments(task)[1:]}
    assert set(changes) <= set(given)
    return given | changes


def asked(work: Work, monkeypatch: pytest.MonkeyPatch, task: str, given: dict[str, Any]) -> SimpleNamespace:
    """What would be run."""
    seen = SimpleNamespace()

    def run(model: str, edit: Any, chance: Any, plan: Any) -> Iterator[Any]:
        seen.model, seen.edit, seen.chance, seen.plan = model, edit, chance, plan
        return iter(())

    monkeypatch.setattr(work.engines, "run", run)
    assert list(Api(work).run(task, VISITOR, given)) == []  # type: ignore[arg-type]
    assert seen.plan.edit.same(seen.edit)
    return seen


def files(task: str, upload: Any) -> dict[str, Any]:
    photo = scenery(90, 70)
    given = {"image": upload(photo)} if task != "generate" else {}
    if task in ("inpaint", "edit"):
        given["mask"] = upload(rectangle((90, 70), (20, 20, 50, 50)), "mask.png")
    return given | ({"label": "rose"} if task == "edit" else {}) | ({"right": 5} if task == "outpaint" else {})


@pytest.mark.parametrize("task", TASKS)
def test_every_argument_arrives(work: Work, monkeypatch: pytest.MonkeyPatch, upload: Any, task: str) -> None:
    usual = defaults(task, **files(task, upload))
    plain = asked(work, monkeypatch, task, usual)
    assert (
        plain.edit.task == task
        and plain.model == work.engines.default
        and plain.edit.label == (usual["label"] or None if "label" in usual else None)
    )
    if task != "generate":
        assert plain.edit.image.tobytes() == scenery(90, 70).tobytes()
    if "mask" in usual:
        assert plain.edit.mask.tobytes() == rectangle((90, 70), (20, 20, 50, 50)).tobytes()
    for name in usual:
        if name not in OTHER:
            continue
        found = asked(work, monkeypatch, task, usual | {name: OTHER[name]})
        of = found.chance if name in CHANCE else found.edit
        assert getattr(of, name) == OTHER[name], name
        for declared, now, before in ((CHANCE, found.chance, plain.chance), (EDIT, found.edit, plain.edit)):
            assert {n for n in declared if getattr(now, n) != getattr(before, n)} <= {name}
    if "label" in usual:
        assert asked(work, monkeypatch, task, usual | {"label": "tulip"}).edit.label == "tulip"


def test_what_the_model_holds_counts_too(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = work.engines.get()
    cache = engine.transformer.new_cache(2 * 3)
    assert engine.held(3) == cache.keys.nbytes + cache.values.nbytes
    asked: list[int] = []
    monkeypatch.setattr(work, "turn", lambda ticket, nbytes: asked.append(nbytes) or iter(()))
    monkeypatch.setattr(work.engines, "run", lambda *_: iter(()))
    for many in (1, 3):
        list(Api(work).run("generate", VISITOR, defaults("generate", candidates=many)))  # type: ignore[arg-type]
    assert asked[1] - asked[0] > engine.held(2)
    monkeypatch.setattr(type(engine), "held", lambda *_: 10**12)
    assert work.drawing(work.engines.default, 1) <= MOST / 2, "no model is refused for its size"


def test_a_result_arrives_though_others_need_the_room(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work.shelf, "budget", 1)
    written = work.outbox.saved

    def saved(entry: Any, index: int) -> str:
        work.shelf.keep(scenery(50, 50))
        return written(entry, index)

    monkeypatch.setattr(work.outbox, "saved", saved)
    *_, (progress, found) = Api(work).run("generate", VISITOR, defaults("generate", candidates=2))  # type: ignore[arg-type]
    assert len(found) == 2 and progress["scale"] == len(SIDES)


@pytest.mark.parametrize("task", [*TASKS, "branch"])
def test_an_endpoint_takes_what_is_declared_for_its_task(task: str) -> None:
    found = {each.name: each.default for each in _arguments(task)}
    own = (
        {name for name, each in EDIT.items() if task in each.tasks}
        if task != "branch"
        else {"start_scale", "candidate"}
    )
    files_of = {"generate": set(), "branch": set(), "inpaint": {"image", "mask"}, "edit": {"image", "mask"}}
    more = {"request", "model"} | files_of.get(task, {"image"}) | ({"label"} if task != "inpaint" else set())
    assert set(found) == own | {*CHANCE} | more | ({"ratio", "anchor"} if task == "outpaint" else set())
    for name, default in found.items():
        if name in EDIT or name in CHANCE:
            assert default == (EDIT | CHANCE)[name].default
    needed = [name for name, default in found.items() if default is inspect.Parameter.empty]
    assert needed == [name for name in found if name in ("request", "image", "mask")]
    assert (found["model"], found.get("label", ""), found.get("candidate", 1), found.get("anchor", "centre")) == (
        "",
        "",
        1,
        "centre",
    )
    stream = _endpoint(Api(None), task)  # type: ignore[arg-type]
    assert list(inspect.signature(stream).parameters) == list(found)
    assert f"seed: {CHANCE['seed'].help}" in (stream.__doc__ or "")
    for many in (0, len(found), len(found) + 2):
        with pytest.raises(ValueError, match="zip"):
            list(stream(None, *range(many)))
    assert stream.__annotations__["request"] is gr.Request and set(stream.__annotations__) == set(found)
    seed, smooth, method = (inspect.signature(stream).parameters.get(n) for n in ("seed", "smooth", "method"))
    assert seed is not None and smooth is not None and seed.annotation == int | None and smooth.annotation is bool
    if method is not None:
        assert method.annotation.__args__ == EDIT["method"].choices


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ratio": 2.0}, (25, 0, 25, 0)),
        ({"ratio": 2.0, "anchor": "left"}, (0, 0, 50, 0)),
        ({"ratio": 0.5, "anchor": "bottom"}, (0, 110, 0, 0)),
        ({"ratio": 2.0, "right": 7}, (25, 0, 25, 0)),
        ({"right": 7, "top": 3, "anchor": "left"}, (0, 3, 7, 0)),
    ],
)
def test_a_ratio_says_how_much_is_added(
    work: Work, monkeypatch: pytest.MonkeyPatch, upload: Any, given: dict, expected
) -> None:
    image = upload(scenery(90, 70))
    found = asked(work, monkeypatch, "outpaint", defaults("outpaint", image=image, **given)).edit.outpaint
    assert found == expected


@pytest.mark.parametrize(
    ("task", "given", "words"),
    [
        ("vary", {"image": None}, "An image is needed"),
        ("vary", {"image": {"path": ""}}, "An image is needed"),
        ("vary", {"image": "/etc/passwd"}, "An image is needed"),
        ("vary", {"image": {"path": "/etc/passwd"}}, "was not uploaded"),
        ("inpaint", {"mask": None}, "A mask is needed"),
        ("outpaint", {"ratio": 2.0, "anchor": "middle"}, "the anchor must be one of centre, left"),
        ("outpaint", {"ratio": 90.0}, "must be a number from 0.05 to 20"),
        ("generate", {"model": "var-d99"}, 'no model "var-d99"'),
        ("vary", {"model": "var-d99", "image": None}, 'no model "var-d99"'),  # before any picture is looked at
        ("generate", {"seed": -1}, "seed must be"),
        ("branch", {}, "no result yet"),
    ],
)
def test_what_does_not_fit_is_one_sentence(work: Work, upload: Any, task: str, given: dict, words: str) -> None:
    usual = defaults(task, **(files(task, upload) if task != "branch" else {}))
    with pytest.raises(gr.Error, match=f"(?i){words}"):
        list(Api(work).run(task, SimpleNamespace(session_hash="nobody", client=None), usual | given))  # type: ignore[arg-type]


def test_uploads_are_files_in_the_upload_folder(upload: Any, tmp_path: Path) -> None:
    good = upload(scenery(20, 20))
    assert sent(good, "x") == good["path"]
    for bad in (None, "x", {}, {"path": None}, {"path": 3}):
        with pytest.raises(ValueError, match="words"):
            sent(bad, "words")
    for path in (str(tmp_path / "x.png"), str(Path(get_upload_folder()) / ".." / "x.png")):
        with pytest.raises(ValueError, match="was not uploaded"):
            sent({"path": path}, "words")


def test_a_run_streams_its_scales_and_ends_with_files(work: Work, upload: Any) -> None:
    given = defaults("inpaint", **files("inpaint", upload), seed=5, candidates=2, feather=0, detail=False)
    *steps, (last, paths) = list(Api(work).run("inpaint", VISITOR, given))  # type: ignore[arg-type]
    assert [found for _, found in steps] == [[]] * (len(SIDES) - 1)
    for number, (progress, _) in enumerate([*steps, (last, paths)], 1):
        expected = {"scale": number, "scales": len(SIDES), "window": 1, "windows": 1, "seed": 5, "detail": 0}
        assert {name: progress[name] for name in expected} == expected
        assert progress["preview"].startswith("data:image/jpeg") and 0 < progress["seconds"] < 600
        assert ("notices" in progress) == (progress is last)
    assert [Path(file["path"]).name for file in paths] == ["inpaint-5-1.png", "inpaint-5-2.png"]
    made = [np.asarray(Image.open(file["path"])) for file in paths]
    outside = np.asarray(rectangle((90, 70), (20, 20, 50, 50))) == 0
    assert all(np.array_equal(picture[outside], np.asarray(scenery(90, 70))[outside]) for picture in made)
    assert not np.array_equal(*made)


def test_a_branch_goes_on_with_the_candidate_that_was_named(work: Work) -> None:
    api, visitor = Api(work), SimpleNamespace(session_hash="branching", client=None)
    list(api.run("generate", visitor, defaults("generate", label="rose", seed=5, candidates=2)))  # type: ignore[arg-type]
    session = work.sessions.find("program branching")
    base = session.current().result
    given = defaults("branch", start_scale=6, candidate=2, seed=9, label="tulip", smooth=True)
    *_, (progress, paths) = api.run("branch", visitor, given)  # type: ignore[arg-type]
    found = session.current().result
    assert progress["seed"] == 9 and Path(paths[0]["path"]).name == "branch-9-1.png" and session.count == 2
    for k in range(6):
        assert (found.passes[0].tokens[k][0] == base.passes[0].tokens[k][1]).all()
    assert any((found.passes[0].tokens[k][0] != base.passes[0].tokens[k][1]).any() for k in range(6, 10))
    assert found.edit.label == "tulip" and found.chance.smooth and base.edit.label == "rose"
    *_, (_, kept) = api.run("branch", visitor, defaults("branch", start_scale=3, model=work.engines.default))  # type: ignore[arg-type]
    assert len(kept) == 1 and session.current().result.edit.label == "tulip" and session.count == 3
    for given, words in (
        ({"candidate": 3}, "no number 3"),
        ({"candidate": 0}, "must be"),
        ({"model": "var-d16"}, "leave the model out"),
        ({"start_scale": 99}, "must be"),
    ):
        with pytest.raises(gr.Error, match=words):
            list(api.run("branch", visitor, defaults("branch", **given)))  # type: ignore[arg-type]


def test_who_waits_is_told_so(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = work.turn

    def turn(ticket: Any, nbytes: int) -> Iterator[Waiting]:
        yield Waiting(4)
        yield from plain(ticket, nbytes)

    monkeypatch.setattr(work, "turn", turn)
    first, *rest = Api(work).run("generate", VISITOR, defaults("generate", seed=1))  # type: ignore[arg-type]
    assert first == ({"scale": 0, "seconds": 0.0, "waiting": 4}, []) and len(rest) == len(SIDES)


def test_the_model_in_use_and_its_pictures_again(work: Work, upload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    api, engine = Api(work), work.engines.get()
    assert api.models() == {"model": "tiny", "resolution": 48, "classes": ["daisy", "rose", "tulip"]}
    *_, (_, paths) = api.run("generate", VISITOR, defaults("generate", seed=1))  # type: ignore[arg-type]
    holder = upload(scenery(20, 20), "made.png")
    Path(holder["path"]).write_bytes(Path(paths[0]["path"]).read_bytes())
    made = api.replay(VISITOR, holder)  # type: ignore[arg-type]
    assert Path(made.path).name == "replay.png" and engine.name == "tiny"
    assert np.array_equal(np.asarray(Image.open(made.path)), np.asarray(Image.open(paths[0]["path"])))
    with monkeypatch.context() as patched:
        asked: list[int] = []
        patched.setattr(work, "turn", lambda ticket, nbytes: asked.append(nbytes) or iter(()))
        api.replay(VISITOR, holder)  # type: ignore[arg-type]
        assert asked == [20 * 48 * 48], "the room that a picture of its size takes"
    odd = upload(scenery(40, 40), "odd.png")
    recipe = json.loads(read_private(holder["path"]) or b"") | {"model": ["tiny"]}
    save_png(scenery(40, 40), odd["path"], json.dumps(recipe).encode())
    plain = upload(scenery(40, 40), "plain.png")
    for bad, words in ((None, "An image is needed"), (plain, "no recipe"), (odd, "damaged: its model is no str")):
        with pytest.raises(gr.Error, match=words):
            api.replay(VISITOR, bad)  # type: ignore[arg-type]
