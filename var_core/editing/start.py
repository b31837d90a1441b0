"""What a window's run begins with: the encoded picture, what is kept of it, the class that was guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..model.checkpoints import Model
from ..request import Pass
from ..sampling.guess import ClassGuess
from ..sampling.known import Known
from . import compositing
from .encoding import Encodings
from .painting import Painting
from .plan import Plan
from .preview import LinearDecoder, View

# Scales of a class edit that are not told what is known. Told from the first on, a model with infill conditioning
# goes on with what was there (a dandelion becomes white leaves, not a daisy); told from the eighth on, it draws the
# class, and that fits its surroundings. Of 240 training pictures' edits 67 % were named as wanted with 4 scales, 72 %
# with 6, 75 % with 7.
_CLASS_DECIDES = 7


@dataclass(frozen=True)
class Continued:
    """A finished window that goes on: scales before `scale` are those of `done`, one candidate's."""

    done: Pass
    scale: int


@dataclass(frozen=True)
class Start:
    """A window's composite mask and display geometry, what is known of its picture, the scale from which it is drawn,
    and the class that was guessed, if one was."""

    alpha: Image.Image | None
    view: View
    known: Known | None
    scale: int
    label: int | None


class Beginnings:
    """Makes the starts. It remembers encodings and guesses by what went into them, never a photo; the first window's
    start is kept in the plan itself, so that a visitor's click finds what was prepared while they painted."""

    def __init__(self, model: Model, linear: LinearDecoder) -> None:
        self.tokenizer, self.linear = model.tokenizer, linear
        self.device, self.sides = model.tokenizer.device, model.transformer.scales.sides
        self.sampling = model.card.get("sampling", {})
        self.encodings = Encodings(self.tokenizer)
        self.guess = ClassGuess(self.tokenizer, model.transformer)

    def start(self, plan: Plan, number: int, painting: Painting, continued: Continued | None) -> Start:
        """For window `number` of the plan, as its pictures stand now. Under the engine's lock."""
        first = number == 0 and continued is None
        if first and plan.started is not None:
            return plan.started
        box, scale = plan.boxes[number], plan.edit.start_scale if continued is None else continued.scale
        known = self._known(plan, number, painting, continued, scale)
        alpha = plan.alpha(number)
        view = View.of(painting.small(), plan.picture.width, box, alpha)
        start = Start(alpha, view, known, scale if known else 0, self._guess(plan, box, known))
        if first:
            plan.started = start
        return start

    def _known(
        self, plan: Plan, number: int, painting: Painting, continued: Continued | None, scale: int
    ) -> Known | None:
        """Encode the crop, its hole filled where all scales are drawn anew, and say what is kept at every scale."""
        edit, prefix = plan.edit, continued.done.tokens[:scale] if continued is not None else []
        codes = continued.done.codes if continued is not None else None
        codes = None if codes is None else [part.to(self.device) for part in codes[:scale]]
        if edit.task == "generate":
            if not prefix:
                return None
            keep = [torch.full((side * side,), k < scale, device=self.device) for k, side in enumerate(self.sides)]
            return Known([part.to(self.device) for part in prefix], keep, codes=codes)
        shares = plan.shares(number)
        crops = painting.crops(plan.boxes[number], plan.resolution)
        if edit.start_scale == 0:  # nothing may leak from under the mask
            crops = [compositing.fill_hole(crop, shares.hole, edit.fill) for crop in crops]
        features, tokens = self.encodings(crops)
        self.linear.learn(features[:1], self.encodings.pixels(crops[:1]))
        drawn = [torch.from_numpy(np.ascontiguousarray(part)).flatten() for part in plan.redrawn(number, scale)]
        tokens = [part.to(self.device) for part in prefix] + tokens[len(prefix) :]
        method = "tokens" if edit.method == "official" else edit.method
        fraction = torch.from_numpy(shares.fraction).to(self.device)
        return Known(
            tokens, [~part.to(self.device) for part in drawn], method, features, fraction, self._weight(plan), codes,
            _CLASS_DECIDES if edit.task == "edit" else 0,
        )  # fmt: skip

    def _weight(self, plan: Plan) -> float:
        """How strongly the evidence speaks: as asked, or the model's own number."""
        if plan.edit.evidence is not None:
            return plan.edit.evidence
        name, usual = ("edit_evidence", 1.0) if plan.edit.task == "edit" else ("evidence", 10.0)
        return self.sampling.get(name, usual)

    def _guess(self, plan: Plan, box: object, known: Known | None) -> int | None:
        """The class to draw where none was asked for; None where none is guessed."""
        edit = plan.edit
        wanted = box is not None and edit.guess and edit.label is None and edit.method == "evidence"
        if not wanted or not self.guess.possible or known is None or known.features is None or known.fraction is None:
            return None
        if not bool((known.fraction > 0).any()):
            return None
        return self.guess(self.tokenizer.quantize(known.features[:1])[0], known.fraction)
