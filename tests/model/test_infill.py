"""What a transformer is told about the known part of a picture."""

from __future__ import annotations

import pytest
import torch

from var_core.model.infill import all_known_cells, known_cells
from var_core.model.transformer import Transformer, TransformerConfig

SIDES = (1, 2, 4)


def test_cells_hold_the_mean_of_what_is_known_and_how_much_that_is() -> None:
    features = torch.arange(16.0).view(1, 1, 4, 4)
    fraction = torch.ones(1, 4, 4)
    fraction[:, :2, :2] = 0
    fraction[:, 0, 2] = 0.5
    cells = known_cells(features, fraction, 2)  # (1, 4, 2)
    assert cells[0, 0].tolist() == [0.0, 0.0]
    expected = (0.5 * 2 + 3 + 6 + 7) / 3.5
    assert cells[0, 1].tolist() == pytest.approx([expected, 3.5 / 4])
    assert cells[0, 3].tolist() == pytest.approx([(10 + 11 + 14 + 15) / 4, 1.0])
    assert known_cells(features, fraction, 4)[0, :, 1].tolist() == fraction.flatten().tolist()
    assert all_known_cells(features, fraction, SIDES).shape == (1, 21, 2)


def build(infill: bool) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        sides=SIDES, depth=2, width=16, heads=2, mlp_width=32, classes=2, code_dim=3, vocab_size=8, infill=infill
    )
    return Transformer(config).eval()


def test_nothing_known_is_the_same_as_nothing_told() -> None:
    transformer, labels, inputs = build(True), torch.tensor([0]), torch.randn(1, 20, 3)
    told = all_known_cells(torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4), SIDES)
    assert torch.equal(transformer(labels, inputs), transformer(labels, inputs, told))
    some = all_known_cells(torch.randn(1, 3, 4, 4), torch.ones(1, 4, 4), SIDES)
    assert not torch.equal(transformer(labels, inputs), transformer(labels, inputs, some))


def test_a_model_without_the_conditioning_refuses_it_and_has_no_weights_for_it() -> None:
    plain = build(False)
    assert not any("known" in name for name in plain.state_dict())
    with pytest.raises(ValueError, match="no infill conditioning"):
        plain(torch.tensor([0]), torch.randn(1, 20, 3), torch.randn(1, 21, 4))
