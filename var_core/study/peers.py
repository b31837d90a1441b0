"""VAR and its peers, trained at equal FLOP, each with its own best guidance: pictures, figures, and seconds side by
side in one run."""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..files.images import save_png
from ..measures.judge import Judge, fit_judge, look
from ..measures.metrics import bootstrap, frechet, interval, kernel_distance
from ..pictures.data import Pictures
from ..train.run import Log, Run, load_state
from .bursts import side_by_side
from .members import TITLES, Member, build
from .scaling import RATES, rows, scales
from .tokens import KINDS, Cache, canvas_of, gather
from .training import Choices, Deadline, Machine, batch_for, cool_from, foretell, steps_for, train
from .trunk import size

DEPTH, FLOP = 6, 5e14
GUIDANCES = (0.0, 0.5, 1.0, 2.0, 4.0)
_SWEPT = 256  # pictures of a try
_MOST = 12.0  # beyond which no guidance is tried
_NEAR = 5  # percent of real pictures nearer to a training picture than what counts as memorised


def train_peers(
    cache: Cache, out: Path, names: list[str], machine: Machine, deadline: Deadline, *, depth: int = DEPTH,
    flop: float = FLOP, rates: tuple[float, ...] = RATES, batch: int | None = None,
) -> bool:  # fmt: skip
    """Each at the best of its `rates`, which are tried at a tenth of `flop` where there are several. Rows in
    out/csv/members.csv and peer-rates.csv. True once all are trained."""
    jobs = [partial(_train_peer, cache, out, name, machine, deadline, depth, flop, rates, batch) for name in names]
    return side_by_side(jobs, machine.device)


def _train_peer(
    cache: Cache, out: Path, name: str, machine: Machine, deadline: Deadline, depth: int, flop: float,
    rates: tuple[float, ...], batch: int | None,
) -> bool:  # fmt: skip
    place = out / "peers" / name
    if (place / "told").exists():
        return True
    many = batch_for(build(name, depth, cache)) if batch is None else batch
    tried = {rate: 0.0 for rate in rates}
    for rate in rates if len(rates) > 1 else ():
        loss = _tried(cache, out, name, depth, flop / 10, Choices(rate=rate, batch=many), machine, deadline)
        if loss is None:
            return False
        tried[rate] = loss
    choices = Choices(rate=min(tried, key=lambda rate: tried[rate]), batch=many)
    run, there = _trained(cache, place, name, depth, flop, choices, machine, deadline)
    if there:
        _tell(cache, out / "csv", name, run.averaged, choices, run.step, machine)
        (place / "told").touch()
    return there


def _trained(
    cache: Cache, place: Path, name: str, depth: int, flop: float, choices: Choices, machine: Machine,
    deadline: Deadline,
) -> tuple[Run[Member], bool]:  # fmt: skip
    member = build(name, depth, cache)
    steps = steps_for(flop, member, choices.batch)
    course = max(1, min(200, steps // 20)), cool_from(steps), steps
    return train(member, cache, choices, place, machine, deadline, course=course, until=steps)


def _tried(
    cache: Cache, out: Path, name: str, depth: int, flop: float, choices: Choices, machine: Machine, deadline: Deadline
) -> float | None:
    """The validation loss that a rate leads to; None where the deadline came first."""
    path, place = out / "csv" / "peer-rates.csv", out / "peers" / name / f"rate-{choices.rate:.0e}"
    for row in rows(path):
        if (row["name"], int(row["depth"]), float(row["rate"])) == (name, depth, choices.rate):
            return float(row["loss"])
    run, there = _trained(cache, place, name, depth, flop, choices, machine, deadline)
    if not there:
        return None
    loss = float(foretell(run.averaged, cache, cache.val, machine.device).nats.mean())
    Log(path).write({"name": name, "depth": depth, "flop": flop, "rate": choices.rate, "loss": loss})
    (place / "state.pt").unlink()  # what it said is kept
    return loss


def _tell(cache: Cache, out: Path, name: str, member: Member, choices: Choices, steps: int, machine: Machine) -> None:
    """Bits only where tokens are foretold; masked tokens' are an upper bound."""
    val, seen = (foretell(member, cache, data, machine.device) for data in (cache.val, cache.train))
    config, pictures, tokens = member.trunk.config, steps * choices.batch, member.kind != "features"
    Log(out / "members.csv").write({
        "name": name, "depth": config.depth, "width": config.width, "alphabet": member.kind,
        "parameters": sum(p.numel() for p in member.parameters()), "N": size(config),
        "flop": member.cost().training * pictures, "steps": steps, "pictures": pictures, "rate": choices.rate,
        "loss": float(val.nats.mean()), "train_loss": float(seen.nats.mean()),
        "bits": float(val.bits.mean()) if tokens else "", "anywhere": int(member.anywhere),
    })  # fmt: skip
    if name in ("var", "next"):
        scales(cache, val, out / "scales.csv", name, choices.seed)


def open_member(out: Path, name: str, cache: Cache) -> Member:
    """A trained peer with averaged weights. ValueError where it is not trained to the end."""
    saved = load_state(out / "peers" / name / "state.pt")
    if saved is None or not (out / "peers" / name / "told").exists():
        raise ValueError(f"{name} is not trained yet: run python -m var_core.study peers train {name}")
    member = build(name, saved["config"]["depth"], cache)
    member.load_state_dict(saved["average"])
    return member.eval().requires_grad_(False)


def _at_once(device: torch.device) -> int:
    """Pictures of a batch."""
    return 256 if device.type == "cuda" else 32


@torch.inference_mode()
def pictures_of(cache: Cache, canvas: torch.Tensor) -> list[np.ndarray]:
    """(b, c, h, w) -> pictures (H, W, 3) uint8."""
    made = cache.words.ten.decode(canvas)
    return list(((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())


@torch.inference_mode()
def draw(
    member: Member, cache: Cache, labels: np.ndarray, guidance: float, device: torch.device, first_seed: int = 0
) -> list[np.ndarray]:
    """A picture (H, W, 3) uint8 for every label (n,)."""
    words, made, many = cache.words.to(device), [], _at_once(device)
    for at in range(0, len(labels), many):
        some = torch.from_numpy(labels[at : at + many]).to(device)
        seeds = [first_seed + at + i for i in range(len(some))]
        made += pictures_of(cache, member.draw(words, some, seeds, guidance))
    return made


class Judging:
    """The validation pictures and the judge fitted to the training pictures: the same for all members."""

    def __init__(self, cache: Cache, data: list[str]) -> None:
        side = cache.resolution
        self.train, self.val = (gather(data, split, side) for split in ("train", "val"))
        if self.val.class_names != cache.class_names or len(self.val) != len(cache.val):
            raise ValueError("these are other pictures than the tokens': give --data as for the tokens")
        self.judge: Judge = fit_judge(self.train, side)
        self.real, _ = look(self.judge, centres(self.val, side))
        self.train_features, _ = look(self.judge, centres(self.train, side))
        self.near = float(np.percentile(nearest(self.real, self.train_features), _NEAR))

    def figures(self, made: list[np.ndarray], labels: np.ndarray, index: np.ndarray) -> dict[str, Any]:
        """Of pictures of the classes `labels`, against the real ones at `index`."""
        features, scores = look(self.judge, made)
        right, real = scores.argmax(1) == labels, self.real[index]
        draws = bootstrap(len(made), lambda half: frechet(features[half], real[half]))
        low, high = interval(draws)
        return {
            "samples": len(made), "frechet": frechet(features, real), "frechet_low": low, "frechet_high": high,
            "kernel": kernel_distance(features, real), "accuracy": float(right.mean()),
            "memorised": float((nearest(features, self.train_features) < self.near).mean()),
        }  # fmt: skip


def centres(pictures: Pictures, side: int) -> list[np.ndarray]:
    return [pictures.centre(i, side) for i in range(len(pictures))]


def nearest(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Distance of each query (n, d) to its nearest key (m, d)."""
    squares = np.square(queries).sum(1)[:, None] + np.square(keys).sum(1) - 2 * queries @ keys.T
    return np.sqrt(squares.min(1).clip(0))


def measure(
    cache: Cache, out: Path, data: list[str], names: list[str], machine: Machine, deadline: Deadline,
    guidances: tuple[float, ...] = GUIDANCES, swept: int = _SWEPT,
) -> bool:  # fmt: skip
    """Guidance swept on some pictures (guidance.csv), also beyond `guidances` while the last one is the best; then one
    picture for each validation picture, of its class and with other seeds, at the best (table.csv); what the alphabets
    themselves lose (alphabets.csv). True once all is there."""
    csv, judging = out / "csv", Judging(cache, data)
    labels, order = judging.val.labels, np.random.default_rng(4).permutation(len(judging.val))
    _alphabets(cache, csv / "alphabets.csv", judging)
    for name in names:
        member = open_member(out, name, cache).to(machine.device)
        some = np.sort(order[:swept])
        tried = list(guidances)
        for guidance in tried:  # and on, while the last one is the best
            if not _swept(csv, name, guidance):
                if deadline.over:
                    return False
                made = draw(member, cache, labels[some], guidance, machine.device, 10**6)
                found = judging.figures(made, labels[some], some)
                Log(csv / "guidance.csv").write({"name": name, "guidance": guidance, **found})
            if 0 < guidance == tried[-1] == best_guidance(csv, name) and guidance < _MOST:
                tried.append(1.5 * guidance)
        if any(row["name"] == name for row in rows(csv / "table.csv")):
            continue
        if deadline.over:
            return False
        guidance = best_guidance(csv, name)
        made = draw(member, cache, labels, guidance, machine.device)
        found = judging.figures(made, labels, np.arange(len(labels)))
        Log(csv / "table.csv").write({"name": name, "guidance": guidance, **found})
    return True


def _swept(csv: Path, name: str, guidance: float) -> bool:
    return any(row["name"] == name and float(row["guidance"]) == guidance for row in rows(csv / "guidance.csv"))


def best_guidance(csv: Path, name: str) -> float:
    tried = [
        (float(row["frechet"]), float(row["guidance"])) for row in rows(csv / "guidance.csv") if row["name"] == name
    ]
    if not tried:
        raise ValueError(f"no guidance was tried for {name}: run python -m var_core.study peers measure first")
    return min(tried)[1]


@torch.inference_mode()
def _alphabets(cache: Cache, path: Path, judging: Judging) -> None:
    """What is left of validation pictures after a round trip through each alphabet: no member can do better."""
    done, index = {row["alphabet"] for row in rows(path)}, np.arange(len(cache.val))
    for kind in (kind for kind in KINDS if kind not in done):
        made, device = [], cache.words.ten.device
        for at in range(0, len(index), _at_once(device)):
            part = index[at : at + _at_once(device)]
            content = cache.val.batch(kind, part, np.zeros_like(part), device).content
            made += pictures_of(cache, canvas_of(cache.words, kind, content))
        Log(path).write({"alphabet": kind, **judging.figures(made, judging.val.labels, index)})


def speed(cache: Cache, out: Path, names: list[str], machine: Machine, runs: int = 5) -> None:
    """Seconds a picture at batch 1, decoding included, in speed.csv: members take turns after one cold round, so that a
    machine that is slower for a while is slower for all."""
    members = {name: open_member(out, name, cache).to(machine.device) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for run in range(runs + 1):
        for name, member in members.items():
            label = np.array([run % len(cache.class_names)])
            guidance = best_guidance(out / "csv", name)
            began = time.perf_counter()
            draw(member, cache, label, guidance, machine.device, run)
            if run:
                times[name].append(time.perf_counter() - began)
    path = out / "csv" / "speed.csv"
    path.unlink(missing_ok=True)  # figures of two runs do not stand side by side
    for name, each in times.items():
        Log(path).write({
            "name": name, "least": min(each), "seconds": statistics.median(each), "most": max(each), "runs": runs,
            "rows": 1 + (best_guidance(out / "csv", name) > 0), "device": machine.device.type,
            "threads": torch.get_num_threads(),
        })  # fmt: skip


def sheet(cache: Cache, out: Path, names: list[str], guidances: dict[str, float], device: torch.device,
          real: Pictures | None = None, count: int = 12) -> Image.Image:  # fmt: skip
    """A row of pictures for every member, unselected, seeds 0, 1, ...; the columns are classes, real ones on top."""
    side, left, classes = cache.resolution, 150, len(cache.class_names)
    labels = np.array([i * classes // count for i in range(count)])
    lines: list[tuple[str, list[np.ndarray]]] = []
    if real is not None:
        found = [np.flatnonzero(real.labels == label) for label in labels]
        empty = np.full((side, side, 3), 255, np.uint8)
        places = [(where[i % len(where)] if len(where) else None) for i, where in enumerate(found)]
        lines.append(("real", [empty if place is None else real.centre(int(place), side) for place in places]))
    for name in names:
        made = draw(open_member(out, name, cache).to(device), cache, labels, guidances[name], device)
        lines.append((f"{TITLES[name]}\nguidance {guidances[name]:g}", made))
    page = Image.new("RGB", (left + count * (side + 2), len(lines) * (side + 2)), "white")
    pen = ImageDraw.Draw(page)
    for y, (title, pictures) in enumerate(lines):
        pen.text((4, y * (side + 2) + side // 3), title, fill=(40, 40, 40))
        for x, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture), (left + x * (side + 2), y * (side + 2)))
    return page


def sample(cache: Cache, out: Path, name: str, guidance: float | None, count: int, device: torch.device) -> Path:
    """`count` pictures of one member in rows of twelve, classes in order, seeds 0, 1, ..."""
    if guidance is None:
        guidance = best_guidance(out / "csv", name)
    labels = np.arange(count) % len(cache.class_names)
    made = draw(open_member(out, name, cache).to(device), cache, labels, guidance, device)
    side, columns = cache.resolution, min(12, count)
    page = Image.new("RGB", (columns * (side + 2), -(-count // columns) * (side + 2)), "white")
    for i, picture in enumerate(made):
        page.paste(Image.fromarray(picture), (i % columns * (side + 2), i // columns * (side + 2)))
    save_png(page, out / f"{name}.png")
    return out / f"{name}.png"
