r"""Super-resolves cube files of any size.

    dualsr predict scene.hdr scene_x4.tif
    dualsr predict a.hdr b.hdr --scale 4 --output results/ --format tif
    dualsr predict --weights runs/cave_x4 --half_weights runs/cave_x2 scene.hdr --output big.tif

`python -m dualsr_jax.predict` is the same. What is wrong with any of several scenes is reported
before the first is computed. Formats are those of `io.cubes`, values are normalised by the rules of
`large_scene.normalisation`. An interrupted run is resumed by the same command: finished tiles are
kept in a folder next to the output until it is written. Finished scenes are kept too with
`--skip_existing`.
"""

from absl import flags

from dualsr_jax.choices import CLIPS, MEMORY_GB, PRECISIONS
from dualsr_jax.commands import Command, start
from dualsr_jax.flag_table import Groups, choice, integer, number, switch, text

FLAGS: Groups = {
    "Networks": {
        "weights": text(
            "Weights: folder of a training, *.safetensors file, or shipped name. Default: the "
            "shipped network of the scale."
        ),
        "half_weights": text(
            "Weights of the half-scale network, for x4 and x8: folder, file or name."
        ),
        "scale": integer(
            "Scale factor, 2, 4 or 8; weights of another one are refused. Default: that of the "
            "weights, or at the end of the output's name, as in scene_x4.tif."
        ),
        "ensemble": choice(
            "Members of the self-ensemble; 16: also reversed bands.", ["1", "8", "16"], "1"
        ),
        "precision": choice("Precision of convolutions.", PRECISIONS, "float32"),
    },
    "Scene": {
        "key": text("Name of the variable if a file holds several cubes."),
        "axes": text("Order of the axes if the file does not say it, such as y,band,x."),
        "peak": number("Stored value of full intensity. Default: from metadata or values."),
        "mtf": number(
            "Modulation transfer of the scene's optics at the Nyquist frequency, such as 0.3: the "
            "scene is sharpened to what the networks expect. Default: it is taken as it is."
        ),
    },
    "Results": {
        "output": text(
            "File to write, its suffix chooses the format; for several scenes a folder/. Default: "
            "the second of two paths."
        ),
        "format": text("Suffix of the files in the folder. Default: tif."),
        "dtype": text("Data type of the result. Default: the scene's."),
        "overwrite": switch("Replace existing outputs and tiles of other interrupted runs."),
        "skip_existing": switch("Skip scenes whose results exist."),
        "clip": choice(
            "Limit values to the range of the 5x5 pixels around in the scene (input), or to 0 to "
            "full intensity (unit).",
            ["off", *CLIPS],
            "off",
        ),
        "consistent": integer(
            "Back-projections that make the result, reduced, equal to the scene; 1 suffices "
            "without --clip.",
            0,
            least=0,
        ),
        "uncertainty": text("File for the standard deviation of the self-ensemble."),
        "report": text("Folder for a report of quality without reference."),
    },
    "Machine": {
        "scheduler": text("Compute on Dask: threads, or a cluster's scheduler, tcp://host:port."),
        "memory_gb": number("Memory budget per device in GB; decides the tile size.", MEMORY_GB),
        "tile": text("Size of tiles with their halo in pixels, ROWSxCOLUMNS. Default: by memory."),
    },
}


def main(given: flags.FlagValues, paths: list[str]) -> None:
    """Super-resolves the given scenes."""
    from dualsr_jax.prediction import options as parsed

    parsed.check_flags(given)
    inputs, output = parsed.scenes_of(given, paths)
    name, options = parsed.weights_of(given, output), parsed.options_of(given)

    from dualsr_jax.prediction.batch import checked, outputs
    from dualsr_jax.prediction.cluster import Weights
    from dualsr_jax.prediction.run import predict

    pairs = outputs(inputs, output, given.format)
    parsed.check_flags(given, scenes=len(pairs))
    ensemble, precision = int(given.ensemble), given.precision
    weights = Weights(name, given.half_weights, ensemble=ensemble, precision=precision)
    scale = weights.dualsr.scale
    if given.scale not in (None, scale):
        raise ValueError(f"--scale={given.scale}, but {name!r} holds a network of scale {scale}")
    for path, made in checked(pairs, weights.dualsr, options, skip_existing=given.skip_existing):
        predict(path, made, weights, options)


COMMAND = Command(
    name="predict",
    about="Enlarges scenes: from cube files to cube files with the same bands.",
    arguments="SCENE ... [OUTPUT]",
    example="scene.hdr scene_x4.tif",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
