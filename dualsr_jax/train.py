"""Trains the coarse network.

    python -m dualsr_jax.train --config configs/cave.py:4 --workdir runs/cave_x4

Any field of the config can be set on the command line, as in `--config.train.batch_size=16`. A run
that was interrupted goes on when the same command is given again.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from dualsr_jax.commands import run
from dualsr_jax.training.loop import train

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, file.py:argument.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints and metrics.", required=True
)


def main() -> None:
    """Trains the config's network in the workdir."""
    train(_CONFIG.value, Path(_WORKDIR.value).expanduser())


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
