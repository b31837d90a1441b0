"""The page: layout and wiring only."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from var_core import ANCHORS, SETTINGS, TASKS, Setting

from . import assets, canvas
from .api import add_api
from .engines import Engines
from .examples import examples, examples_html
from .form import ADVANCED, AMOUNTS, CONTROLS, NO_CLASS, RATIOS, RESTORED
from .handlers import DEFAULTS, Handlers
from .session import HOURS, Session
from .work import Work

MODES = [
    ("Inpaint", "inpaint"),
    ("Change class", "edit"),
    ("Outpaint", "outpaint"),
    ("Vary", "vary"),
    ("Generate", "generate"),
]
STRENGTHS = [("Layout", "layout"), ("Shape", "shape"), ("Texture", "texture"), ("Detail", "detail")]
HEAD = f"<style>{assets.styles()}</style>"


def theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="stone",
        radius_size="md",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def build(engines: Engines) -> gr.Blocks:
    """The whole page; the models may still be loading."""
    work = Work(engines)
    handlers = Handlers(work)
    with gr.Blocks(
        title="Next-scale editor", delete_cache=(3600, 3600), analytics_enabled=False, fill_width=True
    ) as page:
        parts: dict[str, Any] = {"session": gr.State(Session(), time_to_live=HOURS * 3600)}
        _html(assets.html("masthead"), "head")
        with gr.Row(elem_id="modes"):
            mode = gr.Radio(MODES, value="inpaint", show_label=False, container=False, elem_id="mode", label="Mode")
            _html(assets.html("modes"), "explain")
        with gr.Row(elem_id="work", equal_height=False):
            with gr.Column(elem_id="panel", min_width=0):
                controls = {"mode": mode} | _controls(engines)
                buttons = _buttons()
            with gr.Column(elem_id="source", min_width=0):
                parts["painter"] = _html(None, "painter", "painter/painter", html_template=assets.html("painter"))
                if tries := examples():
                    parts["examples"] = _html(examples_html(tries), "examples", "picks")
            with gr.Column(elem_id="result", min_width=0):
                parts["status"] = _html(canvas.status_html("Reading the model …"), "status")
                parts["stage"] = _html(canvas.stage_html(canvas.Stage()), "stage", "stage/stage")
                with gr.Row(elem_id="actions"):
                    buttons["download"] = gr.DownloadButton("Download PNG", elem_id="download", interactive=False)
                    buttons["use"] = gr.Button("Use as input", elem_id="use")
                    buttons["reuse"] = gr.Button("Reuse its seed", elem_id="reuse")
        parts["history"] = _html(canvas.history_html([], None), "history", "picks")
        hidden = {
            "key": gr.Textbox(visible=False, label="session"),
            "source": gr.File(visible=False, type="filepath", label="picture"),
            "mask": gr.Textbox(visible=False, label="mask"),
            "point": gr.Number(visible=False, label="scale"),
            "answer": gr.JSON(visible=False),
            "prepared": gr.Checkbox(visible=False),
            "frames": gr.JSON(visible=False),
            "next": gr.File(visible=False, label="next picture"),
            "next_mask": gr.File(visible=False, label="next mask"),
        }
        _wire_runs(handlers, controls, hidden, parts, buttons)
        add_api(work)
        _wire_rest(page, handlers, controls, hidden, parts, buttons)
    return page


def _html(text: str | None, name: str, script: str | None = None, **more: Any) -> gr.HTML:
    """A piece of the page of our own, with the script that makes it work."""
    if script is not None:
        more["js_on_load"] = assets.script(script)
    return gr.HTML(text, elem_id=name, apply_default_css=False, **more)


def _buttons() -> dict[str, Any]:
    buttons: dict[str, Any] = {"fetch": gr.Button("Fetch model", visible=False, elem_id="fetch")}
    with gr.Row(elem_id="go"):
        buttons["run"] = gr.Button("Run", variant="primary", elem_id="run")
        buttons["stop"] = gr.Button("Stop", variant="stop", elem_id="stop")
    _html("<span><kbd>Ctrl</kbd> <kbd>Enter</kbd> runs, <kbd>Esc</kbd> stops</span>", "keys")
    return buttons


_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# "multiple": the page itself allows one run at a time, and a run right after Stop must not be swallowed
_ENGINE: dict[str, Any] = {"concurrency_limit": None, "trigger_mode": "multiple", **_QUIET}  # `turns` says who may go


def _wire_runs(handlers: Handlers, controls: dict, hidden: dict, parts: dict, buttons: dict) -> None:
    """Run, branch and stop. The page is locked from the click until the run has ended."""
    values = list(controls.values())
    outputs = [parts["stage"], parts["status"], parts["session"], parts["history"], buttons["download"]]
    ran = buttons["run"].click(
        handlers.run,
        [hidden["source"], hidden["mask"], parts["session"], *values],
        outputs,
        js="(...v) => window.page.run(v)",
        **_ENGINE,
    )
    branched = parts["stage"].submit(
        handlers.branch,
        [hidden["point"], parts["session"], *values],
        outputs,
        js="(...v) => window.page.branch(v)",
        api_name="page_branch",
        **_ENGINE,
    )
    for event in (ran, branched):
        event.failure(None, None, None, js="() => window.page.failed()", **_QUIET)
        _wire_frames(handlers, event.failure, hidden, parts["session"])
        _wire_result(handlers, event, hidden, parts["session"], buttons["download"])
    # two steps: what the stopped run had already sent comes first, so that its last frame does not hide the outcome
    stopped = (
        buttons["stop"]
        .click(None, None, None, js="() => window.page.finished()", cancels=[ran, branched], queue=False, **_QUIET)
        .then(handlers.stopped, parts["session"], [parts["stage"], parts["status"]], **_QUIET)
    )
    _wire_frames(handlers, stopped.success, hidden, parts["session"])


def _wire_result(handlers: Handlers, event: Any, hidden: dict, session: gr.State, download: gr.DownloadButton) -> None:
    """What follows when another result is shown: its frames, and its file."""
    _wire_frames(handlers, event.success, hidden, session)
    event.success(handlers.write, session, download, **_QUIET)


def _wire_frames(handlers: Handlers, after: Callable[..., Any], hidden: dict, session: gr.State) -> None:
    """What follows when a result is shown again: the pictures of its scales."""
    after(handlers.frames, session, hidden["frames"], **_QUIET).success(
        None, hidden["frames"], None, js="(v) => window.page.frames(v)", **_QUIET
    )


def _wire_session(page: gr.Blocks, handlers: Handlers, controls: dict, hidden: dict, parts: dict) -> Any:
    """What is kept while the visitor works, and what a reload finds again."""
    session, history, answer, picture = parts["session"], parts["history"], hidden["answer"], hidden["next"]
    parts["painter"].release(
        handlers.keep, [hidden["source"], hidden["mask"], controls["mode"], session], None,
        js="(...v) => window.page.look(v)", queue=False, trigger_mode="multiple", **_QUIET,
    )  # fmt: skip
    history.submit(handlers.reopen, session, [picture, answer], **_QUIET).success(
        None, [picture, answer], None, js="(file, v) => window.page.reopen(file, v)", **_QUIET
    )
    resumed = page.load(
        handlers.resume, hidden["key"], [session, answer, picture, controls["mode"], parts["stage"], history],
        js="() => window.page.kept()", queue=False, **_QUIET,
    )  # fmt: skip
    resumed.success(None, [answer, picture], None, js="(v, file) => window.page.resumed(v, file)", **_QUIET)
    return resumed


def _wire_rest(page: gr.Blocks, handlers: Handlers, controls: dict, hidden: dict, parts: dict, buttons: dict) -> None:
    """Uploads, looking at results, and the model's own settings."""
    painter, stage, session = parts["painter"], parts["stage"], parts["session"]
    restored = [hidden["answer"], *(controls[name] for name in RESTORED)]
    painter.upload(
        handlers.opened, hidden["source"], restored, js="() => window.painter.file()", queue=False,
        trigger_mode="always_last", **_QUIET,
    ).then(None, hidden["answer"], None, js="(v) => window.painter.opened(v)", **_QUIET).then(
        handlers.began, [hidden["source"], session], parts["history"], js="(_, s) => [window.painter.file(), s]",
        queue=False, **_QUIET,
    )  # fmt: skip
    painter.input(
        handlers.look, [hidden["source"], hidden["mask"], session, *controls.values()], hidden["answer"],
        js="(...v) => window.page.look(v)", **_QUIET,
    ).then(None, hidden["answer"], None, js="(v) => window.painter.setCells(v)", **_QUIET)  # fmt: skip
    shown = [stage, session, buttons["download"]]
    picked = stage.select(handlers.pick_candidate, session, shown, **_QUIET)
    shown = [stage, parts["status"], session, parts["history"], buttons["download"]]
    recalled = parts["history"].select(handlers.pick_entry, session, shown, **_QUIET)
    resumed = _wire_session(page, handlers, controls, hidden, parts)
    for event in (picked, recalled, resumed):
        _wire_result(handlers, event, hidden, session, buttons["download"])
    buttons["use"].click(handlers.use, session, hidden["next"], **_QUIET).success(
        None, hidden["next"], None, js="(v) => window.painter.openServed(v)", **_QUIET
    )
    buttons["reuse"].click(handlers.last_seed, session, controls["seed"], **_QUIET)
    if "examples" in parts:
        chosen = [hidden["next"], hidden["next_mask"], controls["mode"]]
        parts["examples"].select(handlers.example, None, chosen, **_QUIET).success(
            None, chosen[:2], None, js="(p, m) => window.page.example(p, m)", **_QUIET
        )
    seen = [controls[name] for name in ("mode", "ratio", "anchor", *AMOUNTS, "strength", "context", "model")]
    tables = f"{json.dumps(RATIOS)}, {json.dumps(ANCHORS)}"
    gr.on(
        [part.change for part in seen], None, seen, None,
        js=f"(...v) => {{ document.body.dataset.ratio = v[1]; window.painter.settings(v, {tables}); }}", **_QUIET,
    )  # fmt: skip
    painter.release(
        handlers.prepare, [hidden["source"], hidden["mask"], session, *controls.values()], hidden["prepared"],
        js="(...v) => window.page.look(v)", queue=False, trigger_mode="multiple", **_QUIET,
    ).then(None, hidden["prepared"], None, js="(v) => window.painter.prepared(v)", **_QUIET)  # fmt: skip
    defaults = [controls[name] for name in ("label", *DEFAULTS)]
    defaults += [parts["status"], buttons["fetch"]]
    chosen = [controls["model"], controls["label"]]
    choose: dict[str, Any] = {"fn": handlers.choose_model, "inputs": chosen, "outputs": defaults, **_QUIET}
    controls["model"].change(**choose)
    page.load(**choose)
    listed: dict[str, Any] = {"fn": handlers.models, "inputs": None, "outputs": controls["model"], **_QUIET}
    page.load(**listed)
    buttons["fetch"].click(
        handlers.fetch, controls["model"], parts["status"], concurrency_limit=1, trigger_mode="once", **_QUIET
    ).success(**listed).success(**choose)


def _controls(engines: Engines) -> dict[str, Any]:
    """The settings, by the names in `form.CONTROLS` and in their order."""
    made: dict[str, Any] = {}
    with gr.Column(elem_id="settings"):
        made["model"] = gr.Dropdown(
            engines.choices(), value=engines.default, label="Model", filterable=False, elem_id="model",
            info="Size, licence, and whether it is here. Larger ones know more and take longer.",
        )  # fmt: skip
        made["label"] = gr.Dropdown(
            [("No class", NO_CLASS)], value=NO_CLASS, label="Class", elem_id="label",
            info="What the new picture or part should show; without one, the surroundings decide. Type to search.",
            elem_classes=["for-edit", "for-outpaint", "for-vary", "for-generate"],
        )  # fmt: skip
        made["strength"] = gr.Radio(
            STRENGTHS, value="layout", label="Strength", elem_id="strength",
            info="What may change: all from the layout on, or only shape, texture, detail (start scale).",
            elem_classes=["for-inpaint", "for-edit", "for-vary"],
        )  # fmt: skip
        made["candidates"] = gr.Radio([1, 2, 4, 8], value=1, **_words(SETTINGS["candidates"]))
        made["seed"] = gr.Textbox(placeholder="random", max_lines=1, **_words(SETTINGS["seed"]))
        made |= _outpaint_controls() | _advanced_controls()
    return {name: made[name] for name in CONTROLS if name in made}


def _outpaint_controls() -> dict[str, Any]:
    made: dict[str, Any] = {}
    with gr.Column(elem_classes=["for-outpaint"], elem_id="outpaint"):
        with gr.Row():
            made["ratio"] = gr.Dropdown(
                ["by sides", *RATIOS], value="16:9", label="New shape", info="Width to height.", filterable=False,
                elem_id="ratio",
            )  # fmt: skip
            made["anchor"] = gr.Dropdown(
                list(ANCHORS), value="centre", label="Anchor", info="Where it sits.", filterable=False,
                elem_id="anchor",
            )  # fmt: skip
        with gr.Row(elem_classes=["sides"]):
            for side in AMOUNTS:
                words = _words(SETTINGS[side]) | {"elem_id": f"add-{side}", "elem_classes": []}
                made[side] = gr.Number(0, precision=0, minimum=0, min_width=0, **words)
    return made


def _advanced_controls() -> dict[str, Any]:
    made: dict[str, Any] = {}
    with gr.Accordion("Advanced settings", open=False, elem_id="advanced"):
        made |= {name: _control(SETTINGS[name]) for name in ADVANCED}
        made["sketch"] = gr.Checkbox(
            False,
            label="Sketch first",
            elem_id="sketch",
            info="Stop after six scales, pick a candidate, then finish only that one.",
        )
    return made


def _control(setting: Setting) -> Any:
    """The control that fits what is declared; an empty text is automatic."""
    words = _words(setting)
    if setting.choices:
        return gr.Radio([(choice.capitalize(), choice) for choice in setting.choices], value=setting.default, **words)
    if setting.kind is bool:
        return gr.Checkbox(setting.default, **words)
    if setting.default is None or setting.low is None or setting.high is None:
        return gr.Textbox(placeholder="automatic", max_lines=1, **words)
    step = 1 if setting.kind is int else 0.1
    return gr.Slider(setting.low, setting.high, setting.default, step=step, **words)


def _words(setting: Setting) -> dict[str, Any]:
    """Label, help, name, and the modes in which a setting is shown."""
    return {
        "label": setting.label,
        "info": f"{setting.help[:1].upper()}{setting.help[1:]}.",
        "elem_id": setting.name.replace("_", "-"),
        "elem_classes": [] if setting.tasks == TASKS else [f"for-{task}" for task in setting.tasks],
    }
