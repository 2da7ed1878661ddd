r"""Compares any number of trained networks on the test scenes of a config, in one table.

    dualsr compare --config configs/cave.py:4 cave_x4_small MCNet=runs/mcnet_x4

A network is a folder of training, a *.safetensors file or a shipped name; `label=` before it names
its row. Networks with the same label are trainings of one network with several seeds: the table has
their mean and standard deviation. Bicubic always has a row, and so has each method whose published
scores are known for the data set, split, protocol and scale of the config. Every network is scored
without and with the fine stage.

Prints the table and writes it as `results.json`, `results.csv` (each image of each network),
`table.md` and `table.tex`, with figures of PSNR against multiply-adds and of bands with their error
maps. Networks of another scale, and those that are known to have been trained for another data set,
split or protocol than the config's, are refused; what is not known of a training is said.
"""

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
        "time_steps": switch("Measure the seconds per training step too."),
    },
    "Networks": {
        "half_weights": Flag(
            kind="texts",
            help="Network of half the scale, which guides the fine stage at x4 and x8: "
            "label=weights for the network of that label, or weights for all that have no other "
            "guide. May be given several times.",
            default=[],
        ),
        "checkpoint": CHECKPOINT,
    },
    "Results": {
        "output": text("Folder of tables and figures.", "runs/comparison"),
        "figures": choice("Format of the figures.", ["png", "pdf", "svg"], "png"),
    },
}


def main(given: flags.FlagValues, weights: list[str]) -> None:
    """Compares the networks that the command line names."""
    from dualsr_jax.comparison.run import compare

    if not weights:
        raise ValueError(
            "no network is given: dualsr compare --config configs/cave.py:4 WEIGHTS ..., or "
            "LABEL=WEIGHTS ..."
        )
    compare(
        given.config,
        weights,
        given.half_weights,
        output=Path(given.output).expanduser(),
        which=given.checkpoint,
        figures=given.figures,
        time_steps=given.time_steps,
    )


COMMAND = Command(
    name="compare",
    about="Compares any number of trained networks on the test scenes of a config, in one table.",
    arguments="[LABEL=]WEIGHTS ...",
    example="cave_x4_small MCNet=runs/mcnet_x4 --config configs/cave.py:4",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
