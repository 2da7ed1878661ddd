"""Several processes that train together: joining, waiting for each other, and leaving.

Contract: process 0 is the coordinator. A process that fails leaves at once and does not wait for
the others, which notice and end as well. Devices are the business of `parallel`.
"""

import atexit
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence

import jax
from jax.experimental import multihost_utils


def is_first() -> bool:
    """Whether this is process 0, the one that writes logs."""
    return jax.process_index() == 0


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

    Args:
        coordinator: host:port at which process 0 listens.
        num_processes: how many there are.
        process_id: number of this one, from 0.
        detect: take the three from SLURM, Open MPI or the TPU pod, as JAX knows them.
        timeout_s: how long to wait for the others.

    Raises:
        ValueError: if the arguments do not go together, or no such environment is found.
        TimeoutError: if not all processes came.
        OSError: if process 0 cannot listen at the coordinator's port.
    """
    given, devices = (coordinator, num_processes, process_id), None
    if detect:
        if given != (None, None, None):
            raise ValueError("--distributed finds the processes by itself: drop --coordinator")
        coordinator, num_processes, process_id, devices = _detected(timeout_s)
    elif given == (None, None, None):
        yield
        return
    if coordinator is None or num_processes is None or process_id is None:
        raise ValueError("--coordinator, --num_processes and --process_id go together: give all 3")
    host, port = _address(coordinator, num_processes, process_id)
    deadline = time.monotonic() + timeout_s
    if process_id == 0:
        _gather(port, num_processes, deadline, timeout_s)
    else:
        _report(host, port, process_id, deadline, timeout_s)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator, num_processes, process_id, devices, initialization_timeout=timeout_s
    )
    try:
        # Collectives on CPUs meet at their first use, for which XLA waits no more than 30 s: now,
        # not after the data, which one process may read for longer than another.
        wait_for_all("joined")
        yield
    except BaseException:
        # When Python ends, JAX waits for all processes to end, for minutes. This runs before it.
        atexit.register(_leave)
        raise


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _detected(timeout_s: int) -> tuple[str, int, int, Sequence[int] | None]:
    """Address of process 0, how many there are, number of this one, and its devices."""
    from jax._src.clusters import ClusterEnv  # what jax.distributed asks; it has no public name

    try:
        coordinator, num_processes, process_id, devices = (
            ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, timeout_s)
        )
    except ValueError as error:  # a variable that is no number
        raise ValueError(f"--distributed cannot read the environment: {error}") from error
    if coordinator is None or num_processes is None or process_id is None:
        raise ValueError(
            "--distributed finds neither SLURM (srun sets SLURM_JOB_ID, SLURM_STEP_NODELIST, "
            "SLURM_NTASKS, SLURM_PROCID, SLURM_LOCALID), nor Open MPI, nor a TPU pod: start the "
            "processes with srun or mpirun, or give --coordinator, --num_processes, --process_id"
        )
    return coordinator, num_processes, process_id, devices


def _address(coordinator: str, num_processes: int, process_id: int) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--coordinator={coordinator!r} is not host:port, such as node1:12345")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id={process_id} is not one of --num_processes={num_processes}: they count "
            f"from 0 to {num_processes - 1}"
        )
    return host.strip("[]"), int(port)


_MOST_SILENCE_S = 1.0  # a process says its number as soon as it is connected


# JAX aborts the process, with a stack trace of C++, if one of them does not come in time. So they
# meet at the coordinator's port before JAX takes it.


def _gather(port: int, num_processes: int, deadline: float, timeout_s: int) -> None:
    """Process 0 waits until the others have reported, and answers them."""
    missing = set(range(1, num_processes))
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(
                socket.create_server(
                    ("", port), family=family, dualstack_ipv6=family == socket.AF_INET6
                )
            )
        except OSError as error:
            raise OSError(
                f"process 0 cannot listen at port {port} ({error.strerror}): choose another port "
                "in --coordinator"
            ) from error
        connections = []
        while missing:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError as error:
                raise TimeoutError(
                    f"process 0 waited {timeout_s} s at port {port}, but of {num_processes} "
                    f"processes these did not come: {', '.join(map(str, sorted(missing)))}. Start "
                    "them with the same --coordinator, or raise --coordinator_timeout_s"
                ) from error
            with contextlib.suppress(OSError):  # others than our processes may try the port
                connection.settimeout(_MOST_SILENCE_S)
                number = connection.recv(4)
                if len(number) == 4 and 0 < int.from_bytes(number) < num_processes:
                    missing.discard(int.from_bytes(number))
                    connections.append(connection)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(b"!")


def _report(host: str, port: int, process_id: int, deadline: float, timeout_s: int) -> None:
    """Another process reports to process 0, and waits for its answer."""
    reason = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                connection.sendall(process_id.to_bytes(4))
                if connection.recv(1):
                    return
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(min(0.2, left))
    raise TimeoutError(
        f"process {process_id} waited {timeout_s} s for process 0 and the others at "
        f"{host}:{port} ({reason}): check --coordinator and that all processes run, or raise "
        "--coordinator_timeout_s"
    )
