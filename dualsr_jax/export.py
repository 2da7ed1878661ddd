r"""Writes a trained network as one file of StableHLO that runs without this package.

    dualsr export --weights runs/cave_x4 --half_weights runs/cave_x2 \
        --output cave_x4.stablehlo

The file holds both stages and their weights, for any height, width and number of bands from 5 on;
for one number of bands, if the weights belong to each band.
It runs with JAX and flatbuffers alone (docs/export.md):

    jax.export.deserialize(bytes).call(lr)  # float32 [H, W, L] in [0, 1] -> [s H, s W, L]
"""

from pathlib import Path

from absl import flags

from dualsr_jax.choices import DEFAULT_PLATFORMS, PLATFORMS
from dualsr_jax.commands import Command, start, weights_and_output
from dualsr_jax.flag_table import Groups, integer, several
from dualsr_jax.messages import say

FLAGS: Groups = {
    "Networks and file": weights_and_output(
        "folder of training, *.safetensors file, or shipped name", ".stablehlo"
    ),
    "Content": {
        "platforms": several(
            f"Platforms on which the file shall run, of {', '.join(PLATFORMS)}.",
            list(DEFAULT_PLATFORMS),
        ),
        "iterations": integer(
            "Number of fine-stage iterations; 0 gives the coarse result.", 1, least=0
        ),
    },
}


def main(given: flags.FlagValues, _: list[str]) -> None:
    """Exports the network that the flags name."""
    from dualsr_jax.stablehlo import write_export
    from dualsr_jax.training.restore import restore_dualsr

    path = Path(given.output).expanduser()
    dualsr = restore_dualsr(
        given.weights, given.half_weights, which=given.checkpoint, iterations=given.iterations
    )
    write_export(dualsr, path, given.platforms, overwrite=given.overwrite)
    say(f"x{dualsr.scale}, {path.stat().st_size / 1e6:.1f} MB: {path}")


COMMAND = Command(
    name="export",
    about="Writes a trained network as StableHLO, which runs with JAX and without this package.",
    example="--weights cave_x4_small --output cave_x4.stablehlo",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
