"""Faults that matter and once went unnoticed, each with the tests that see it: `python tests/mutate.py --named`.

`old` stands exactly once in the file; `test_mutate.py` says so when code has moved away from under one.
"""

from __future__ import annotations

from dataclasses import dataclass

_ALL = "tests/test_end_to_end.py"


@dataclass(frozen=True)
class Named:
    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...] = (_ALL,)


NAMED: tuple[Named, ...] = (
    Named("the hole is never filled before encoding", "var_core/editing/geometry.py",
        'if method == "none":', "if True:"),
    Named("the sign of the evidence", "var_core/sampling/sampler.py",
        "judged = logits - evidence.penalty", "judged = logits + evidence.penalty"),
    Named("kept cells are not quantized again", "var_core/sampling/sampler.py",
        "if lack is not None else known.tokens", "if False else known.tokens"),
    Named("colours are not matched", "var_core/editing/compositing.py",
        "    if waiting is not None:\n        side", "    if False:\n        side"),
    Named("the average is the last weights", "var_core/train/run.py",
        "get_ema_multi_avg_fn(min(decay,", "get_ema_multi_avg_fn(min(0.0,", ("tests/train/test_run.py",)),
    Named("labels are never dropped in training", "var_core/train/transformer.py",
        "rng.random(len(labels)) < share", "rng.random(len(labels)) < 0", ("tests/train/test_named_faults.py",)),
    Named("the share of dropped labels is not the run's", "var_core/train/transformer.py",
        "null, training.label_drop, run.rng", "null, 0.0, run.rng", ("tests/train/test_named_faults.py",)),
)  # fmt: skip
