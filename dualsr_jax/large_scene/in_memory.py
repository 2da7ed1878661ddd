"""Super-resolution of cubes in memory: NumPy arrays and xarray.DataArrays.

Contract: the same passes, normalisation and no-data rules as for files. A result is of the type of
its input. xarray itself is not imported: a DataArray is made by the type of the one that was given.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.swath import finer
from dualsr_jax.io.variables import (
    from_attributes,
    from_variables,
    rows_columns_bands,
    variable_name,
)
from dualsr_jax.large_scene.correction import check_clip
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.normalisation import plan, scan
from dualsr_jax.large_scene.second_pass import SecondPass, check_dtype
from dualsr_jax.large_scene.tile_store import MemoryTileStore
from dualsr_jax.large_scene.tiling import MEMORY_GB, choose_tiling
from dualsr_jax.large_scene.windows import device_count
from dualsr_jax.models.network import CoarseStage
from dualsr_jax.radiometry import Radiometry

Cube = Shaped[np.ndarray, "_ _ L"]

_LOG = logging.getLogger(__name__)
_KEPT_ENCODING = ("_FillValue", "missing_value", "scale_factor", "add_offset", "grid_mapping")


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


def upscale_array(
    stage: CoarseStage,
    cube: Shaped[np.ndarray, "..."],
    metadata: Metadata,
    *,
    peak: float | None = None,
    dtype: np.dtype | None = None,
    memory_gb: float = MEMORY_GB,
    radiometry: Radiometry = Radiometry(),  # noqa: B008
) -> Cube:
    """Super-resolves an array `[H, W, L]` of stored values, which the metadata describe.

    `peak`, `dtype` and `memory_gb` are those of `DualSR.upscale`. The result is `[s H, s W, L]`.
    What `radiometry` did to it is logged.
    Raises ValueError if `cube` does not have three axes or is empty, fewer than 5 bands are usable,
    `peak` cannot be found, or `dtype` has no value for pixels without data.
    """
    if cube.ndim != 3 or 0 in cube.shape:
        raise ValueError(f"a cube [H, W, L] is expected, got an array of shape {cube.shape}")
    source = ArraySource(cube.astype(cube.dtype.newbyteorder("="), copy=False), metadata)
    statistics = scan(source)
    normalisation = plan(statistics, source.dtype, metadata, peak=peak)
    shape = (*source.shape[:2], len(normalisation.bands))
    tiling = choose_tiling(shape, cube.itemsize, stage, memory_gb=memory_gb, devices=device_count())
    scene = FirstPass(source=source, normalisation=normalisation, stage=stage, tiling=tiling)
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
    for line in second.effect.describe(radiometry):
        _LOG.info(line)
    return result


def _enlarged_attributes(attributes: Any, factor: int) -> dict[str, Any]:
    """Attributes in which the geotransform, if there is one, is that of smaller pixels."""
    found = dict(attributes)
    if "GeoTransform" in found:  # GDAL's order is c, a, b, f, d, e
        c, a, b, f, d, e = (float(x) for x in str(found["GeoTransform"]).split())
        smaller = (c, a / factor, b / factor, f, d / factor, e / factor)
        found["GeoTransform"] = " ".join(repr(x) for x in smaller)
    if np.shape(found.get("transform", ())) == (6,):
        found["transform"] = (
            Metadata(transform=tuple(found["transform"])).enlarged(factor).transform
        )
    if "res" in found:
        found["res"] = tuple(np.asarray(found["res"], float) / factor)
    return found


def _metadata(cube: Any, bands: str, nodata: float | None) -> Metadata:
    """The metadata of a DataArray, under the names that files use."""
    # Floats may be decoded integers, which their scale, offset and encoding describe.
    stored = cube.dtype.kind != "f"
    said = from_attributes({**cube.encoding, **cube.attrs} if stored else cube.attrs)
    names = ("bbl", "scale", "offset") if stored else ("bbl",)
    sidecar = {
        name: coordinate.values
        for name, coordinate in cube.coords.items()
        if coordinate.dims == (bands,) and variable_name(str(name)) in names
    }
    found = from_variables({**sidecar, **said}, cube.sizes[bands])
    return Metadata(
        nodata=found.nodata if nodata is None else nodata,
        bad_bands=found.bad_bands,
        scale=found.scale,
        offset=found.offset,
        reflectance_scale=found.reflectance_scale if stored else None,
    )


def upscale_labelled(
    stage: CoarseStage, cube: Any, *, nodata: float | None = None, **settings: Any
) -> Any:
    """Super-resolves an `xarray.DataArray` with dimensions y, x and bands in any order.

    `scale_factor`, `add_offset` and, unless `nodata` is given, `_FillValue` are taken from its
    attributes, bad bands from a coordinate `bbl` or `good_wavelengths`. The settings are those of
    `upscale_array`. The result has the same dimensions, name and attributes; its coordinates along
    y and x, and its geotransform, are those of the smaller pixels. Raises ValueError if `cube` does
    not have these dimensions, or as `upscale_array`.
    """
    axes = rows_columns_bands(cube.dims)
    if axes is None:
        raise ValueError(
            f"dimensions {tuple(cube.dims)} are not those of a cube: expected three, one of them "
            "named 'y' and one 'x', in any order"
        )
    metadata = _metadata(cube, cube.dims[axes[2]], nodata)
    factor = stage.scale
    stored = np.asarray(cube.data).transpose(axes)
    result = upscale_array(stage, stored, metadata, **settings)
    coordinates = {}
    for name, coordinate in cube.coords.items():
        values = np.asarray(coordinate.values)
        for axis in axes[:2]:
            if cube.dims[axis] in coordinate.dims:
                values = finer(values, coordinate.dims.index(cube.dims[axis]), factor)
        attributes = _enlarged_attributes(coordinate.attrs, factor)
        coordinates[name] = (coordinate.dims, values, attributes)
    made = type(cube)(
        result.transpose(np.argsort(axes)),
        dims=cube.dims,
        coords=coordinates,
        attrs=_enlarged_attributes(cube.attrs, factor),
        name=cube.name,
    )
    made.encoding = {k: v for k, v in cube.encoding.items() if k in _KEPT_ENCODING}
    return made
