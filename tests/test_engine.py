"""Requests through the whole engine, on a small random model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIDES, build_model, rectangle, scenery, whole_alpha
from PIL import Image

from var_core import Chance, Edit, Engine
from var_core.editing.painting import Painting
from var_core.request import EDIT, requested
from var_core.sampling.sampler import SampleOptions, sample


def finish(engine: Engine, **values):
    """Frames and result of one request, given as settings of its edit and its chance together."""
    return told(engine.run(*requested(**values)))


def told(run):
    frames = list(run)
    assert all(frame.result is None for frame in frames[:-1])
    assert frames[-1].result is not None
    return frames, frames[-1].result


def outside_is_equal(before: Image.Image, after: Image.Image, alpha: Image.Image) -> None:
    assert after.size == before.size
    same = np.asarray(alpha) == 0
    assert same.any()
    assert np.array_equal(np.asarray(before)[same], np.asarray(after)[same])


def test_generate_gives_one_frame_a_scale(engine) -> None:
    frames, result = finish(engine, label="rose", seed=1, candidates=2)
    assert [frame.scale for frame in frames] == list(range(1, len(SIDES) + 1))
    assert all(len(frame.previews) == 2 for frame in frames)
    assert [image.size for image in result.images] == [(48, 48)] * 2
    assert np.asarray(result.images[0]).tobytes() != np.asarray(result.images[1]).tobytes()


def test_the_same_request_gives_the_same_bytes(engine) -> None:
    request = dict(task="inpaint", image=scenery(90, 70), mask=rectangle((90, 70), (20, 20, 50, 50)), seed=5)
    first, second = (finish(engine, **request)[1].images[0].tobytes() for _ in range(2))
    assert first == second
    drawn = (finish(engine, **dict(request, seed=seed, detail=False))[1].images[0].tobytes() for seed in (5, 6))
    assert len(set(drawn)) == 2


def test_a_random_seed_is_told_and_can_be_used_again(engine) -> None:
    _, result = finish(engine, label=0)
    _, again = finish(engine, label=0, seed=result.seed)
    assert result.images[0].tobytes() == again.images[0].tobytes()


@pytest.mark.parametrize("method", ["evidence", "requantize", "official"])
@pytest.mark.parametrize("size", [(100, 80), (48, 48), (30, 200), (333, 222)])
def test_pixels_outside_the_alpha_are_untouched(engine, method: str, size: tuple[int, int]) -> None:
    picture = scenery(*size)
    mask = rectangle(size, (5, 6, 17, 26))
    request = dict(task="inpaint", image=picture, mask=mask, seed=2, method=method)  # type: ignore[arg-type]
    _, result = finish(engine, **request)
    outside_is_equal(picture, result.images[0], whole_alpha(result))
    painted = np.asarray(mask) > 0
    assert (np.asarray(whole_alpha(result))[painted] == 255).all()


def test_two_regions_far_apart_are_two_windows(engine) -> None:
    picture, mask = scenery(600, 100), rectangle((600, 100), (10, 10, 40, 40))
    mask.paste(255, (540, 50, 580, 80))
    frames, result = finish(engine, task="edit", label="tulip", image=picture, mask=mask, seed=2)
    assert frames[-1].windows == 2 and len([frame for frame in frames if not frame.detail]) == 2 * len(SIDES)
    outside_is_equal(picture, result.images[0], whole_alpha(result))


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (0, 0, 80, 60), (79, 59, 80, 60)], ids=["one pixel", "everything", "corner pixel"]
)
def test_odd_masks(engine, box: tuple[int, int, int, int]) -> None:
    picture = scenery(80, 60)
    _, result = finish(engine, task="inpaint", image=picture, mask=rectangle((80, 60), box), seed=1)
    assert result.images[0].size == (80, 60)


def test_a_mask_of_another_size_is_scaled(engine) -> None:
    picture = scenery(80, 60)
    _, result = finish(
        engine, task="inpaint", image=picture, mask=rectangle((40, 30), (5, 5, 15, 15)), seed=1, feather=0
    )
    assert whole_alpha(result).getbbox() == (10, 10, 30, 30)


@pytest.mark.parametrize(
    "amounts", [(20, 0, 0, 0), (0, 20, 0, 0), (0, 0, 20, 0), (0, 0, 0, 20), (7, 9, 11, 13), (150, 0, 0, 0)]
)
def test_outpainting_leaves_the_original_alone(engine, amounts: tuple[int, int, int, int]) -> None:
    picture = scenery(70, 50)
    _, result = finish(
        engine,
        task="outpaint",
        image=picture,
        left=amounts[0],
        top=amounts[1],
        right=amounts[2],
        bottom=amounts[3],
        seed=3,
        feather=0,
        detail=amounts[0] == 20,
    )
    left, top, right, bottom = amounts
    made = result.images[0]
    assert made.size == (70 + left + right, 50 + top + bottom)
    assert made.crop((left, top, left + 70, top + 50)).tobytes() == picture.tobytes()


def test_branching_repeats_the_shared_scales(engine) -> None:
    picture, mask = scenery(80, 60), rectangle((80, 60), (20, 10, 50, 40))
    _, base = finish(engine, task="inpaint", image=picture, mask=mask, seed=3)
    _, branch = told(engine.branch(base, 0, 5, Chance(seed=9, candidates=2)))
    for k in range(5):
        for i in range(2):
            assert (branch.passes[0].tokens[k][i] == base.passes[0].tokens[k][0]).all()
    assert any((branch.passes[0].tokens[k][0] != base.passes[0].tokens[k][0]).any() for k in range(5, len(SIDES)))
    outside_is_equal(picture, branch.images[1], whole_alpha(base))


def test_after_the_random_scales_the_likeliest_tokens_are_taken(engine) -> None:
    request = dict(label="daisy", seed=4, random_scales=2, candidates=2, guidance=0.0)
    _, result = finish(engine, **request)
    labels = torch.full((2,), engine.label_index("daisy"))
    steps = sample(
        engine.transformer, engine.tokenizer, labels, SampleOptions(guidance=0.0, top_k=20, top_p=0.9, settle=2),
        seeds=[4, 4 + 15_485_863],
    )  # fmt: skip
    likeliest = []
    for step in steps:
        assert step.logits is not None and torch.equal(step.tokens, result.passes[0].tokens[step.k])
        likeliest.append(torch.equal(step.tokens, step.logits.argmax(-1)))
    assert all(likeliest[2:]) and not all(likeliest[:2])
    assert result.settle == 2 and result.chance.random_scales == 2


def test_a_branch_has_random_scales_of_its_own(engine) -> None:
    _, base = finish(engine, label="daisy", seed=4, random_scales=2)
    _, branch = told(engine.branch(base, 0, 5, Chance(seed=9, candidates=2)))
    one, two = zip(*(tokens.unbind(0) for tokens in branch.passes[0].tokens), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(one[:5], two[:5], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one[5:7], two[5:7], strict=True))
    assert branch.settle == 7
    _, calm = told(engine.branch(base, 0, 5, Chance(seed=9, random_scales=0)))
    assert calm.settle == 5 and calm.chance.random_scales == 0


def test_a_models_own_random_scales_are_for_surroundings(engine) -> None:
    model = build_model()
    model.card["sampling"]["random_scales"] = 3
    own, photo, mask = Engine(model), scenery(80, 60), rectangle((80, 60), (20, 10, 50, 40))
    for task, settle in (("inpaint", 3), ("outpaint", 3), ("edit", None), ("generate", None)):
        request = dict(task=task, label=1, image=photo, mask=mask, left=0, top=0, right=16, bottom=0, seed=1)
        assert own.options(*requested(**request)).settle == settle, task
        assert own.options(*requested(**request, random_scales=1)).settle == 1
        assert engine.options(*requested(**request)).settle is None
    _, result = finish(own, task="inpaint", image=photo, mask=mask, seed=1, start_scale=2)
    assert result.settle == 5 and result.chance.random_scales == 3


def test_without_chance_all_candidates_are_one(engine) -> None:
    _, result = finish(engine, label="daisy", seed=4, random_scales=0, candidates=2)
    assert result.images[0].tobytes() == result.images[1].tobytes()
    with pytest.raises(ValueError, match="random scales must be a whole number from 0"):
        Chance(random_scales=-1)


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
    request = dict(task="edit", image=picture, mask=rectangle((80, 60), (20, 10, 50, 40)), label=1)
    assert engine.options(*requested(**request)).guidance_floor == 0.5
    assert engine.options(*requested(**dict(request, task="inpaint"))).guidance_floor == 0


def test_vary_keeps_the_first_scales(engine) -> None:
    _, result = finish(engine, task="vary", image=scenery(60, 48), start_scale=4, seed=1)
    assert result.images[0].size == (48, 48)
    _, other = finish(engine, task="vary", image=scenery(60, 48), start_scale=4, seed=2)
    for k in range(4):
        assert (result.passes[0].tokens[k] == other.passes[0].tokens[k]).all()


def test_what_will_change_is_what_changes(engine) -> None:
    """A dot of one pixel too: overlay and run ask one plan."""
    for box in ((20, 20, 50, 50), (33, 41, 34, 42)):
        plan = engine.plan(Edit(task="inpaint", image=scenery(100, 80), mask=rectangle((100, 80), box)))
        (window,), maps = plan.boxes, plan.redrawn(0)
        start = engine.beginnings.start(plan, 0, Painting.of_plan(plan, 1), None)
        assert [m.shape[0] for m in maps] == list(SIDES)
        assert maps[0].all() and not maps[-1].all() and maps[-1].any()
        assert window[0] <= box[0] and window[2] >= box[2]
        assert start.known is not None
        for drawn, keep in zip(maps, start.known.keep, strict=True):
            assert np.array_equal(drawn.flatten(), ~keep.numpy())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"task": "inpaint"}, "picture"),
        ({"task": "inpaint", "image": scenery(40, 40)}, "mask is empty"),
        ({"task": "inpaint", "image": scenery(40, 40), "mask": Image.new("L", (40, 40))}, "mask is empty"),
        ({"task": "edit", "image": scenery(40, 40), "mask": rectangle((40, 40), (0, 0, 9, 9))}, "class"),
        ({"task": "outpaint", "image": scenery(40, 40)}, "amount"),
        ({"candidates": 0}, "candidates"),
        ({"guidance": -1.0}, "guidance"),
        ({"task": "dream"}, "task"),
        ({"seed": -4}, "seed"),
    ],
)
def test_bad_requests_say_so(changes: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        requested(**changes)


def test_unknown_classes_are_answered_with_near_ones(engine) -> None:
    with pytest.raises(ValueError, match="did you mean daisy"):
        engine.run(Edit(label="daisi"))
    with pytest.raises(ValueError, match="0 to 2"):
        engine.run(Edit(label=7))


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
    own = {"inpaint": {"mask": mask}, "outpaint": {"right": 20}, "vary": {"start_scale": 3}}[task]
    request = {"task": task, "image": picture, "seed": 5, "detail": False, **own}
    edit, chance = requested(**request)
    plain = finish(Engine(build_model()), **request)[1].images[0].tobytes()
    engine = Engine(build_model())
    seen = count_encoding(engine, monkeypatch)
    plan = engine.plan(edit)
    assert engine.prepare(plan) and seen == [1]
    assert engine.prepare(plan) and seen == [1]
    assert told(engine.run(edit, chance, plan))[1].images[0].tobytes() == plain
    assert finish(engine, **request)[1].images[0].tobytes() == plain and seen == [1]
    _, other = finish(engine, **dict(request, seed=6))
    assert other.images[0].tobytes() != plain and seen == [1]
    changed = picture.copy()
    changed.putpixel({"inpaint": (15, 15), "outpaint": (65, 35), "vary": (45, 35)}[task], (0, 0, 0))
    request["image"] = changed
    _, third = finish(engine, **request)
    assert seen == [1, 1]
    assert third.images[0].tobytes() == finish(Engine(build_model()), **request)[1].images[0].tobytes()


def test_nothing_is_encoded_ahead_while_the_engine_works() -> None:
    engine = Engine(build_model())
    plan = engine.plan(Edit(task="vary", image=scenery(60, 60), start_scale=2))
    engine._lock.acquire()
    assert engine.prepare(plan) is False
    engine._lock.release()
    assert engine.prepare(plan) is True and engine._lock.acquire(blocking=False)


def test_every_step_is_done_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else computes meanwhile, and the lock is free while a frame is looked at."""
    engine, held = Engine(build_model()), []
    step = engine.transformer.step
    monkeypatch.setattr(engine.transformer, "step", lambda *a: held.append(engine._lock.locked()) or step(*a))
    decode = engine.tokenizer.decode
    monkeypatch.setattr(engine.tokenizer, "decode", lambda *a: held.append(engine._lock.locked()) or decode(*a))
    for _ in engine.run(Edit(task="inpaint", image=scenery(70, 70), mask=rectangle((70, 70), (20, 20, 50, 50)))):
        assert not engine._lock.locked()
    assert len(held) > len(SIDES) and all(held)


def test_a_branch_with_the_same_seed_is_the_base_again(engine) -> None:
    request = {"task": "inpaint", "image": scenery(80, 60), "mask": rectangle((80, 60), (20, 10, 50, 40))}
    _, base = finish(engine, **request, seed=3, smooth=True, random_scales=4)
    _, again = told(engine.branch(base, 0, 5, Chance(seed=3)))
    assert again.images[0].tobytes() == base.images[0].tobytes()


def test_too_much_at_once_is_refused_before_any_work(engine) -> None:
    picture = Image.new("RGB", (7000, 5000))
    edit = Edit(task="inpaint", image=picture, mask=rectangle(picture.size, (0, 0, 7000, 5000)))
    with pytest.raises(ValueError, match="can be drawn 2 times at once, got 8 candidates"):
        engine.run(edit, Chance(candidates=8))


def test_a_photo_of_twelve_megapixels() -> None:
    """In a process of its own: the most memory that a small edit takes, and what its result holds."""
    code = """
import json, re
from pathlib import Path
from PIL import Image
from var_core import Chance, Edit, Engine
engine = Engine.load("garden-2")
photo = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
mask = Image.new("L", photo.size)
mask.paste(255, (1800, 1400, 2100, 1650))
result = engine.draw(Edit(task="inpaint", image=photo, mask=mask), Chance(seed=1))
peak = int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
held = [result.picture, *result.patches, *result.previews]
print(json.dumps([peak, sum(3 * p.width * p.height for p in held) / 2**20, result.image(0).size]))
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    mib, held, size = json.loads(done.stdout)
    assert size == [4000, 3000] and mib < 1200 and held < 80


def test_without_a_class_the_surroundings_suggest_one(engine) -> None:
    request = dict(task="inpaint", image=scenery(70, 70), mask=rectangle((70, 70), (20, 20, 50, 50)), seed=1)
    assert not finish(engine, **request)[1].notices  # detail goes on with the surroundings, whatever they are
    request |= {"detail": False}
    _, result = finish(engine, **request)
    (notice,) = result.notices
    told_name = next(name for name in engine.class_names if f" {name}," in notice)
    _, same = finish(engine, **request, label=told_name)
    assert not same.notices
    assert all(torch.equal(a, b) for a, b in zip(same.passes[0].tokens, result.passes[0].tokens, strict=True))
    for other in (dict(request, guess=False), dict(request, method="official")):
        assert not finish(engine, **other)[1].notices


def test_the_bundled_model_is_told_what_is_known_and_needs_no_class() -> None:
    engine = Engine.load("garden-2", "cpu")
    request = dict(task="inpaint", image=scenery(90, 90), mask=rectangle((90, 90), (30, 30, 60, 60)), seed=1)
    assert not finish(engine, **request)[1].notices


@pytest.mark.parametrize("name", [*EDIT, "label", "image", "mask", "task"])
def test_edits_that_differ_in_anything_are_not_the_same(name: str) -> None:
    """What was planned for one is not used for another."""
    photo, mask = scenery(60, 60), rectangle((60, 60), (20, 20, 40, 40))
    given = {"task": "inpaint", "image": photo, "mask": mask, "label": "rose"}
    other = {
        "start_scale": 3, "method": "requantize", "evidence": 3.0, "fill": "mean", "guess": False, "context": 3.5,
        "feather": 9, "color_match": False, "detail": False, "left": 1, "top": 2, "right": 3, "bottom": 4,
        "label": "tulip",
        "image": photo.copy(), "mask": mask.copy(), "task": "edit",
    }  # fmt: skip
    one = Edit(**given)  # type: ignore[arg-type]
    assert one.same(Edit(**given)) and not one.same(Edit(**given | {name: other[name]}))  # type: ignore[arg-type]
