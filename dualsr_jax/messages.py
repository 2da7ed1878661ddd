"""What a command says on its way: decisions, which go to stdout, and progress, to stderr.

Contract: `be_quiet` silences both, but not errors, warnings and results, which are printed.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

_quiet = False


def be_quiet() -> None:
    """Silences this process: nothing is said, and no progress is shown from now on."""
    global _quiet
    _quiet = True


def say(*lines: str) -> None:
    """Prints some lines of what was decided or done."""
    if not _quiet:
        print(*lines, sep="\n", flush=True)


def show(line: str) -> None:
    """Prints a line of progress, to stderr."""
    if not _quiet:
        print(line, file=sys.stderr, flush=True)


def bar(*iterable: Any, **settings: Any) -> Any:
    """A progress bar of `tqdm`; the time that it estimates follows from the mean rate so far."""
    from tqdm import tqdm

    disable = _quiet or settings.pop("disable", False)
    return tqdm(*iterable, **{"smoothing": 0, "dynamic_ncols": True, **settings}, disable=disable)


@contextlib.contextmanager
def late_bar(**settings: Any) -> Iterator[Callable[[float], None]]:
    """Gives a function that counts on a bar, which begins at its first call.

    What comes before, such as compiling, is so not in the rate from which the bar estimates the
    time that is left; what the first call counts is not either.
    """
    shown: Any = None
    lock = threading.Lock()  # threads may count

    def count(steps: float) -> None:
        nonlocal shown
        with lock:
            if shown is None:
                initial = settings.pop("initial", 0) + steps
                shown = bar(initial=initial, **settings)
            else:
                shown.update(steps)

    try:
        yield count
    finally:
        if shown is not None:
            shown.close()
