"""Training in processes of their own, as a user starts it."""

import contextlib
import json
import os
import subprocess

from support.files import ROOT
from support.processes import CATCHING

from dualsr_jax.training.checkpoint import Checkpoints


@contextlib.contextmanager
def running(config, workdir, *flags, devices=2):
    """Starts `python -m dualsr_jax.train`; killed at the end, if it still runs."""
    workdir.mkdir(exist_ok=True)
    file = workdir / "settings.py"
    file.write_text(
        "from ml_collections import ConfigDict\n\n\n"
        f"def get_config():\n    return ConfigDict({config.to_dict()!r}).lock()\n"
    )
    count = "--xla_force_host_platform_device_count="
    environment = {
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace(f"{count}2", f"{count}{devices}"),
        "PYTHONUNBUFFERED": "1",
    }
    command = ["-m", "dualsr_jax.train", "--config", str(file), "--workdir", str(workdir)]
    process = subprocess.Popen(
        [*CATCHING, *command, *flags],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def steps_saved(workdir):
    """The finished checkpoints, in order."""
    folder = workdir / "checkpoints"
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())


def restored(workdir, which="latest"):
    """The network of a folder of training, and its step."""
    with Checkpoints(workdir, read_only=True) as checkpoints:
        return checkpoints.restore_network(which)


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
