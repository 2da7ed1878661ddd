"""The tiles of a scene on Dask: threads of this machine, or workers of a cluster.

Contract: workers see the same files under the same paths. Each opens the scene and restores the
networks itself, once, computes the tiles it is given into the work folder, and returns their
numbers. A tile whose worker dies is given to another; a tile computed twice is the same.
"""

import dataclasses
import functools
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from dualsr_jax.dualsr import DualSR, tags
from dualsr_jax.extras import geo
from dualsr_jax.io.cubes import open_cube
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.normalisation import Normalisation
from dualsr_jax.large_scene.tile_store import FileTileStore
from dualsr_jax.large_scene.tiling import Tiling
from dualsr_jax.training.restore import restore_dualsr

THREADS = "threads"
_THREADS = 2  # at a time: one computes while the other reads or writes
_TIMEOUT_S = 20


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where networks are restored from.

    Attributes:
        place: of the network, see `restore_dualsr`.
        half_place: of the network of half the scale, or None.
        ensemble: members of the self-ensemble.
        precision: "float32" or "bfloat16".
    """

    place: str | os.PathLike[str]
    half_place: str | os.PathLike[str] | None = None
    ensemble: int = 1
    precision: str = "float32"

    @functools.cached_property
    def dualsr(self) -> DualSR:
        """Both stages.

        Raises:
            FileNotFoundError: if there are none.
            ValueError: if the second is not of half the scale.
        """
        return restore_dualsr(
            self.place, self.half_place, ensemble=self.ensemble, precision=self.precision
        )

    def __reduce__(self) -> tuple:
        """Without the networks themselves."""
        return Weights, (self.place, self.half_place, self.ensemble, self.precision)


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to compute a tile.

    Attributes:
        path: of the scene.
        key: of the variable in the file, or None.
        weights: of the networks.
        made_by: their tags, of `provenance`.
        normalisation: of the scene.
        tiling: likewise.
        spread: whether the self-ensemble's spread is kept.
        folder: of the tiles.
        token: of this run.
    """

    path: Path
    key: str | None
    weights: Weights
    made_by: dict[str, str]
    normalisation: Normalisation
    tiling: Tiling
    spread: bool
    folder: Path
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)


_opened: dict[str, tuple[FirstPass, FileTileStore]] = {}  # the run that this process is at work for
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
            source, stage = open_cube(job.path, job.key), dualsr.coarse_stage
            scene = FirstPass(source, job.normalisation, stage, job.tiling, job.spread)
            bands = len(job.normalisation.bands)
            store = FileTileStore(job.folder, scene.tiles, scene.layers, bands)
            _opened[job.token] = scene, store
        return _opened[job.token]


def compute_tile(job: Job, index: int) -> int:
    """Computes a tile into the work folder; returns its index."""
    scene, store = _open(job)
    scene.compute([index], store)
    return index


def compute(
    job: Job, indices: Sequence[int], scheduler: str, done: Callable[[int], object]
) -> None:
    """First pass over some tiles.

    Args:
        job: the run.
        indices: of the tiles.
        scheduler: "threads", or the address of a `dask.distributed` scheduler, tcp://host:port.
        done: called with the index of each tile that is finished.

    Raises:
        ValueError: if no scheduler answers, workers keep dying, or Dask is not installed.
    """
    dask = geo("dask")
    shared = dask.delayed(job, pure=False)
    graph = [dask.delayed(compute_tile, pure=False)(shared, int(index)) for index in indices]
    if scheduler == THREADS:
        told = [dask.delayed(done, pure=False)(tile) for tile in graph]
        dask.compute(*told, scheduler="threads", num_workers=_THREADS)
        return
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
                f"workers died again and again over a tile, as without memory: {error}. Lower "
                "--memory_gb, which sets the tiles' size"
            ) from error
