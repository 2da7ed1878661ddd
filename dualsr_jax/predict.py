"""Super-resolves cube files of any size.

    python -m dualsr_jax.predict --weights runs/cave_x4 --half_weights runs/cave_x2 \
        scene.hdr --output scene_x4.tif

Several scenes go into a folder, `--output FOLDER --format tif`. Formats are those of `io`, values
are normalised by the rules of `preprocessing`. A run that is interrupted goes on with the same
command: finished tiles are kept in a folder beside the output until it is written.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from dualsr_jax import cluster
from dualsr_jax.assembly import Assembly, check_dtype
from dualsr_jax.cluster import Job, Weights
from dualsr_jax.commands import run
from dualsr_jax.io.readers import CubeReader, open_cube
from dualsr_jax.io.writers import create_cube
from dualsr_jax.large_scene import MEMORY_GB, Scene, choose_tiling
from dualsr_jax.parts import FileParts
from dualsr_jax.preprocessing import prepare, scan
from dualsr_jax.provenance import tags
from dualsr_jax.report import write_report
from dualsr_jax.work_folder import check_disk_space, describe, work_folder

_WEIGHTS = flags.DEFINE_string("weights", None, "Folder of the trained network.")
_HALF = flags.DEFINE_string(
    "half_weights", None, "Folder of the network of half the scale, for the fine stage at x4, x8."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write, its suffix chooses the format; a folder for several scenes."
)
_FORMAT = flags.DEFINE_string("format", "tif", "Suffix of the files written to a folder.")
_SCALE = flags.DEFINE_integer("scale", None, "Refuse weights of another scale factor.")
_KEY = flags.DEFINE_string("key", None, "Name of the variable where a file holds several cubes.")
_PEAK = flags.DEFINE_float("peak", None, "Stored value of full intensity; default: by rule.")
_DTYPE = flags.DEFINE_string("dtype", None, "Data type of the result; default: the scene's.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace outputs and other interrupted runs.")
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


@dataclasses.dataclass(frozen=True)
class Options:
    """How scenes are super-resolved; as the flags of the same names."""

    key: str | None = None
    peak: float | None = None
    dtype: np.dtype | None = None
    overwrite: bool = False
    scheduler: str | None = None
    memory_gb: float = MEMORY_GB
    tile: tuple[int, int] | None = None
    uncertainty: Path | None = None
    report: Path | None = None


def _first_pass(
    scene: Scene, parts: FileParts, path: Path, weights: Weights, options: Options
) -> None:
    """Computes the tiles that are missing."""
    finished = parts.finished()
    missing = [index for index in range(len(scene.tiles)) if index not in finished]
    if finished and missing:
        print(f"{len(finished)} of {len(scene.tiles)} tiles are there from an interrupted run")
    with tqdm(total=len(scene.tiles), initial=len(finished), unit="tile", desc="tiles") as bar:

        def done(_: int) -> None:
            bar.update()

        if options.scheduler is None:
            scene.compute(missing, parts, done)
            return
        job = Job(
            path.absolute(),
            options.key,
            weights,
            tags(weights.networks),
            scene.preparation,
            scene.tiling,
            scene.spread,
            parts.folder.absolute(),
        )
        cluster.compute(job, missing, options.scheduler, done)
    lost = set(missing) - set(parts.finished())
    if lost:
        raise ValueError(
            f"{len(lost)} tiles that workers computed are not in {str(parts.folder)!r}: all "
            "workers must see this folder under this path"
        )


def _second_pass(
    scene: Scene, parts: FileParts, outputs: Sequence[Any], dtype: np.dtype
) -> Assembly:
    """Writes the result, and the spread where there is a second output."""
    assembly = Assembly(scene, parts)
    with tqdm(total=scene.source.shape[0], unit="row", desc="write") as bar:
        assembly.write_fine(outputs[0].write, dtype, lambda rows: bar.update(rows) or None)
    for writer in outputs[1:]:
        assembly.write_spread(writer.write)
    return assembly


def _report(
    source: CubeReader, assembly: Assembly, scene: Scene, output: Path, folder: Path
) -> None:
    """Writes the report of quality without ground truth, and prints its numbers."""
    shape, preparation = source.shape, scene.preparation
    bad = np.isin(np.arange(shape[2]), preparation.bands, invert=True)
    with open_cube(output) as fine:
        report = write_report(
            source,
            {"CoarSR": assembly, "DualSR": fine},
            scene.scale,
            folder,
            wavelengths=source.metadata.wavelengths,
            peak=float(1 / preparation.gain.mean()),
            nodata=None if preparation.nodata is None else float(preparation.nodata),
            bad_bands=bad,
            title=f"{output.name}, x{scene.scale}",
        )
    for name, scores in report["lr_consistency"].items():
        print(f"{name}: {scores['psnr_db']} dB, {scores['sam_deg']} degrees to the scene, reduced")
    print(f"report: {folder}")


def predict(path: Path, output: Path, weights: Weights, options: Options) -> float:
    """Super-resolves one scene.

    Args:
        path: of the scene.
        output: to write.
        weights: of both stages.
        options: all else.

    Returns:
        The gain of the fine stage.

    Raises:
        ValueError: for bad input or settings, an output that exists, another run's tiles, or too
            little disk space; nothing is computed before that is known.
        FileNotFoundError: if there is no such scene, or no folder for the output.
    """
    networks = weights.networks
    scale, made_by = networks.model.scale, tags(networks)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_cube(path, options.key))
        height, width, bands = source.shape
        shape = height * scale, width * scale, bands
        dtype = source.dtype if options.dtype is None else options.dtype
        metadata = source.metadata.enlarged(scale)
        metadata = dataclasses.replace(metadata, tags={**metadata.tags, **made_by})
        targets = [(output, dtype, metadata)]
        if options.uncertainty is not None:
            spread_metadata = dataclasses.replace(metadata, nodata=None, offset=None)
            targets.append((options.uncertainty, np.dtype(np.float32), spread_metadata))
        writing = contextlib.ExitStack()
        with writing:
            writers = [
                writing.enter_context(
                    create_cube(target, shape, kind, said, overwrite=options.overwrite)
                )
                for target, kind, said in targets
            ]
            statistics = scan(source)
            preparation = prepare(statistics, source.dtype, source.metadata, peak=options.peak)
            print(f"{path}: {height}x{width}x{bands} {source.dtype}; {preparation.report()}")
            spread = options.uncertainty is not None
            tiling = choose_tiling(
                (height, width, len(preparation.bands)),
                source.dtype.itemsize,
                networks,
                memory_gb=options.memory_gb,
                window=options.tile,
                spread=spread,
            )
            described = describe(
                source, statistics, preparation, networks=made_by, tile=options.tile, spread=spread
            )
            folder, tiling = stack.enter_context(
                work_folder(output, described, tiling, overwrite=options.overwrite)
            )
            scene = Scene(source, preparation, networks, tiling, spread)
            check_dtype(scene, dtype)
            parts = FileParts(folder, scene.tiles, scene.layers, len(preparation.bands))
            pixels = shape[0] * shape[1] * bands
            # Packed formats are made from a plain file in the end: both are there then.
            written = 2 * pixels * sum(kind.itemsize for _, kind, _ in targets)
            check_disk_space(folder, parts.bytes_missing() + written, f"x{scale} of {path}")
            print(
                f"{len(scene.tiles)} tiles of {tiling.window[0]}x{tiling.window[1]} pixels, "
                f"{tiling.band_chunk} bands at a time, on {jax.local_device_count()} device(s)"
            )
            _first_pass(scene, parts, path, weights, options)
            assembly = _second_pass(scene, parts, writers, dtype)
        print(f"{output}: {shape[0]}x{shape[1]}x{bands} {dtype}; gain {assembly.gain:.4f}")
        if options.report is not None:
            _report(source, assembly, scene, output, options.report)
    return assembly.gain


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


def _pairs(inputs: Sequence[str], output: str, suffix: str) -> list[tuple[Path, Path]]:
    """Scenes with their outputs."""
    paths, target = [Path(name).expanduser() for name in inputs], Path(output).expanduser()
    if len(paths) == 1 and not (target.is_dir() and target.suffix == ""):
        return [(paths[0], target)]
    target.mkdir(parents=True, exist_ok=True)
    pairs = [(path, target / f"{path.stem}.{suffix.lstrip('.')}") for path in paths]
    names = [made.name for _, made in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several scenes would be written to {', '.join(twice)}: rename one")
    same = [str(path) for path, made in pairs if path.absolute() == made.absolute()]
    if same:
        raise ValueError(f"{', '.join(same)} would be overwritten: choose another --output")
    return pairs


def main(inputs: Sequence[str]) -> None:
    """Super-resolves the scenes that are named."""
    if not inputs:
        raise ValueError("no scene is named: python -m dualsr_jax.predict --weights ... SCENE ...")
    if _UNCERTAINTY.value and int(_ENSEMBLE.value) == 1:
        raise ValueError("--uncertainty is the spread of an ensemble: add --ensemble 8, or 16")
    if _WEIGHTS.value is None or _OUTPUT.value is None:
        raise ValueError("--weights and --output are needed")
    pairs = _pairs(inputs, _OUTPUT.value, _FORMAT.value)
    if len(pairs) > 1 and (_UNCERTAINTY.value or _REPORT.value):
        raise ValueError("--uncertainty and --report are for one scene at a time")
    weights = Weights(
        Path(_WEIGHTS.value).expanduser(),
        Path(_HALF.value).expanduser() if _HALF.value else None,
        int(_ENSEMBLE.value),
        _PRECISION.value,
    )
    scale = weights.networks.model.scale
    if _SCALE.value not in (None, scale):
        raise ValueError(
            f"--scale={_SCALE.value}, but {str(weights.folder)!r} holds a network of scale {scale}"
        )
    options = Options(
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
    for path, output in pairs:
        predict(path, output, weights, options)


if __name__ == "__main__":
    run(main, arguments=True)
