"""Reads ahead and writes behind, so that devices and files do not wait for each other.

Contract: one thread each, bounded: one item is read ahead, one is being written.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def prefetched(
    load: Callable[[Item], Loaded], items: Iterable[Item]
) -> Iterator[tuple[Item, Loaded]]:
    """Yields each item with what `load` makes of it; the next one is loaded in a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[Item, Future[Loaded]] | None = None
        for item in items:
            following = item, pool.submit(load, item)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


@contextlib.contextmanager
def background_calls() -> Iterator[Callable[..., None]]:
    """Gives `call(function, *arguments)`, which makes calls in a thread, in order.

    A call, and the end of the block, wait for the call before and raise what that one raised.
    """
    last: Future[Any] | None = None

    def call(function: Callable[..., object], *arguments: Any) -> None:
        nonlocal last
        if last is not None:
            last.result()
        last = pool.submit(function, *arguments)

    with ThreadPoolExecutor(1) as pool:
        yield call
    if last is not None:
        last.result()
