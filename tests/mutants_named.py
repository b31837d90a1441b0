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


_SAMPLER, _GUESS = "var_core/sampling/sampler.py", ("tests/sampling/test_prefixes.py",)
_DRAW, _API = ("tests/sampling/test_sampler.py",), ("tests/app/test_endpoints.py",)

NAMED: tuple[Named, ...] = (
    Named("the hole is never filled before encoding", "var_core/editing/compositing.py",
        'if method == "none" or not inside.any():', "if True:"),
    Named("the sign of the evidence", "var_core/sampling/known.py",
        "return self.strength * weight", "return -self.strength * weight"),
    Named("kept cells are not quantized again", _SAMPLER,
        "if lack is not None else source[", "if False else source["),
    Named("colours are not matched", "var_core/editing/painting.py",
        "            if self.match:", "            if False:"),
    Named("every cell has a say in the class guess", "var_core/sampling/guess.py",
        "[..., 0] * known).sum(1)", "[..., 0]).sum(1)", _GUESS),
    Named("an edit with another start scale is taken for the same", "var_core/request.py",
        "for f in fields(self)]\n        return all(a is b",
        'for f in fields(self) if f.name != "start_scale"]\n        return all(a is b',
        ("tests/test_engine.py::test_edits_that_differ_in_anything_are_not_the_same",)),
    Named("top-p is off where the sampler draws", _SAMPLER,
        "judged = filter_logits(judged, self.options.top_k, self.options.top_p)",
        "judged = filter_logits(judged, self.options.top_k, 0.0)", _DRAW),
    Named("the same noise at every scale", _SAMPLER, " + 7919 * k)", ")", _DRAW),
    Named("no lock around a step", "var_core/engine.py",
        "        with self._lock:\n            return next(steps, None)", "        return next(steps, None)",
        ("tests/test_engine.py::test_every_step_is_done_under_the_lock",)),
    Named("a window repaints what is another's", "var_core/editing/plan.py",
        "top:bottom, left:right] == number + 1", "top:bottom, left:right] > 0", ("tests/editing/test_shares.py",)),
    Named("what is remembered of known scales does not hang on the class", _SAMPLER,
        "prefixes([self.rows[:: self.b], *", "prefixes([*", ("tests/sampling/test_shortcuts.py",)),
    Named("the saved picture is the opened one, with all that it carries", "var_core/files/images.py",
        "plain = Image.fromarray(np.asarray(image))", "plain = image", ("tests/files/test_saved.py",)),
    Named("the likeliest candidate is the least likely", "app/session.py",
        "return max(range", "return min(range", ("tests/app/test_session.py",)),
    Named("the API drops method and context", "app/api.py",
        "for name in EDIT if name in given}",
        'for name in EDIT if name in given and name not in ("method", "context")}', _API),
    Named("the page drops smooth", "app/form.py",
        "for name in CHANCE if name in CONTROLS]", 'for name in CHANCE if name in CONTROLS and name != "smooth"]',
        ("tests/app/test_form.py",)),
    Named("the API's branch takes the first candidate", "app/api.py",
        'result, index, start, chance, label)', "result, 0, start, chance, label)", _API),
    Named("what is kept is drawn, what is drawn is kept", "var_core/editing/plan.py",
        "if k < start else ~part", "if k < start else part", ("tests/editing/test_shares.py",)),
    Named("all candidates share one noise", _SAMPLER, "(seed * 1_000_003", "(1_000_003", _DRAW),
    Named("guidance does not grow with the scale", _SAMPLER,
        "max(self.options.guidance_floor, self.scales.ratio(k))", "1.0", _DRAW),
    Named("the fade goes further than its feather", "var_core/editing/compositing.py",
        "alpha[distance > feather] = 0", "pass", ("tests/editing/test_tones.py",)),
    Named("the average is the last weights", "var_core/train/run.py",
        "get_ema_multi_avg_fn(averaging(decay,", "get_ema_multi_avg_fn(averaging(0.0,", ("tests/train/test_run.py",)),
    Named("labels are never dropped in training", "var_core/train/transformer.py",
        "labels.append(self.null if dropped else label)", "labels.append(label)", ("tests/train/test_beginnings.py",)),
    Named("the refiner sees the cell that it draws", "var_core/model/refiner.py",
        "before[:, 1:] = codes[:, :-1]", "before[:] = codes", ("tests/model/test_refiner.py",)),
    Named("each window of an outpainting is of a class of its own", "var_core/engine.py",
        'if number and plan.edit.task == "outpaint":', "if False:", ("tests/test_outpaint.py",)),
    Named("a class is told for each window", "var_core/editing/story.py",
        "if guessed is not None and guessed not in self.guessed:", "if guessed is not None:",
        ("tests/test_outpaint.py",)),
    Named("the strip shows the whole of a growing picture", "app/runs.py",
        "canvas.part(frame.previews[0], self.seen[frame.window - 1]) if self.seen else parts[0]", "frame.previews[0]",
        ("tests/app/test_runs.py",)),
    Named("results are packed slowly", "var_core/files/images.py", "_LEVEL = 3", "_LEVEL = 6",
        ("tests/files/test_saved.py",)),
    Named("nothing is withheld in validation", "var_core/measures/likelihood.py",
        'told = batch.known if name == "loss"', "told = batch.known if name == name",
        ("tests/train/test_beginnings.py",)),
)  # fmt: skip
