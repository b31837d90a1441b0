"""The page: layout and wiring only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from var_core import Engine

from . import canvas
from .handlers import ANCHORS, RATIOS, STRENGTHS, Handlers, Session

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "assets" / "examples"
MODES = [
    ("Inpaint", "inpaint"),
    ("Change class", "edit"),
    ("Outpaint", "outpaint"),
    ("Vary", "vary"),
    ("Generate", "generate"),
]
HEAD = f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>"
CSS = (HERE / "page.css").read_text(encoding="utf-8")
INTRO = """<h1>Next-scale editor</h1>
<p>Paint over part of a photo and watch it being re-imagined coarse to fine, in ten steps: from one token for everything
to the full grid. There are no text prompts: the model knows classes, not words.</p>"""
STRENGTH_NAMES = [
    ("Everything", "everything"),
    ("Keep layout", "layout"),
    ("Keep shape", "shape"),
    ("Keep texture", "texture"),
    ("Only fine detail", "detail"),
]


def theme() -> gr.themes.Base:
    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    return gr.themes.Default(
        primary_hue="indigo", neutral_hue="slate", radius_size="lg", font=fonts, font_mono=["ui-monospace", "monospace"]
    )


def build(engine: Callable[[], Engine]) -> gr.Blocks:
    """The whole page. `engine` gives the engine; it may still be loading while the page is built."""
    ready = engine()
    handlers = Handlers(engine)
    defaults = ready.defaults
    with gr.Blocks(title="Next-scale editor", delete_cache=(3600, 3600), analytics_enabled=False) as page:
        session = gr.State(Session(), time_to_live=3600)
        gr.HTML(INTRO, elem_id="head")
        mode = gr.Radio(MODES, value="inpaint", show_label=False, container=False, elem_id="modes")
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=330):
                gr.HTML(
                    html_template=(HERE / "painter.html").read_text(encoding="utf-8"),
                    css_template=(HERE / "painter.css").read_text(encoding="utf-8"),
                    js_on_load=(HERE / "painter.js").read_text(encoding="utf-8"),
                    elem_id="painter",
                )
                upload = gr.File(
                    label="Photo", type="filepath", elem_id="upload", file_types=[".png", ".jpg", ".jpeg", ".webp"]
                )
                fields = _controls(ready, defaults)
            with gr.Column(scale=1, min_width=330):
                stage = gr.HTML(canvas.empty_stage(ready.sides), elem_id="stage")
                status = gr.HTML(canvas.notice("Ready."), elem_id="status")
                with gr.Row():
                    run = gr.Button("Run", variant="primary", elem_id="run", scale=3)
                    stop = gr.Button("Stop", variant="stop", elem_id="stop", scale=1, interactive=False)
                picker = gr.Radio([], label="Candidate", info="Pick the one to keep", visible=False, elem_id="picker")
                with gr.Row():
                    download = gr.DownloadButton("Download PNG", interactive=False, elem_id="download")
                    again = gr.Button("Use as input", elem_id="again")
                with gr.Row():
                    scale = gr.Slider(
                        1, len(ready.sides), 6, step=1, label="Scale", elem_id="scale",
                        info="A point on the strip: branch from it, or see which tokens change there",
                    )  # fmt: skip
                with gr.Row():
                    branch = gr.Button("Branch from this scale", elem_id="branch")
                    show = gr.Button("Show tokens that change", elem_id="tokens")
                history = gr.Gallery(
                    label="History of this session", columns=6, height=150, elem_id="history", format="jpeg",
                    allow_preview=False, interactive=False, object_fit="cover",
                )  # fmt: skip
        payload = gr.JSON(visible="hidden", elem_id="payload")
        loaded = gr.JSON(visible="hidden", elem_id="loaded")
        overlay = gr.JSON(visible="hidden", elem_id="overlay")
        seed_used = gr.Textbox(visible="hidden", elem_id="seed-used")
        names = list(fields)
        outputs = [stage, status, session, download, picker, history, seed_used]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        to_painter = {"fn": None, "inputs": loaded, "outputs": None, "js": "v => { window.painter.load(v) }"}

        def started() -> tuple[Any, ...]:
            return gr.update(interactive=False), gr.update(interactive=True), gr.update(interactive=False)

        def rested() -> tuple[Any, ...]:
            return gr.update(interactive=True), gr.update(interactive=False), gr.update(interactive=True)

        def run_page(state: Session, sent: Any, *values: Any):
            yield from handlers.run(state, sent, dict(zip(names, values, strict=True)))

        def show_tokens(state: Session, sent: Any, at: float, *values: Any) -> Any:
            return handlers.tokens(state, sent, dict(zip(names, values, strict=True)), at)

        def branch_page(state: Session, at: float, seed: Any, candidates: float):
            yield from handlers.branch(state, at, seed, candidates)

        fields["mode"] = mode
        names = list(fields)
        buttons, export = [run, stop, branch], "() => window.painter.export()"
        work: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "engine", "trigger_mode": "once", **quiet}
        exported = run.click(started, None, buttons, queue=False, **quiet)
        sent = exported.then(None, None, payload, js=export)
        ran = sent.then(run_page, [session, payload, *fields.values()], outputs, **work)
        ran.then(rested, None, buttons, queue=False, **quiet)
        branched = branch.click(started, None, buttons, queue=False, **quiet).then(
            branch_page, [session, scale, fields["seed"], fields["candidates"]], outputs, **work
        )
        branched.then(rested, None, buttons, queue=False, **quiet)
        stop.click(
            lambda: (*rested(), canvas.notice("Stopped.")), None, [*buttons, status],
            cancels=[sent, ran, branched], queue=False, **quiet,
        )  # fmt: skip

        upload.upload(handlers.upload, [upload, session], [loaded, session, status], **quiet).success(
            **to_painter
        ).then(lambda: None, None, upload, queue=False, **quiet)
        again.click(handlers.use_result, session, [loaded, session, status], **quiet).success(**to_painter)
        picker.input(handlers.pick_candidate, [picker, session], [stage, download, session], **quiet)
        history.select(handlers.pick_history, session, [stage, download, session, picker, seed_used], **quiet)
        show.click(None, None, payload, js=export).then(
            show_tokens, [session, payload, scale, *fields.values()], overlay, **quiet
        ).success(None, overlay, None, js="v => { window.painter.showTokens(v) }")
        _visibility(mode, fields, quiet)
        fields["reuse"].click(lambda seed: seed, seed_used, fields["seed"], queue=False, **quiet)
        _examples(handlers, session, loaded, status, to_painter, quiet)
    return page


def _controls(engine: Engine, defaults: Any) -> dict[str, Any]:
    """The settings below the painter, by the names that `Handlers.request` reads."""
    fields: dict[str, Any] = {}
    with gr.Group():
        fields["label"] = gr.Dropdown(
            [("No class", ""), *((name.replace("-", " "), name) for name in engine.class_names)], value="", label="Class",
            info="What the painted region should become; type to search", elem_id="label", visible=False, filterable=True,
        )  # fmt: skip
        fields["strength"] = gr.Radio(
            STRENGTH_NAMES, value="everything", label="Change", elem_id="strength",
            info="How much is new: the first scales hold layout, then shape, texture and detail (start scale)",
        )  # fmt: skip
        with gr.Row(visible=False) as outpaint:
            fields["ratio"] = gr.Dropdown(
                ["by amounts", *RATIOS], value="16:9", label="Shape", info="Target aspect ratio"
            )
            fields["anchor"] = gr.Dropdown(
                list(ANCHORS), value="centre", label="Anchor", info="Where the photo sits in it"
            )
        with gr.Row(visible=False) as amounts:
            for side in ("left", "top", "right", "bottom"):
                fields[side] = gr.Slider(
                    0, 200, 25, step=5, label=f"{side.capitalize()}, %", info="Of the photo's side"
                )
        with gr.Row():
            fields["candidates"] = gr.Slider(
                1, 8, 1, step=1, label="Candidates", info="Results to choose from", elem_id="candidates"
            )
            with gr.Column(min_width=150):
                fields["seed"] = gr.Textbox(
                    label="Seed", placeholder="random", info="Same seed, same picture", elem_id="seed", max_lines=1
                )
                reuse = gr.Button("Reuse last seed", size="sm", elem_id="reuse")
    with gr.Accordion("Advanced settings", open=False):
        fields["method"] = gr.Radio(
            [("Evidence", "evidence"), ("Re-quantized", "requantize"), ("Official", "official")], value="evidence",
            label="How the surroundings are held", info="Official: fixed tokens, as in the paper",
        )  # fmt: skip
        with gr.Row():
            fields["guidance"] = gr.Slider(
                0, 10, defaults.guidance, step=0.1, label="Guidance", info="How strongly the class is followed"
            )
            fields["context"] = gr.Slider(
                1, 4, 2, step=0.1, label="Context", info="Size of the square around the mask, in masks"
            )
        with gr.Row():
            fields["top_k"] = gr.Slider(
                0, engine.vocab_size, defaults.top_k, step=1, label="Top-k", info="Codes to draw among, 0 = all"
            )
            fields["top_p"] = gr.Slider(
                0, 1, defaults.top_p, step=0.01, label="Top-p", info="Their total probability, 0 = all"
            )
        with gr.Row():
            fields["feather"] = gr.Textbox(
                label="Feather", placeholder="automatic", info="Fade outside the mask, pixels", max_lines=1
            )
            with gr.Column():
                fields["color_match"] = gr.Checkbox(
                    True, label="Match colours", info="Fit the new part to its surroundings"
                )
                fields["smooth"] = gr.Checkbox(False, label="Smooth", info="Mix codes for softer pictures")
    fields["reuse"], fields["outpaint"], fields["amounts"] = reuse, outpaint, amounts
    return fields


def _visibility(mode: gr.Radio, fields: dict[str, Any], quiet: dict[str, Any]) -> None:
    """Show the settings that the mode reads."""

    def shown(chosen: str, ratio: str) -> tuple[Any, ...]:
        return (
            gr.update(visible=chosen in ("edit", "generate", "vary", "outpaint")),
            gr.update(visible=chosen in ("inpaint", "edit", "vary")),
            gr.update(visible=chosen == "outpaint"),
            gr.update(visible=chosen == "outpaint" and ratio not in RATIOS),
        )

    outputs = [fields["label"], fields["strength"], fields["outpaint"], fields["amounts"]]
    for control in (mode, fields["ratio"]):
        control.change(shown, [mode, fields["ratio"]], outputs, queue=False, **quiet)


def _examples(
    handlers: Handlers,
    session: gr.State,
    loaded: gr.JSON,
    status: gr.HTML,
    to_painter: dict[str, Any],
    quiet: dict[str, Any],
) -> None:
    """A row of the project's own pictures with masks, one click each."""
    pictures = sorted(path for path in EXAMPLES.glob("*.png") if not path.stem.endswith("-mask"))
    if not pictures:
        return
    gr.HTML("<p class='status'>Examples, made by the bundled model itself: click one, then Run.</p>")
    with gr.Row(elem_id="examples"):
        for path in pictures:
            button = gr.Button(path.stem.replace("-", " "), icon=str(path), size="sm")
            mask = path.with_name(f"{path.stem}-mask.png")

            def place(state: Session, path: Path = path, mask: Path = mask) -> tuple[Any, ...]:
                return (
                    handlers.example(path, mask if mask.exists() else None, state),
                    state,
                    canvas.notice("Press Run."),
                )

            button.click(functools.partial(place), session, [loaded, session, status], **quiet).success(**to_painter)
