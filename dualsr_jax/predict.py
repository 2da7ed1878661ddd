r"""Super-resolves cube files of any size.

    python -m dualsr_jax.predict --weights runs/cave_x4 --half_weights runs/cave_x2 \
        scene.hdr --output scene_x4.tif

Several scenes go into a folder, `--output FOLDER/ --format tif`; what is wrong with any of them is
reported before the first is computed. Formats are those of `io.cubes`, values are normalised by the
rules of `large_scene.normalisation`. An interrupted run is resumed by the same command: finished
tiles are kept in a folder next to the output until it is written. Finished scenes are kept too with
`--skip_existing`.
"""

from collections.abc import Sequence

from absl import flags

from dualsr_jax import flag_table
from dualsr_jax.commands import run
from dualsr_jax.flag_table import Groups, choice, define, number, switch, text
from dualsr_jax.large_scene.tiling import MEMORY_GB
from dualsr_jax.models.network import PRECISIONS
from dualsr_jax.prediction.batch import checked, outputs
from dualsr_jax.prediction.cluster import Weights
from dualsr_jax.prediction.options import check_flags, check_one_scene, options_of
from dualsr_jax.prediction.run import predict

FLAGS: Groups = {
    "Networks": {
        "weights": text("Weights: folder of a training, *.safetensors file, or shipped name."),
        "half_weights": text(
            "Weights of the half-scale network, for x4 and x8: folder, file or name."
        ),
        "scale": number("Scale factor; weights of another one are refused.", kind=int),
        "ensemble": choice(
            "Members of the self-ensemble; 16: also reversed bands.", ["1", "8", "16"], "1"
        ),
        "precision": choice("Precision of convolutions.", PRECISIONS, "float32"),
    },
    "Scene": {
        "key": text("Name of the variable if a file holds several cubes."),
        "axes": text("Order of the axes if the file does not say it, such as y,band,x."),
        "peak": number("Stored value of full intensity; default: by rule."),
    },
    "Results": {
        "output": text(
            "File to write, its suffix chooses the format; for several scenes a folder/."
        ),
        "format": text("Suffix of the files in the folder; default: tif."),
        "dtype": text("Data type of the result; default: the scene's."),
        "overwrite": switch("Replace existing outputs and tiles of other interrupted runs."),
        "skip_existing": switch("Skip scenes whose results exist."),
        "uncertainty": text("File for the standard deviation of the self-ensemble."),
        "report": text("Folder for a report of quality without reference."),
    },
    "Machine": {
        "scheduler": text("Compute on Dask: threads, or a cluster's scheduler, tcp://host:port."),
        "memory_gb": number("Memory budget per device in GB; decides the tile size.", MEMORY_GB),
        "tile": text("Size of tiles with their halo in pixels, ROWSxCOLUMNS; default: by memory."),
    },
}


def main(inputs: Sequence[str], given: flags.FlagValues = flags.FLAGS) -> None:
    """Super-resolves the given scenes."""
    if not inputs:
        raise ValueError("no scene is given: python -m dualsr_jax.predict --weights ... SCENE ...")
    check_flags(given)
    pairs = outputs(inputs, given.output, given.format)
    check_one_scene(given, len(pairs))
    weights = Weights(
        given.weights,
        given.half_weights,
        ensemble=int(given.ensemble),
        precision=given.precision,
    )
    scale = weights.dualsr.scale
    if given.scale not in (None, scale):
        raise ValueError(
            f"--scale={given.scale}, but {given.weights!r} holds a network of scale {scale}"
        )
    options = options_of(given)
    for path, output in checked(pairs, weights.dualsr, options, skip_existing=given.skip_existing):
        predict(path, output, weights, options)


if __name__ == "__main__":
    define(FLAGS)
    flags.adopt_module_key_flags(flag_table)  # --help shows them
    run(main, arguments=True)
