r"""Trains the coarse network.

    python -m dualsr_jax.train --config configs/cave.py:4 --workdir runs/cave_x4

Any field of the config can be set on the command line, as in `--config.train.batch_size=16`;
`dualsr_jax/recipe.py` explains them. The same command resumes a run that was interrupted. SIGTERM
and SIGINT make a run save and end with status 128 + number of the signal; a second signal ends it
at once.

Several processes, on several hosts that share the workdir, train together on all their devices.
Process 0 listens at the coordinator's address. Each of them runs

    python -m dualsr_jax.train --config ... --workdir ... \
        --coordinator node1:12345 --num_processes 2 --process_id 0

or just `--distributed`, if JAX finds the others by itself (SLURM, Open MPI, TPU pod).
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from dualsr_jax.commands import run
from dualsr_jax.training import processes
from dualsr_jax.training.loop import train

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, as file.py:argument.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints and metrics.", required=True
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Address of process 0, host:port.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of all processes.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_DISTRIBUTED = flags.DEFINE_boolean(
    "distributed", False, "Take the three flags above from SLURM, Open MPI or the TPU pod."
)
_TIMEOUT_S = flags.DEFINE_integer(
    "coordinator_timeout_s", 300, "Seconds that processes wait for each other.", lower_bound=1
)


def main() -> None:
    """Trains the network of the config; checkpoints and records lie in the workdir."""
    with processes.joined(
        _COORDINATOR.value,
        _NUM_PROCESSES.value,
        _PROCESS_ID.value,
        detect=_DISTRIBUTED.value,
        timeout_s=_TIMEOUT_S.value,
    ):
        stopped_by = train(_CONFIG.value, Path(_WORKDIR.value).expanduser())
    if stopped_by:
        sys.exit(128 + stopped_by)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
