r"""Scores bicubic, a trained network and DualSR on the test scenes of a config.

    dualsr evaluate --config configs/cave.py:4 --weights runs/cave_x4 \
        --half_weights runs/cave_x2
    dualsr evaluate --config configs/cave_plus.py:4-small --weights cave_x4_small

Prints a table and writes `results.json`, `results.csv` and figures to `evaluation` in the folder
of the weights, or to `runs/<name>/evaluation` for a file or shipped name; with `--save_cubes` also
the cubes, of which `dualsr report` makes interactive pages. The network comes from the weights;
the config decides images, degradation and protocol (`protocols.py`).

    dualsr evaluate --config configs/cave.py:8 --check

needs no trained network: it scores bicubic alone and compares it with the published scores.
"""

import sys
from pathlib import Path

from absl import flags

from dualsr_jax.commands import CHECKPOINT, Command, start
from dualsr_jax.flag_table import Flag, Groups, choice, switch, text

FLAGS: Groups = {
    "Test": {
        "config": Flag(
            kind="config",
            help="Config, as FILE.py:ARGUMENT; it decides images, degradation and protocol.",
            required=True,
        ),
        "check": switch("Only compare bicubic with its published scores."),
    },
    "Networks": {
        "weights": text(
            "Trained network: folder of training, *.safetensors file, or shipped name."
        ),
        "half_weights": text("Network of half the scale, for the fine stage at x4 and x8."),
        "checkpoint": CHECKPOINT,
        "workdir": Flag(help="Former name of --weights.", now="weights"),
        "half_scale_workdir": Flag(help="Former name of --half_weights.", now="half_weights"),
    },
    "Results": {
        "output": text(
            "Folder of the results. Default: `evaluation` in the folder of the weights."
        ),
        "save_cubes": switch("Write the cubes as <scene>.npz, which the interactive report needs."),
        "figures": choice("Format of the figures.", ["png", "pdf", "svg"], "png"),
    },
}


def main(given: flags.FlagValues, _: list[str]) -> None:
    """Evaluates a trained network, or checks the protocol."""
    from dualsr_jax.evaluation.run import evaluate
    from dualsr_jax.evaluation.self_check import check_protocol

    if given.check:
        verdict = check_protocol(given.config)
        print(verdict.text)
        sys.exit(not verdict.agrees)
    if not given.weights:
        raise ValueError(
            "--weights is needed: folder of training, *.safetensors file, or shipped name; or "
            "--check, which needs no network"
        )
    evaluate(
        given.config,
        given.weights,
        given.half_weights,
        output=Path(given.output).expanduser() if given.output else None,
        which=given.checkpoint,
        save_cubes=given.save_cubes,
        figures=given.figures,
    )


COMMAND = Command(
    name="evaluate",
    about="Scores bicubic, a trained network and DualSR on the test scenes of a config.",
    example="--config configs/cave_plus.py:4-small --weights cave_x4_small",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
