"""A model with infill conditioning is told what is known at the scale that it draws; the published rule tells none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import SIDES, build_model, rectangle, scenery

from var_core import Chance, Edit, Engine
from var_core.editing.start import _CLASS_DECIDES
from var_core.model.checkpoints import Model
from var_core.model.infill import known_cells
from var_core.model.transformer import Transformer
from var_core.request import Task


@pytest.fixture
def told() -> Engine:
    plain = build_model()
    torch.manual_seed(1)
    config = replace(plain.transformer.config, infill=True)
    return Engine(Model(plain.tokenizer, Transformer(config).eval(), plain.class_names, "told", plain.card))


def edit(task: Task = "inpaint", **more) -> Edit:
    picture = scenery(48, 48)
    mask = rectangle(picture.size, (10, 12, 31, 30))
    return Edit(task=task, image=picture, mask=mask, context=8.0, **more)


def told_at(
    engine: Engine, wanted: Edit, monkeypatch: pytest.MonkeyPatch, guidance: float = 2.0
) -> list[torch.Tensor | None]:
    found, embed = [], engine.transformer.embed

    def record(inputs, conditioning, first, last, known=None):
        found.append(known)
        return embed(inputs, conditioning, first, last, known)

    monkeypatch.setattr(engine.transformer, "embed", record)
    list(engine.run(wanted, Chance(seed=1, guidance=guidance)))
    return found


def test_every_scale_is_told_its_own_cells(told: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = told_at(told, edit(label="rose"), monkeypatch)
    assert [part.shape[1] for part in cells if part is not None] == [side * side for side in SIDES]
    last = cells[-1]
    assert last is not None and len(last) == 2 and torch.equal(last[0], last[1])  # both halves of guidance
    share = last[0, :, -1]
    assert float(share.min()) == 0 and float(share.max()) == 1
    code_dim = told.tokenizer.config.code_dim
    full = known_cells(last[:1, :, :-1].transpose(1, 2).reshape(1, code_dim, 12, 12), share.view(1, 12, 12), SIDES[1])
    assert cells[1] is not None and torch.allclose(cells[1][:1], full, atol=1e-5)


def test_the_class_of_an_edit_decides_coarse_scales_alone(told: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        plain = told_at(told, edit(label="rose"), patch)
    with monkeypatch.context() as patch:
        asked = told_at(told, edit("edit", label="rose"), patch)
    assert len(SIDES) > _CLASS_DECIDES
    for k, (one, other) in enumerate(zip(plain, asked, strict=True)):
        assert one is not None and other is not None and bool(one.any())
        assert torch.equal(other, torch.zeros_like(one) if k < _CLASS_DECIDES else one)


def test_nothing_is_told_where_nothing_may_be(told: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(told_at(told, edit(method="official"), monkeypatch)) == {None}
    assert set(told_at(told, Edit(label=0), monkeypatch)) == {None}
    assert set(told_at(Engine(build_model()), edit(label=0), monkeypatch)) == {None}


def test_no_class_is_guessed_for_a_model_that_is_told(told: Engine) -> None:
    result = list(told.run(edit(), Chance(seed=1)))[-1].result
    assert result is not None
    assert not any("class" in notice.lower() for notice in result.notices)
