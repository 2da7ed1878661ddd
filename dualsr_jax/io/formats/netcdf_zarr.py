"""Reads NetCDF and Zarr, by xarray, in the conventions of CF and rioxarray.

Contract: besides what `netcdf_zarr_output` writes, files may have other names for the value without
data, variables of other names and in groups, dimensions in any order, and Zarr arrays without
names. Coordinates of the root belong to its groups, as in CF.
"""

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dualsr_jax.extras import geo
from dualsr_jax.io.axes import Axes, AxisOrder
from dualsr_jax.io.base import CubeReader
from dualsr_jax.io.choice import choose_cube
from dualsr_jax.io.damage import (
    BadFileError,
    LibraryArray,
    reported_as_damage,
    reported_as_gdal_damage,
)
from dualsr_jax.io.guards.hdf5_references import (
    MOST_SMALL,
    MOST_SMALL_BYTES,
    check_texts,
    check_whole,
)
from dualsr_jax.io.guards.zarr_codecs import check_zarr
from dualsr_jax.io.guards.zarr_frames import check_frames
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.notes import note
from dualsr_jax.io.swath import angle_name, valid_angles
from dualsr_jax.io.valid_range import bounded
from dualsr_jax.io.variables import (
    from_attributes,
    from_variables,
    rows_columns_bands,
    variable_name,
)

_DECODING: dict[str, Any] = {
    "mask_and_scale": False,
    "decode_times": False,
    "decode_coords": "all",
    "cache": False,
}
_MAPPING = {"grid_mapping_name", "spatial_ref", "crs_wkt"}  # attributes of a grid mapping
_EMIT = "sensor_band_parameters"  # a group
OF_THE_CUBE = ("units", "long_name", "standard_name")  # tags that are attributes of the cube


def open_netcdf(path: Path, key: str | None = None, order: AxisOrder | None = None) -> CubeReader:
    """Opens the cube of a NetCDF file, version 3 or 4; `key` names it, with its group."""
    xarray = geo("xarray")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with reported_as_damage(path):
        is_hdf5 = h5py.is_hdf5(path)
    if is_hdf5:
        geo("h5netcdf")
        with reported_as_damage(path):
            file = h5py.File(path, "r")
        with file:
            check_whole(path, file)
            check_texts(path, file)
    with reported_as_damage(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable.*not in variables")  # those of other groups
        if is_hdf5:
            groups = xarray.open_groups(path, engine="h5netcdf", **_DECODING)
        else:
            groups = {"/": xarray.open_dataset(path, engine="scipy", **_DECODING)}
    return _open(path, groups, key, order, path.stat().st_size)


def open_zarr(path: Path, key: str | None = None, order: AxisOrder | None = None) -> CubeReader:
    """Opens the cube of a Zarr store, version 2 or 3; `key` names it, with its group."""
    xarray, zarr = geo("xarray"), geo("zarr")
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    size = check_zarr(path)
    check_frames()
    with reported_as_damage(path):
        root = zarr.open(path, mode="r")
    if not isinstance(root, zarr.Array):
        options = {**_DECODING, "consolidated": False, "chunks": None}
        with reported_as_damage(path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Variable.*not in variables")  # those of other groups
            groups = xarray.open_groups(path, engine="zarr", **options)
        reader = _open(path, groups, key, order, size)
        if root.metadata.zarr_format == 2 and reader.metadata.nodata == 0:
            note(
                f"{path}: pixels of value 0 count as pixels without data, because 0 is the fill "
                "value of the store, as it is by default; if 0 is a measurement, set fill_value "
                "to null in its .zarray"
            )
        return reader
    with reported_as_damage(path):
        shape, chunk, attributes = root.shape, root.chunks, dict(root.attrs)
    chosen = choose_cube(path, {"the array": tuple(shape)}, None, order)
    array = LibraryArray(path, root, chunk, size)
    metadata = from_variables({**attributes, **from_attributes(attributes)}, chosen.num_bands)
    source, metadata = bounded(array, attributes, metadata)
    if chosen.flattened:
        cube = chosen.unfolded(source[(slice(None), slice(None))])
        return CubeReader(path, cube, axes=chosen.axes, metadata=metadata)
    return CubeReader(path, source, axes=chosen.axes, metadata=metadata, assumed=chosen.assumed)


def is_zarr_store(folder: Path) -> bool:
    """Whether a folder holds nothing but a Zarr store."""
    names = {path.name for path in folder.iterdir()}
    return not names or not names.isdisjoint({".zgroup", "zarr.json"})


def _open(
    path: Path,
    groups: Mapping[str, Any],
    key: str | None,
    order: AxisOrder | None,
    size: int,
) -> CubeReader:
    with contextlib.ExitStack() as opened:
        for dataset in groups.values():
            opened.callback(dataset.close)
        variables = {
            f"{group.strip('/')}/{name}".lstrip("/"): variable
            for group, dataset in groups.items()
            for name, variable in dataset.variables.items()
        }
        axes = {name: rows_columns_bands(variable.dims) for name, variable in variables.items()}
        known = {name: found for name, found in axes.items() if found is not None}
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        chosen = choose_cube(path, shapes, key, order, known=known)
        cube = variables[chosen.name]
        chunk = _chunk(cube)
        array = LibraryArray(path, cube, chunk, size)
        if chosen.flattened:
            raise BadFileError(
                f"{path}: {chosen.name} {tuple(cube.shape)} is flattened, which is not read in "
                "NetCDF and Zarr: save it with three axes, or as .npy"
            )
        group, _, name = chosen.name.rpartition("/")
        labelled, tags = _inheriting(path, groups, group, name), groups["/"].attrs
        metadata = _metadata(path, labelled, chosen.axes, variables, tags)
        angles = _angles(path, labelled, chosen.axes, variables, size)
        if not angles and f"/{_EMIT}" in groups and metadata.transform is None:
            note(
                f"{path} is of EMIT, but has no latitude and longitude (location/lat, location/lon)"
                ": its result cannot be placed on a map"
            )
        named = None if name == "cube" else str(name)
        metadata = dataclasses.replace(metadata, variable=named, **angles)
        unsigned = array.dtype.kind == "i" and str(cube.attrs.get("_Unsigned")).lower() == "true"
        if unsigned:
            # NetCDF-3 has no unsigned types: this attribute stands for one.
            array.dtype = np.dtype(f"u{array.dtype.itemsize}")
            if metadata.nodata is not None:
                nodata = metadata.nodata % 2 ** (8 * array.dtype.itemsize)
                metadata = dataclasses.replace(metadata, nodata=nodata)
        source, metadata = bounded(array, cube.attrs, metadata, signed=unsigned)
        close = opened.pop_all().close
    return CubeReader(
        path, source, axes=chosen.axes, metadata=metadata, close=close, assumed=chosen.assumed
    )


def _chunk(variable: Any) -> tuple[int, ...]:
    return variable.encoding.get("chunks") or variable.encoding.get("chunksizes") or ()


def _inheriting(path: Path, groups: Mapping[str, Any], group: str, name: str) -> Any:
    """A cube with the coordinates and the grid mapping that its group inherits from the root.

    xarray forgets the name of a grid mapping that is not in the group: the only one counts, if
    coordinates are inherited.
    """
    cube, root = groups["/" + group][name], groups["/"].variables
    if not group:
        return cube
    with reported_as_damage(path):
        lacking = [each for each in cube.dims if each in root and each not in cube.coords]
        found = {each: root[each] for each in lacking if root[each].dims == (each,)}
        mappings = [n for n, v in root.items() if not v.dims and _MAPPING & v.attrs.keys()]
        cube = cube.assign_coords(found)
        if len(found) > 1 and len(mappings) == 1:
            cube = cube.assign_coords({mappings[0]: root[mappings[0]]})
            cube.encoding["grid_mapping"] = mappings[0]
    return cube


def _metadata(
    path: Path, cube: Any, axes: Axes, variables: Mapping[str, Any], tags: Mapping[str, Any]
) -> Metadata:
    found: dict[str, Any] = {"tags": "{}"}
    for place, variable in variables.items():
        name = variable_name(place.rpartition("/")[2])
        if name in (None, "tags") or variable.size > MOST_SMALL:
            continue
        chunk = _chunk(variable)
        most = max(variable.size, math.prod(chunk)) * variable.dtype.itemsize
        if most > MOST_SMALL_BYTES:
            continue
        values = _values(path, variable)
        text = values.dtype.kind in "OSTU"
        found[name] = "\n".join(str(v) for v in values.ravel()) if text else values
        if name == "wavelength" and "units" in variable.attrs:
            found["wavelength_units"] = str(variable.attrs["units"])
    found.update(from_attributes(cube.attrs))
    crs, transform = _georeference(path, cube, axes)
    tags = {**tags, **{name: cube.attrs[name] for name in OF_THE_CUBE if name in cube.attrs}}
    return dataclasses.replace(
        from_variables(found, cube.shape[axes[2]]),
        crs=crs,
        transform=transform,
        tags={str(k): str(v) for k, v in tags.items() if k != "Conventions"},
    )


def _angles(
    path: Path, cube: Any, axes: Axes, variables: Mapping[str, Any], size: int
) -> dict[str, Any]:
    """Latitude and longitude of every pixel, from anywhere in the file; both or neither."""
    rows, columns = (cube.dims[axis] for axis in axes[:2])
    sides = {rows: cube.shape[axes[0]], columns: cube.shape[axes[1]]}
    angles: dict[str, Any] = {}
    for place, variable in variables.items():
        angle = angle_name(place.rpartition("/")[2])
        is_grid = set(variable.dims) == set(sides) and variable.dtype.kind in "iuf"
        if angle and is_grid and all(sides[d] == n for d, n in variable.sizes.items()):
            chunk = _chunk(variable)
            stored = LibraryArray(path, variable, chunk, size)[(slice(None), slice(None))]
            stored = stored if variable.dims[0] == rows else stored.T
            angles[angle] = valid_angles(angle, stored)
    return angles if len(angles) == 2 else {}


def _values(path: Path, variable: Any) -> np.ndarray:
    with reported_as_damage(path):
        return np.asarray(variable.values)


def _georeference(path: Path, cube: Any, axes: Axes) -> tuple[str | None, tuple[float, ...] | None]:
    """The coordinate system, by rioxarray, and the transform, which it does not give exactly."""
    geo("rioxarray")
    with reported_as_gdal_damage(path):
        named = cube.rio.crs
        crs = named.to_wkt() if named else None
        mapping = cube.coords.get(cube.rio.grid_mapping)
    written = "" if mapping is None else str(mapping.attrs.get("GeoTransform", ""))
    if len(written.split()) == 6:
        try:
            c, a, b, f, d, e = (float(number) for number in written.split())
        except ValueError as error:
            raise BadFileError(
                f"{path}: GeoTransform is {written[:200]!r}, expected six numbers"
            ) from error
        return crs, (a, b, c, d, e, f)
    xs, ys = (_steps(path, cube, cube.dims[axis]) for axis in (axes[1], axes[0]))
    if xs is None or ys is None:
        return crs, None
    return crs, (xs[1], 0.0, xs[0] - xs[1] / 2, 0.0, ys[1], ys[0] - ys[1] / 2)


def _steps(path: Path, cube: Any, name: str) -> tuple[float, float] | None:
    """First value and step of a coordinate; None if it is missing or uneven."""
    if name not in cube.coords or cube.coords[name].dtype.kind not in "iuf":
        return None
    values = _values(path, cube.coords[name]).astype(float)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        return None
    step = (values[-1] - values[0]) / (values.size - 1)
    even = step != 0 and np.abs(np.diff(values) - step).max() < 1e-3 * abs(step)
    return (float(values[0]), float(step)) if even else None
