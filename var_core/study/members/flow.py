"""Diffusion: flow matching on the continuous features of the same encoder, by a DiT of the same width and depth."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ...model.transformer import Conditioning, TransformerConfig
from ..tokens import Words
from ..trunk import Cost, begin, cost, guided, mutual, through, twice
from .held import Held
from .learner import Learner

_WAVES = 128  # frequencies of the time


class Flow(Learner):
    """Foretells the velocity from noise (time 0) to features (time 1). `config.vocab_size` is the code width: the head
    writes a velocity. `steps` are those of a draw (Euler)."""

    kind, anywhere = "features", False

    def __init__(self, config: TransformerConfig, steps: int = 50) -> None:
        super().__init__()
        self.steps = steps
        self.trunk = begin(config, mutual(config.sides[-1] ** 2))
        self.time = nn.Sequential(
            nn.Linear(2 * _WAVES, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )  # fmt: skip

    def cost(self) -> Cost:
        w, total = self.trunk.config.width, self.trunk.scales.total
        found = cost(self.trunk, total, total)
        return Cost(found.inputs + 2 * 2 * _WAVES * w, found.rest + 2 * w * w)

    def _condition(self, labels: Tensor, when: Tensor) -> Conditioning:
        """labels (b,), when (b,) in [0, 1]: as the trunk's own, with the time added to the class."""
        trunk = self.trunk
        angles = 1000 * when[:, None] * torch.exp(torch.arange(_WAVES, device=when.device) * (-math.log(1e4) / _WAVES))
        embed = trunk.class_embed(labels) + self.time(torch.cat((angles.cos(), angles.sin()), 1))
        return trunk.conditioned(embed)

    def _velocity(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """(b, c, h, w) -> (b, c, h, w)."""
        trunk = self.trunk
        tokens = trunk.word_embed(x.flatten(2).transpose(1, 2)).float() + trunk.pos_embed + trunk.scale_embed.weight[0]
        out = trunk.logits(through(trunk, tokens + conditioning.start, conditioning), conditioning)
        return out.transpose(1, 2).unflatten(2, x.shape[2:])

    def chance(self, b: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Noise (b, c, h, w), and a normal number of each picture, of which its time is made, (b,)."""
        side, c = self.trunk.config.sides[-1], self.trunk.config.code_dim
        return rng.standard_normal((b, c, side, side), dtype=np.float32), rng.standard_normal(b, dtype=np.float32)

    def given(self, words: Words, content: Tensor, *chance: Tensor) -> tuple[Tensor, ...]:
        """Features less noise and what lies between them at the time, (n, c, h, w), and the time (n,)."""
        noise, normal = chance
        features, when = (content - words.mean) / words.deviation, torch.sigmoid(normal)
        return features - noise, torch.lerp(noise, features, when[:, None, None, None]), when

    def scores(self, labels: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Squared errors of the velocity in place of nats; nothing is right or wrong."""
        velocity, between, when = given
        error = (self._velocity(between, self._condition(labels, when)) - velocity).square().mean(1).flatten(1)
        return error, torch.zeros_like(error, dtype=torch.bool)

    @torch.inference_mode()
    def draw(self, words: Words, labels: Tensor, seeds: list[int], guidance: float, held: Held | None = None) -> Tensor:
        """labels (b,) -> features (b, c, h, w). ValueError if something is to be held."""
        if held is not None:
            raise ValueError("a flow holds no known pixels without being trained to: leave it out of the edits")
        side, c = self.trunk.config.sides[-1], self.trunk.config.code_dim
        rows = twice(labels, self.trunk.config.null_label, guidance)
        starts = [torch.randn(c, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        x = torch.stack(starts).to(labels.device)
        for i in range(self.steps):
            when = torch.full((len(rows),), i / self.steps, device=labels.device)
            both = x.repeat(len(rows) // len(labels), 1, 1, 1)
            x = x + guided(self._velocity(both, self._condition(rows, when)), guidance) / self.steps
        return x * words.deviation + words.mean
