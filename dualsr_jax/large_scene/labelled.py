"""Super-resolution of an `xarray.DataArray`.

Contract: a result has the dimensions, name and attributes of its input, and is computed later if
that one is an array of Dask. xarray itself is not imported: a DataArray is made by the type of the
one that was given.
"""

from typing import Any

import numpy as np

from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.swath import finer
from dualsr_jax.io.variables import (
    from_attributes,
    from_variables,
    rows_columns_bands,
    variable_name,
)
from dualsr_jax.large_scene.in_memory import upscale_array, upscale_later
from dualsr_jax.models.network import CoarseStage

_KEPT_ENCODING = ("_FillValue", "missing_value", "scale_factor", "add_offset", "grid_mapping")


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
    stored = cube.data.transpose(axes)
    if cube.chunks is None:
        result = upscale_array(stage, np.asarray(stored), metadata, **settings)
    else:
        result = upscale_later(stage, stored, metadata, **settings)
    coordinates = {}
    for name, coordinate in cube.coords.items():
        values = np.asarray(coordinate.values)
        for axis in axes[:2]:
            if cube.dims[axis] in coordinate.dims:
                values = finer(values, coordinate.dims.index(cube.dims[axis]), factor)
        attributes = _enlarged_attributes(coordinate.attrs, factor)
        coordinates[name] = (coordinate.dims, values, attributes)
    made = type(cube)(
        result.transpose(np.argsort(axes).tolist()),
        dims=cube.dims,
        coords=coordinates,
        attrs=_enlarged_attributes(cube.attrs, factor),
        name=cube.name,
    )
    made.encoding = {k: v for k, v in cube.encoding.items() if k in _KEPT_ENCODING}
    return made
