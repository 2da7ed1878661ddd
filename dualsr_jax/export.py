r"""Writes a trained network as one file of StableHLO that runs without this package.

    python -m dualsr_jax.export --weights runs/cave_x4 --half_weights runs/cave_x2 \
        --output cave_x4.stablehlo

The file holds both stages and their weights, for any height, width and number of bands from 5 on.
It runs with JAX and flatbuffers alone (docs/export.md):

    jax.export.deserialize(bytes).call(lr)  # float32 [H, W, L] in [0, 1] -> [s H, s W, L]
"""

from pathlib import Path

from absl import flags

from dualsr_jax import commands
from dualsr_jax.stablehlo import DEFAULT_PLATFORMS, PLATFORMS, write_export
from dualsr_jax.training.restore import restore_dualsr


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags. Other commands define the same names, so that import does not."""
    kinds = "folder of training, *.safetensors file, or name of shipped weights"
    commands.define_flags(kinds, ".stablehlo", values)
    flags.adopt_module_key_flags(commands, values)  # --help shows them
    text = f"Platforms on which the file shall run, of {', '.join(PLATFORMS)}."
    flags.DEFINE_list("platforms", list(DEFAULT_PLATFORMS), text, flag_values=values)
    text = "Number of fine-stage iterations; 0 gives the coarse result."
    flags.DEFINE_integer("iterations", 1, text, 0, flag_values=values)


def main(given: flags.FlagValues = flags.FLAGS) -> None:
    """Exports the network that the flags name."""
    path = Path(given.output).expanduser()
    dualsr = restore_dualsr(
        given.weights, given.half_weights, which=given.checkpoint, iterations=given.iterations
    )
    write_export(dualsr, path, given.platforms, overwrite=given.overwrite)
    print(f"x{dualsr.scale}, {path.stat().st_size / 1e6:.1f} MB: {path}")


if __name__ == "__main__":
    define_flags()
    commands.run(main)
