"""Super-resolves a scene from file to file.

Contract: what is wrong is told before anything is computed; the output appears, whole, at the end.
Finished tiles are kept beside the output until then (`work_folder`), and the same call goes on with
those that are missing. Says on the way what was decided.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dualsr_jax.disk import check_disk_space, make_writable
from dualsr_jax.dualsr import DualSR, tags
from dualsr_jax.evaluation.consistency_report import write_consistency
from dualsr_jax.io.cubes import CubeReader, create_cube, open_cube, written_files
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.normalisation import plan, scan
from dualsr_jax.large_scene.second_pass import SecondPass, check_dtype
from dualsr_jax.large_scene.tile_store import FileTileStore
from dualsr_jax.large_scene.tiling import MEMORY_GB, choose_tiling
from dualsr_jax.large_scene.windows import device_count
from dualsr_jax.prediction import cluster
from dualsr_jax.prediction.cluster import Job, Weights
from dualsr_jax.prediction.work_folder import begin, describe, work_folder


@dataclasses.dataclass(frozen=True)
class PredictOptions:
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
    scene: FirstPass, store: FileTileStore, path: Path, weights: Weights, options: PredictOptions
) -> None:
    """Computes the tiles that are missing."""
    finished = store.finished()
    missing = [index for index in range(len(scene.tiles)) if index not in finished]
    if finished and missing:
        print(f"{len(finished)} of {len(scene.tiles)} tiles are there from an interrupted run")
    with tqdm(total=len(scene.tiles), initial=len(finished), unit="tile", desc="tiles") as bar:

        def done(_: int) -> None:
            bar.update()

        if options.scheduler is None:
            scene.compute(missing, store, done)
            return
        job = Job(
            path.absolute(),
            options.key,
            weights,
            tags(weights.dualsr),
            scene.normalisation,
            scene.tiling,
            scene.spread,
            store.folder.absolute(),
        )
        cluster.compute(job, missing, options.scheduler, done)
    lost = set(missing) - set(store.finished())
    if lost:
        raise ValueError(
            f"{len(lost)} tiles that workers computed are not in {str(store.folder)!r}: all "
            "workers must see this folder under this path"
        )


def _second_pass(
    scene: FirstPass, store: FileTileStore, outputs: Sequence[Any], dtype: np.dtype
) -> SecondPass:
    """Writes the result, and the spread where there is a second output."""
    second = SecondPass(scene, store)
    with tqdm(total=scene.source.shape[0], unit="row", desc="write") as bar:
        second.write_fine(outputs[0].write, dtype, lambda rows: bar.update(rows) or None)
    for writer in outputs[1:]:
        second.write_spread(writer.write)
    return second


def _report(
    source: CubeReader, second: SecondPass, scene: FirstPass, output: Path, folder: Path
) -> None:
    """Writes the report of quality without ground truth, and prints its numbers."""
    shape, normalisation = source.shape, scene.normalisation
    bad = np.isin(np.arange(shape[2]), normalisation.bands, invert=True)
    with open_cube(output) as fine:
        report = write_consistency(
            source,
            {"CoarSR": second, "DualSR": fine},
            scene.scale,
            folder,
            wavelengths=source.metadata.wavelengths,
            peak=float(1 / normalisation.gain.mean()),
            nodata=None if normalisation.nodata is None else float(normalisation.nodata),
            bad_bands=bad,
            title=f"{output.name}, x{scene.scale}",
        )
    for name, scores in report["lr_consistency"].items():
        shown = [
            "-" if value is None else f"{value:.{digits}f} {unit}"
            for value, digits, unit in (
                (scores["psnr_db"], 2, "dB"),
                (scores["sam_deg"], 3, "degrees"),
            )
        ]
        print(f"{name}: {', '.join(shown)} to the scene, reduced")
    print(f"report: {folder}")


def result_of(
    source: CubeReader, dualsr: DualSR, options: PredictOptions
) -> tuple[tuple[int, int, int], np.dtype, Metadata]:
    """Shape, data type and metadata of a scene's result."""
    scale, (height, width, bands) = dualsr.scale, source.shape
    dtype = (source.dtype if options.dtype is None else options.dtype).newbyteorder("=")
    metadata = source.metadata.enlarged(scale)
    metadata = dataclasses.replace(metadata, tags={**metadata.tags, **tags(dualsr)})
    return (height * scale, width * scale, bands), dtype, metadata


def _targets(
    output: Path, dtype: np.dtype, metadata: Metadata, options: PredictOptions
) -> list[tuple[Path, np.dtype, Metadata]]:
    """What is written: path, data type and metadata of the result, and of the spread if asked."""
    targets = [(output, dtype, metadata)]
    if options.uncertainty is not None:
        spread = dataclasses.replace(metadata, nodata=None, offset=None)
        targets.append((options.uncertainty, np.dtype(np.float32), spread))
    return targets


def _planned(
    source: CubeReader,
    dualsr: DualSR,
    targets: Sequence[tuple[Path, np.dtype, Metadata]],
    options: PredictOptions,
    folder: Path,
) -> tuple[FirstPass, FileTileStore]:
    """Looks at a scene, decides how it is computed, begins the run and checks the disk."""
    (height, width, bands), spread = source.shape, options.uncertainty is not None
    statistics = scan(source)
    normalisation = plan(statistics, source.dtype, source.metadata, peak=options.peak)
    print(f"{source.path}: {height}x{width}x{bands} {source.dtype}; {normalisation.describe()}")
    check_dtype(normalisation, source.metadata.nodata, targets[0][1])
    tiling = choose_tiling(
        (height, width, len(normalisation.bands)),
        source.dtype.itemsize,
        dualsr.coarse_stage,
        memory_gb=options.memory_gb,
        window=options.tile,
        spread=spread,
        devices=device_count(),
    )
    settings = {"networks": tags(dualsr), "tile": options.tile, "spread": spread}
    run = describe(source, statistics, normalisation, **settings)
    tiling = begin(folder, run, tiling, overwrite=options.overwrite)
    scene = FirstPass(source, normalisation, dualsr.coarse_stage, tiling, spread)
    store = FileTileStore(folder, scene.tiles, scene.layers, len(normalisation.bands))
    values = height * width * bands * scene.scale**2
    # Packed formats are made from a plain file in the end: both are there then.
    written = 2 * values * sum(kind.itemsize for _, kind, _ in targets)
    needed = store.bytes_missing() + written
    check_disk_space(folder, needed, f"x{scene.scale} of {source.path}")
    print(
        f"{len(scene.tiles)} tiles of {tiling.window[0]}x{tiling.window[1]} pixels, "
        f"{tiling.band_chunk} bands at a time, on {device_count()} device(s), for "
        f"{options.memory_gb:g} GB; {needed / 1e9:.3g} GB of disk"
    )
    return scene, store


def _check_paths(source: CubeReader, output: Path, uncertainty: Path | None) -> None:
    """Raises ValueError if a file would be written over, or into, another of the same run."""

    def shared(some: Sequence[Path], others: Sequence[Path]) -> bool:
        a, b = ({path.resolve() for path in paths} for paths in (some, others))
        inside = any(not a.isdisjoint(path.parents) for path in b)
        return inside or any(not b.isdisjoint((path, *path.parents)) for path in a)

    results = [output] if uncertainty is None else [output, uncertainty]
    for result in results:
        if shared(source.files, written_files(result)):
            raise ValueError(f"{source.path} would be written over itself: choose another output")
    if uncertainty is not None and shared(written_files(output), written_files(uncertainty)):
        raise ValueError(f"the result and its uncertainty are both {output}: rename one")


def predict(path: Path, output: Path, weights: Weights, options: PredictOptions) -> float:
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
    dualsr = weights.dualsr
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as writing:
        source = stack.enter_context(open_cube(path, options.key))
        _check_paths(source, output, options.uncertainty)
        if options.report is not None:
            make_writable(options.report, "report")
        folder = stack.enter_context(work_folder(output))
        shape, dtype, metadata = result_of(source, dualsr, options)
        targets = _targets(output, dtype, metadata, options)
        # Opened before the work: what cannot be written is told at once.
        writers = [
            writing.enter_context(
                create_cube(target, shape, dtype, metadata, overwrite=options.overwrite)
            )
            for target, dtype, metadata in targets
        ]
        scene, store = _planned(source, dualsr, targets, options, folder)
        _first_pass(scene, store, path, weights, options)
        second = _second_pass(scene, store, writers, dtype)
        writing.close()
        size = "x".join(map(str, shape))
        print(f"{output}: {size} {dtype}; gain of the fine stage {second.gain:.4f}")
        if options.report is not None:
            _report(source, second, scene, output, options.report)
    return second.gain
