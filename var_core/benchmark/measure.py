"""What is timed: one request in the engine and in reference mode, its parts, and the machine's ceilings."""

from __future__ import annotations

import cProfile
import pstats
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .. import editing
from ..checkpoints import Model
from ..engine import Engine
from ..registry import MODELS, is_on_disk, open_model
from ..request import EditRequest, Result
from ..tokenizer import Tokenizer, TokenizerConfig
from ..transformer import Transformer, TransformerConfig
from .plain import reference

# functions of a run whose times make up the parts, by (file, function)
_PARTS = {
    "transformer": (("sampler.py", "_run"), ("transformer.py", "condition")),
    "head_and_sampling": (("sampler.py", "_guided_logits"), ("sampler.py", "_draw"), ("sampler.py", "_noise")),
    "quantizer": (("tokenizer.py", "enlarge"), ("tokenizer.py", "shrink"), ("tokenizer.py", "nearest")),
    "preview": (("preview.py", "preview"), ("preview.py", "show")),
    "decode": (("engine.py", "_final"),),
    "encode": (("encoding.py", "_encode"),),
    "composite": (("engine.py", "_paste"),),
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


def ceilings(dtype: torch.dtype) -> dict[str, float]:
    """GFLOP/s of a 1024-cubed matrix product and of a 3x3 convolution of 128 channels at 64 px, best of five."""

    def best(work: Callable[[], object], flop: float) -> float:
        work()
        times = []
        for _ in range(5):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return round(flop / min(times) / 1e9, 1)

    a, b = torch.randn(1024, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
    image, weight = torch.randn(1, 128, 64, 64, dtype=dtype), torch.randn(128, 128, 3, 3, dtype=dtype)
    with torch.inference_mode():
        return {
            "matmul_gflops": best(lambda: a @ b, 2 * 1024**3),
            "conv_gflops": best(lambda: F.conv2d(image, weight, padding=1), 2 * 9 * 128 * 128 * 64 * 64),
        }


def _request(task: str, engine: Engine, base: Result | None) -> EditRequest:
    if task == "generate":
        return EditRequest(label=0, seed=1)
    if task == "branch":
        return EditRequest(task="branch", base=base, start_scale=7, seed=2)
    side = engine.resolution
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((side, side))
    mask = Image.new("L", (side, side))
    mask.paste(255, (side // 4, side // 4, 3 * side // 4, 3 * side // 4))
    return EditRequest(task="inpaint", image=picture, mask=mask, seed=1, context=2.0)


def _timed(engine: Engine, request: EditRequest, encoded: bool = False) -> tuple[float, list[float], Result]:
    if not encoded:
        engine.encoder.forget()
    began, marks = time.perf_counter(), []
    result = None
    for frame in engine.run(request):
        marks.append(time.perf_counter() - began)
        result = frame.result
    assert result is not None
    return marks[-1], marks, result


def _parts(engine: Engine, request: EditRequest, encoded: bool) -> dict[str, float]:
    """Seconds of one profiled run by part; what is left over is "other"."""
    profile = cProfile.Profile()
    began = time.perf_counter()
    profile.enable()
    _timed(engine, request, encoded)
    profile.disable()
    total = time.perf_counter() - began
    spent = {part: 0.0 for part in _PARTS}
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        for part, functions in _PARTS.items():
            if any(file.endswith(f"var_core/{where}") and name == function for where, function in functions):
                spent[part] += cumulative
    spent["other"] = max(0.0, total - sum(spent.values()))
    return {part: round(seconds, 4) for part, seconds in spent.items()}


def _reference_seconds(model: Model, engine: Engine, request: EditRequest, runs: int) -> list[float]:
    """Times of reference mode for the same job (a branch is compared with a whole generation)."""
    options, picture, keep = engine.options(request), None, None
    if request.task == "inpaint":
        assert request.image is not None and request.mask is not None
        picture = torch.from_numpy(np.asarray(request.image).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        fraction = editing.known_fraction(request.mask, engine.sides[-1])
        keep = editing.official_keep((fraction > 0.5).astype(np.float32), engine.sides)
    label = engine.label_index(request.label)
    times = []
    for run in range(runs):
        began = time.perf_counter()
        reference(model, label, options, run, picture, keep)
        times.append(time.perf_counter() - began)
    return times


def measure(name: str, task: str, dtype: torch.dtype, runs: int, encoded: bool = False) -> dict:
    """Everything about one model and task, as the JSON document."""
    model, made_up = open_or_random(name)
    began = time.perf_counter()
    engine = Engine(model)
    base = _timed(engine, EditRequest(label=0, seed=1))[2] if task == "branch" else None
    request = _request(task, engine, base)
    plain = _reference_seconds(model, engine, request, 1 + runs)[1:]
    if dtype != torch.float32:
        engine.set_dtype(dtype)
    cold, _, _ = _timed(engine, request)
    warm = [_timed(engine, request, encoded) for _ in range(runs)]
    seconds, plain_seconds = statistics.median(t for t, _, _ in warm), statistics.median(plain)
    marks = warm[-1][1]
    return {
        "model": name,
        "task": task,
        "device": str(engine.device),
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "weights": "random" if made_up else "trained",
        "runs": runs,
        "encoded_before": encoded,
        "seconds": round(seconds, 4),
        "seconds_min_max": [round(min(t for t, _, _ in warm), 4), round(max(t for t, _, _ in warm), 4)],
        "cold_seconds": round(cold, 4),
        "first_picture_seconds": round(marks[0], 4),
        "per_scale_seconds": [round(b - a, 4) for a, b in zip([0.0, *marks], marks, strict=False)],
        "reference_seconds": round(plain_seconds, 4),
        "reference_min_max": [round(min(plain), 4), round(max(plain), 4)],
        "speedup": round(plain_seconds / seconds, 2),
        "parts": _parts(engine, request, encoded),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "ceilings": {"float32": ceilings(torch.float32), "bfloat16": ceilings(torch.bfloat16)},
        "whole_seconds": round(time.perf_counter() - began, 1),
    }
