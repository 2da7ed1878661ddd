"""Reading ahead and writing behind: files wait for the devices, or the devices for files, not both.

Contract: one thread each, bounded: one item is read ahead, one is being written.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def prefetched(
    load: Callable[[Item], Loaded], items: Iterable[Item]
) -> Iterator[tuple[Item, Loaded]]:
    """Loads items in a thread, one before it is asked for."""
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[Item, Future[Loaded]] | None = None
        for item in items:
            following = item, pool.submit(load, item)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


class BackgroundCalls:
    """Makes calls in a thread, in order. A context manager, which waits for them at its end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[Any] | None = None

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Makes a call, as soon as the one before it is done; raises what that one raised."""
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(function, *arguments)

    def __enter__(self) -> "BackgroundCalls":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
        if error is None and self._last is not None:
            self._last.result()
