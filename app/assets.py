"""What the browser gets: the modules of app/web as one script, the style sheets as one, the HTML."""

from __future__ import annotations

import json
import re
from pathlib import Path

WEB = Path(__file__).parent / "web"
STYLES = ("base", "top", "rail", "view", "bar", "dock", "sheet", "narrow")  # later ones win

_IMPORT = re.compile(r"^import (\{[^}]*\}) from '([^']+)';$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


def html(name: str) -> str:
    return (WEB / f"{name}.html").read_text(encoding="utf-8")


def styles() -> str:
    return "\n".join((WEB / "css" / f"{name}.css").read_text(encoding="utf-8") for name in STYLES)


def script(name: str) -> str:
    """The module `name` and all that it imports, as the script of a component: it ends by calling the module's
    `start`. Gradio runs such a script as a function, where modules cannot be imported; so each becomes a function of
    its own here, after those that it needs. Modules import and export names, nothing else."""
    made: dict[str, str] = {}

    def add(path: Path) -> str:
        key = path.relative_to(WEB).as_posix()
        if key not in made:
            text = path.read_text(encoding="utf-8")
            body = _IMPORT.sub(lambda m: f"const {m[1]} = modules[{add((path.parent / m[2]).resolve())}];", text)
            names = ", ".join(_EXPORT.findall(body))
            made[key] = (
                f"modules[{json.dumps(key)}] = (() => {{\n{_EXPORT.sub('', body)}\nreturn {{ {names} }};\n}})();"
            )
        return json.dumps(key)

    start = add((WEB / f"{name}.js").resolve())
    return "\n".join(
        [
            "const modules = {};",
            *made.values(),
            f"modules[{start}].start({{ element, trigger, props, server, upload, watch }});",
        ]
    )
