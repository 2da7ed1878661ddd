r"""Trains the coarse network.

    dualsr train --config configs/cave.py:4 --workdir runs/cave_x4

`python -m dualsr_jax.train` is the same. Any field of the config can be set on the command line, as
in `--config.train.batch_size=16`; `dualsr_jax/recipe.py` explains them. The same command resumes a
run that was interrupted. SIGTERM and Ctrl-C (SIGINT) make a run save and end with status 128 +
number of the signal. Ctrl-C does so within 10 seconds: it abandons steps that take longer, and the
scoring of held-out scenes. A second signal, or one before the first step, ends the run at once.

Several processes, on several hosts that share the workdir, train together on all their devices.
Process 0 listens at the coordinator's address. Each of them runs

    dualsr train --config ... --workdir ... \
        --coordinator node1:12345 --num_processes 2 --process_id 0

or just `--distributed`, if JAX finds the others by itself (SLURM, Open MPI, TPU pod).
"""

import signal
import sys
from pathlib import Path

from absl import flags

from dualsr_jax.commands import Command, start
from dualsr_jax.flag_table import Flag, Groups, integer, switch, text
from dualsr_jax.interrupts import leave

FLAGS: Groups = {
    "Training": {
        "config": Flag(
            kind="config",
            help="Config, as FILE.py:ARGUMENT; --config.train.epochs=9 sets a field of it.",
            required=True,
        ),
        "workdir": text("Folder for checkpoints and metrics.", required=True),
    },
    "Several processes": {
        "coordinator": text("Address of process 0, host:port."),
        "num_processes": integer("Number of all processes."),
        "process_id": integer("Number of this process, from 0."),
        "distributed": switch("Take the three flags above from SLURM, Open MPI or the TPU pod."),
        "coordinator_timeout_s": integer(
            "Seconds that processes wait for each other.", 300, least=1
        ),
    },
}


def main(given: flags.FlagValues, _: list[str]) -> None:
    """Trains the network of the config; checkpoints and records lie in the workdir."""
    from dualsr_jax.training import processes
    from dualsr_jax.training.loop import train

    with processes.joined(
        given.coordinator,
        given.num_processes,
        given.process_id,
        detect=given.distributed,
        timeout_s=given.coordinator_timeout_s,
    ):
        stopped_by = train(given.config, Path(given.workdir).expanduser())
    if stopped_by == signal.SIGINT and processes.is_alone():
        leave(stopped_by)  # at once: the devices may be at work on steps that are lost
    if stopped_by:
        sys.exit(128 + stopped_by)


COMMAND = Command(
    name="train",
    about="Trains a network, or resumes its training after an interruption.",
    example="--config configs/cave.py:4 --workdir runs/cave_x4",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
