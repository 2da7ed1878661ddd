r"""Super-resolves cube files of any size.

    python -m dualsr_jax.predict --weights runs/cave_x4 --half_weights runs/cave_x2 \
        scene.hdr --output scene_x4.tif

Several scenes go into a folder, `--output FOLDER/ --format tif`; what is wrong with any is told
before the first is computed. Formats are those of `io`, values are normalised by the rules of
`preprocessing`. A run that is interrupted goes on with the same command: finished tiles are kept in
a folder beside the output until it is written; with `--skip_existing` finished scenes are too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from dualsr_jax.commands import run
from dualsr_jax.large_scene.tiling import MEMORY_GB
from dualsr_jax.prediction.batch import check, finished, outputs
from dualsr_jax.prediction.cluster import Weights
from dualsr_jax.prediction.run import PredictOptions, predict

_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Trained network: folder of training, *.safetensors file, or shipped name."
)
_HALF = flags.DEFINE_string(
    "half_weights", None, "The same of half the scale, for the fine stage at x4 and x8."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write, its suffix chooses the format; for several scenes a folder/."
)
_FORMAT = flags.DEFINE_string("format", None, "Suffix of files in the folder; default: tif.")
_SCALE = flags.DEFINE_integer("scale", None, "Refuse weights of another scale factor.")
_KEY = flags.DEFINE_string("key", None, "Name of the variable where a file holds several cubes.")
_PEAK = flags.DEFINE_float("peak", None, "Stored value of full intensity; default: by rule.")
_DTYPE = flags.DEFINE_string("dtype", None, "Data type of the result; default: the scene's.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace outputs and other interrupted runs.")
_SKIP = flags.DEFINE_bool(
    "skip_existing", False, "Leave out scenes whose outputs exist, of the same networks."
)
_SCHEDULER = flags.DEFINE_string(
    "scheduler", None, "Compute on Dask: threads, or tcp://host:port of a cluster's scheduler."
)
_MEMORY = flags.DEFINE_float("memory_gb", MEMORY_GB, "For a tile, of each device; sets their size.")
_TILE = flags.DEFINE_string(
    "tile", None, "Tiles with their halo, ROWSxCOLUMNS; default: by memory."
)
_ENSEMBLE = flags.DEFINE_enum(
    "ensemble", "1", ["1", "8", "16"], "Members of the self-ensemble; 16: also bands reversed."
)
_UNCERTAINTY = flags.DEFINE_string("uncertainty", None, "File for the ensemble's spread.")
_REPORT = flags.DEFINE_string("report", None, "Folder for a report of quality without reference.")
_PRECISION = flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of the networks.")


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
    """Super-resolves the scenes that are named."""
    if not inputs:
        raise ValueError("no scene is named: python -m dualsr_jax.predict --weights ... SCENE ...")
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
    weights = Weights(_WEIGHTS.value, _HALF.value, int(_ENSEMBLE.value), _PRECISION.value)
    scale = weights.dualsr.scale
    if _SCALE.value not in (None, scale):
        raise ValueError(
            f"--scale={_SCALE.value}, but {_WEIGHTS.value!r} holds a network of scale {scale}"
        )
    options = PredictOptions(
        _KEY.value,
        _PEAK.value,
        _dtype(_DTYPE.value),
        _OVERWRITE.value,
        _SCHEDULER.value,
        _MEMORY.value,
        _tile(_TILE.value),
        Path(_UNCERTAINTY.value).expanduser() if _UNCERTAINTY.value else None,
        Path(_REPORT.value).expanduser() if _REPORT.value else None,
    )
    if _SKIP.value:
        done = [pair for pair in pairs if finished(*pair, weights.dualsr, options)]
        for path, output in done:
            print(f"{output} is there: {path} is skipped")
        pairs = [pair for pair in pairs if pair not in done]
    if len(pairs) > 1:
        print(f"looking at {len(pairs)} scenes before the first is computed")
        for pair in pairs:
            check(*pair, weights.dualsr, options)
    for path, output in pairs:
        predict(path, output, weights, options)


if __name__ == "__main__":
    run(main, arguments=True)
