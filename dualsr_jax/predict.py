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
from pathlib import Path

import numpy as np
from absl import flags

from dualsr_jax.commands import run
from dualsr_jax.large_scene.tiling import MEMORY_GB
from dualsr_jax.models.network import PRECISIONS
from dualsr_jax.prediction.batch import checked, outputs
from dualsr_jax.prediction.cluster import Weights
from dualsr_jax.prediction.run import PredictOptions, predict

_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Weights: folder of a training, *.safetensors file, or shipped name."
)
_HALF = flags.DEFINE_string(
    "half_weights", None, "Weights of the half-scale network, for x4 and x8: folder, file or name."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write, its suffix chooses the format; for several scenes a folder/."
)
_FORMAT = flags.DEFINE_string("format", None, "Suffix of the files in the folder; default: tif.")
_SCALE = flags.DEFINE_integer("scale", None, "Scale factor; weights of another one are refused.")
_KEY = flags.DEFINE_string("key", None, "Name of the variable if a file holds several cubes.")
_PEAK = flags.DEFINE_float("peak", None, "Stored value of full intensity; default: by rule.")
_DTYPE = flags.DEFINE_string("dtype", None, "Data type of the result; default: the scene's.")
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace existing outputs and tiles of other interrupted runs."
)
_SKIP = flags.DEFINE_bool("skip_existing", False, "Skip scenes whose results exist.")
_SCHEDULER = flags.DEFINE_string(
    "scheduler", None, "Compute on Dask: threads, or a cluster's scheduler, tcp://host:port."
)
_MEMORY = flags.DEFINE_float(
    "memory_gb", MEMORY_GB, "Memory budget per device in GB; decides the tile size."
)
_TILE = flags.DEFINE_string(
    "tile", None, "Size of tiles with their halo in pixels, ROWSxCOLUMNS; default: by memory."
)
_ENSEMBLE = flags.DEFINE_enum(
    "ensemble", "1", ["1", "8", "16"], "Members of the self-ensemble; 16: also reversed bands."
)
_UNCERTAINTY = flags.DEFINE_string(
    "uncertainty", None, "File for the standard deviation of the self-ensemble."
)
_REPORT = flags.DEFINE_string("report", None, "Folder for a report of quality without reference.")
_PRECISION = flags.DEFINE_enum("precision", "float32", PRECISIONS, "Precision of convolutions.")


def _tile(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"--tile={text}: expected ROWSxCOLUMNS, such as 512x512")
    return int(sides[0]), int(sides[1])


def _dtype(text: str | None) -> np.dtype | None:
    try:
        return None if text is None else np.dtype(text)
    except TypeError as error:
        raise ValueError(f"--dtype={text}: expected a data type, such as int16") from error


def main(inputs: Sequence[str]) -> None:
    """Super-resolves the given scenes."""
    if not inputs:
        raise ValueError("no scene is given: python -m dualsr_jax.predict --weights ... SCENE ...")
    if _UNCERTAINTY.value and int(_ENSEMBLE.value) == 1:
        raise ValueError("--uncertainty is the spread of an ensemble: add --ensemble 8, or 16")
    if _WEIGHTS.value is None or _OUTPUT.value is None:
        raise ValueError("--weights and --output are needed")
    if _SKIP.value and _OVERWRITE.value:
        raise ValueError("--skip_existing keeps outputs, --overwrite replaces them: give only one")
    pairs = outputs(inputs, _OUTPUT.value, _FORMAT.value)
    if (len(pairs) > 1 or _SKIP.value) and (_UNCERTAINTY.value or _REPORT.value):
        raise ValueError(
            "--uncertainty and --report are for one scene at a time, without --skip_existing"
        )
    ensemble, precision = int(_ENSEMBLE.value), _PRECISION.value
    weights = Weights(_WEIGHTS.value, _HALF.value, ensemble=ensemble, precision=precision)
    scale = weights.dualsr.scale
    if _SCALE.value not in (None, scale):
        raise ValueError(
            f"--scale={_SCALE.value}, but {_WEIGHTS.value!r} holds a network of scale {scale}"
        )
    options = PredictOptions(
        key=_KEY.value,
        peak=_PEAK.value,
        dtype=_dtype(_DTYPE.value),
        overwrite=_OVERWRITE.value,
        scheduler=_SCHEDULER.value,
        memory_gb=_MEMORY.value,
        tile=_tile(_TILE.value),
        uncertainty=Path(_UNCERTAINTY.value).expanduser() if _UNCERTAINTY.value else None,
        report=Path(_REPORT.value).expanduser() if _REPORT.value else None,
    )
    for path, output in checked(pairs, weights.dualsr, options, skip_existing=_SKIP.value):
        predict(path, output, weights, options)


if __name__ == "__main__":
    run(main, arguments=True)
