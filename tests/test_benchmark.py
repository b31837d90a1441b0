"""Reference mode is the reference: the same tokens as the engine; and the document says what it must."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIDES, build_model
from test_engine import finish

from var_core import EditRequest, Engine, editing
from var_core.benchmark import main, reference
from var_core.sampler import Known, SampleOptions, sample

GREEDY = SampleOptions(guidance=2.0, top_k=1, top_p=0.0)


def test_reference_mode_draws_the_engines_picture() -> None:
    model = build_model()
    pixels, tokens = reference(model, 1, GREEDY, 0, None, None)
    _, result = finish(Engine(model), EditRequest(label=1, seed=0, guidance=2.0, top_k=1, top_p=0.0))
    assert all(torch.equal(a, b) for a, b in zip(tokens, result.tokens[0], strict=True))
    made = ((pixels[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(made.astype(int) - np.asarray(result.images[0]).astype(int)).max() <= 1


def test_reference_mode_edits_by_the_official_rule() -> None:
    model = build_model()
    side = SIDES[-1]
    hole = np.ones((side, side), dtype=np.float32)
    hole[3:8, 3:8] = 0
    keep = editing.official_keep(hole, SIDES)
    picture = torch.rand(1, 3, 48, 48) * 2 - 1
    _, tokens = reference(model, 3, GREEDY, 0, picture, keep)
    with torch.inference_mode():
        known = Known(model.tokenizer.encode(picture), [torch.from_numpy(k).flatten() for k in keep])
    steps = list(sample(model.transformer, model.tokenizer, torch.tensor([3]), GREEDY, seeds=[0], known=known))
    assert all(torch.equal(a, step.tokens) for a, step in zip(tokens, steps, strict=True))


@pytest.mark.parametrize("task", ["generate", "inpaint", "branch"])
def test_the_last_line_is_one_document(task: str, model_file: Path, capsys) -> None:
    assert main(["--model", str(model_file), "--task", task, "--runs", "1"]) == 0
    document = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    wanted = {"model", "task", "device", "dtype", "seconds", "reference_seconds", "speedup", "parts", "peak_mib"}
    assert wanted <= document.keys() and document["seconds"] > 0
    assert len(document["per_scale_seconds"]) == len(SIDES)
    assert document["parts"]["transformer"] > 0 and (task == "inpaint") == (document["parts"]["encode"] > 0)
