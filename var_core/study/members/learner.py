"""What every member is to its training: a step's loss in parts, so that many steps' inputs can be made at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from ...model.transformer import Transformer
from ..tokens import Batch, Words


class Learner(nn.Module, ABC):
    """`kind` is what it learns of `KINDS`; `anywhere`, whether it can hold known pixels in any place."""

    kind: str
    anywhere: bool
    trunk: Transformer

    def chance(self, b: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """What a step draws for b pictures: arrays (b, ...), none by default."""
        return ()

    @abstractmethod
    def given(self, words: Words, content: Tensor, *chance: Tensor) -> tuple[Tensor, ...]:
        """content (n, ...) and draws (n, ...) -> all that `scores` needs beside the labels, each (n, ...); a picture's
        does not hang on the others."""

    @abstractmethod
    def scores(self, labels: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """labels (b,) -> nats (b, L), whose mean is the loss, and whether the best token is the true one (b, L)."""

    def losses(self, words: Words, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The scores of one batch, with what it draws from `rng`."""
        device = batch.labels.device
        chance = [torch.from_numpy(part).to(device) for part in self.chance(len(batch.labels), rng)]
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            given = self.given(words, batch.content, *chance)
        return self.scores(batch.labels, *given)
