"""Stopping on request: SIGTERM and SIGINT are noted, so that the run can save before it ends.

Contract: SIGTERM leaves a run the time that it needs. Ctrl-C (SIGINT) ends it within `LIMIT_S`
seconds, whatever it does. `StopSignals` is used in the main thread, the only one in which Python
sets handlers.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

from dualsr_jax.interrupts import LINE, Watch, leave

GRACE_S = 3.0  # after Ctrl-C, for the steps under way; what they take longer is lost
LIMIT_S = 9.0  # after Ctrl-C, for everything, saving included

T = TypeVar("T")


class StopSignals(Watch):
    """Notes the first signal; the second ends the process at once. A context manager."""

    def __init__(self, *, alone: bool = True) -> None:
        """Watches nothing until the context is entered.

        Processes that train together, of which none is `alone`, need each other to save: none of
        them abandons work, but `LIMIT_S` holds for each.
        """
        super().__init__((signal.SIGTERM, signal.SIGINT), self._note, always=True)
        self._alone = alone
        self._first: Future[int] = Future()  # number of the first signal
        self._grace_ends = float("inf")
        self._limit = threading.Timer(LIMIT_S, self._leave)
        self._limit.daemon = True

    def __exit__(self, *of_block: object) -> None:
        self._limit.cancel()
        super().__exit__(*of_block)

    @property
    def received(self) -> int:
        """The number of the first signal; 0 if there was none."""
        return self._first.result() if self._first.done() else 0

    @property
    def abandons(self) -> bool:
        """Whether the run ends now, with the newest finished steps, not with those under way."""
        return self._alone and self.received == signal.SIGINT

    def grace_s(self) -> float:
        """Seconds for which steps under way are still waited for after Ctrl-C."""
        return max(0.0, self._grace_ends - time.monotonic())

    def finished(self, work: Callable[[], T], *, patient: bool = True) -> T | None:
        """The result of work; None if the work is abandoned, because of Ctrl-C.

        The work is done in a thread, which continues if it is abandoned: compiled code cannot be
        stopped. If `patient`, it is abandoned after the time for steps under way, else at once.

        Processes that train together work in the main thread: the devices order what the processes
        exchange only if one thread starts all of it.
        """
        if not self._alone:
            return work()
        made: Future[T] = Future()
        threading.Thread(target=_fulfil, args=[made, work], daemon=True).start()
        either: list[Future[Any]] = [made, self._first]
        wait(either, return_when=FIRST_COMPLETED)
        if self.abandons and not wait([made], self.grace_s() if patient else 0).done:
            return None
        return made.result()

    def _note(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.received:
            leave(number, f"\n{name}: stops without saving; the same command resumes")
        what = "after the steps under way"
        if number == signal.SIGINT:
            self._grace_ends = time.monotonic() + GRACE_S
            self._limit.start()
            what = "the finished steps, within seconds,"
        self._first.set_result(number)
        text = f"\n{name}: saves {what} and stops; again: stops without saving\n"
        os.write(2, text.encode())  # the main thread may be printing

    def _leave(self) -> None:
        leave(signal.SIGINT, LINE)


def _fulfil(made: "Future[T]", work: Callable[[], T]) -> None:
    try:
        made.set_result(work())
    except BaseException as error:  # of the thread that waits
        made.set_exception(error)
