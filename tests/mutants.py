"""Small deliberate faults in a source text, one at a time, found in its syntax tree (used by `mutate.py`)."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_TWINS = {"min": "max", "max": "min", "any": "all", "all": "any", "argmin": "argmax", "argmax": "argmin"}
_STEPS = {  # methods whose result has the type of what they are called on: `x.round()` becomes `x`
    "round", "clamp", "clamp_min", "clamp_max", "clip", "abs", "square", "exp", "log", "copy", "clone", "strip",
    "lower", "softmax", "log_softmax", "transpose", "convert",
}  # fmt: skip
_MODULES = {"np", "torch", "torch.linalg", "F", "math", "cv2"}
_LOGS = {"debug", "info", "warning", "error", "exception", "warn", "simplefilter"}


@dataclass(frozen=True)
class Mutant:
    """One fault: `text[start:stop]` of the source becomes `new`."""

    line: int
    kind: str
    start: int
    stop: int
    new: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.new + source[self.stop :]


def changed_lines(before: str, after: str) -> list[str]:
    """The lines that differ, marked - and +."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:1] in "-+" and line[:3] not in ("---", "+++")]


class _Finder(ast.NodeVisitor):
    """Collects the mutants of a module; `offsets[n]` is where line n begins, in characters."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines = source.splitlines(keepends=True)
        self.offsets = [0, 0]
        for line in self.lines:
            self.offsets.append(self.offsets[-1] + len(line))
        self.found: list[Mutant] = []

    def place(self, line: int, column: int) -> int:
        """`column` counts bytes of UTF-8, as the tree does."""
        return self.offsets[line] + len(self.lines[line - 1].encode()[:column].decode())

    def text(self, node: ast.expr | ast.stmt) -> str:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.source[self.place(node.lineno, node.col_offset) : self.place(node.end_lineno, node.end_col_offset)]

    def put(self, node: ast.expr | ast.stmt, kind: str, new: str) -> None:
        assert node.end_lineno is not None and node.end_col_offset is not None
        start, stop = self.place(node.lineno, node.col_offset), self.place(node.end_lineno, node.end_col_offset)
        self.found.append(Mutant(node.lineno, kind, start, stop, new))

    def swap(self, node: ast.expr, kind: str, change: Callable[[ast.expr], ast.expr]) -> None:
        """Put a changed copy of the node in its place, in brackets."""
        copy = ast.parse(f"({self.text(node)})", mode="eval").body
        self.put(node, kind, f"({ast.unparse(ast.fix_missing_locations(change(copy)))})")

    # what is left alone

    def visit_Raise(self, node: ast.Raise) -> None: ...

    def visit_Assert(self, node: ast.Assert) -> None: ...

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None: ...

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if "__all__" in names:
            return
        if not names and not isinstance(node.targets[0], ast.Tuple):
            self.put(node, "statement dropped", "pass")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):  # a docstring
            return
        if isinstance(node.value, ast.Call):
            if isinstance(node.value.func, ast.Attribute) and node.value.func.attr in _LOGS:
                return
            self.put(node, "statement dropped", "pass")
        self.visit(node.value)

    # what is changed

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.put(node, "statement dropped", "pass")
        swapped = _ARITHMETIC.get(type(node.op))
        if swapped is not None:
            new = ast.unparse(ast.AugAssign(node.target, swapped(), node.value))
            self.put(node, "arithmetic", new)
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.put(node, "returns None", "return None")
            self.visit(node.value)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.put(node, "statement dropped", "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self.put(node, "statement dropped", "pass")

    def force(self, test: ast.expr, *values: bool) -> None:
        for value in values:
            self.put(test, f"always {value}", str(value))

    def visit_If(self, node: ast.If) -> None:
        self.force(node.test, True, False)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.force(node.test, True, False)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.force(node.test, False)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.force(test, True)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for i, operator in enumerate(node.ops):
            for other in _COMPARE[type(operator)]:

                def change(copy: ast.expr, i: int = i, other: type[ast.cmpop] = other) -> ast.expr:
                    assert isinstance(copy, ast.Compare)
                    copy.ops[i] = other()
                    return copy

                self.swap(node, "comparison", change)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        self.swap(node, "and/or", lambda copy: ast.BoolOp(other(), copy.values))  # type: ignore[attr-defined]
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
            self.put(node, "negation dropped", f"({self.text(node.operand)})")
        if not (isinstance(node.operand, ast.Constant) and isinstance(node.op, ast.USub)):
            self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = _ARITHMETIC.get(type(node.op))
        if other is not None:
            self.swap(node, "arithmetic", lambda copy: ast.BinOp(copy.left, other(), copy.right))  # type: ignore[attr-defined]
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.put(node, "constant", str(not value))
        elif isinstance(value, int):
            self.put(node, "constant", str(value + 1))
            if value in (1, 2):
                self.put(node, "constant", str(value - 1))
        elif isinstance(value, float):
            self.put(node, "constant", str(2 * value) if value else "1.0")

    def key(self, node: ast.expr | None) -> None:
        """A string that names something: a key, or one side of a comparison."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            self.put(node, "key", repr(node.value + "_"))

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.key(node.slice)
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None and not isinstance(bound, ast.Constant):
                self.put(bound, "slice off by one", f"({self.text(bound)}) + 1")
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key in node.keys:
            self.key(key)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            if node.func.attr in _LOGS:
                return
            if node.func.attr in _STEPS and self.text(node.func.value) not in _MODULES:
                self.put(node, "call dropped", self.text(node.func.value))
            if node.func.attr == "get" and node.args:
                self.key(node.args[0])
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in _TWINS:
            func = self.text(node.func)
            self.put(node.func, "twin", func[: len(func) - len(name)] + _TWINS[name])
        for i in range(len(node.keywords)):
            self.swap(node, "argument dropped", lambda copy, i=i: copy.keywords.pop(i) and copy)  # type: ignore[attr-defined]
        if len(node.args) > 1:
            self.swap(node, "argument dropped", lambda copy: copy.args.pop() and copy)  # type: ignore[attr-defined]
        self.generic_visit(node)


def find_mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a Python source, in the order of its text."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    seen = set()
    for mutant in sorted(finder.found, key=lambda m: (m.start, m.stop, m.kind, m.new)):
        change = (mutant.start, mutant.stop, mutant.new)
        if change not in seen and source[mutant.start : mutant.stop] != mutant.new:
            seen.add(change)
            yield mutant


def means_something(source: str, changed: str) -> bool:
    """Whether the changed source is Python, and another program than the source."""
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False
