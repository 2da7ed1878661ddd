"""Processes that tests start, send signals and wait for."""

import sys
import time

# Python, with SIGINT not ignored, as it would be in the background of a script.
CATCHING = ["env", "--default-signal=INT", sys.executable]


def wait_until(condition, process, seconds=240):
    """Waits until a condition holds while a process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
