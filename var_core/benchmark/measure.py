"""What is timed: one request in the engine and in reference mode, its parts, and the machine's ceilings."""

from __future__ import annotations

import copy
import cProfile
import platform
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..editing.start import Beginnings
from ..engine import Engine
from ..model.checkpoints import Model
from ..model.memory import Remembered
from ..model.registry import MODELS, find_model, is_on_disk, open_model
from ..model.tokenizer import Tokenizer, TokenizerConfig
from ..model.transformer import Transformer, TransformerConfig
from ..request import Chance, Edit, Frame, Result
from .plain import reference

BRANCH_FROM = 7  # scale
Work = Callable[[], Iterator[Frame]]

# functions of a run whose times make up the parts, by (file, function)
_PARTS = {
    "transformer": (("sampler.py", "_pass"), ("transformer.py", "condition")),
    "head_and_sampling": tuple(("sampler.py", name) for name in ("_logits", "filter_logits", "exponential_noise")),
    "quantizer": (("tokenizer.py", "enlarge"), ("tokenizer.py", "shrink"), ("tokenizer.py", "nearest")),
    "preview": (("preview.py", "preview"), ("preview.py", "learn"), ("preview.py", "show")),
    "decode": (("engine.py", "_final"),),
    "encode": (("encoding.py", "_encode"),),
    "composite": (("painting.py", "add"),),
}


def random_model(name: str) -> Model:
    """A registered official model at full size with random weights."""
    info = MODELS[name]
    depth = int(name.removeprefix("var-d"))
    sides = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32) if info.resolution == 512 else TokenizerConfig().sides
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(sides=sides))
    config = TransformerConfig(
        sides=sides, depth=depth, width=64 * depth, heads=depth, mlp_width=256 * depth, shared_modulation=depth == 36
    )
    transformer = Transformer(config)
    names = tuple(f"class {i}" for i in range(config.classes))
    return Model(tokenizer, transformer, names, name, {})


def open_or_random(name: str) -> tuple[Model, bool]:
    """A registered model or a file; at full size with random weights, and True, where it is not on disk."""
    missing = name in MODELS and not MODELS[name].bundled and not is_on_disk(name)
    return (random_model(name) if missing else open_model(name)), missing


def ceilings(dtype: torch.dtype, device: str = "cpu") -> dict[str, float]:
    """GFLOP/s of a 1024-cubed matrix product and of a 3x3 convolution of 128 channels at 64 px, best of five."""

    def best(work: Callable[[], object], flop: float) -> float:
        work()
        times = []
        for _ in range(5):
            began = time.perf_counter()
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        return round(flop / min(times) / 1e9, 1)

    a, b = (torch.randn(1024, 1024, dtype=dtype, device=device) for _ in range(2))
    image, weight = (torch.randn(shape, dtype=dtype, device=device) for shape in ((1, 128, 64, 64), (128, 128, 3, 3)))
    with torch.inference_mode():
        return {
            "matmul_gflops": best(lambda: a @ b, 2 * 1024**3),
            "conv_gflops": best(lambda: F.conv2d(image, weight, padding=1), 2 * 9 * 128 * 128 * 64 * 64),
        }


def _request(task: str, engine: Engine) -> Edit:
    if task != "inpaint":
        return Edit(label=0)
    side = engine.resolution
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((side, side))
    mask = Image.new("L", (side, side))
    mask.paste(255, (side // 4, side // 4, 3 * side // 4, 3 * side // 4))
    return Edit(task="inpaint", image=picture, mask=mask)


def _work(task: str, engine: Engine, edit: Edit, candidates: int) -> Work:
    """What is timed: a run, or a branch of a picture that is there already."""
    if task == "branch":
        base = engine.draw(edit, Chance(seed=1))
        return lambda: engine.branch(base, 0, BRANCH_FROM, Chance(seed=2, candidates=candidates))
    return lambda: engine.run(edit, Chance(seed=1, candidates=candidates))


def _timed(
    engine: Engine, work: Work, encoded: bool = False, remembered: bool = True
) -> tuple[float, list[float], Result]:
    if not encoded:
        engine.beginnings = Beginnings(engine.model, engine.linear)
    if not remembered:
        engine.prefixes = Remembered(engine.prefixes.limit)
    began, marks = time.perf_counter(), []
    result = None
    for frame in work():
        marks.append(time.perf_counter() - began)
        result = frame.result
    assert result is not None
    return marks[-1], marks, result


def _parts(engine: Engine, work: Work, encoded: bool) -> dict[str, float]:
    """Seconds of one profiled run by part; what is left over is "other". On a GPU, work is counted where it is waited
    for."""
    profile = cProfile.Profile()
    began = time.perf_counter()
    profile.enable()
    _timed(engine, work, encoded)
    profile.disable()
    total = time.perf_counter() - began
    spent = {part: 0.0 for part in _PARTS}
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        for part, functions in _PARTS.items():
            if any(file.endswith(f"/{where}") and name == function for where, function in functions):
                spent[part] += cumulative
    spent["other"] = max(0.0, total - sum(spent.values()))
    return {part: round(seconds, 4) for part, seconds in spent.items()}


class _Reference:
    """Reference mode for the same job, on weights of its own: float32, as they were read (a branch is compared with a
    whole generation)."""

    def __init__(self, model: Model, engine: Engine, edit: Edit, candidates: int) -> None:
        self.model, self.options, self.device = model, engine.options(edit, Chance()), engine.device
        self.label, self.many = engine.label_index(edit.label), candidates
        self.picture, self.keep = None, None
        if edit.task == "inpaint":
            assert edit.image is not None
            self.picture = engine.beginnings.encodings.pixels([edit.image])
            self.keep = engine.plan(replace(edit, method="official")).shares(0).keep

    def seconds(self, seed: int) -> float:
        """One run."""
        began = time.perf_counter()
        reference(self.model, self.label, self.options, seed, self.picture, self.keep, self.many)[0].cpu()
        return time.perf_counter() - began


def _spread(values: list[float], digits: int = 4) -> list[float]:
    """Least, median, most."""
    return [round(v, digits) for v in (min(values), statistics.median(values), max(values))]


def _ratios(above: list[float], below: list[float], digits: int) -> list[float]:
    return _spread([a / b for a, b in zip(above, below, strict=True)], digits)


def _branch_shares(engine: Engine, times: list[float], whole: list[float], afresh: list[float]) -> dict[str, Any]:
    scales = engine.transformer.scales
    return {
        "tokens_that_remain": round(1 - scales.spans[BRANCH_FROM][0] / scales.total, 3),
        "share_of_generate": _ratios(times, whole, 3),
        "share_of_generate_first_branch": _ratios(afresh, whole, 3),
    }


def _device(device: torch.device) -> dict[str, Any]:
    machine = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    return {"device": str(device), "machine": machine, "threads": torch.get_num_threads()}


def measure(
    name: str, task: str, dtype: torch.dtype, runs: int, encoded: bool = False, device: str = "cpu", candidates: int = 1
) -> dict:
    """Everything about one model and task, as the JSON document. Runs of both modes take turns, so that a machine that
    is slower for a while is slower for both; `speedups` are the ratios of neighbours."""
    model, made_up = open_or_random(name)
    began = time.perf_counter()
    plain = copy.deepcopy(model)
    for module in (plain.tokenizer, plain.transformer):
        module.to(device)
    for module in (model.transformer, *model.tokenizer.convolutions):
        module.to(dtype)
    engine = Engine(model, device)
    engine.pack()
    edit = _request(task, engine)
    work = _work(task, engine, edit, candidates)
    reference_mode = _Reference(plain, engine, edit, candidates)
    cold, _, _ = _timed(engine, work, remembered=False)
    reference_mode.seconds(0)
    times, firsts, plain_times, extra = [], [], [], {}
    whole, afresh = [], []
    for run in range(runs):
        plain_times.append(reference_mode.seconds(run))
        seconds, marks, _ = _timed(engine, work, encoded)
        times.append(seconds)
        firsts.append(marks[0])
        if task == "branch":
            whole.append(_timed(engine, lambda: engine.run(edit, Chance(seed=1, candidates=candidates)))[0])
            afresh.append(_timed(engine, work, remembered=False)[0])
    if task == "branch":
        extra = _branch_shares(engine, times, whole, afresh)
    parts, (least, median, most) = _parts(engine, work, encoded), _spread(times)
    return {
        "model": name,
        "task": task,
        **_device(engine.device),
        "dtype": str(dtype).removeprefix("torch."),
        "weights": "random" if made_up else "trained",
        "runs": runs,
        "candidates": candidates,
        "encoded_before": encoded,
        "seconds": median,
        "seconds_min_max": [least, most],
        "cold_seconds": round(cold, 4),
        "first_picture_seconds": round(statistics.median(firsts), 4),
        "per_scale_seconds": [round(b - a, 4) for a, b in zip([0.0, *marks], marks, strict=False)],
        "reference_seconds": _spread(plain_times)[1],
        "reference_min_max": [_spread(plain_times)[0], _spread(plain_times)[2]],
        "speedup": round(statistics.median(plain_times) / median, 2),
        "speedups": _ratios(plain_times, times, 2),
        **extra,
        "parts": parts,
        "preview_share": round(parts["preview"] / sum(parts.values()), 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "ceilings": {"float32": ceilings(torch.float32, device), "bfloat16": ceilings(torch.bfloat16, device)},
        "whole_seconds": round(time.perf_counter() - began, 1),
    }


def alone(name: str, task: str, dtype: torch.dtype) -> dict:
    """The engine by itself, as it runs in the product: size of the file and time to read it, the median of five runs
    after a cold one, their first picture, and the most memory the process held. A model that is not on disk is written
    there first, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = name
        if name in MODELS and not is_on_disk(name):
            path = f"{folder}/{name}.safetensors"
            code = "import torch; from var_core.benchmark.measure import random_model; "
            code += "from var_core.model.checkpoints import save_model; "
            code += f"save_model(random_model({name!r}), {path!r}, torch.bfloat16)"
            root = Path(__file__).parents[2]
            subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
        began = time.perf_counter()
        engine = Engine.load(path, "cpu", dtype)
        loading = time.perf_counter() - began
        work = _work(task, engine, _request(task, engine), 1)
        cold, *runs = [_timed(engine, work, remembered=False) for _ in range(6)]
        megabytes = sum(file.stat().st_size for file in find_model(path)) / 1e6
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return {
        "model": name, "task": task, "dtype": str(dtype).removeprefix("torch."), "megabytes": round(megabytes, 1),
        "loading_seconds": round(loading, 2), "cold_seconds": round(cold[0], 4),
        "seconds": round(statistics.median(seconds for seconds, _, _ in runs), 4),
        "first_picture_seconds": round(statistics.median(marks[0] for _, marks, _ in runs), 4), "peak_mib": peak,
    }  # fmt: skip
