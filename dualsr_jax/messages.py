"""What a command says on its way: decisions, which go to stdout, and progress, to stderr.

Contract: `be_quiet` silences both, but not errors, warnings and results, which are printed.
"""

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


def bar(*iterable: Any, **settings: Any) -> Any:
    """A progress bar of `tqdm`; the time that it estimates follows from the mean rate so far."""
    from tqdm import tqdm

    disable = _quiet or settings.pop("disable", False)
    return tqdm(*iterable, **{"smoothing": 0, "dynamic_ncols": True, **settings}, disable=disable)
