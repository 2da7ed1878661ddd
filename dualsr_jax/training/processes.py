"""Several processes that train together: joining, waiting for each other, and leaving.

Contract: process 0 is the coordinator. A process that fails ends at once, without waiting for the
others, which notice and end as well. Devices are the business of `parallel`.
"""

import atexit
import contextlib
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

# How an error of a collective begins, as JAX raises it if another process has ended.
_PEER_ENDED = re.compile(r"(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")


def is_first() -> bool:
    """Whether this is process 0, the one that writes logs."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Whether no other process trains with this one."""
    return jax.process_count() == 1


def wait_for_all(what: str) -> None:
    """Waits until all processes are here; `what` names the place."""
    multihost_utils.sync_global_devices(what)


@contextlib.contextmanager
def joined(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    *,
    detect: bool = False,
    timeout_s: int = 300,
) -> Iterator[None]:
    """Makes this process one of several; without arguments it stays alone.

    Process 0 listens at the coordinator, host:port. With `detect`, JAX finds the first three
    arguments by itself (SLURM, Open MPI, TPU pod). If the others do not come within `timeout_s`
    seconds, the process ends with one line of error and status 1. Raises ValueError if the
    arguments do not go together, or no such environment is found, and OSError if process 0 cannot
    listen at the coordinator's port, or in the block if another process has ended.
    """
    given = (coordinator, num_processes, process_id)
    if given == (None, None, None):
        if not detect:
            yield
            return
    elif detect:
        raise ValueError("--distributed finds the processes by itself: drop --coordinator")
    else:
        _check(*given)
    with _ending_after(timeout_s, coordinator):
        _initialize(*given, timeout_s)
        # Collectives on CPUs meet at their first use, for which XLA waits no more than 30 s: now,
        # not after the data, which one process may read for longer than another.
        wait_for_all("joined")
    try:
        yield
    except BaseException as error:
        # When Python ends, JAX waits for all processes to end, for minutes, and then aborts with a
        # stack trace of C++. This runs before it.
        atexit.register(_leave)
        kinds = (jax.errors.JaxRuntimeError, ValueError)  # the second if a result is read
        if isinstance(error, kinds) and _PEER_ENDED.match(str(error)):
            raise OSError(
                f"another process of this training has ended ({str(error).splitlines()[0]}): its "
                "own output says why; start all of them again, with the same commands, to resume"
            ) from error
        raise


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is None or num_processes is None or process_id is None:
        raise ValueError("--coordinator, --num_processes and --process_id go together: give all 3")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--coordinator={coordinator!r} is not host:port, such as node1:12345")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id={process_id} is not one of --num_processes={num_processes}: they count "
            f"from 0 to {num_processes - 1}"
        )
    if process_id == 0:
        try:  # JAX may crash if it cannot listen
            socket.create_server(("", int(port))).close()
        except OSError as error:
            raise OSError(
                f"process 0 cannot listen at port {port} ({error.strerror}): choose another port "
                "in --coordinator"
            ) from error


def _initialize(
    coordinator: str | None, num_processes: int | None, process_id: int | None, timeout_s: int
) -> None:
    """Lets JAX join the processes; it waits longer than our own time-out."""
    try:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, initialization_timeout=timeout_s + 60
        )
    except ValueError as error:  # it asks for an address, or a variable is not a number
        raise ValueError(
            f"--distributed cannot find the processes ({error}): start them with srun, which sets "
            "SLURM_JOB_ID, SLURM_STEP_NODELIST, SLURM_NTASKS, SLURM_PROCID and SLURM_LOCALID, with "
            "mpirun, or on a TPU pod; or give --coordinator, --num_processes, --process_id"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise OSError(f"JAX could not join the processes: {error}") from error


@contextlib.contextmanager
def _ending_after(timeout_s: int, coordinator: str | None) -> Iterator[None]:
    """Ends the process if the block takes longer: JAX does so only with a stack trace of C++."""

    def end() -> None:
        place = f" at {coordinator}" if coordinator else ""
        print(
            f"error: waited {timeout_s} s for the other processes{place}: check that all of them "
            "run, with the same --coordinator and --num_processes and each with its own "
            "--process_id, or raise --coordinator_timeout_s",
            file=sys.stderr,
        )
        _leave()

    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
