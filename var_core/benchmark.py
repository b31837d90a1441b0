"""Speed, measured: python -m var_core.benchmark [--model NAME] [--task generate | inpaint | branch] [--dtype ...]

Every ratio compares two modes of one process on the same weights. Reference mode is the published procedure done
plainly: float32, both guidance halves always, a cache grown by concatenation, the class modulation computed again at
every scale, logits at every position, one full decode at the end and no previews. The last line on standard output is
one JSON document.

A registered model that is not on disk is built at full size with random weights: speed does not depend on them, and
the output says so ("weights": "random").
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from . import editing
from .checkpoints import Model
from .engine import Engine
from .memory import keep_freed_memory
from .registry import MODELS, is_on_disk, open_model
from .request import EditRequest, Result
from .sampler import SampleOptions, filter_logits
from .tokenizer import Tokenizer, TokenizerConfig
from .transformer import Transformer, TransformerConfig

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


# reference mode


def _reference_block(block, x: Tensor, act: Tensor, shared: Tensor | None, past: list[Tensor] | None):
    """One block with its modulation computed here and its cache grown by concatenation."""
    width = x.shape[-1]
    six = block.modulation(act).view(-1, 1, 6, width) if shared is None else shared + block.modulation_bias
    gamma1, gamma2, scale1, scale2, shift1, shift2 = six.unbind(2)
    h = F.layer_norm(x, (width,), eps=1e-6).mul(scale1 + 1).add(shift1)
    bias = torch.cat((block.q_bias, torch.zeros_like(block.q_bias), block.v_bias))
    q, k, v = F.linear(h, block.qkv.weight, bias).view(*h.shape[:2], 3, block.heads, -1).permute(2, 0, 3, 1, 4)
    q = F.normalize(q, dim=-1) * block.log_scale.clamp_max(np.log(100)).exp()
    k = F.normalize(k, dim=-1)
    if past is not None:
        k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
    out = F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).reshape(h.shape)
    x = x + block.project(out).mul(gamma1)
    h = F.layer_norm(x, (width,), eps=1e-6).mul(scale2 + 1).add(shift2)
    return x + block.mlp_out(F.gelu(block.mlp_in(h), approximate="tanh")).mul(gamma2), [k, v]


@torch.inference_mode()
def reference(
    model: Model, label: int, options: SampleOptions, seed: int, picture: Tensor | None, keep: list[np.ndarray] | None
) -> tuple[Tensor, list[Tensor]]:
    """The published procedure, plainly. picture (1, 3, H, W) in [-1, 1] and keep maps for an edit by fixed tokens.
    Returns pixels (1, 3, H, W) in [-1, 1] and the tokens of every scale."""
    transformer, tokenizer = model.transformer, model.tokenizer
    config, scales = transformer.config, transformer.scales
    known = tokenizer.encode(picture) if picture is not None else None
    embed = transformer.class_embed(torch.tensor([label, config.null_label]))
    canvas = tokenizer.empty_canvas(1)
    caches: list[list[Tensor] | None] = [None] * config.depth
    generator, out = torch.Generator().manual_seed(seed), []
    x = embed[:, None] + transformer.start_embed
    for k, (start, stop) in enumerate(scales.spans):
        if k:
            x = transformer.word_embed(tokenizer.shrink(canvas, k)).repeat(2, 1, 1)
        x = x + transformer.pos_embed[:, start:stop] + transformer.scale_embed.weight[k]
        act = F.silu(embed)
        shared = None
        if transformer.shared_modulation is not None:
            shared = transformer.shared_modulation(act).view(-1, 1, 6, config.width)
        for i, block in enumerate(transformer.blocks):
            x, caches[i] = _reference_block(block, x, act, shared, caches[i])
        scale, shift = transformer.head_norm(act).view(-1, 1, 2, config.width).unbind(2)
        logits = transformer.head(F.layer_norm(x, x.shape[-1:], eps=1e-6).mul(scale + 1).add(shift))
        t = options.guidance * scales.ratio(k)
        logits = filter_logits((1 + t) * logits[:1] - t * logits[1:], options.top_k, options.top_p)
        tokens = torch.multinomial(logits[0].softmax(-1), 1, generator=generator)[None, :, 0]
        if known is not None and keep is not None:
            tokens = torch.where(torch.from_numpy(keep[k]).flatten(), known[k], tokens)
        canvas = canvas + tokenizer.enlarge(tokenizer.codebook(tokens), k)
        out.append(tokens)
    return tokenizer.decode(canvas), out


# measuring


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
    official = name in MODELS and not MODELS[name].bundled and not is_on_disk(name)
    model = random_model(name) if official else open_model(name)
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
        "weights": "random" if official else "trained",
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m var_core.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="garden-128", help="registered name or a .safetensors file")
    parser.add_argument("--task", default="generate", choices=("generate", "inpaint", "branch"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--runs", type=int, default=5, help="timed runs after one cold one (default %(default)s)")
    parser.add_argument("--encoded", action="store_true", help="the picture is already encoded, as on the page")
    args = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        document = measure(args.model, args.task, getattr(torch, args.dtype), max(1, args.runs), args.encoded)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for part, spent in document["parts"].items():
        print(f"{part:20}{1000 * spent:9.1f} ms")
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
