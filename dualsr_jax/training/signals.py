"""Stopping on request: SIGTERM and SIGINT are noted, so that the run can save before it ends.

Contract: `StopSignals` is used in the main thread, the only one in which Python sets handlers.
"""

import os
import signal

from dualsr_jax.interrupts import Watch, leave


class StopSignals(Watch):
    """Notes the first signal; the second ends the process at once. A context manager."""

    def __init__(self) -> None:
        super().__init__((signal.SIGTERM, signal.SIGINT), self._note, always=True)
        self.received = 0  # number of the signal, once it came

    def _note(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.received:
            leave(number, f"\n{name}: stops without saving; the same command resumes")
        self.received = number
        text = f"\n{name}: saves after the steps under way and stops; again: stops without saving\n"
        os.write(2, text.encode())  # the main thread may be printing
