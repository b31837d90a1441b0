"""The engine: the order of calls from a request to frames. No interface code, no hidden state."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .editing import compositing, geometry
from .editing.jobs import fit_mask
from .editing.preview import LinearDecoder, preview, small
from .editing.start import Beginnings
from .files import recipe
from .files.images import save_png, to_pictures
from .model.checkpoints import Model
from .model.memory import keep_freed_memory
from .model.precision import Precision, best_dtype, describe, packs, prefers_channels_last
from .model.registry import find_model, open_model
from .request import EditRequest, Frame, Pass, Result
from .sampling.graphs import StepGraphs
from .sampling.prefixes import Prefixes
from .sampling.sampler import Known, SampleOptions, ScaleStep, sample

_EDIT_FLOOR = 0.5  # a class edit: guidance that only grows comes too late for shape and colour


class Engine:
    """One model, ready to run requests. Each step of a run takes the engine's lock, never held over a yield."""

    def __init__(self, model: Model, device: torch.device | str = "cpu") -> None:
        self.model = model
        self.device = torch.device(device)
        self.tokenizer = model.tokenizer.to(self.device).eval()
        self.transformer = model.transformer.to(self.device).eval()
        self.linear = LinearDecoder(self.tokenizer)
        self.prefixes = Prefixes()
        self.beginnings = Beginnings(model, self.linear)
        self.graphs = StepGraphs(self.transformer) if self.device.type == "cuda" else None
        self._settle()
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, name_or_path: str = "garden-128", device: str | None = None, dtype: torch.dtype | None = None
    ) -> Engine:
        """Load a registered model or a file. device: default the GPU if there is one; dtype: of the large matrices
        and convolutions, default what this machine is made for (`model.precision`)."""
        keep_freed_memory()
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dtype is None:
            size = sum(path.stat().st_size for path in find_model(name_or_path))
            dtype = best_dtype(size, torch.device(device))
        engine = cls(open_model(name_or_path, dtype), device)
        engine.pack()
        return engine

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Hold the large matrices and convolutions in `dtype`; codes, norms and the residual stream stay float32.
        Not after `pack`."""
        self.transformer.to(dtype)
        self.tokenizer.set_compute_dtype(dtype)
        self.forget_pictures()
        self.prefixes.forget()
        self.graphs = StepGraphs(self.transformer) if self.graphs is not None else None
        self._settle()

    def forget_pictures(self) -> None:
        """The next request is planned, encoded and guessed about as if no picture had been seen before."""
        self.beginnings.forget()

    def pack(self) -> None:
        """Lay the weights out for this machine's CPU. The last step: the model can be neither saved
        nor converted afterwards."""
        if self.device.type == "cpu":
            self.tokenizer.fold()
            if packs(self.transformer.dtype):
                self.transformer.pack()
                # what is left lets go of the file, which else stays mapped beside the packed copies
                for module in (self.transformer, self.tokenizer):
                    for parameter in module.parameters():
                        parameter.data = parameter.data.clone()

    def _settle(self) -> None:
        """The memory layout that pays for a large decoder here."""
        if self.linear.always:
            self.tokenizer.set_channels_last(prefers_channels_last(self.device))

    @property
    def precision(self) -> Precision:
        """Number format and layout, as they are now."""
        return describe(self.transformer.head.weight, self.tokenizer.quant_conv.weight)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def resolution(self) -> int:
        return self.tokenizer.config.stride * self.sides[-1]

    @property
    def sides(self) -> tuple[int, ...]:
        return self.transformer.scales.sides

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.model.class_names

    @property
    def vocab_size(self) -> int:
        return self.transformer.config.vocab_size

    @property
    def defaults(self) -> SampleOptions:
        """The model's own sampling options."""
        return self.options(EditRequest())

    def label_index(self, label: int | str | None) -> int:
        """Class index of a name or number; None is the null class. ValueError names the nearest classes."""
        if label is None:
            return self.transformer.config.null_label
        names = self.class_names
        if isinstance(label, str):
            lowered = [name.lower() for name in names]
            if label.lower() in lowered:
                return lowered.index(label.lower())
            if not label.isdigit():
                near = get_close_matches(label.lower(), lowered, n=3, cutoff=0.4)
                hint = f": did you mean {', '.join(near)}?" if near else f", for example {', '.join(names[:3])}"
                raise ValueError(f'{self.name} has no class "{label}"{hint}')
            label = int(label)
        if not 0 <= label < self.transformer.config.classes:
            raise ValueError(
                f"class {label} is out of range: {self.name} has classes 0 to {self.transformer.config.classes - 1}"
            )
        return label

    def options(self, request: EditRequest) -> SampleOptions:
        """The request's sampling options, with the model's own defaults for what it leaves open; a class edit pulls
        harder and from the first scale on, against what surrounds it."""
        own = self.model.card.get("sampling", {})
        usual = own.get("edit_guidance" if request.task == "edit" else "guidance", own.get("guidance", 4.0))
        count = self.random_scales(request)
        return SampleOptions(
            guidance=usual if request.guidance is None else request.guidance,
            top_k=own.get("top_k", 900) if request.top_k is None else request.top_k,
            top_p=own.get("top_p", 0.95) if request.top_p is None else request.top_p,
            settle=None if count is None else request.start_scale + count,
            smooth=request.smooth,
            guidance_floor=_EDIT_FLOOR if request.task == "edit" else 0.0,
        )

    def random_scales(self, request: EditRequest) -> int | None:
        """How many scales are left to chance, from the first drawn one on; None for all. A model may have a number of
        its own where surroundings are continued; with nothing but a class, likeliest tokens repeat themselves."""
        if request.random_scales is not None or request.task not in ("inpaint", "outpaint"):
            return request.random_scales
        return self.model.card.get("sampling", {}).get("random_scales")

    def changed(
        self, size: tuple[int, int], mask: Image.Image, request: EditRequest
    ) -> list[tuple[geometry.Window, list[np.ndarray]]]:
        """Which tokens will be redrawn: per window, one (side, side) bool array per scale, True = redrawn."""
        windows = geometry.plan_windows(fit_mask(mask, size), self.resolution, request.context)
        out = []
        for window in windows:
            keep = self.beginnings.keep_maps(window.mask, request)
            out.append((window, [~k if i >= request.start_scale else np.zeros_like(k) for i, k in enumerate(keep)]))
        return out

    def prepare(self, request: EditRequest) -> bool:
        """Encode now what `run` will need first, if the engine has nothing else to do; False where it was busy.
        It changes no result: the same pixels encoded again give the same numbers."""
        if request.task in ("generate", "branch"):
            return True
        job = self.beginnings.plan(request)
        ahead = job.windows[:1] if request.task == "outpaint" else job.windows  # later ones see earlier ones' pixels
        for window in ahead:
            if not self._lock.acquire(blocking=False):
                return False
            try:
                self.beginnings.start(request, job, window, None)
            finally:
                self._lock.release()
        return True

    def run(self, request: EditRequest) -> Iterator[Frame]:
        """Do the job, yielding a frame for every scale of every window. The same request gives the same bytes."""
        began = time.perf_counter()
        if request.start_scale >= len(self.sides):
            raise ValueError(f"the start scale must be below {len(self.sides)}, got {request.start_scale}")
        spec = request
        base_tokens: list[list[Tensor]] | None = None
        if request.task == "branch":
            assert request.base is not None
            spec, base_tokens = self._branch(request)
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        label = self.label_index(spec.label)
        own, base = self.options(spec), request.base
        if base is not None and request.seed == base.seed and request.random_scales is None:
            own = replace(own, settle=base.settle)  # what the base itself would have become
        job = self.beginnings.plan(spec)
        source = job.pictures[0] if job.alpha is not None else None
        waiting: Image.Image | None = None
        done: list[Pass] = []
        timeline: list[Image.Image] = []
        likelihood = np.zeros(request.candidates)
        count = len(self.sides) if request.stop_scale is None else min(request.stop_scale, len(self.sides))
        last_scale = count - 1
        for number, window in enumerate(job.windows):
            prefix = (
                [t[request.base_index : request.base_index + 1] for t in base_tokens[number]] if base_tokens else None
            )
            with self._lock:
                start = self.beginnings.start(spec, job, window, prefix)
            alpha, view = start.alpha, start.view
            if start.label is not None:
                named = self.class_names[start.label]
                job.notices.append(f"Drawn as {named}, by the surroundings: or choose a class.")
            drawn = label if start.label is None else start.label
            first = seed + 104_729 * number
            steps = self._steps(spec.start_scale, request.candidates, own, drawn, first, start.known, count)
            tokens: list[Tensor] = []
            while True:
                with self._lock:
                    step = next(steps, None)
                    if step is None:
                        break
                    final = step.k == last_scale
                    tokens.append(step.tokens.cpu())
                    pixels = (
                        self._final(tokens, step)
                        if final
                        else preview(self.tokenizer, step.canvas, step.k, self.linear)
                    )
                if step.log_likelihood is not None:
                    likelihood += step.log_likelihood.float().cpu().numpy()
                patches = to_pictures(pixels)
                if final:
                    if window is not None and alpha is not None:
                        if waiting is None and spec.color_match and job.alpha is not None:
                            waiting = compositing.opaque(job.alpha)
                        pairs = zip(job.pictures, patches, strict=True)
                        job.pictures[:] = [compositing.paste(*pair, window.box, alpha, waiting) for pair in pairs]
                        if waiting is not None:
                            waiting.paste(0, window.box[:2], compositing.opaque(alpha))
                    mixed = step.canvas.cpu() if step.mixed else None
                    done.append(Pass(tokens, mixed, window.box if window is not None else None, alpha))
                shown = [small(p) for p in job.pictures] if final and window is not None else view.show(patches)
                if number == len(job.windows) - 1:
                    timeline.append(shown[0])
                seconds = time.perf_counter() - began
                result = None
                if final and number == len(job.windows) - 1:
                    images = job.pictures if window is not None else patches
                    result = Result(
                        images=images,
                        seed=seed,
                        passes=done,
                        source=source,
                        alpha=job.alpha,
                        notices=tuple(job.notices),
                        request=replace(
                            spec,
                            seed=seed,
                            guidance=own.guidance,
                            top_k=own.top_k,
                            top_p=own.top_p,
                            random_scales=self.random_scales(spec),
                        ),
                        previews=timeline,
                        seconds=seconds,
                        likelihood=tuple(likelihood),
                        settle=own.settle,
                        seams=tuple(compositing.boundary_score(p, job.alpha) for p in images) if job.alpha else (),
                    )
                yield Frame(step.k + 1, count, number + 1, len(job.windows), shown, seconds, seed, result)

    def save(self, result: Result, path: str | Path, index: int = 0) -> None:
        """Write one picture as PNG: its pixels and, in a private chunk, how it was made."""
        save_png(result.images[index], path, recipe.write(result, index, self.name).encode())

    def replay(self, path: str | Path) -> Image.Image:
        """The picture of a saved PNG again, from its tokens, without sampling. ValueError if it has no recipe."""
        again = recipe.read(path)
        if again.model != self.name:
            raise ValueError(f"this picture was made with {again.model}, but {self.name} is loaded: load that model")
        picture = again.picture
        waiting = Image.new("L", picture.size) if again.settings["color_match"] else None
        for done in again.passes:
            if waiting is not None and done.box is not None and done.alpha is not None:
                waiting.paste(255, done.box[:2], compositing.opaque(done.alpha))
        for done in again.passes:
            with self._lock:
                patch = to_pictures(self.redraw(done.tokens, done.canvas))[0]
            if done.box is None or done.alpha is None:
                picture = patch
            else:
                picture = compositing.paste(picture, patch, done.box, done.alpha, waiting)
                if waiting is not None:
                    waiting.paste(0, done.box[:2], compositing.opaque(done.alpha))
        return picture

    @torch.inference_mode()
    def redraw(self, tokens: list[Tensor], canvas: Tensor | None) -> Tensor:
        """Tokens (1, l) of every scale, or a stored canvas -> (1, 3, H, W) in [-1, 1]."""
        if canvas is None:
            canvas = self.tokenizer.canvases([t.to(self.device) for t in tokens])[-1]
        return self.tokenizer.decode(canvas.to(self.device))

    def _final(self, tokens: list[Tensor], step: ScaleStep) -> Tensor:
        """The finished pixels, each candidate by itself and from its tokens: the very path of `replay`, since
        batches of another size round differently."""
        many = range(step.canvas.shape[0])
        mixed = step.canvas if step.mixed else None
        made = [self.redraw([t[i : i + 1] for t in tokens], None if mixed is None else mixed[i : i + 1]) for i in many]
        self.linear.learn(step.canvas[:1], made[0])
        return torch.cat(made)

    def _branch(self, request: EditRequest) -> tuple[EditRequest, list[list[Tensor]]]:
        """The base's own request with this one's start scale and what else it says, and the base's tokens."""
        assert request.base is not None
        base = request.base
        if not 0 <= request.base_index < len(base.images):
            raise ValueError(
                f"the result has {len(base.images)} candidates, there is no number {request.base_index + 1}"
            )
        if any(len(tokens) < request.start_scale for tokens in base.tokens):
            raise ValueError(f"the result ends at scale {len(base.tokens[0])}: branch from an earlier one")
        spec = replace(
            base.request,
            start_scale=request.start_scale,
            candidates=request.candidates,
            stop_scale=request.stop_scale,
            smooth=request.smooth,
        )
        said = {name: getattr(request, name) for name in ("label", "guidance", "top_k", "top_p", "random_scales")}
        spec = replace(spec, **{name: value for name, value in said.items() if value is not None})
        return spec, base.tokens

    def _steps(
        self, start: int, many: int, options: SampleOptions, label: int, seed: int, known: Known | None, count: int
    ) -> Iterator[ScaleStep]:
        labels = torch.full((many,), label, dtype=torch.long, device=self.device)
        return sample(
            self.transformer,
            self.tokenizer,
            labels,
            options,
            seeds=[seed + 15_485_863 * i for i in range(many)],
            known=known,
            start_scale=start if known is not None else 0,
            stop_scale=count,
            prefixes=self.prefixes,
            graphs=self.graphs,
        )
