"""Super-resolves cube files of any size.

    python -m dualsr_jax.predict --weights runs/cave_x4 --half_weights runs/cave_x2 \
        scene.hdr --output scene_x4.tif

Several scenes go into a folder, `--output FOLDER --format tif`. Formats are those of `io`, values
are normalised by the rules of `preprocessing`. A run that is interrupted goes on with the same
command: finished tiles are kept in a folder beside the output until it is written.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
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
from dualsr_jax.io.envi import RAW_SUFFIXES
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.readers import CubeReader, open_cube
from dualsr_jax.io.writers import create_cube
from dualsr_jax.large_scene import MEMORY_GB, Scene, choose_tiling
from dualsr_jax.parts import FileParts
from dualsr_jax.preprocessing import prepare, scan
from dualsr_jax.provenance import tags
from dualsr_jax.report import write_report
from dualsr_jax.upscale import DualSR
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


def _targets(
    source: CubeReader, output: Path, networks: DualSR, options: Options
) -> list[tuple[Path, np.dtype, Metadata]]:
    """What is written: path, data type and metadata of the result, and of the spread if asked."""
    dtype = source.dtype if options.dtype is None else options.dtype
    metadata = source.metadata.enlarged(networks.model.scale)
    metadata = dataclasses.replace(metadata, tags={**metadata.tags, **tags(networks)})
    targets = [(output, dtype, metadata)]
    if options.uncertainty is not None:
        spread = dataclasses.replace(metadata, nodata=None, offset=None)
        targets.append((options.uncertainty, np.dtype(np.float32), spread))
    return targets


@contextlib.contextmanager
def _planned(
    source: CubeReader,
    networks: DualSR,
    targets: Sequence[tuple[Path, np.dtype, Metadata]],
    options: Options,
) -> Iterator[tuple[Scene, FileParts]]:
    """Looks at a scene, decides how it is computed, opens the work folder and checks the disk."""
    (height, width, bands), spread = source.shape, options.uncertainty is not None
    output, dtype, metadata = targets[0]
    statistics = scan(source)
    preparation = prepare(statistics, source.dtype, source.metadata, peak=options.peak)
    print(f"{source.path}: {height}x{width}x{bands} {source.dtype}; {preparation.report()}")
    check_dtype(preparation, source.metadata.nodata, dtype)
    tiling = choose_tiling(
        (height, width, len(preparation.bands)),
        source.dtype.itemsize,
        networks,
        memory_gb=options.memory_gb,
        window=options.tile,
        spread=spread,
    )
    settings = {"networks": tags(networks), "tile": options.tile, "spread": spread}
    run = describe(source, statistics, preparation, **settings)
    with work_folder(output, run, tiling, overwrite=options.overwrite) as (folder, tiling):
        scene = Scene(source, preparation, networks, tiling, spread)
        parts = FileParts(folder, scene.tiles, scene.layers, len(preparation.bands))
        values = height * width * bands * scene.scale**2
        # Packed formats are made from a plain file in the end: both are there then.
        written = 2 * values * sum(kind.itemsize for _, kind, _ in targets)
        needed = parts.bytes_missing() + written
        check_disk_space(folder, needed, f"x{scene.scale} of {source.path}")
        print(
            f"{len(scene.tiles)} tiles of {tiling.window[0]}x{tiling.window[1]} pixels, "
            f"{tiling.band_chunk} bands at a time, on {jax.local_device_count()} device(s), for "
            f"{options.memory_gb:g} GB; {needed / 1e9:.3g} GB of disk"
        )
        yield scene, parts


def _check_paths(path: Path, output: Path, uncertainty: Path | None) -> None:
    """Raises ValueError if a file would be written over another of the same run."""
    envi = {".hdr", *RAW_SUFFIXES}

    def same(a: Path, b: Path) -> bool:
        both_envi = {a.suffix.lower(), b.suffix.lower()} <= envi
        a, b = a.absolute(), b.absolute()
        return a == b or (both_envi and a.with_suffix("") == b.with_suffix(""))

    if same(path, output) or (uncertainty is not None and same(path, uncertainty)):
        raise ValueError(f"{path} would be written over itself: choose another output")
    if uncertainty is not None and same(output, uncertainty):
        raise ValueError(f"the result and its uncertainty are both {output}: rename one")


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
    _check_paths(path, output, options.uncertainty)
    networks = weights.networks
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as writing:
        source = stack.enter_context(open_cube(path, options.key))
        scale, (height, width, bands) = networks.model.scale, source.shape
        shape = height * scale, width * scale, bands
        targets = _targets(source, output, networks, options)
        # Opened before the work: what cannot be written is told at once.
        writers = [
            writing.enter_context(
                create_cube(target, shape, dtype, metadata, overwrite=options.overwrite)
            )
            for target, dtype, metadata in targets
        ]
        scene, parts = stack.enter_context(_planned(source, networks, targets, options))
        _first_pass(scene, parts, path, weights, options)
        assembly = _second_pass(scene, parts, writers, targets[0][1])
        writing.close()
        size = "x".join(map(str, shape))
        print(f"{output}: {size} {targets[0][1]}; gain of the fine stage {assembly.gain:.4f}")
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
