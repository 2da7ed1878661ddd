"""Super-resolves a scene from file to file.

Contract: what is wrong is reported before anything is computed; the output appears at the end, as a
whole. Until then finished tiles are kept next to it (`work_folder`), and the same call resumes with
the missing ones. What was decided is printed on the way.
"""

import contextlib
import dataclasses
import importlib.util
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dualsr_jax.disk import check_disk_space, make_writable
from dualsr_jax.dualsr import DualSR, tags
from dualsr_jax.evaluation.consistency import ArrayOrReader
from dualsr_jax.evaluation.consistency_report import describe_consistency, write_consistency
from dualsr_jax.io.cubes import CubeReader, create_cube, open_cube, written_files
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import staged
from dualsr_jax.large_scene.correction import check_clip
from dualsr_jax.large_scene.estimate import estimated_s, in_words
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.nodata import describe_missing
from dualsr_jax.large_scene.normalisation import Normalisation, Statistics, plan, scan
from dualsr_jax.large_scene.second_pass import SecondPass, check_dtype
from dualsr_jax.large_scene.sharpened import sharpened
from dualsr_jax.large_scene.tile_store import FileTileStore
from dualsr_jax.large_scene.tiling import Tiling, choose_tiling
from dualsr_jax.large_scene.windows import device_count
from dualsr_jax.messages import bar, late_bar, say, show
from dualsr_jax.models.network import method_of, settings_of
from dualsr_jax.pages.scene_page import write_scene_page
from dualsr_jax.prediction import cluster
from dualsr_jax.prediction.cluster import Job, Weights
from dualsr_jax.prediction.options import PredictOptions
from dualsr_jax.prediction.work_folder import begin, describe, work_folder
from dualsr_jax.radiometry import Radiometry

_SILENT_S = 1.0  # seconds without a bar: most scenes are scanned in less


def scan_shown(source: CubeReader) -> Statistics:
    """The statistics of a scene, of which a bar shows the rows that were read."""
    with bar(total=source.shape[0], unit="row", desc="scan", delay=_SILENT_S) as shown:
        return scan(source, shown.update)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _first_pass(
    scene: FirstPass, store: FileTileStore, path: Path, weights: Weights, options: PredictOptions
) -> None:
    """Computes the tiles that the store does not hold yet."""
    finished, total = store.finished(), len(scene.layout.tiles)
    missing = [index for index in range(total) if index not in finished]
    if finished and missing:
        say(f"resuming an interrupted run: {len(finished)} of {total} tiles are finished")
    each, here = scene.steps_per_tile, options.scheduler in (None, cluster.THREADS)
    if here and missing:
        duration = in_words(estimated_s(scene, len(missing)))
        show(f"estimate: the networks will take {duration} for {_counted(len(missing), 'tile')}")
    if here and missing and not scene.compiled:
        show("compiling the networks, once for all tiles: usually 5 to 20 s")
    counts = {"total": total * each, "initial": len(finished) * each}
    with late_bar(**counts, unit="band", desc=_counted(total, "tile")) as count:
        if options.scheduler is None:
            scene.compute(missing, store, count)
            return
        if options.scheduler == cluster.THREADS:
            cluster.compute_in_threads(scene, store, missing, count)
            return
        count(0)
        job = Job(
            path=path.absolute(),
            key=options.key,
            axes=options.axes,
            weights=weights,
            made_by=tags(weights.dualsr),
            normalisation=scene.normalisation,
            mtf=options.mtf,
            tiling=scene.tiling,
            spread=scene.spread,
            folder=store.folder.absolute(),
        )
        cluster.compute_on_cluster(job, missing, options.scheduler, lambda _: count(each))
    lost = set(missing) - set(store.finished())
    if lost:
        raise ValueError(
            f"{_counted(len(lost), 'tile')} of the workers cannot be found in "
            f"{str(store.folder)!r}: all workers must see this folder under this path"
        )


def _second_pass(
    scene: FirstPass,
    store: FileTileStore,
    writers: Sequence[Any],
    dtype: np.dtype,
    radiometry: Radiometry,
) -> SecondPass:
    """Writes the result and, if there is a second writer, the spread."""
    with contextlib.ExitStack() as stack:

        def scratch(shape: tuple[int, int, int]) -> Any:
            return stack.enter_context(staged(store.folder, shape, np.dtype(np.float32)))

        second = SecondPass(scene, store, radiometry, scratch)
        rows = scene.source.shape[0] * second.passes
        with bar(total=rows, unit="row", desc="write") as shown:
            second.write_fine(writers[0].write, dtype, shown.update)
    for writer in writers[1:]:
        second.write_spread(writer.write)
    return second


def _report(
    second: SecondPass, scene: FirstPass, output: Path, folder: Path, mtf: float | None
) -> None:
    """Writes the report of quality without ground truth, and prints its figures.

    The result is compared with the scene as the networks saw it, sharpened if an MTF was given.
    """
    source, normalisation, scale = scene.source, scene.normalisation, scene.stage.scale
    sharpened_for = "" if mtf is None else f", the scene sharpened for an MTF of {mtf:g}"
    about: dict[str, Any] = {
        "wavelengths": source.metadata.wavelengths,
        "peak": float(1 / normalisation.gain.mean()),
        "nodata": None if normalisation.nodata is None else float(normalisation.nodata),
        "bad_bands": np.isin(np.arange(source.shape[2]), normalisation.bands, invert=True),
        "title": f"{output.name}, x{scale}{sharpened_for}",
    }
    with open_cube(output) as fine:
        results: dict[str, ArrayOrReader] = {
            method_of(scene.stage.coarse.model): second,
            "DualSR": fine,
        }
        report = write_consistency(source, results, scale, folder, effect=second.effect, **about)
        if importlib.util.find_spec("bokeh") is None:
            say('without an interactive page, which needs Bokeh: pip install -e ".[report]"')
        else:
            scores = report["lr_consistency"]
            page = folder / "report.html"
            notes = second.effect.describe()
            write_scene_page(source, results, scale, page, scores=scores, notes=notes, **about)
    say(*describe_consistency(report["lr_consistency"]), f"report: {folder}")


def result_of(
    source: CubeReader, dualsr: DualSR, options: PredictOptions
) -> tuple[tuple[int, int, int], np.dtype, Metadata]:
    """Shape, data type and metadata of the result of a scene."""
    scale, (height, width, bands) = dualsr.scale, source.shape
    dtype = (source.dtype if options.dtype is None else options.dtype).newbyteorder("=")
    metadata = source.metadata.enlarged(scale)
    optics = {} if options.mtf is None else {"dualsr_mtf": f"{options.mtf:g}"}
    made_by = {**tags(dualsr), **optics, **options.radiometry.tags()}
    metadata = dataclasses.replace(metadata, tags={**metadata.tags, **made_by})
    return (height * scale, width * scale, bands), dtype, metadata


def tiling_of(
    source: CubeReader, normalisation: Normalisation, dualsr: DualSR, options: PredictOptions
) -> Tiling:
    """How a scene is divided; raises ValueError if it cannot be with these networks and options."""
    height, width, _ = source.shape
    return choose_tiling(
        (height, width, len(normalisation.bands)),
        source.dtype.itemsize,
        dualsr.coarse_stage,
        memory_gb=options.memory_gb,
        window=options.tile,
        spread=options.uncertainty is not None,
        devices=device_count(),
    )


def _planned(
    source: CubeReader,
    dualsr: DualSR,
    dtypes: Sequence[np.dtype],
    options: PredictOptions,
    folder: Path,
) -> tuple[FirstPass, FileTileStore]:
    """Scans a scene, decides how it is computed, begins the run and checks the disk space."""
    (height, width, bands), spread = source.shape, options.uncertainty is not None
    statistics = scan_shown(source)
    normalisation = plan(statistics, source.dtype, source.metadata, peak=options.peak)
    say(f"{source.path}: {height}x{width}x{bands} {source.dtype}; {normalisation.describe()}")
    say(describe_missing(statistics.valid[normalisation.bands], statistics.pixels))
    if options.mtf is not None:
        say(f"the scene is sharpened, for optics of an MTF of {options.mtf:g}")
    check_dtype(normalisation, source.metadata.nodata, dtypes[0])
    check_clip(options.radiometry, statistics, normalisation, dtypes[0])
    tiling = tiling_of(source, normalisation, dualsr, options)
    models = [network.model for network in dualsr.coarse_stage.networks]
    networks = [tags(dualsr), *({**settings_of(m), "precision": m.precision} for m in models)]
    given = {"tile": options.tile, "spread": spread, "axes": options.axes, "mtf": options.mtf}
    run = describe(source, statistics, normalisation, networks=networks, **given)
    scene = FirstPass(
        source=sharpened(source, normalisation, options.mtf, dualsr.scale),
        normalisation=normalisation,
        stage=dualsr.coarse_stage,
        tiling=begin(folder, run, tiling, overwrite=options.overwrite),
        spread=spread,
    )
    store = FileTileStore(folder, scene.layout)
    values = height * width * bands * scene.stage.scale**2
    # Compressed formats are made from a plain file at the end: both exist for a while.
    needed = store.bytes_missing() + 2 * values * sum(dtype.itemsize for dtype in dtypes)
    if options.radiometry.consistent:
        needed += 2 * height * width * len(normalisation.bands) * np.dtype(np.float32).itemsize
    check_disk_space(folder, needed, f"x{scene.stage.scale} of {source.path}")
    if scene.stage.untiled:
        say(f"{scene.stage.untiled} sees the whole scene: it is computed untiled")
    say(
        f"{_counted(len(scene.layout.tiles), 'tile')} of {'x'.join(map(str, scene.tiling.window))} "
        f"pixels, {_counted(scene.tiling.band_chunk, 'band')} at a time, on "
        f"{_counted(device_count(), 'device')}; memory budget {options.memory_gb:g} GB per device, "
        f"disk space needed {needed / 1e9:.3g} GB"
    )
    return scene, store


def _check_paths(source: CubeReader, output: Path, uncertainty: Path | None) -> None:
    """Raises ValueError if a file would be written over, or into, another of the same run."""

    def shared(some: Sequence[Path], others: Sequence[Path]) -> bool:
        pairs = itertools.product(some, (path.resolve() for path in others))
        return any(a.resolve().is_relative_to(b) or b.is_relative_to(a.resolve()) for a, b in pairs)

    for result in [output] if uncertainty is None else [output, uncertainty]:
        if shared(source.files, written_files(result)):
            raise ValueError(f"{source.path} would be written over itself: choose another output")
    if uncertainty is not None and shared(written_files(output), written_files(uncertainty)):
        raise ValueError(f"the result and its uncertainty are both {output}: rename one")


def predict(
    path: str | Path, output: str | Path, weights: Weights, options: PredictOptions
) -> float:
    """Super-resolves one scene into a file; returns the gain of the fine stage, in [0, 1].

    Raises ValueError for bad input or settings, an output that exists, tiles of another run, or too
    little disk space, before anything is computed, and for lost tiles; FileNotFoundError if the
    scene or the folder of the output does not exist.
    """
    path, output, dualsr = Path(path), Path(output), weights.dualsr
    uncertainty = None if options.uncertainty is None else Path(options.uncertainty)
    report = None if options.report is None else Path(options.report)
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as writing:
        source = stack.enter_context(open_cube(path, options.key, axes=options.axes))
        _check_paths(source, output, uncertainty)
        if report is not None:
            make_writable(report, "report")
        folder = stack.enter_context(work_folder(output))
        shape, dtype, metadata = result_of(source, dualsr, options)
        targets = [(output, dtype, metadata)]
        if uncertainty is not None:
            spread = dataclasses.replace(metadata, nodata=None, offset=None)
            targets.append((uncertainty, np.dtype(np.float32), spread))
        # Opened before the work, so that what cannot be written is reported immediately.
        writers = [
            writing.enter_context(create_cube(to, shape, kind, said, overwrite=options.overwrite))
            for to, kind, said in targets
        ]
        scene, store = _planned(source, dualsr, [kind for _, kind, _ in targets], options, folder)
        _first_pass(scene, store, path, weights, options)
        second = _second_pass(scene, store, writers, dtype, options.radiometry)
        writing.close()
        say(
            f"{output}: {'x'.join(map(str, shape))} {dtype}; the fine stage corrected by "
            f"{second.gain:.4f} of the difference (0: nothing to correct, 1: all of it)",
            *second.effect.describe(),
        )
        if report is not None:
            _report(second, scene, output, report, options.mtf)
    return second.gain
