"""Signals that act at once: a thread sees them although the main thread is in compiled code.

Contract: Python calls handlers of signals in the main thread, between two of its instructions;
while XLA compiles or computes, that may be a minute later. The handlers of a `Watch` do nothing; a
thread of its own acts. `Watch` is used in the main thread, where alone Python sets handlers.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

LINE = "interrupted: run the same command again to resume"
_FLUSH_S = 2.0  # what is written to a pipe that nobody reads may wait for ever


def leave(number: int, text: str = "") -> NoReturn:
    """Ends the process with a line of text, if any, and the status that shells use for a signal.

    Nothing is unwound, because the runtime of JAX crashes when it is shut down at work: files,
    locks and tiles are left as by a kill, after which the same command resumes.
    """
    timer = threading.Timer(_FLUSH_S, os._exit, [128 + number])
    timer.daemon = True
    timer.start()
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    if text:
        os.write(2, f"{text}\n".encode())
    with contextlib.suppress(OSError, ValueError):  # of a reader that has ended
        sys.stdout.flush()
    os._exit(128 + number)


def end_at_interrupt() -> None:
    """From now on, Ctrl-C ends the process at once; what was called before stays in force."""
    global _ending
    if _ending is None:
        _ending = Watch([signal.SIGINT], lambda number: leave(number, LINE), always=False)
        _ending.__enter__()


class Watch:
    """Calls `act(number)` in a thread at each of some signals; a context manager.

    A signal that the process was started to ignore, as SIGINT in the background of a script, stays
    ignored unless `always`.
    """

    def __init__(
        self, numbers: Sequence[signal.Signals], act: Callable[[int], object], *, always: bool
    ) -> None:
        """Watches nothing until the context is entered."""
        self._numbers, self._act, self._always = numbers, act, always

    def __enter__(self) -> "Watch":
        heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        threading.Thread(target=self._listen, args=[heard], daemon=True).start()
        self._told_before = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, _do_nothing)
            for number in self._numbers
            if self._always or signal.getsignal(number) != signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._told_before)
        os.close(self._told)

    def _listen(self, heard: int) -> None:
        with open(heard, "rb", buffering=0) as pipe:
            while numbers := pipe.read(1):
                if numbers[0] in self._numbers:
                    self._act(numbers[0])


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Takes the place of Python's own handler, which raises KeyboardInterrupt."""


_ending: Watch | None = None  # of this process, never left
