"""The tiles of a scene on Dask: threads of this machine, or workers of a cluster.

Contract: workers see the same files under the same paths. Each opens the scene and restores the
networks itself, once per run, computes the tiles it is given into the work folder, and returns
their indices. A tile whose worker dies is given to another; a tile that is computed twice is the
same.
"""

import dataclasses
import functools
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dualsr_jax.dualsr import DualSR, tags
from dualsr_jax.extras import geo
from dualsr_jax.io.cubes import open_cube
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.normalisation import Normalisation
from dualsr_jax.large_scene.sharpened import sharpened
from dualsr_jax.large_scene.tile_store import FileTileStore
from dualsr_jax.large_scene.tiling import Tiling
from dualsr_jax.training.restore import restore_dualsr

THREADS = "threads"
_THREADS = 2  # one computes while the other reads or writes
_TIMEOUT_S = 20


@dataclasses.dataclass(frozen=True)
class Weights:
    """The arguments of `restore_dualsr`; workers get these, and restore the networks themselves."""

    weights: str | os.PathLike[str]
    half_weights: str | os.PathLike[str] | None = None
    _: dataclasses.KW_ONLY
    ensemble: int = 1
    precision: str = "float32"

    @functools.cached_property
    def dualsr(self) -> DualSR:
        """The networks, restored once; raises what `restore_dualsr` raises."""
        return restore_dualsr(
            self.weights, self.half_weights, ensemble=self.ensemble, precision=self.precision
        )

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """All that a worker needs to compute tiles of the scene at a path into a folder.

    `made_by` are the `tags` of the networks, which those of a worker must equal; `token` identifies
    the run.
    """

    path: Path
    key: str | None
    axes: str | None
    weights: Weights
    made_by: dict[str, str]
    normalisation: Normalisation
    mtf: float | None
    tiling: Tiling
    spread: bool
    folder: Path
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)


_opened: dict[str, tuple[FirstPass, FileTileStore]] = {}  # of the run that this process works for
_opening = threading.Lock()


def _open(job: Job) -> tuple[FirstPass, FileTileStore]:
    with _opening:
        if job.token not in _opened:
            _opened.clear()
            dualsr = job.weights.dualsr
            if tags(dualsr) != job.made_by:
                raise ValueError(
                    f"a worker has other weights or another version than the client: it has "
                    f"{tags(dualsr)}, the client {job.made_by}"
                )
            source = open_cube(job.path, job.key, axes=job.axes)
            scene = FirstPass(
                source=sharpened(source, job.normalisation, job.mtf, dualsr.scale),
                normalisation=job.normalisation,
                stage=dualsr.coarse_stage,
                tiling=job.tiling,
                spread=job.spread,
            )
            _opened[job.token] = scene, FileTileStore(job.folder, scene.layout)
        return _opened[job.token]


def compute_tile(job: Job, index: int) -> int:
    """Computes a tile into the work folder; returns its index."""
    scene, store = _open(job)
    scene.compute([index], store)
    return index


def compute_in_threads(
    scene: FirstPass,
    store: FileTileStore,
    indices: Sequence[int],
    progress: Callable[[int], object],
) -> None:
    """Does what `FirstPass.compute` does, in Dask's threads of this process."""
    dask = geo("dask")

    def compute_one(index: int) -> None:
        scene.compute([index], store, progress)

    tiles = [dask.delayed(compute_one, pure=False)(int(index)) for index in indices]
    dask.compute(*tiles, scheduler="threads", num_workers=_THREADS)


def compute_on_cluster(
    job: Job, indices: Sequence[int], scheduler: str, done: Callable[[int], object]
) -> None:
    """Computes some of the tiles of a scene on workers and calls `done` with the index of each.

    The scheduler is the address of a `dask.distributed` scheduler, tcp://host:port.

    Raises:
        ValueError: if no scheduler answers, workers keep dying, or Dask is not installed.
    """
    dask = geo("dask")
    shared = dask.delayed(job, pure=False)
    graph = [dask.delayed(compute_tile, pure=False)(shared, int(index)) for index in indices]
    distributed = geo("distributed")
    try:
        client = distributed.Client(scheduler, timeout=_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise ValueError(f"no scheduler answers at {scheduler!r}: {error}") from error
    with client:
        try:
            for future in distributed.as_completed(client.compute(graph)):
                done(future.result())
        except distributed.KilledWorker as error:
            raise ValueError(
                f"workers died repeatedly while computing a tile, perhaps out of memory: {error}. "
                "Lower --memory_gb, which decides the tile size"
            ) from error
