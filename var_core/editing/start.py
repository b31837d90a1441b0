"""What a run begins with: its job, the encoded picture, what is kept of it, the class that was guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..model.checkpoints import Model
from ..request import EditRequest
from ..sampling.guess import ClassGuess
from ..sampling.sampler import Known
from . import compositing, geometry
from .encoding import Encoder
from .jobs import Job, Start, plan
from .preview import LinearDecoder, View


class Beginnings:
    """Remembers the last job and its first window's start, so that a visitor's click finds what was prepared while
    they painted, and a re-roll what the run before it began with. Nothing remembered changes a result."""

    def __init__(self, model: Model, linear: LinearDecoder) -> None:
        self.tokenizer, self.transformer, self.linear = model.tokenizer, model.transformer, linear
        self.device, self.sides = model.tokenizer.device, model.transformer.scales.sides
        self.sampling = model.card.get("sampling", {})
        self.encoder = Encoder(self.tokenizer, self.device)
        self.guess = ClassGuess(self.tokenizer, self.transformer)
        self._last: tuple[EditRequest | None, Job | None] = None, None

    def forget(self) -> None:
        """To be called when the model computes differently from now on."""
        self.encoder.forget()
        self.guess.forget()
        self._last = None, None

    def plan(self, request: EditRequest) -> Job:
        """The job of a request, its first window's start included where the last request differed in chance alone."""
        alike = replace(
            request, seed=None, candidates=1, guidance=None, top_k=None, top_p=None, random_scales=None, smooth=False,
            stop_scale=None,
        )  # fmt: skip
        last, job = self._last
        if job is None or last != alike:
            job = plan(alike, self.tokenizer.config.resolution)
            self._last = alike, job
        return replace(job, pictures=job.pictures * request.candidates, notices=list(job.notices))

    def start(
        self, request: EditRequest, job: Job, window: geometry.Window | None, prefix: list[Tensor] | None
    ) -> Start:
        """What a window's run begins with. Under the lock."""
        first = window is job.windows[0] and prefix is None
        if first and job.started:
            return job.started[0]
        alpha = None
        if window is not None and job.alpha is not None:
            alpha = compositing.window_alpha(window, job.alpha, job.feather)
        known = self._known(request, job.pictures, window, prefix)
        guessed = self._guess(request, known) if window is not None else None
        distinct = job.pictures[:1] if window is job.windows[0] else job.pictures
        view = View.of(distinct, window.box if window is not None else None, alpha)
        start = Start(alpha, view, known, guessed)
        if first:
            job.started.append(start)
        return start

    def keep_maps(self, mask: Image.Image, request: EditRequest) -> list[np.ndarray]:
        """Per scale, (side, side) bool: which cells keep what is known."""
        fraction = geometry.known_fraction(mask, self.sides[-1])
        if request.method == "official":
            return geometry.official_keep((fraction > 0.5).astype(np.float32), self.sides)
        return geometry.keep_maps(fraction, self.sides)

    def _known(
        self,
        request: EditRequest,
        pictures: list[Image.Image],
        window: geometry.Window | None,
        prefix: list[Tensor] | None,
    ) -> Known | None:
        """Encode the crop with its hole filled, and say what is kept at every scale."""
        start, side = request.start_scale, self.tokenizer.config.resolution
        if request.image is None or request.task == "generate":
            if prefix is None or start == 0:
                return None
            keep = [torch.full((side * side,), k < start, device=self.device) for k, side in enumerate(self.sides)]
            return Known([t.to(self.device) for t in prefix], keep)
        distinct = pictures if any(p is not pictures[0] for p in pictures) else pictures[:1]
        if window is None:
            crops, mask = distinct, Image.new("L", (side, side), 255)
        else:
            crops = [geometry.crop(p, window.box, side) for p in distinct]
            mask = window.mask.resize((side, side), Image.Resampling.BOX)
            if start == 0 or prefix is not None:  # nothing may leak from under the mask
                hole = geometry.binary(mask, above=0)
                crops = [geometry.fill_hole(c, hole, request.fill) for c in crops]
        features, tokens = self.encoder(crops)
        self.linear.learn(features[:1], self.encoder.pixels(crops[:1]))
        keep_maps = self.keep_maps(mask, request)
        keep = [torch.from_numpy(np.ascontiguousarray(k)).flatten().to(self.device) for k in keep_maps]
        for k in range(start):
            keep[k] = torch.ones_like(keep[k])
        if prefix is not None:
            tokens = [p.to(self.device) for p in prefix[:start]] + tokens[start:]
        fraction = torch.from_numpy(geometry.known_fraction(mask, self.sides[-1])).to(self.device)
        method = "tokens" if request.method == "official" else request.method
        evidence = request.evidence
        if evidence is None:
            name, usual = ("edit_evidence", 1.0) if request.task == "edit" else ("evidence", 10.0)
            evidence = self.sampling.get(name, usual)
        return Known(tokens, keep, method, features, fraction, evidence)

    def _guess(self, request: EditRequest, known: Known | None) -> int | None:
        """The class to draw where none was asked for; None where none is guessed."""
        wanted = request.guess and request.label is None and request.method == "evidence"
        if not wanted or not self.guess.possible or known is None or known.features is None or known.fraction is None:
            return None
        if not bool((known.fraction > 0).any()):
            return None
        return self.guess(self.tokenizer.quantize(known.features[:1])[0], known.fraction)
