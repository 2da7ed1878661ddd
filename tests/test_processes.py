"""Several devices and several processes train as one."""

import contextlib
import socket

import jax
import numpy as np
import pytest
from trainings import records, running, variables_of

from dualsr_jax.training import processes
from dualsr_jax.training.loop import train


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def relative_differences(a, b):
    """The norm of the difference over the norm, of each parameter array."""
    return jax.tree.leaves(
        jax.tree.map(lambda x, y: float(np.linalg.norm(x - y) / np.linalg.norm(x)), a, b)
    )


def test_two_devices_and_two_processes_equal_one_device(make_config, tmp_path):
    config = make_config(epochs=5 / 15, train__save_every_epochs=3 / 15)  # 5 steps, 30 updates
    several = ("--coordinator", f"127.0.0.1:{free_port()}", "--num_processes", "2", "--process_id")
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(running(config, tmp_path / name, *flags, devices=1))
            for name, flags in (
                ("one", ()),
                ("processes", (*several, "0")),
                ("processes", (*several, "1")),
            )
        ]
        assert jax.device_count() == 2
        train(config, tmp_path / "devices")
        outputs = [run.communicate(timeout=240) for run in runs]
        assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert "on 1 cpu device(s)" in outputs[0][0]
    assert "on 2 cpu device(s) of 2 processes" in outputs[1][0]
    assert "CoarSR" not in outputs[2][0]  # process 1 is silent
    assert "step/s" not in outputs[2][1]
    one, devices, several = (variables_of(tmp_path / w) for w in ("one", "devices", "processes"))
    assert one[2] == devices[2] == several[2] == 5
    for other in (devices, several):
        # Adam's first steps are +-learning rate whatever the size of the gradient: a wrong mean
        # over the devices shows as 1e-4, rounding as 4e-8 (measured; 1e-6 is what is promised).
        differences = relative_differences(one[1]["params"], other[1]["params"])
        assert max(differences) < 1e-6
    for name in ("devices", "processes"):
        log = records(tmp_path / name)
        assert [r["step"] for r in log] == [1, 2, 3, 4, 5]
        for a, b in zip(records(tmp_path / "one"), log, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)


def test_nobody_hangs_if_the_others_do_not_come():
    port = free_port()
    message = rf"process 1 waited 1 s for process 0 .* at 127\.0\.0\.1:{port} \(Connection refused"
    with (
        pytest.raises(TimeoutError, match=message),
        processes.joined(f"127.0.0.1:{port}", 2, 1, timeout_s=1),
    ):
        pass
    message = rf"process 0 waited 1 s at port {port}, but of 3 processes .* not come: 1, 2"
    with (
        pytest.raises(TimeoutError, match=message),
        processes.joined(f"127.0.0.1:{port}", 3, 0, timeout_s=1),
    ):
        pass
    with (
        socket.create_server(("", port)),
        pytest.raises(OSError, match=rf"process 0 cannot listen at port {port} \(Address already"),
        processes.joined(f"127.0.0.1:{port}", 2, 0, timeout_s=1),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("node:1", 2, None), "go together: give all 3"),
        (("node", 2, 0), "'node' is not host:port"),
        (("node:1", 2, 2), "--process_id=2 is not one of --num_processes=2"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=message), processes.joined(*arguments):
        pass
