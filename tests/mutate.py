"""Would a test notice? Puts small faults into the code, one at a time, and runs the tests that should see them.

    python tests/mutate.py --count 200 --seed 0                    a sample of all that TABLE names
    python tests/mutate.py --count 40 --only var_core/sampling     of one file or folder
    python tests/mutate.py --named                                 the faults of mutants_named.py, all of them

Works in copies of the checkout. Every fault gets the tests of its own module and the end-to-end test, of those the ones
that pass over its lines (found by one traced run), those of the module's own file first, then the quickest, at most
--budget seconds of them; a test that fails, hangs or runs out of processor time has noticed. What survives is printed,
all is written to --out: a second call goes on there, and tries survivors again where tests have changed.
mutants_equivalent.txt lists faults that change nothing anybody could see, each with its reason. Linux and macOS (it
forks).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutants import Mutant, changed_lines, find_mutants, means_something
from mutants_named import NAMED
from mutants_traced import Tracer

ROOT = Path(__file__).parents[1]
EVERY = "tests/test_end_to_end.py"
TABLE = {  # what is changed -> the tests that should notice, one after the other
    "var_core/sampling": ["tests/sampling", "tests/model/test_refiner.py"],
    "var_core/editing": ["tests/editing"],
    "var_core/files": ["tests/files"],
    "var_core/model": ["tests/model"],
    "app/form.py": ["tests/app/test_form.py", "tests/app/test_handlers.py"],
    "app/api.py": ["tests/app/test_endpoints.py", "tests/app/test_taking.py", "tests/app/test_api.py"],
}
MEMORY = 12 * 2**30  # bytes of address space


@dataclass
class Fault:
    """One mutant in its file. `name` holds over runs as long as the file stays as it is."""

    path: str
    name: str
    line: int
    kind: str
    before: str
    after: str
    tests: list[str]
    lines: set[int] = field(default_factory=set)  # of the old text

    @property
    def difference(self) -> list[str]:
        return changed_lines(self.before, self.after)


def tests_for(path: str) -> list[str]:
    for prefix, tests in TABLE.items():
        if path == prefix or path.startswith(prefix + "/"):
            return [*tests, EVERY]
    return [EVERY]


def _turn(fault: Fault) -> int:
    """Faults with the same tests are tried one after another, so that a part of a run is worth something as well."""
    return next((n for n, tests in enumerate(TABLE.values()) if tests[0] in fault.tests), len(TABLE))


def sampled(only: str | None, count: int, seed: int) -> list[Fault]:
    """A seeded sample of all mutants of the files in TABLE."""
    files = [
        p for prefix in TABLE for p in ([ROOT / prefix] if prefix.endswith(".py") else (ROOT / prefix).rglob("*.py"))
    ]
    paths = sorted(path.relative_to(ROOT).as_posix() for path in files)
    found: list[tuple[str, str, Mutant]] = []
    for path in paths:
        if only is None or path == only or path.startswith(only.rstrip("/") + "/"):
            text = (ROOT / path).read_text(encoding="utf-8")
            found += [(path, text, mutant) for mutant in find_mutants(text)]
    random.Random(seed).shuffle(found)
    usable = (each for each in found if means_something(each[1], each[2].apply(each[1])))
    return [_fault(*each) for each in itertools.islice(usable, count)]


def _fault(path: str, text: str, mutant: Mutant) -> Fault:
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{path}:{mutant.line}:{mutant.start}-{mutant.stop} {mutant.kind} {mutant.new[:200]} [{digest}]"
    last = mutant.line + text[mutant.start : mutant.stop].count("\n")
    after = mutant.apply(text)
    return Fault(path, name, mutant.line, mutant.kind, text, after, tests_for(path), set(range(mutant.line, last + 1)))


def named(only: str | None = None) -> list[Fault]:
    """All of NAMED, or those in a file or folder."""
    faults = []
    for item in NAMED:
        if only is not None and not (item.path + "/").startswith(only.rstrip("/") + "/"):
            continue
        text = (ROOT / item.path).read_text(encoding="utf-8")
        if text.count(item.old) != 1:
            raise SystemExit(
                f'"{item.name}" fits no longer: its text stands {text.count(item.old)} times in {item.path}'
            )
        line = text[: text.index(item.old)].count("\n") + 1
        after = text.replace(item.old, item.new)
        faults.append(Fault(item.path, item.name, line, "named", text, after, list(item.tests)))
    return faults


def equivalents() -> set[tuple[str, str, str]]:
    """(path, old lines, new lines) of what was judged to change nothing."""
    entries = set()
    for block in (ROOT / "tests/mutants_equivalent.txt").read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            entries.add((lines[0], *_sides(lines[1:])))
    return entries


def _sides(difference: list[str]) -> tuple[str, str]:
    return tuple(" ".join(d[1:].strip() for d in difference if d[0] == sign) for sign in "-+")  # type: ignore[return-value]


def copy_checkout(folder: Path) -> Path:
    """What git tracks or would add, into an empty folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


# in a forked child


def start(folder: Path, log: Path, seconds: float, arguments: list[str], plugins: list[Any]) -> int:
    """Fork a child that runs pytest in `folder`; its process id, which is its group as well."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        sys.path[:] = [str(folder), *(p for p in sys.path if not p or Path(p).resolve() not in (ROOT, ROOT / "tests"))]
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1), os.dup2(output, 2)
        import pytest

        fixed = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow and not browser", "--tb=short"]
        code = int(pytest.main([*fixed, f"--basetemp={folder}.tmp", *arguments], plugins=plugins))
        sys.stdout.flush(), sys.stderr.flush()
    finally:
        os._exit(code)


def warm() -> None:
    """What takes long to import and does not change, once, before all forks."""
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    import cv2
    import gradio_client
    import hypothesis
    import PIL.ImageCms
    import pytest
    import safetensors.torch
    import torch
    import torch.nn.functional

    torch.set_num_threads(1)
    assert all((cv2, hypothesis, PIL.ImageCms, pytest, safetensors.torch, gradio_client))
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio

    assert gradio


# the parent


class Mutation:
    """Runs faults through tests, a few at a time, and keeps the answers in a file."""

    def __init__(self, options: argparse.Namespace, place: Path) -> None:
        self.options, self.place = options, place
        self.out = Path(options.out)
        self.tests_hash = _hash_of_tests()
        self.known: dict[str, Any] = json.loads(self.out.read_text()) if self.out.exists() else {}
        self.maps: dict[str, Any] = {}

    def trace(self, tests: list[str], paths: set[str]) -> None:
        """One run of a set of tests without a fault. Tests that fail without one are left out, and named."""
        copy, out, log = self.place / "traced", self.place / "trace.json", self.place / "trace.log"
        if not copy.exists():
            copy_checkout(copy)
        out.unlink(missing_ok=True)
        there = [test for test in tests if (copy / test.split("::")[0]).exists()]
        child = start(copy, log, 3600, [*there, "--maxfail=1000"], [Tracer(copy, paths, out)])
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, 1) or not out.exists():
            raise SystemExit(f"the tests do not run without a fault:\n{log.read_text()[-3000:]}")
        found = self.maps[" ".join(tests)] = json.loads(out.read_text())
        for name in found["failed"]:
            print(f"left out, fails or is skipped without a fault: {name}", flush=True)

    def choose(self, fault: Fault) -> tuple[list[str], float]:
        """The tests that pass over the fault's lines, those of the module's own file first, then the quickest; and
        their seconds together."""
        own = f"/test_{Path(fault.path).stem}"
        found = self.maps[" ".join(fault.tests)]
        tests = {name: test for name, test in found["tests"].items() if name not in found["failed"]}
        shared = fault.lines & set(found["shared"].get(fault.path, ()))
        if fault.kind != "named":
            over = {n for n, t in tests.items() if shared or fault.lines & set(t["lines"].get(fault.path, ()))}
            over |= {name for name, test in tests.items() if test["elsewhere"]}
        else:
            over = set(tests)
        chosen, total = [], 0.0
        for name in sorted(over, key=lambda n: (tests[n]["elsewhere"], own not in n, tests[n]["seconds"])):
            total += tests[name]["seconds"]
            if chosen and total > self.options.budget:
                break
            chosen.append(name)
        return chosen, total

    def run(self, faults: list[Fault]) -> None:
        todo = sorted((fault for fault in faults if self._open(fault)), key=_turn)
        copies = [copy_checkout(self.place / f"copy{i}") for i in range(self.options.workers if todo else 0)]
        running: dict[int, tuple[Fault, Path, float, float]] = {}
        while todo or running:
            while todo and copies:
                fault = todo.pop(0)
                if " ".join(fault.tests) not in self.maps:
                    same = [other for other in (fault, *todo) if other.tests == fault.tests]
                    self.trace(fault.tests, {other.path for other in same if other.kind != "named"})
                chosen, seconds = self.choose(fault)
                if not chosen:
                    self._note(fault, "survived", 0.0, "no test passes over it")
                    continue
                copy = copies.pop()
                (copy / fault.path).write_text(fault.after, encoding="utf-8")
                child = start(copy, copy.with_suffix(".log"), 3 * seconds + 30, chosen, [])
                running[child] = (fault, copy, time.monotonic(), 20 * seconds + 300)
            time.sleep(0.02)
            for child, (fault, copy, began, limit) in list(running.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                took = time.monotonic() - began
                if not done and took < limit:
                    continue
                _end(child, done)
                del running[child]
                copies.append(copy)
                (copy / fault.path).write_text(fault.before, encoding="utf-8")
                code = os.waitstatus_to_exitcode(status) if done else "hangs"
                last = copy.with_suffix(".log").read_text(errors="replace").strip().splitlines()[-1:]
                verdict = "survived" if code == 0 else "broken" if code == 5 else "killed"
                self._note(fault, verdict, took, f"{code}: {' '.join(last)}")

    def _open(self, fault: Fault) -> bool:
        """Is it still to be tried? What was killed stays killed; survivors are tried again with other tests."""
        known = self.known.get(fault.name)
        if fault.kind == "named" or known is None or known["verdict"] == "broken":
            return True
        return known["verdict"] == "survived" and known["tests"] != self.tests_hash

    def _note(self, fault: Fault, verdict: str, seconds: float, how: str) -> None:
        self.known[fault.name] = {
            "path": fault.path, "line": fault.line, "kind": fault.kind, "difference": fault.difference,
            "verdict": verdict, "tests": self.tests_hash, "seconds": round(seconds, 1), "how": how,
        }  # fmt: skip
        self.out.write_text(json.dumps(self.known, indent=1))
        if verdict != "killed" or fault.kind == "named":
            print(f"{verdict}: {fault.path}:{fault.line} ({fault.name if fault.kind == 'named' else fault.kind})")
            print("\n".join(f"    {line}" for line in fault.difference), flush=True)

    def report(self, faults: list[Fault]) -> bool:
        """Print the figures; True where everything that can be noticed was."""
        same = equivalents()
        alive = [fault for fault in faults if self.known[fault.name]["verdict"] != "killed"]
        equal = [fault for fault in alive if (fault.path, *_sides(fault.difference)) in same]
        left, all_of = len(alive) - len(equal), len(faults) - len(equal)
        print(f"{all_of - left} of {all_of} noticed, {left} survived ({left / max(all_of, 1):.1%}); ", end="")
        print(f"{len(equal)} more change nothing (mutants_equivalent.txt). All in {self.out}.")
        for fault in alive if self.options.survivors else ():
            mark = "equivalent" if fault in equal else self.known[fault.name]["verdict"]
            print(f"{mark}: {fault.path}:{fault.line} ({fault.kind})", *fault.difference, sep="\n    ")
        return not left


def _end(child: int, done: int) -> None:
    """Whatever the child has left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)


def _hash_of_tests() -> str:
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if not path.name.startswith("mutant"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="how many faults")
    parser.add_argument("--seed", type=int, default=0, help="which of all possible ones")
    parser.add_argument("--only", help="a file or folder, relative to the checkout")
    parser.add_argument("--named", action="store_true", help="the faults of mutants_named.py instead")
    parser.add_argument("--workers", type=int, default=1, help="how many at once")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of tests for a fault at most")
    parser.add_argument("--out", default="mutants.json", help="where the answers are kept")
    parser.add_argument("--survivors", action="store_true", help="print all survivors again at the end")
    options = parser.parse_args(arguments)
    faults = named(options.only) if options.named else sampled(options.only, options.count, options.seed)
    warm()
    with tempfile.TemporaryDirectory(prefix="mutate-") as place:
        mutation = Mutation(options, Path(place))
        mutation.run(faults)
        return 0 if mutation.report(faults) else 1


if __name__ == "__main__":
    sys.exit(main())
