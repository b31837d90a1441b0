"""What goes wrong, said to the visitor: our own sentence for what they can mend, a plain one for anything else. Only
this file speaks `gr.Error`."""

from __future__ import annotations

import errno
import html
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from .door import DISK_FULL

log = logging.getLogger(__name__)


def sentence(error: Exception) -> str:
    text = str(error).strip() or "This did not work"
    if text.split(maxsplit=1)[0].isalpha():  # names of models and files stay as they are
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "?", "!")) else ".")


def spoken(error: Exception) -> str:
    """Our own sentence for what the visitor can mend; anything else is logged and described plainly."""
    if isinstance(error, ValueError):
        return sentence(error)
    log.error("unexpected error", exc_info=error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    return "Something went wrong on the server; nothing you made was lost. Please try again."


def toast(text: str) -> gr.Error:
    """For the page, where gradio shows it as HTML."""
    return gr.Error(html.escape(text, quote=False), duration=9, print_exception=False)


def refusal(text: str) -> gr.Error:
    """For a program."""
    return gr.Error(text, print_exception=False)


def failure(text: str) -> gr.Error:
    """The end of a run whose sentence the status says already."""
    return gr.Error(html.escape(text, quote=False), visible=False, print_exception=False)


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of a plain handler become our own sentences."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise toast(spoken(error)) from error

    return call
