"""Which lines each test passes over: of `mutate`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from time import process_time  # not as an attribute: tests forbid looking at the clock
from typing import Any


class Tracer:
    """A pytest plugin: which lines of the changed files each test passes over, and how long it takes."""

    def __init__(self, folder: Path, paths: set[str], out: Path) -> None:
        self.paths = {str(folder / path): path for path in paths}
        self.out = out
        self.shared: dict[str, set[int]] = defaultdict(set)  # while files are imported and fixtures made
        self.now = self.shared
        self.tests: dict[str, dict[str, Any]] = {}
        self.failed: set[str] = set()
        if paths:
            sys.settrace(self._trace), threading.settrace(self._trace)

    def _trace(self, frame: Any, event: str, argument: object) -> Any:
        path = self.paths.get(frame.f_code.co_filename)
        if path is None:
            return None
        self.now[path].add(frame.f_lineno)

        def lines(frame: Any, event: str, argument: object) -> Any:
            self.now[path].add(frame.f_lineno)
            return lines

        return lines

    def pytest_runtest_call(self, item: Any) -> None:
        self.now = defaultdict(set)
        own_server = {"url", "client"} & set(item.fixturenames)
        self.tests[item.nodeid] = {"lines": self.now, "elsewhere": bool(own_server), "seconds": 0.0}
        test, popen = self.tests[item.nodeid], subprocess.Popen.__init__

        def counted(*arguments: Any, **options: Any) -> None:
            test["elsewhere"] = True
            popen(*arguments, **options)

        subprocess.Popen.__init__ = counted  # type: ignore[method-assign]
        item.addfinalizer(lambda: setattr(subprocess.Popen, "__init__", popen))
        self.began = process_time()  # a busy machine does not count
        if self.paths:
            sys.settrace(self._trace)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.nodeid in self.tests:
            test, took = self.tests[report.nodeid], process_time() - self.began
            test["seconds"] = report.duration if test["elsewhere"] else took
        self.now = self.shared
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        tests = {name: {**test, "lines": _lists(test["lines"])} for name, test in self.tests.items()}
        found = {"shared": _lists(self.shared), "tests": tests, "failed": sorted(self.failed)}
        self.out.write_text(json.dumps(found))


def _lists(lines: dict[str, set[int]]) -> dict[str, list[int]]:
    return {path: sorted(numbers) for path, numbers in lines.items()}
