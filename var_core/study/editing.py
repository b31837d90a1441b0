"""Zero-shot editing by every member that can hold known pixels anywhere: the families of masks of `evaluate edit`, no
class, no guidance, a hard paste."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ..evaluate.edits import FAMILIES, mask_for
from ..measures.judge import look
from ..measures.likelihood import fill
from ..measures.metrics import bootstrap, frechet, interval, kernel_distance, seam_score
from ..pictures.data import stack, to_model
from ..train.run import Log
from .members import Held, Member
from .peers import Judging, open_member, pictures_of
from .scaling import rows
from .tokens import Cache
from .training import Deadline, Machine

_LEAST = 4  # pictures that have a covariance by halves
# name of the row -> member, and whether it holds pixels by evidence; None: OpenCV's inpainting, to compare with
METHODS: dict[str, tuple[str | None, bool]] = {
    "var": ("var", False), "var, evidence": ("var", True), "next": ("next", False), "five": ("five", False),
    "masked": ("masked", False), "telea": (None, False),
}  # fmt: skip


def held_picture(cache: Cache, picture: np.ndarray, hole: np.ndarray, evidence: bool, device: torch.device) -> Held:
    """picture (H, W, 3) uint8, hole (H, W) bool: encoded with its hole painted over, so that nothing leaks."""
    filled = fill(picture, hole)
    words, side = cache.words.ten, cache.words.ten.scales.finest
    with torch.inference_mode():
        features = words.features(to_model(stack([filled]), words.device)).to(device)
    known = torch.from_numpy(~hole).float()[None, None]
    fraction = F.interpolate(known, size=(side, side), mode="area")[0, 0].to(device)
    return Held(features, fraction, evidence)


@torch.inference_mode()
def complete(
    member: Member | None, cache: Cache, picture: np.ndarray, hole: np.ndarray, evidence: bool, seed: int,
    device: torch.device,
) -> np.ndarray:  # fmt: skip
    """The picture with its hole drawn anew, (H, W, 3) uint8; every other pixel stays."""
    if member is None:
        return fill(picture, hole)
    held = held_picture(cache, picture, hole, evidence, device)
    label = torch.tensor([member.trunk.config.null_label], device=device)
    made = pictures_of(cache, member.draw(cache.words.to(device), label, [seed], 0.0, held))[0]
    return np.where(hole[..., None], made, picture)


def edit(
    cache: Cache, out: Path, data: list[str], machine: Machine, deadline: Deadline, count: int = 100,
    families: tuple[str, ...] = FAMILIES,
) -> bool:  # fmt: skip
    """Rows in out/csv/editing.csv, of the same pictures, masks and seeds for all: Frechet and kernel distances of
    completed pictures to all true ones, mean distance of each to its own true one, and the seam (1 is right). True once
    all is there."""
    if count < _LEAST:
        raise ValueError(f"{count} pictures say nothing: edit at least {_LEAST}")
    path, side, judging = out / "csv" / "editing.csv", cache.resolution, None
    for family in families:
        for method, (name, evidence) in METHODS.items():
            if any(row["family"] == family and row["method"] == method for row in rows(path)):
                continue
            if deadline.over:
                return False
            judging = judging or Judging(cache, data)
            order = np.random.default_rng(5).permutation(len(judging.val))[:count]
            real, rng = [judging.val.centre(int(i), side) for i in order], np.random.default_rng(families.index(family))
            holes = [mask_for(family, side, rng) for _ in order]
            member = None if name is None else open_member(out, name, cache).to(machine.device)
            made = []
            for n, (picture, hole) in enumerate(tqdm(list(zip(real, holes, strict=True)), desc=f"{family} {method}")):
                made.append(complete(member, cache, picture, hole, evidence, n, machine.device))
            Log(path).write({"family": family, "method": method} | _figures(judging, real, made, holes, order))
    return True


def _figures(
    judging: Judging, real: list[np.ndarray], made: list[np.ndarray], holes: list[np.ndarray], order: np.ndarray
) -> dict[str, Any]:
    features, truth = look(judging.judge, made)[0], judging.real
    low, high = interval(bootstrap(len(made), lambda half: frechet(features[half], truth)))
    own = np.linalg.norm(features - truth[order], axis=1)
    return {
        "pictures": len(made), "frechet": frechet(features, truth), "frechet_low": low, "frechet_high": high,
        "kernel": kernel_distance(features, truth), "own": float(own.mean()), "seam": seam_score(made, real, holes),
    }  # fmt: skip
