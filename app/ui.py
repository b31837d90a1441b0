"""The page: one piece of HTML of our own that fills the window, and the two ways in which it speaks with the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from . import assets
from .api import add_api
from .engines import Engines
from .handlers import Handlers
from .work import Work

HEAD = f"<style>{assets.styles()}</style>"


def theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="stone",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build(engines: Engines) -> gr.Blocks:
    """The whole page; the models may still be loading."""
    work = Work(engines)
    handlers = Handlers(work)

    def ask(given: dict) -> dict:
        return handlers.ask(given)

    def stream(given: dict, request: gr.Request) -> Iterator[str]:
        for message in handlers.stream(given, request):
            yield told(message)

    with gr.Blocks(
        title="Next-scale editor", delete_cache=(3600, 3600), analytics_enabled=False, fill_width=True
    ) as page:
        asked = gr.JSON(visible=False, label="run")
        wire = gr.HTML(
            "", html_template="<i></i>", elem_id="wire", apply_default_css=False, js_on_load=assets.script("wire")
        )
        editor = gr.HTML(
            None,
            html_template=assets.html("editor"),
            elem_id="editor",
            apply_default_css=False,
            js_on_load=assets.script("main"),
            server_functions=[ask],
        )
        # "multiple": the page itself allows one run at a time, and a run right after Stop must not be swallowed.
        # Whose turn it is, `turns` says.
        ran = editor.submit(
            stream, asked, wire, js="() => [window.editor.asked()]", concurrency_limit=None, trigger_mode="multiple",
            **_QUIET,
        )  # fmt: skip
        ran.failure(None, None, None, js="() => window.editor.failed()", **_QUIET)
        ran.success(None, None, None, js="() => window.editor.ended()", **_QUIET)
        editor.clear(None, None, None, js="() => window.editor.stopped()", cancels=[ran], queue=False, **_QUIET)
        add_api(work)
    return page


_count = iter(range(1, 2**62))


def told(message: dict) -> str:
    """A message to the browser; no two are equal, so that each is noticed."""
    return json.dumps({"n": next(_count), **message})
