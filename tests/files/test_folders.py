"""Which pictures, which masks, whose turn."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import pytest
import torch

from var_core.files import folders
from var_core.files.folders import each, own_device, own_share, pairs, pictures, wait_for_others


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def named(found: list[tuple[Path, Path | None]]) -> dict[str, str | None]:
    return {path.name: mask.name if mask is not None else None for path, mask in found}


def test_pictures_of_every_kind_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, "a.PNG", "b.jfif", "c.webp", "d.avif", "sub/e.JPG", "sub/deep/f.Tiff", "notes.txt", "g.json")
    put(tmp_path, "._a.png", ".thumbnails/a.png", "sub/.hidden.png")
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in pictures(tmp_path)]
    assert found == ["a.PNG", "b.jfif", "c.webp", "d.avif", "sub/deep/f.Tiff", "sub/e.JPG"]


def test_one_mask_for_all(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.png", "sub/b.png")
    mask = put(tmp_path, "m.png") / "m.png"
    assert [found for _, found in pairs(tmp_path / "photos", mask)] == [mask, mask]


def test_masks_by_name(tmp_path: Path) -> None:
    accents = unicodedata.normalize("NFC", "gr\u00fcn")
    put(tmp_path / "photos", "a.jpg", "b.JPG", "c.d.png", f"{accents}.png", "none.png", "sub/a.jpg")
    masks = put(tmp_path / "masks", "a.json", "a.png", "B_Mask.PNG", "c.d.webp", "other.png", "sub/a_mask.png")
    put(masks, unicodedata.normalize("NFD", accents) + ".png", "._b.png")
    found = {path.relative_to(tmp_path / "photos").as_posix(): mask for path, mask in pairs(tmp_path / "photos", masks)}
    assert found["a.jpg"] == masks / "a.png", "not the text beside it"
    assert found["b.JPG"] == masks / "B_Mask.PNG" and found["c.d.png"] == masks / "c.d.webp"
    green = found[f"{accents}.png"]
    assert green is not None and green.name.startswith("gr") and found["none.png"] is None
    assert found["sub/a.jpg"] == masks / "sub/a_mask.png", "the place counts as well as the name"


def test_masks_beside_their_pictures(tmp_path: Path) -> None:
    """No picture is its own mask, and no mask is drawn as a picture."""
    put(tmp_path, "a.png", "a_mask.png", "b.png")
    assert named(pairs(tmp_path, tmp_path)) == {"a.png": "a_mask.png", "b.png": None}


def test_masks_in_a_folder_inside(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "masks/a.png")
    assert [(path, mask) for path, mask in pairs(tmp_path, tmp_path / "masks")] == [
        (tmp_path / "a.png", tmp_path / "masks/a.png")
    ]


def test_whatever_fails_the_next_one_is_done(caplog: pytest.LogCaptureFixture) -> None:
    def work(job: int) -> int:
        if job in faults:
            raise faults[job]
        return job * 10

    faults = {1: ValueError("no mask"), 2: OSError("no space"), 3: KeyError("a surprise"), 5: RuntimeError("odd")}
    with caplog.at_level(logging.ERROR):
        done = list(each(range(7), work))
    assert [(job, answer) for job, answer, _ in done] == [(i, None if i in faults else i * 10) for i in range(7)]
    said = [sentence for *_, sentence in done]
    assert said[1:4] == ["no mask", "no space", "KeyError: 'a surprise'"] and said[0] == said[6] == ""
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError, RuntimeError]
    with pytest.raises(KeyboardInterrupt):
        list(each([0], lambda job: (_ for _ in ()).throw(KeyboardInterrupt)))


@pytest.mark.parametrize("many", [1, 2, 3, 8])
def test_shares_are_whole_and_do_not_overlap(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = list(range(7))
    assert own_share(jobs) == jobs
    monkeypatch.setenv("WORLD_SIZE", str(many))
    shares = []
    for rank in range(many):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(own_share(jobs))
    assert sorted(job for share in shares for job in share) == jobs
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("many", [None, 1, 2])
def test_processes_wait_for_each_other_and_one_alone_for_nobody(
    many: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[str] = []
    monkeypatch.setattr(folders.dist, "init_process_group", lambda *_, **__: met.append("all are here"))
    monkeypatch.setattr(folders.dist, "barrier", lambda: met.append("all are done"))
    monkeypatch.setattr(folders.dist, "destroy_process_group", lambda: met.append("goodbye"))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if many is not None:
        monkeypatch.setenv("WORLD_SIZE", str(many))
    wait_for_others()
    assert met == (["all are here", "all are done", "goodbye"] if many == 2 else [])


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device(None) is None and own_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device(None) == own_device("cuda") == "cuda:3"
    assert own_device("cpu") == "cpu" and own_device("cuda:1") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device(None) is None
