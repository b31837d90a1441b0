"""What a run has told so far, and the result that it becomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image
from torch import Tensor

from ..request import Chance, Frame, Pass, Result, Way
from ..sampling.sampler import SampleOptions, ScaleStep
from .painting import Painting
from .plan import Plan
from .start import Start


class Story:
    """The scales of the current window, the windows that are done, the previews."""

    def __init__(
        self, plan: Plan, chance: Chance, options: SampleOptions, first: int, model: str, precision: str
    ) -> None:
        self.plan, self.chance, self.options, self.first = plan, chance, options, first
        self.model, self.precision = model, precision
        self.scales = chance.stop_scale or len(plan.sides)
        self.guessed: list[str] = []  # the classes that windows were drawn as without being asked for
        self.passes: list[Pass] = []
        self.previews: list[Image.Image] = []
        self.likelihood = np.zeros(chance.candidates)

    @property
    def seed(self) -> int:
        assert self.chance.seed is not None
        return self.chance.seed

    def way(self, number: int) -> Way | None:
        """To the detail of a window, where the run goes on to its last scale."""
        return self.plan.way(number) if self.scales == len(self.plan.sides) else None

    def begin(self, number: int, start: Start, names: tuple[str, ...]) -> None:
        """A window begins. Where detail continues the surroundings, the guessed class is not what will be seen."""
        self.tokens: list[Tensor] = []
        self.codes: list[Tensor] | None = None
        if self.options.smooth or (start.known is not None and start.known.codes):
            self.codes = []
        guessed = None if start.label is None or self.way(number) == "continued" else names[start.label]
        if guessed is not None and guessed not in self.guessed:
            self.guessed.append(guessed)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the result should be told with, in one sentence each."""
        classes = " and ".join(self.guessed)
        guess = (f"Drawn as {classes}, by the surroundings: or choose a class.",) if classes else ()
        return *self.plan.notices, *guess

    def add(self, step: ScaleStep) -> None:
        self.tokens.append(step.tokens.cpu())
        if self.codes is not None:
            self.codes.append(step.codes.cpu())
        if step.log_likelihood is not None:
            self.likelihood += step.log_likelihood.float().cpu().numpy()

    def end(self, number: int, start: Start) -> None:
        """A window is drawn; with a way, detail follows."""
        self.passes.append(Pass(self.tokens, self.codes, self.plan.boxes[number], start.alpha, self.way(number)))

    def frame(
        self, number: int, shown: list[Image.Image], seconds: float, painting: Painting, detail: int = 0,
        details: int = 0,
    ) -> Frame:  # fmt: skip
        """What is shown after a scale or a level of detail; with the last one, the result."""
        windows, result = len(self.plan.boxes), None
        if number == windows - 1:
            self.previews[len(self.tokens) - 1 :] = [shown[0]]
            waiting = detail < details if details else bool(self.passes and self.passes[-1].detail)
            if len(self.passes) == windows and not waiting:
                sketch = self.scales if self.scales < len(self.plan.sides) else None
                result = Result(
                    model=self.model, precision=self.precision, edit=self.plan.edit,
                    chance=replace(self.chance, stop_scale=sketch), picture=self.plan.picture, patches=painting.parts,
                    at=painting.bounds[:2], passes=self.passes, previews=self.previews, notices=self.notices,
                    first=self.first, settle=self.options.settle, seconds=seconds, likelihood=tuple(self.likelihood),
                )  # fmt: skip
        done = len(self.tokens), self.scales, number + 1, windows
        return Frame(*done, shown, seconds, self.seed, result, detail, details)
