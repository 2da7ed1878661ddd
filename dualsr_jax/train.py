"""Trains the coarse network.

    python -m dualsr_jax.train --config configs/cave.py:4 --workdir runs/cave_x4

Any field of the config can be set on the command line, as in `--config.train.batch_size=16`. A run
that was interrupted goes on when the same command is given again.
"""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from dualsr_jax.training.loop import train

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, file.py:argument.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints and metrics.")


def main(argv: list[str]) -> None:
    """Runs the command."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    try:
        train(_CONFIG.value, Path(_WORKDIR.value).expanduser())
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
