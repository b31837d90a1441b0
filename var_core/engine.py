"""The engine: the order of calls from a request to frames. No interface code, no hidden state."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .editing.painting import Painting
from .editing.plan import Plan, plan_edit
from .editing.preview import LinearDecoder, preview, small
from .editing.scenes import Stage, before, told
from .editing.start import Beginnings, Continued, Start
from .editing.story import Story
from .files import recipe
from .files.images import open_image, to_pictures
from .files.saving import Saving, save_result
from .model.checkpoints import Model
from .model.memory import Remembered, keep_freed_memory
from .model.precision import best_dtype, describe, packs, prefers_channels_last
from .model.registry import DEFAULT, find_model, open_model
from .model.superres import bundled_superres
from .request import MAX_DRAWN, Chance, Edit, Frame, Pass, Result, seed_of
from .sampling.graphs import StepGraphs
from .sampling.sampler import SampleOptions, ScaleStep, sample
from .settings import Task, find_class

_EDIT_FLOOR = 0.5  # a class edit: guidance that only grows comes too late for shape and colour
_PREFIXES = 128 * 2**20  # bytes of known scales remembered; seven of VAR-d16 with guidance take 20 MB in bfloat16
Stepped = tuple[ScaleStep, Tensor]


class Engine:
    """One model, ready to run requests. Each step of a run takes the engine's lock, never held over a yield."""

    def __init__(self, model: Model, device: torch.device | str = "cpu") -> None:
        self.model, self.device = model, torch.device(device)
        self.tokenizer = model.tokenizer.to(self.device).eval()
        self.transformer = model.transformer.to(self.device).eval()
        self.linear = LinearDecoder(self.tokenizer)
        self.prefixes = Remembered(_PREFIXES)  # keys and values of scales that are known entirely
        self.beginnings = Beginnings(model, self.linear)
        self.graphs: dict[int, StepGraphs] | None = {} if self.device.type == "cuda" else None
        if self.linear.always:  # the memory layout that pays for a large decoder here
            self.tokenizer.set_channels_last(prefers_channels_last(self.device))
        self._lock = threading.Lock()

    @classmethod
    def load(cls, name_or_path: str = DEFAULT, device: str | None = None, dtype: torch.dtype | None = None) -> Engine:
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

    @property
    def precision(self) -> str:
        """Number format and layout, as they are now, in words."""
        return describe(self.transformer.head.weight, self.tokenizer.kernel)

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

    def label_index(self, label: int | str | None) -> int:
        """Class index of a name or number; None is the null class. ValueError names the nearest classes."""
        null = self.transformer.config.null_label
        return null if label is None else find_class(label, self.class_names, self.name)

    def options(self, edit: Edit, chance: Chance, start: int | None = None) -> SampleOptions:
        """The sampling options, with the model's own defaults for what the request leaves open; a class edit pulls
        harder and from the first scale on, against what surrounds it. start: the first scale drawn."""
        asked = {name: getattr(chance, name) for name in ("guidance", "top_k", "top_p")}
        count = self.random_scales(edit, chance)
        return replace(
            self.defaults(edit.task),
            settle=None if count is None else (edit.start_scale if start is None else start) + count,
            smooth=chance.smooth,
            **{name: value for name, value in asked.items() if value is not None},
        )

    def defaults(self, task: Task = "generate") -> SampleOptions:
        """The model's own options for a task."""
        own, edits = self.model.card.get("sampling", {}), task == "edit"
        guidance = own.get("edit_guidance" if edits else "guidance", own.get("guidance", 4.0))
        return SampleOptions(
            guidance=guidance, guidance_floor=_EDIT_FLOOR if edits else 0.0,
            top_k=own.get("top_k", 900), top_p=own.get("top_p", 0.95),
        )  # fmt: skip

    def random_scales(self, edit: Edit, chance: Chance) -> int | None:
        """How many scales are left to chance, from the first drawn one on; None for all. A model may have a number of
        its own where surroundings are continued; with nothing but a class, likeliest tokens repeat themselves."""
        if chance.random_scales is not None or edit.task not in ("inpaint", "outpaint"):
            return chance.random_scales
        return self.model.card.get("sampling", {}).get("random_scales")

    # before a run

    def held(self, candidates: int) -> int:
        """Bytes of memory that a run's keys and values take from its first scale to its last; 0 on a GPU."""
        if self.device.type != "cpu":
            return 0
        config, dtype = self.transformer.config, self.transformer.dtype
        tokens = 2 * candidates * self.transformer.scales.total  # with and without the class
        return 2 * config.depth * config.width * tokens * dtype.itemsize

    def plan(self, edit: Edit) -> Plan:
        """What the edit comes down to. Whoever wants to spare work keeps it and gives it to `run`: the engine keeps no
        photo. ValueError for what takes too many windows."""
        return plan_edit(edit, self.sides, self.resolution)

    def prepare(self, plan: Plan) -> bool:
        """Encode now what `run` will need first, if the engine has nothing else to do; False where it was busy.
        It changes no result: the same pixels encoded again give the same numbers."""
        painting = Painting.of_plan(plan, 1)
        ahead = 1 if plan.edit.task == "outpaint" else len(plan.boxes)  # later ones see earlier ones' pixels
        for number in range(ahead):
            if not self._lock.acquire(blocking=False):
                return False
            try:
                self.beginnings.start(plan, number, painting, None)
            finally:
                self._lock.release()
        return True

    # running

    def run(self, edit: Edit, chance: Chance | None = None, plan: Plan | None = None) -> Iterator[Frame]:
        """Do the job, yielding a frame for every scale of every window. The same request gives the same bytes."""
        chance = Chance() if chance is None else chance
        return self._frames(self.plan(edit) if plan is None else plan, chance, self.options(edit, chance))

    def draw(self, edit: Edit, chance: Chance | None = None) -> Result:
        """What `run` ends with."""
        return finished(self.run(edit, chance))

    def branch(
        self, base: Result, index: int, start_scale: int, chance: Chance | None = None, label: int | str | None = None
    ) -> Iterator[Frame]:
        """Keep the first scales of one candidate and draw the rest anew: only those are computed. What `chance` leaves
        open is as it was in the base; with the base's own seed it becomes what the base became."""
        continued, done = self._continued(base, index, start_scale), len(base.passes[0].tokens)
        if not 0 <= start_scale <= min(done, len(self.sides) - 1):
            raise ValueError(f"the start scale must be below {len(self.sides)} and at most {done}, got {start_scale}")
        given, again = chance or Chance(), chance is not None and chance.seed == base.seed
        names = ("guidance", "top_k", "top_p", "random_scales")
        said = {name: getattr(given if getattr(given, name) is not None else base.chance, name) for name in names}
        chance = replace(given, smooth=given.smooth or base.chance.smooth, **said)
        edit = base.edit if label is None else replace(base.edit, label=label)
        options = self.options(edit, chance, start_scale)
        if again and given.random_scales is None:
            options = replace(options, settle=base.settle)
        return self._frames(self.plan(edit), chance, options, continued, base.first + index if again else 0)

    def finish(self, base: Result, index: int) -> Iterator[Frame]:
        """Go on with one candidate of a sketch: what the whole run would have made of it."""
        continued = self._continued(base, index, base.chance.stop_scale or 0)
        if base.chance.stop_scale is None:
            raise ValueError("this result is finished already: branch from one of its scales instead")
        chance = replace(base.chance, stop_scale=None, candidates=1)
        options = replace(self.options(base.edit, chance), settle=base.settle)
        return self._frames(self.plan(base.edit), chance, options, continued, base.first + index)

    def _continued(self, base: Result, index: int, scale: int) -> list[Continued]:
        """One candidate's windows, to go on from a scale. ValueError where there is none such."""
        if base.model != self.name:
            raise ValueError(f"this result was made with {base.model}, but {self.name} is loaded: load that model")
        if not 0 <= index < len(base.patches):
            raise ValueError(f"the result has {len(base.patches)} candidates, there is no number {index + 1}")
        return [Continued(done.of(index), scale) for done in base.passes]

    def _frames(
        self, plan: Plan, chance: Chance, options: SampleOptions, continued: Sequence[Continued] = (), first: int = 0
    ) -> Iterator[Frame]:
        """The loop of every run. `continued` per window: what is kept of an earlier run; `first`: number of the first
        candidate among those of its seed."""
        self._check_size(plan, chance)
        if any(plan.way(number) == "refined" for number in range(len(plan.boxes))):
            bundled_superres()  # what is missing is said before the run
        label = self.label_index(plan.edit.label)
        return self._run(plan, chance, options, label, continued, first)

    def _check_size(self, plan: Plan, chance: Chance) -> None:
        stop, start = chance.stop_scale, plan.edit.start_scale
        if stop is not None and not start < stop <= len(self.sides):
            raise ValueError(f"a sketch must end after scale {start} and at most {len(self.sides)}, got {stop}")
        if stop is not None and stop < len(self.sides) and len(plan.boxes) > 1:
            raise ValueError(f"a sketch is of one part, this edit has {len(plan.boxes)}: draw it without sketching")
        left, top, right, bottom = plan.bounds or (0, 0, 0, 0)
        area = (right - left) * (bottom - top)
        if area * chance.candidates > MAX_DRAWN and chance.candidates > 1:
            many = max(1, MAX_DRAWN // area)
            raise ValueError(f"so large a change can be drawn {many} times at once, got {chance.candidates} candidates")

    def _run(
        self, plan: Plan, chance: Chance, options: SampleOptions, label: int, continued: Sequence[Continued], first: int
    ) -> Iterator[Frame]:
        began = time.perf_counter()
        chance = replace(  # every automatic choice filled in
            chance, seed=secrets.randbelow(2**32) if chance.seed is None else chance.seed, guidance=options.guidance,
            top_k=options.top_k, top_p=options.top_p, random_scales=self.random_scales(plan.edit, chance),
        )  # fmt: skip
        painting = Painting.of_plan(plan, chance.candidates)
        story, guessed = Story(plan, chance, options, first, self.name, self.precision), None
        for number in range(len(plan.boxes)):
            with self._lock:
                start = self.beginnings.start(plan, number, painting, continued[number] if continued else None)
            if number and plan.edit.task == "outpaint":  # one picture goes on: what its first window is, all are
                start = replace(start, label=guessed)
            guessed = start.label
            story.begin(number, start, self.class_names)
            drawn = label if guessed is None else guessed
            steps = self._steps(start, drawn, story, number)
            while (step := self._locked(steps)) is not None:
                patches = to_pictures(step[1])
                if len(story.tokens) == story.scales:
                    painting.add(number, plan.boxes[number], start.alpha, patches)
                    story.end(number, start)
                    shown = [small(painting.whole(i)) for i in range(chance.candidates)]
                else:
                    shown = start.view.show(patches)
                yield story.frame(number, shown, time.perf_counter() - began, painting)
            yield from self._sharpened(number, start, story, painting, began)

    def _sharpened(self, number: int, start: Start, story: Story, painting: Painting, began: float) -> Iterator[Frame]:
        """A frame for every level of detail that a window gets."""
        way, box, alpha = story.passes[-1].detail, story.plan.boxes[number], start.alpha
        if way is None or box is None or alpha is None:
            return
        many = range(story.first, story.first + story.chance.candidates)
        with self._lock:
            count, levels = painting.sharpen(number, box, alpha, way, story.seed, many)
        for level in range(1, count + 1):
            with self._lock:
                shown = start.view.show(next(levels))
            yield story.frame(number, shown, time.perf_counter() - began, painting, level, count)

    def _locked(self, steps: Iterator[Stepped]) -> Stepped | None:
        """The next step, while nobody else computes; the lock is never held over a yield."""
        with self._lock:
            return next(steps, None)

    def _steps(self, start: Start, label: int, story: Story, number: int) -> Iterator[Stepped]:
        """Each scale of one window, with its pixels (b, 3, H, W) in [-1, 1]: a preview, at last the picture."""
        many = range(story.first, story.first + story.chance.candidates)
        labels = torch.full((len(many),), label, dtype=torch.long, device=self.device)
        for step in sample(
            self.transformer, self.tokenizer, labels, story.options,
            seeds=[seed_of(story.seed, number, i) for i in many], known=start.known, start_scale=start.scale,
            stop_scale=story.scales, prefixes=self.prefixes, graphs=self.graphs,
        ):  # fmt: skip
            story.add(step)
            last = step.k + 1 == story.scales
            yield step, self._final(story, step) if last else preview(self.tokenizer, step.canvas, step.k, self.linear)

    def _final(self, story: Story, step: ScaleStep) -> Tensor:
        """The finished pixels, each candidate by itself and from what a recipe holds: the very path of `replay`,
        since batches of another size round differently."""
        whole = Pass(story.tokens, story.codes)
        made = [self.redraw(whole.of(i)) for i in range(step.canvas.shape[0])]
        self.linear.learn(step.canvas[:1], made[0])
        return torch.cat(made)

    @torch.inference_mode()
    def _growing(self, done: Pass) -> Iterator[Image.Image]:
        """One candidate's patch of one window after each scale, from its tokens (or mixed codes)."""
        canvas = self.tokenizer.empty_canvas(1)
        for k, part in enumerate(done.codes or done.tokens):
            with self._lock:
                codes = part.to(self.device)
                canvas = canvas + self.tokenizer.enlarge(codes if done.codes else self.tokenizer.codebook(codes), k)
                quick = self.linear if self.linear.always else None
                pixels = preview(self.tokenizer, canvas, k, quick, finest=self.sides[-1])
            yield to_pictures(pixels)[0]

    @torch.inference_mode()
    def redraw(self, done: Pass) -> Tensor:
        """One candidate's tokens (or mixed codes) of every scale -> (1, 3, H, W) in [-1, 1]."""
        parts = done.codes or [self.tokenizer.codebook(part.to(self.device)) for part in done.tokens]
        canvas = self.tokenizer.empty_canvas(1)
        for k, codes in enumerate(parts):
            canvas = canvas + self.tokenizer.enlarge(codes.to(self.device), k)
        return self.tokenizer.decode(canvas)

    # files

    def save(
        self, result: Result, path: str | Path, index: int = 0, saving: Saving | None = None,
        photo: str | Path | bytes | None = None,
    ) -> None:  # fmt: skip
        """Write one candidate: as PNG with how it was made, or as `saving` says, with what JPEG and WebP keep of the
        file that the photo came from."""
        save_result(result, path, index, saving, photo)

    def replay(self, path: str | Path) -> Image.Image:
        """The picture of a saved PNG again, from its tokens, without sampling. ValueError if it has no recipe."""
        again = self._read(path)
        match = again.settings.get("color_match") is not False
        painting = Painting.of_passes(again.picture, again.passes, match)
        for number, done in enumerate(again.passes):
            with self._lock:
                patches = to_pictures(self.redraw(done))
                painting.add(number, done.box, done.alpha, patches)
                if done.detail is not None and done.box is not None and done.alpha is not None:
                    which = [again.candidate]
                    for _ in painting.sharpen(number, done.box, done.alpha, done.detail, again.seed, which)[1]:
                        pass
        return painting.whole(0)

    def scenes(
        self, source: Result | str | Path, index: int = 0, side: int = 640, window: bool = False
    ) -> Iterator[Image.Image]:
        """A run told again from its tokens, for `files.animation`: the picture before it (where there was one, and
        `source` is a result), after each scale, and at the end; RGB, all of one size, long side `side` (pictures
        smaller than that are only enlarged if `window`, or if all of them is new). `source`: a result, of which
        `index` is the candidate, or a PNG that carries its recipe. `window`: only what lies around the change.
        ValueError where another model made it."""
        if isinstance(source, Result):
            passes = [part.done for part in self._continued(source, index, 0)]
            match, was = source.edit.color_match, before(source)
            stage = Stage.of(source.picture, source.image(index), passes, match, side, window, was)
        else:
            again = self._read(source)
            passes, match = again.passes, again.settings.get("color_match") is not False
            stage = Stage.of(again.picture, open_image(source).image, passes, match, side, window)
        return told(stage, [self._growing(done) for done in passes])

    def _read(self, path: str | Path) -> recipe.Recipe:
        """A recipe that this model can follow. ValueError for any other."""
        again, scales = recipe.read(path), self.transformer.scales
        recipe.check(
            again, self.name, scales.lengths, self.transformer.config.vocab_size, self.tokenizer.config.code_dim
        )
        return again


def finished(frames: Iterator[Frame]) -> Result:
    """The result of a run's frames."""
    *_, last = frames
    assert last.result is not None
    return last.result
