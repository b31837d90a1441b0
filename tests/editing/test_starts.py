"""What a window's run begins with, and what a run tells at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIDES, build_model, rectangle, scenery

from var_core import Chance, Edit, Engine
from var_core.editing.compositing import fill_hole
from var_core.editing.encoding import Encodings
from var_core.editing.painting import Painting
from var_core.editing.start import Continued
from var_core.request import Frame, Result
from var_core.sampling.sampler import sample

PHOTO, MASK = scenery(48, 48), rectangle((48, 48), (12, 12, 25, 29))


@pytest.fixture
def own() -> Engine:
    return Engine(build_model())


def start(engine: Engine, continued: Continued | None = None, **given: Any):
    usual = {"task": "inpaint", "image": PHOTO, "mask": MASK}
    plan = engine.plan(Edit(**usual | given))
    return engine.beginnings.start(plan, 0, Painting.of_plan(plan, 1), continued), plan


def features(engine: Engine, picture) -> torch.Tensor:
    with torch.inference_mode():
        pixels = torch.from_numpy(np.asarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        return engine.tokenizer.features(pixels)


def run(engine: Engine, chance: Chance, **given: Any) -> tuple[list[Frame], Result]:
    frames = list(engine.run(Edit(**given), chance))
    assert [frame.result is None for frame in frames] == [True] * (len(frames) - 1) + [False]
    return frames, frames[-1].result  # type: ignore[return-value]


# the start


def test_what_is_known_is_the_encoded_picture_with_its_hole_filled(own: Engine) -> None:
    begun, plan = start(own)
    shares = plan.shares(0)
    expected = features(own, fill_hole(PHOTO, shares.hole, "telea"))
    assert torch.allclose(begun.known.features, expected, atol=1e-3)
    assert not torch.allclose(begun.known.features, features(own, PHOTO), atol=1e-2)
    tokens = own.tokenizer.quantize(expected)[0]
    assert all(torch.equal(a, b) for a, b in zip(begun.known.tokens, tokens, strict=True))
    assert np.array_equal(begun.known.fraction.numpy(), shares.fraction)
    for kept, keep in zip(begun.known.keep, shares.keep, strict=True):
        assert np.array_equal(kept.numpy(), keep.ravel())
    assert begun.scale == 0 and begun.known.codes is None and begun.alpha.tobytes() == plan.alpha(0).tobytes()
    assert start(own, method="official")[0].known.method == "tokens"
    assert start(own, method="requantize")[0].known.method == "requantize"
    assert begun.known.method == "evidence"
    plain = start(own, fill="none")[0].known.features
    assert torch.allclose(plain, features(own, PHOTO), atol=1e-3)


def test_from_a_later_scale_on_the_picture_itself_is_the_source(own: Engine) -> None:
    begun, _ = start(own, start_scale=3)
    assert torch.allclose(begun.known.features, features(own, PHOTO), atol=1e-3) and begun.scale == 3
    assert [bool(keep.all()) for keep in begun.known.keep[:4]] == [True, True, True, False]


@pytest.mark.parametrize(
    ("card", "given", "expected"),
    [
        ({}, {}, 10.0),
        ({}, {"task": "edit", "label": 1}, 1.0),
        ({"evidence": 4.0, "edit_evidence": 2.0}, {}, 4.0),
        ({"evidence": 4.0, "edit_evidence": 2.0}, {"task": "edit", "label": 1}, 2.0),
        ({"evidence": 4.0}, {"evidence": 0.0}, 0.0),
        ({}, {"evidence": 7.5, "task": "edit", "label": 1}, 7.5),
    ],
)
def test_how_strongly_the_evidence_speaks(card: dict, given: dict, expected: float) -> None:
    model = build_model()
    model.card["sampling"].update(card)
    assert start(Engine(model), **given)[0].known.evidence == expected


def test_a_class_is_guessed_only_where_none_is_asked_for(own: Engine) -> None:
    begun, _ = start(own)
    likely = own.beginnings.guess.log_likelihoods(begun.known.tokens[:4], begun.known.fraction)
    assert begun.label == likely.argmax().item()
    for given in ({"guess": False}, {"label": "rose"}, {"label": 0}, {"method": "official"}, {"method": "requantize"}):
        assert start(own, **given)[0].label is None
    assert start(own, task="vary", mask=None, start_scale=2)[0].label is None
    assert start(own, mask=rectangle((48, 48), (0, 0, 48, 48)))[0].label is None, "nothing is known"
    own.beginnings.guess.transformer.config.__dict__["classes"] = 101
    assert not own.beginnings.guess.possible and start(own)[0].label is None


def test_the_first_start_is_kept_with_its_plan(own: Engine) -> None:
    begun, plan = start(own)
    painting = Painting.of_plan(plan, 1)
    assert own.beginnings.start(plan, 0, painting, None) is begun is plan.started
    _, base = run(own, Chance(seed=1), task="inpaint", image=PHOTO, mask=MASK)
    other = own.beginnings.start(plan, 0, painting, Continued(base.passes[0].of(0), 4))
    assert other is not begun and other.scale == 4 and plan.started is begun
    engine_plan = own.plan(Edit(task="outpaint", image=scenery(48, 48), right=60))
    assert len(engine_plan.boxes) > 1
    second = own.beginnings.start(engine_plan, 1, Painting.of_plan(engine_plan, 1), None)
    assert engine_plan.started is None
    assert own.beginnings.start(engine_plan, 0, Painting.of_plan(engine_plan, 1), None) is not second


@pytest.mark.parametrize("task", ["generate", "inpaint"])
@pytest.mark.parametrize("smooth", [False, True])
def test_a_continued_window_keeps_its_first_scales(own: Engine, task: str, smooth: bool) -> None:
    given = {"task": task} | ({"image": PHOTO, "mask": MASK} if task == "inpaint" else {})
    _, base = run(own, Chance(seed=1, candidates=2, smooth=smooth), **given)
    plan = own.plan(Edit(**given))  # type: ignore[arg-type]
    done = base.passes[0].of(1)
    begun = own.beginnings.start(plan, 0, Painting.of_plan(plan, 1), Continued(done, 4))
    assert begun.scale == 4 and all(bool(keep.all()) for keep in begun.known.keep[:4])
    assert not begun.known.keep[4].all() and not begun.known.keep[-1].all()
    for k in range(4):
        assert torch.equal(begun.known.tokens[k], base.passes[0].tokens[k][1:2])
        if smooth:
            assert torch.equal(begun.known.codes[k], base.passes[0].codes[k][1:2])
    assert (begun.known.codes is not None) == smooth and (not smooth or len(begun.known.codes) == 4)
    assert len(begun.known.tokens) == (4 if task == "generate" else len(SIDES))
    assert (begun.known.features is None) == (task == "generate")
    if task == "generate":
        assert own.beginnings.start(plan, 0, Painting.of_plan(plan, 1), Continued(done, 0)).known is None


def test_the_fit_learns_from_what_is_encoded(own: Engine) -> None:
    assert not own.linear.ready
    start(own)
    assert own.linear.ready


# encodings


def test_encodings_are_remembered_by_their_pixels_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = build_model().tokenizer
    seen: list[int] = []
    encode = tokenizer.features
    monkeypatch.setattr(tokenizer, "features", lambda pixels: seen.append(pixels.shape[0]) or encode(pixels))
    one = sum(part.nbytes for part in [encode(torch.zeros(1, 3, 48, 48)), *tokenizer.encode(torch.zeros(1, 3, 48, 48))])
    seen.clear()
    encodings = Encodings(tokenizer)
    kept = encodings.remembered
    assert kept.limit == 16 * 1024 * 1024, "hundreds of pictures of 256 px"
    kept.limit = 2 * one
    pictures = [scenery(48, 48, seed=seed) for seed in range(4)]
    first = encodings([pictures[0]])[0]
    assert encodings([pictures[0].copy()])[0] is first and seen == [1] and kept.held == one
    encodings([pictures[1]]), encodings([pictures[0]])
    assert seen == [1, 1] and kept.held == 2 * one
    encodings([pictures[2]])
    assert kept.held == 2 * one and encodings([pictures[0]])[0] is first and seen == [1, 1, 1], "the oldest unused went"
    encodings([pictures[1]])
    assert seen == [1] * 4
    both = encodings(pictures[2:])
    assert kept.held == 2 * one and both[0].shape[0] == 2 and seen[-1] == 2 and both[1][0].shape == (2, 1)
    kept.limit = 1
    encodings([pictures[3]])
    assert kept.held == one
    assert encodings([pictures[0]])[0] is not first
    found = encodings.pixels(pictures[:2])
    expected = torch.from_numpy(np.stack([np.asarray(p) for p in pictures[:2]])).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(found, expected, atol=1e-6)


# the end of a run


def test_a_result_tells_how_it_was_made(own: Engine) -> None:
    frames, result = run(own, Chance(seed=4, candidates=2, guidance=1.5, random_scales=3), task="edit", label="rose",
        image=PHOTO, mask=MASK, feather=2)  # fmt: skip
    assert [(f.scale, f.scales, f.window, f.windows, f.seed) for f in frames] == [
        (k + 1, 10, 1, 1, 4) for k in range(10)
    ]
    assert result.model == "tiny" and result.seed == 4 and result.settle == 3 and result.first == 0
    assert result.chance == Chance(seed=4, candidates=2, guidance=1.5, random_scales=3, top_k=20, top_p=0.9)
    assert result.picture is PHOTO and result.notices == () and not result.sketch
    assert result.at == (10, 10) and [part.size for part in result.patches] == [(17, 21)] * 2
    assert len(result.previews) == 10 and [f.previews[0] for f in frames] == result.previews
    assert len(result.passes) == 1 and result.passes[0].codes is None and result.precision
    assert [part.shape for part in result.passes[0].tokens] == [(2, side * side) for side in SIDES]
    times = [frame.seconds for frame in frames]
    assert times == sorted(times) and result.seconds == times[-1] > 0
    labels = torch.full((2,), 1)
    steps = own.beginnings.start(own.plan(result.edit), 0, Painting.of_plan(own.plan(result.edit), 1), None)
    again = sample(own.transformer, own.tokenizer, labels, own.options(result.edit, result.chance), known=steps.known,
        seeds=[4, 4 + 15_485_863])  # fmt: skip
    told = torch.stack([step.log_likelihood for step in again if step.log_likelihood is not None]).sum(0)
    assert result.likelihood == pytest.approx(told.tolist(), rel=1e-4) and result.likelihood[0] != result.likelihood[1]


def test_windows_tell_one_after_another(own: Engine) -> None:
    frames, result = run(own, Chance(seed=4), task="outpaint", image=scenery(48, 48), right=60)
    many = frames[-1].windows
    assert many > 1 and [frame.window for frame in frames] == [n + 1 for n in range(many) for _ in SIDES]
    assert [frame.scale for frame in frames] == [*range(1, 11)] * many
    assert len(result.passes) == many and len(result.previews) == 10, "of the last window"
    assert [done.box for done in result.passes] == own.plan(result.edit).boxes
    for number, done in enumerate(result.passes):
        assert done.alpha.tobytes() == own.plan(result.edit).alpha(number).tobytes()
    assert len(set(result.notices)) == len(result.notices) and all("by the surroundings" in n for n in result.notices)
    names = [name for name in own.class_names if any(f"Drawn as {name}," in notice for notice in result.notices)]
    assert len(names) == len(result.notices) >= 1
    assert frames[9].previews[0].size == (108, 48)


def test_sketches_and_mixed_codes_are_told(own: Engine) -> None:
    _, sketch = run(own, Chance(seed=4, stop_scale=6, smooth=True))
    assert sketch.sketch and sketch.chance.stop_scale == 6 and len(sketch.passes[0].tokens) == 6
    assert len(sketch.passes[0].codes) == 6 and sketch.at == (0, 0) and sketch.patches[0].size == (48, 48)
    _, whole = run(own, Chance(seed=4, stop_scale=10))
    assert not whole.sketch and whole.chance.stop_scale is None and whole.passes[0].codes is None
    _, cropped = run(own, Chance(seed=4), task="vary", image=scenery(60, 48), start_scale=2)
    assert cropped.notices == ("The picture was cropped to its centre square.",)
