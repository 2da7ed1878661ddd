"""Stopping on request: SIGTERM and SIGINT are noted, so that the run can save before it ends.

Contract: `StopSignals` is used in the main thread, the only one in which Python sets handlers.
"""

import os
import signal
from types import FrameType

_STOP = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes the first signal; the second ends the process at once. A context manager."""

    def __init__(self) -> None:
        self.received = 0  # number of the signal, once it came

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._note) for number in _STOP}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
        name = signal.Signals(number).name
        text = f"\n{name}: saves after the steps under way and stops; again: stops without saving\n"
        os.write(2, text.encode())  # print must not be used in a signal handler
        for other in _STOP:
            signal.signal(other, signal.SIG_DFL)
