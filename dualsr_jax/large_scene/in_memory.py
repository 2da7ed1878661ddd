"""Super-resolution of cubes in memory: arrays of NumPy, and those that Dask has not computed yet.

Contract: the same passes, normalisation and no-data rules as for files.
"""

import functools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.correction import check_clip
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.nodata import describe_missing
from dualsr_jax.large_scene.normalisation import plan, scan
from dualsr_jax.large_scene.second_pass import SecondPass, check_dtype
from dualsr_jax.large_scene.sharpened import sharpened
from dualsr_jax.large_scene.tile_store import MemoryTileStore
from dualsr_jax.large_scene.tiling import MEMORY_GB, choose_tiling
from dualsr_jax.large_scene.windows import device_count
from dualsr_jax.models.network import CoarseStage
from dualsr_jax.radiometry import Radiometry

Cube = Shaped[np.ndarray, "_ _ L"]

_LOG = logging.getLogger(__name__)


class ArraySource:
    """A `SceneReader` of an array `[H, W, L]`."""

    def __init__(self, cube: Cube, metadata: Metadata) -> None:
        height, width, bands = cube.shape
        self._cube, self.metadata = cube, metadata
        self.shape, self.dtype = (height, width, bands), cube.dtype

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Shaped[np.ndarray, "h w l"]:
        """Reads a window; `bands` None: all."""
        window = self._cube[rows, columns]
        return window if bands is None else window[..., bands]


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"a cube [H, W, L] is expected, got an array of shape {shape}")


def upscale_array(
    stage: CoarseStage,
    cube: Shaped[np.ndarray, "..."],
    metadata: Metadata,
    *,
    peak: float | None = None,
    mtf: float | None = None,
    dtype: np.dtype | None = None,
    memory_gb: float = MEMORY_GB,
    radiometry: Radiometry = Radiometry(),  # noqa: B008
) -> Cube:
    """Super-resolves an array `[H, W, L]` of stored values, which the metadata describe.

    `peak`, `mtf`, `dtype` and `memory_gb` are those of `DualSR.upscale`. The result is
    `[s H, s W, L]`. What is decided, and what `radiometry` does, is logged at the level INFO.
    Raises ValueError if `cube` does not have three axes or is empty, fewer than 5 bands are usable,
    `peak` cannot be found, the MTF cannot be compensated, or `dtype` has no value for pixels
    without data.
    """
    _check_shape(cube.shape)
    source = ArraySource(cube.astype(cube.dtype.newbyteorder("="), copy=False), metadata)
    statistics = scan(source)
    normalisation = plan(statistics, source.dtype, metadata, peak=peak)
    _LOG.info(normalisation.describe())
    _LOG.info(describe_missing(statistics.valid[normalisation.bands], statistics.pixels))
    shape = (*source.shape[:2], len(normalisation.bands))
    tiling = choose_tiling(shape, cube.itemsize, stage, memory_gb=memory_gb, devices=device_count())
    scene = FirstPass(
        source=sharpened(source, normalisation, mtf, stage.scale),
        normalisation=normalisation,
        stage=stage,
        tiling=tiling,
    )
    dtype = source.dtype if dtype is None else np.dtype(dtype)
    check_dtype(normalisation, metadata.nodata, dtype)
    check_clip(radiometry, statistics, normalisation, dtype)
    store = MemoryTileStore(scene.layout)
    scene.compute(range(len(scene.layout.tiles)), store)
    second = SecondPass(scene, store, radiometry)
    result = np.empty(second.shape, dtype)

    def write(block: np.ndarray, row: int, column: int) -> None:
        result[row : row + block.shape[0], column : column + block.shape[1]] = block

    second.write_fine(write, dtype)
    for line in second.effect.describe():
        _LOG.info(line)
    return result


def upscale_later(stage: CoarseStage, cube: Any, metadata: Metadata, **settings: Any) -> Any:
    """The result of `upscale_array` for an array `[H, W, L]` of Dask, an array of Dask.

    Only its size and its data type are known at first: the rest, with what may be wrong, waits
    until the result is computed. It is one block, because the gain of the fine stage depends on
    all of the scene. Raises ValueError if `cube` does not have three axes or is empty.
    """
    _check_shape(cube.shape)
    dtype = settings.get("dtype") or cube.dtype.newbyteorder("=")
    height, width, bands = cube.shape
    compute = functools.partial(upscale_array, stage, metadata=metadata, **settings)
    return cube.rechunk(-1).map_blocks(
        compute,
        chunks=((height * stage.scale,), (width * stage.scale,), (bands,)),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
    )
