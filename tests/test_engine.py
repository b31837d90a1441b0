"""Requests through the whole engine, on a small random model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIDES, build_model, rectangle, scenery
from PIL import Image

from var_core import EditRequest, Engine
from var_core.editing.encoding import Encoder
from var_core.sampling.sampler import SampleOptions, sample


def finish(engine: Engine, request: EditRequest):
    frames = list(engine.run(request))
    assert all(frame.result is None for frame in frames[:-1])
    assert frames[-1].result is not None
    return frames, frames[-1].result


def outside_is_equal(before: Image.Image, after: Image.Image, alpha: Image.Image) -> None:
    assert after.size == before.size
    same = np.asarray(alpha) == 0
    assert same.any()
    assert np.array_equal(np.asarray(before)[same], np.asarray(after)[same])


def test_generate_gives_one_frame_a_scale(engine) -> None:
    frames, result = finish(engine, EditRequest(label="rose", seed=1, candidates=2))
    assert [frame.scale for frame in frames] == list(range(1, len(SIDES) + 1))
    assert all(len(frame.previews) == 2 for frame in frames)
    assert [image.size for image in result.images] == [(48, 48)] * 2
    assert np.asarray(result.images[0]).tobytes() != np.asarray(result.images[1]).tobytes()


def test_the_same_request_gives_the_same_bytes(engine) -> None:
    request = EditRequest(task="inpaint", image=scenery(90, 70), mask=rectangle((90, 70), (20, 20, 50, 50)), seed=5)
    first, second = (finish(engine, request)[1].images[0].tobytes() for _ in range(2))
    assert first == second
    assert finish(engine, replace(request, seed=6))[1].images[0].tobytes() != first


def test_a_random_seed_is_told_and_can_be_used_again(engine) -> None:
    _, result = finish(engine, EditRequest(label=0))
    _, again = finish(engine, EditRequest(label=0, seed=result.seed))
    assert result.images[0].tobytes() == again.images[0].tobytes()


@pytest.mark.parametrize("method", ["evidence", "requantize", "official"])
@pytest.mark.parametrize("size", [(100, 80), (48, 48), (30, 200), (333, 222)])
def test_pixels_outside_the_alpha_are_untouched(engine, method: str, size: tuple[int, int]) -> None:
    picture = scenery(*size)
    mask = rectangle(size, (5, 6, 17, 26))
    request = EditRequest(task="inpaint", image=picture, mask=mask, seed=2, method=method)  # type: ignore[arg-type]
    _, result = finish(engine, request)
    assert result.alpha is not None
    outside_is_equal(picture, result.images[0], result.alpha)
    painted = np.asarray(mask) > 0
    assert (np.asarray(result.alpha)[painted] == 255).all()


def test_two_regions_far_apart_are_two_windows(engine) -> None:
    picture, mask = scenery(600, 100), rectangle((600, 100), (10, 10, 40, 40))
    mask.paste(255, (540, 50, 580, 80))
    frames, result = finish(engine, EditRequest(task="edit", label="tulip", image=picture, mask=mask, seed=2))
    assert frames[-1].windows == 2 and len(frames) == 2 * len(SIDES)
    assert result.alpha is not None
    outside_is_equal(picture, result.images[0], result.alpha)


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (0, 0, 80, 60), (79, 59, 80, 60)], ids=["one pixel", "everything", "corner pixel"]
)
def test_odd_masks(engine, box: tuple[int, int, int, int]) -> None:
    picture = scenery(80, 60)
    _, result = finish(engine, EditRequest(task="inpaint", image=picture, mask=rectangle((80, 60), box), seed=1))
    assert result.images[0].size == (80, 60)


def test_a_mask_of_another_size_is_scaled(engine) -> None:
    picture = scenery(80, 60)
    _, result = finish(
        engine, EditRequest(task="inpaint", image=picture, mask=rectangle((40, 30), (5, 5, 15, 15)), seed=1, feather=0)
    )
    assert result.alpha is not None and result.alpha.getbbox() == (10, 10, 30, 30)


@pytest.mark.parametrize(
    "amounts", [(20, 0, 0, 0), (0, 20, 0, 0), (0, 0, 20, 0), (0, 0, 0, 20), (7, 9, 11, 13), (150, 0, 0, 0)]
)
def test_outpainting_leaves_the_original_alone(engine, amounts: tuple[int, int, int, int]) -> None:
    picture = scenery(70, 50)
    _, result = finish(engine, EditRequest(task="outpaint", image=picture, outpaint=amounts, seed=3, feather=0))
    left, top, right, bottom = amounts
    made = result.images[0]
    assert made.size == (70 + left + right, 50 + top + bottom)
    assert made.crop((left, top, left + 70, top + 50)).tobytes() == picture.tobytes()


def test_branching_repeats_the_shared_scales(engine) -> None:
    picture, mask = scenery(80, 60), rectangle((80, 60), (20, 10, 50, 40))
    _, base = finish(engine, EditRequest(task="inpaint", image=picture, mask=mask, seed=3))
    _, branch = finish(engine, EditRequest(task="branch", base=base, start_scale=5, seed=9, candidates=2))
    for k in range(5):
        for i in range(2):
            assert (branch.tokens[0][k][i] == base.tokens[0][k][0]).all()
    assert any((branch.tokens[0][k][0] != base.tokens[0][k][0]).any() for k in range(5, len(SIDES)))
    assert base.alpha is not None
    outside_is_equal(picture, branch.images[1], base.alpha)


@pytest.mark.parametrize("task", ["generate", "inpaint", "edit"])
@pytest.mark.parametrize("chance", [None, 3])
def test_a_finished_sketch_is_what_it_would_have_become(engine, task: str, chance: int | None) -> None:
    request = EditRequest(label="daisy", seed=11, random_scales=chance)
    if task != "generate":
        mask = rectangle((80, 60), (20, 10, 50, 40))
        request = replace(request, task=task, image=scenery(80, 60), mask=mask)
    _, whole = finish(engine, request)
    _, sketch = finish(engine, replace(request, stop_scale=6))
    assert len(sketch.tokens[0]) == 6
    _, finished = finish(engine, EditRequest(task="branch", base=sketch, start_scale=6, seed=11))
    assert finished.images[0].tobytes() == whole.images[0].tobytes()


def test_after_the_random_scales_the_likeliest_tokens_are_taken(engine) -> None:
    request = EditRequest(label="daisy", seed=4, random_scales=2, candidates=2, guidance=0.0)
    _, result = finish(engine, request)
    labels = torch.full((2,), engine.label_index("daisy"))
    steps = sample(
        engine.transformer, engine.tokenizer, labels, SampleOptions(guidance=0.0, top_k=20, top_p=0.9, settle=2),
        seeds=[4, 4 + 15_485_863],
    )  # fmt: skip
    likeliest = []
    for step in steps:
        assert step.logits is not None and torch.equal(step.tokens, result.tokens[0][step.k])
        likeliest.append(torch.equal(step.tokens, step.logits.argmax(-1)))
    assert all(likeliest[2:]) and not all(likeliest[:2])
    assert result.settle == 2 and result.request.random_scales == 2


def test_a_branch_has_random_scales_of_its_own(engine) -> None:
    _, base = finish(engine, EditRequest(label="daisy", seed=4, random_scales=2))
    _, branch = finish(engine, EditRequest(task="branch", base=base, start_scale=5, seed=9, candidates=2))
    one, two = zip(*(tokens.unbind(0) for tokens in branch.tokens[0]), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(one[:5], two[:5], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one[5:7], two[5:7], strict=True))
    assert branch.settle == 7
    _, calm = finish(engine, EditRequest(task="branch", base=base, start_scale=5, seed=9, random_scales=0))
    assert calm.settle == 5 and calm.request.random_scales == 0


def test_a_models_own_random_scales_are_for_surroundings(engine) -> None:
    model = build_model()
    model.card["sampling"]["random_scales"] = 3
    own, photo, mask = Engine(model), scenery(80, 60), rectangle((80, 60), (20, 10, 50, 40))
    for task, settle in (("inpaint", 3), ("outpaint", 3), ("edit", None), ("generate", None)):
        request = EditRequest(task=task, label=1, image=photo, mask=mask, outpaint=(0, 0, 16, 0), seed=1)
        assert own.options(request).settle == settle, task
        assert own.options(replace(request, random_scales=1)).settle == 1
        assert engine.options(request).settle is None
    _, result = finish(own, EditRequest(task="inpaint", image=photo, mask=mask, seed=1, start_scale=2))
    assert result.settle == 5 and result.request.random_scales == 3


def test_without_chance_all_candidates_are_one(engine) -> None:
    _, result = finish(engine, EditRequest(label="daisy", seed=4, random_scales=0, candidates=2))
    assert result.images[0].tobytes() == result.images[1].tobytes()
    with pytest.raises(ValueError, match="random scales must be 0 or more"):
        EditRequest(random_scales=-1)


def test_a_class_edit_is_guided_from_the_first_scale_on() -> None:
    model = build_model()
    labels, null = torch.tensor([1]), torch.tensor([model.transformer.config.null_label])

    def first(labels: torch.Tensor, floor: float) -> torch.Tensor:
        options = SampleOptions(guidance=3.0, guidance_floor=floor)
        step = next(sample(model.transformer, model.tokenizer, labels, options, seeds=[0]))
        assert step.logits is not None
        return step.logits

    plain, without = first(labels, 0.0), first(null, 0.0)
    assert torch.allclose(first(labels, 0.5), plain + 1.5 * (plain - without), atol=1e-4)
    engine, picture = Engine(model), scenery(80, 60)
    request = EditRequest(task="edit", image=picture, mask=rectangle((80, 60), (20, 10, 50, 40)), label=1)
    assert engine.options(request).guidance_floor == 0.5
    assert engine.options(replace(request, task="inpaint")).guidance_floor == 0


def test_vary_keeps_the_first_scales(engine) -> None:
    _, result = finish(engine, EditRequest(task="vary", image=scenery(60, 48), start_scale=4, seed=1))
    assert result.images[0].size == (48, 48)
    _, other = finish(engine, EditRequest(task="vary", image=scenery(60, 48), start_scale=4, seed=2))
    for k in range(4):
        assert (result.tokens[0][k] == other.tokens[0][k]).all()


def test_what_will_change_is_what_changes(engine) -> None:
    mask = rectangle((100, 80), (20, 20, 50, 50))
    request = EditRequest(task="inpaint", image=scenery(100, 80), mask=mask, seed=1)
    ((window, maps),) = engine.changed((100, 80), mask, request)
    assert [m.shape[0] for m in maps] == list(SIDES)
    assert maps[0].all() and not maps[-1].all() and maps[-1].any()
    assert window.box[0] <= 20 and window.box[2] >= 50


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"task": "inpaint"}, "picture"),
        ({"task": "inpaint", "image": scenery(40, 40)}, "mask is empty"),
        ({"task": "inpaint", "image": scenery(40, 40), "mask": Image.new("L", (40, 40))}, "mask is empty"),
        ({"task": "edit", "image": scenery(40, 40), "mask": rectangle((40, 40), (0, 0, 9, 9))}, "class"),
        ({"task": "outpaint", "image": scenery(40, 40)}, "amount"),
        ({"task": "branch"}, "branch"),
        ({"candidates": 0}, "candidates"),
        ({"guidance": -1.0}, "guidance"),
        ({"task": "dream"}, "task"),
        ({"seed": -4}, "seed"),
    ],
)
def test_bad_requests_say_so(changes: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        EditRequest(**changes)


def test_unknown_classes_are_answered_with_near_ones(engine) -> None:
    with pytest.raises(ValueError, match="did you mean daisy"):
        list(engine.run(EditRequest(label="daisi")))
    with pytest.raises(ValueError, match="0 to 2"):
        list(engine.run(EditRequest(label=7)))


def count_encoding(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes of everything that is encoded from now on."""
    seen: list[int] = []
    features = engine.tokenizer.features

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels.shape[0])
        return features(pixels)

    monkeypatch.setattr(engine.tokenizer, "features", counted)
    return seen


@pytest.mark.parametrize("task", ["inpaint", "outpaint", "vary"])
def test_an_unchanged_picture_is_encoded_once_and_nothing_changes_by_it(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, mask = scenery(70, 70), rectangle((70, 70), (20, 20, 50, 50))
    request = EditRequest(
        task=task,  # type: ignore[arg-type]
        image=picture,
        mask=mask if task == "inpaint" else None,
        outpaint=(0, 0, 20, 0) if task == "outpaint" else (0, 0, 0, 0),
        start_scale=3 if task == "vary" else 0,
        seed=5,
    )
    plain = finish(Engine(build_model()), request)[1].images[0].tobytes()
    engine = Engine(build_model())
    seen = count_encoding(engine, monkeypatch)
    assert engine.prepare(request) and seen == [1]
    assert engine.prepare(request) and seen == [1]
    assert finish(engine, request)[1].images[0].tobytes() == plain
    _, other = finish(engine, replace(request, seed=6))
    assert other.images[0].tobytes() != plain and seen == [1]
    changed = picture.copy()
    changed.putpixel({"inpaint": (15, 15), "outpaint": (65, 35), "vary": (45, 35)}[task], (0, 0, 0))
    _, third = finish(engine, replace(request, image=changed))
    assert seen == [1, 1]
    assert (
        third.images[0].tobytes()
        == finish(Engine(build_model()), replace(request, image=changed))[1].images[0].tobytes()
    )


def test_nothing_is_encoded_ahead_while_the_engine_works() -> None:
    engine = Engine(build_model())
    request = EditRequest(task="vary", image=scenery(60, 60), start_scale=2)
    engine._lock.acquire()
    assert engine.prepare(request) is False
    engine._lock.release()
    assert engine.prepare(request) is True and engine._lock.acquire(blocking=False)


def test_what_is_remembered_is_bounded() -> None:
    tokenizer = build_model().tokenizer
    encoder = Encoder(tokenizer, torch.device("cpu"), limit=100_000)
    one = encoder([scenery(48, 48, seed=0)])
    assert encoder([scenery(48, 48, seed=0)]) is one and encoder.held < 40_000
    for seed in range(1, 30):
        encoder([scenery(48, 48, seed=seed)])
        assert encoder.held <= 100_000
    again = encoder([scenery(48, 48, seed=0)])
    assert again is not one and torch.equal(again[0], one[0])
    encoder.forget()
    assert encoder.held == 0


def test_a_photo_of_twelve_megapixels() -> None:
    """In a process of its own: what a small edit takes beside the model's own work, and the most memory it holds."""
    code = """
import json, resource, time
from PIL import Image
from var_core import EditRequest, Engine
engine = Engine.load("garden-128")
photo = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
mask = Image.new("L", photo.size)
mask.paste(255, (1800, 1400, 2100, 1650))
small = photo.resize((160, 120)), mask.resize((160, 120))
times = []
for image, painted in (small, small, (photo, mask)):
    began = time.perf_counter()
    result = list(engine.run(EditRequest(task="inpaint", image=image, mask=painted, seed=1)))[-1].result
    times.append(time.perf_counter() - began)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([times[2] - times[1], peak, result.images[0].size]))
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    beside, mib, size = json.loads(done.stdout)
    assert size == [4000, 3000] and beside < 1.5 and mib < 1500


def test_without_a_class_the_surroundings_suggest_one() -> None:
    engine = Engine.load("garden-128", "cpu")
    names = engine.class_names
    guessed = []
    for name in ("watercolour-apple", "market-tomato", "flower-sunflower", "watercolour-lemon"):
        assert name in names
        _, source = finish(engine, EditRequest(label=name, seed=3))
        picture = source.images[0]
        request = EditRequest(
            task="inpaint", image=picture, mask=rectangle(picture.size, (44, 44, 84, 84)), seed=1, context=8
        )
        _, result = finish(engine, request)
        (notice,) = result.notices
        told = next(other for other in names if f" {other}," in notice)
        guessed.append(told.split("-")[0] == name.split("-")[0])
        _, same = finish(engine, replace(request, label=told))
        assert not same.notices and same.images[0].tobytes() == result.images[0].tobytes()
        for other in (replace(request, guess=False), replace(request, method="official")):
            assert not finish(engine, other)[1].notices
    assert sum(guessed) >= 3  # its own pictures: flowers, market or watercolours are told apart
