"""Plugins of pytest for `mutants.py`: which tests call which function, and these tests alone.

Contract: functions are named as `mutants.py` names them, by the file in the package and the name
in it: `io/base.py:CubeReader.read`. Threads of a test count, other processes do not.
"""

import sys
import threading
import time
from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

Calls = dict[str, tuple[float, list[str]]]  # by test: seconds of processor time, functions


class Recorder:
    """Notes the functions of a package that each test calls."""

    def __init__(self, package: Path) -> None:
        self.calls: Calls = {}
        self._package = f"{package}/"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Runs one test with its fixtures."""
        seen = {}  # by identity: to hash code takes long

        def note(frame: Any, event: str, _: Any) -> None:
            if event == "call":
                seen[id(frame.f_code)] = frame.f_code

        begin = time.process_time()
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
            functions = {
                f"{code.co_filename.removeprefix(self._package)}:{part}"
                for code in seen.values()
                if code.co_filename.startswith(self._package)
                for part in _with_outer(code.co_qualname)
            }
            self.calls[item.nodeid] = (time.process_time() - begin, sorted(functions))


def _with_outer(name: str) -> list[str]:
    """A function, and those in which it is defined."""
    parts = [part for part in name.split(".") if not part.startswith("<")]
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


class Chosen:
    """Runs the chosen tests alone, in their order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves the other tests out."""
        chosen = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(chosen, key=lambda item: self._places[item.nodeid])


def callers(calls: Calls, functions: Collection[str]) -> list[str]:
    """The tests that call one of the functions, the quickest first."""
    found = {name: s for name, (s, called) in calls.items() if set(functions) & set(called)}
    return sorted(found, key=lambda name: found[name])
