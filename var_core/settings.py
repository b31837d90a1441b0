"""What a setting is: its range, default, label, help and tasks, written once where it is declared (`request`).

The command line, the API, the page, recipes and branches read the declarations; nobody repeats them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args

Task = Literal["generate", "inpaint", "edit", "outpaint", "vary"]
TASKS: tuple[Task, ...] = get_args(Task)
WITH_PICTURE: tuple[Task, ...] = ("inpaint", "edit", "outpaint", "vary")
WITH_MASK: tuple[Task, ...] = ("inpaint", "edit")
PAINTED: tuple[Task, ...] = ("inpaint", "edit", "outpaint")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One choice that people make. `low` and `high` are both allowed; `default` None means: chosen automatically, and
    then None is allowed too. `kind` str without `choices` is any short text."""

    name: str = ""
    kind: type
    default: Any
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = TASKS
    label: str = ""
    help: str = ""

    @property
    def flag(self) -> str:
        """The option of the command line; one that switches a default off begins with --no-."""
        return ("--no-" if self.kind is bool and self.default else "--") + self.name.replace("_", "-")

    def read(self, value: Any) -> Any:
        """The value as its own kind, from a program's, a file's or a form's. ValueError with one sentence."""
        if value is None and self.default is None:
            return None
        plain = value
        if self.kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
            whole = float(value).is_integer() if abs(value) < 2**53 else isinstance(value, int)
            plain = self.kind(value) if self.kind is float or whole else None
        good = type(plain) is self.kind and (not self.choices or plain in self.choices)
        if not good or (isinstance(plain, int | float) and not self._within(plain)):
            raise ValueError(f"{self.spoken} must be {self.range}, got {_short(value)}")
        return plain

    def parse(self, text: str) -> Any:
        """The same from text; empty is the default. ValueError with one sentence."""
        text = text.strip()
        if not text:
            return self.default
        if self.kind is bool:
            return self.read({"true": True, "false": False}.get(text.lower(), text))
        try:
            return self.read(self.kind(text))
        except ValueError as error:
            raise ValueError(f"{self.spoken} must be {self.range}, got {_short(text)}") from error

    def allows(self, value: Any) -> bool:
        try:
            self.read(value)
        except ValueError:
            return False
        return True

    def _within(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    @property
    def spoken(self) -> str:
        return f"the {self.label[:1].lower()}{self.label[1:]}"

    @property
    def range(self) -> str:
        """What is allowed, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.kind]
        if self.high is not None:
            return f"{words} from {self.low:g} to {self.high:.10g}"
        return words if self.low is None else f"{words}, {self.low:g} or more"


def _short(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def setting(default: T, kind: type, **words: Any) -> T:
    """A field of `Edit` or `Chance`, with what is said about it."""
    return dataclasses.field(default=default, metadata={"setting": Setting(kind=kind, default=default, **words)})  # type: ignore[return-value]


def settings_of(kind: type) -> dict[str, Setting]:
    """The declarations of a dataclass, by name."""
    found = {field.name: field.metadata.get("setting") for field in dataclasses.fields(kind)}
    return {name: dataclasses.replace(each, name=name) for name, each in found.items() if each is not None}


def check_settings(owner: Any) -> None:
    """Read every declared field of a frozen dataclass instance. ValueError with one sentence."""
    for name, each in settings_of(type(owner)).items():
        object.__setattr__(owner, name, each.read(getattr(owner, name)))


def find_class(label: int | str, names: tuple[str, ...], model: str) -> int:
    """Number of a class by name or number. ValueError names the nearest ones."""
    if isinstance(label, str):
        lowered = [name.lower() for name in names]
        if label.lower() in lowered:
            return lowered.index(label.lower())
        if not (label.isascii() and label.isdigit()):
            near = get_close_matches(label.lower(), lowered, n=3, cutoff=0.4)
            hint = f": did you mean {', '.join(near)}?" if near else f", for example {', '.join(names[:3])}"
            raise ValueError(f"{model} has no class {_short(label)}{hint}")
        label = int(label[:20])
    if not 0 <= label < len(names):
        raise ValueError(f"class {label} is out of range: {model} has classes 0 to {len(names) - 1}")
    return label


def readable(declared: Mapping[str, Setting], values: Any) -> dict[str, Any]:
    """Of a file's settings those that are declared and allowed, read; anything else is left out."""
    if not isinstance(values, dict):
        return {}
    return {
        name: each.read(values[name]) for name, each in declared.items() if name in values and each.allows(values[name])
    }
