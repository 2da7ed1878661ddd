"""Several devices and several processes train as one."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from support.files import ROOT
from support.image_steps import trained
from support.trainings import records, restored, running

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


def test_two_devices_and_two_processes_equal_one_device(make_config, tmp_path, capsys):
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
    # From step 3, which one device has made, on two. What it reads names no device.
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "checkpoints" / "5")
    stored = (tmp_path / "moved" / "checkpoints" / "3").rglob("_METADATA")
    kinds = {
        kind for file in stored for kind in re.findall(r'"value_type": "(.*?)"', file.read_text())
    }
    assert kinds == {"np.ndarray"}
    train(config, tmp_path / "moved")
    assert "steps 3 to 5 on 2 cpu device(s)" in capsys.readouterr().out
    one, step = restored(tmp_path / "one")
    for name in ("devices", "processes", "moved"):
        other, other_step = restored(tmp_path / name)
        assert step == other_step == 5
        # Adam's first steps are +-learning rate whatever the size of the gradient: a wrong mean
        # over the devices shows as 1e-4, rounding as 4e-8 (measured; 1e-6 is what is promised).
        differences = relative_differences(one.variables["params"], other.variables["params"])
        assert max(differences) < 1e-6
    for name in ("devices", "processes", "moved"):
        log = records(tmp_path / name)
        assert [r["step"] for r in log] == [1, 2, 3, 4, 5]
        for a, b in zip(records(tmp_path / "one"), log, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)


def slurm(process, port):
    """What `srun` tells a process."""
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": str(process),
        "JAX_COORDINATOR_PORT": str(port),  # else made from the job's number
    }


def test_two_processes_under_slurm_equal_one(tmp_path):
    """With one update a step; with one a band, by the command: above."""
    port, flag = free_port(), "--xla_force_host_platform_device_count="
    flags = os.environ["XLA_FLAGS"].replace(f"{flag}2", f"{flag}1")
    command = [
        sys.executable,
        str(ROOT / "tests" / "support" / "image_steps.py"),
        str(tmp_path / "two.npz"),
    ]
    with contextlib.ExitStack() as stack:
        runs = []
        for process in (0, 1):
            environment = {**os.environ, **slurm(process, port), "XLA_FLAGS": flags}
            environment["PYTHONPATH"] = str(ROOT)
            runs.append(stack.enter_context(subprocess.Popen(command, env=environment)))
            stack.callback(runs[-1].kill)
        one = trained()
        assert [run.wait(timeout=240) for run in runs] == [0, 0]
    with np.load(tmp_path / "two.npz") as two:
        assert two["devices"] == 2
        assert max(relative_differences(one, {name: two[name] for name in one})) < 1e-6


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"SLURM_STEP_NODELIST": None}, ValueError, "finds neither SLURM .*srun sets SLURM_JOB_ID"),
        ({"SLURM_NTASKS": "2(x3)"}, ValueError, r"cannot read the environment: .*2\(x3\)"),
        ({}, TimeoutError, "process 1 waited 1 s for process 0 .* at localhost:1 "),
    ],
)
def test_environments_in_which_processes_do_not_meet(monkeypatch, changes, error, message):
    for name in ("KUBERNETES_SERVICE_HOST", "OMPI_MCA_orte_hnp_uri"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**slurm(1, port=1), **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with (
        pytest.raises(error, match=message),
        processes.joined(None, None, None, detect=True, timeout_s=1),
    ):
        pass


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
