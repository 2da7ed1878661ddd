"""NetCDF and Zarr, by xarray, in the conventions of CF and rioxarray.

Contract: a file gets a variable `cube` `[band, y, x]` with the coordinates `wavelength`, `fwhm` and
`good_wavelengths`; the coordinate system and the transform in `spatial_ref`; `_FillValue`;
`scale_factor` and `add_offset` where they are one number for all bands, else the variables `scale`
and `offset`. Files of others may also have other names for the value without data, variables of
other names and in groups, dimensions in any order, and Zarr arrays without names.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.extras import geo
from dualsr_jax.io.axes import BANDS_FIRST, Axes, AxisOrder
from dualsr_jax.io.base import CubeReader, CubeWriter, NewCube, in_order
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
from dualsr_jax.io.metadata import Metadata, parse_crs, storable
from dualsr_jax.io.variables import (
    from_attributes,
    from_variables,
    rows_columns_bands,
    to_variables,
    variable_name,
)

_DIMENSIONS = ("band", "y", "x")
_CHUNK = (16, 256, 256)
_DECODING: dict[str, Any] = {
    "mask_and_scale": False,
    "decode_times": False,
    "decode_coords": "all",
    "cache": False,
}
_MOST_ATTRIBUTE_BYTES = 60_000  # of HDF5
_OF_THE_CUBE = ("units", "long_name", "standard_name")  # tags that are attributes of the cube


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
    with reported_as_damage(path):
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
    with reported_as_damage(path):
        root = zarr.open(path, mode="r")
    if not isinstance(root, zarr.Array):
        options = {**_DECODING, "consolidated": False, "chunks": None}
        with reported_as_damage(path):
            groups = xarray.open_groups(path, engine="zarr", **options)
        return _open(path, groups, key, order, size)
    with reported_as_damage(path):
        shape, chunk, attributes = root.shape, root.chunks, dict(root.attrs)
    chosen = choose_cube(path, {"the array": tuple(shape)}, None, order)
    array = LibraryArray(path, root, chunk, size)
    metadata = from_variables({**attributes, **from_attributes(attributes)}, chosen.num_bands)
    if chosen.flattened:
        cube = chosen.unfolded(array[(slice(None), slice(None))])
        return CubeReader(path, cube, axes=chosen.axes, metadata=metadata)
    return CubeReader(path, array, axes=chosen.axes, metadata=metadata, assumed=chosen.assumed)


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
        chunk = cube.encoding.get("chunks") or cube.encoding.get("chunksizes") or ()
        array = LibraryArray(path, cube, chunk, size)
        if chosen.flattened:
            raise BadFileError(
                f"{path}: {chosen.name} {tuple(cube.shape)} is flattened, which is not read in "
                "NetCDF and Zarr: save it with three axes, or as .npy"
            )
        group, _, name = chosen.name.rpartition("/")
        labelled, tags = groups["/" + group][name], groups["/"].attrs
        metadata = _metadata(path, labelled, chosen.axes, variables, tags)
        if array.dtype.kind == "i" and str(cube.attrs.get("_Unsigned")).lower() == "true":
            # NetCDF-3 has no unsigned types: this attribute stands for one.
            array.dtype = np.dtype(f"u{array.dtype.itemsize}")
            if metadata.nodata is not None:
                unsigned = metadata.nodata % 2 ** (8 * array.dtype.itemsize)
                metadata = dataclasses.replace(metadata, nodata=unsigned)
        close = opened.pop_all().close
    return CubeReader(
        path, array, axes=chosen.axes, metadata=metadata, close=close, assumed=chosen.assumed
    )


def _metadata(
    path: Path, cube: Any, axes: Axes, variables: Mapping[str, Any], tags: Mapping[str, Any]
) -> Metadata:
    found: dict[str, Any] = {"tags": "{}"}
    for place, variable in variables.items():
        name = variable_name(place.rpartition("/")[2])
        if name in (None, "tags") or variable.size > MOST_SMALL:
            continue
        chunk = variable.encoding.get("chunks") or variable.encoding.get("chunksizes") or ()
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
    tags = {**tags, **{name: cube.attrs[name] for name in _OF_THE_CUBE if name in cube.attrs}}
    return dataclasses.replace(
        from_variables(found, cube.shape[axes[2]]),
        crs=crs,
        transform=transform,
        tags={str(k): str(v) for k, v in tags.items() if k != "Conventions"},
    )


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


def _skeleton(new: NewCube) -> Any:
    """A dataset with everything but the cube."""
    xarray, _ = geo("xarray"), geo("rioxarray")
    m = new.metadata
    tags = {name: tag for name, tag in m.tags.items() if name not in _OF_THE_CUBE}
    dataset = xarray.Dataset(attrs={"Conventions": "CF-1.8", **tags})
    if m.crs:
        dataset = dataset.rio.write_crs(parse_crs(m.crs))
    if m.transform is not None:
        a, b, c, d, e, f = m.transform
        dataset = dataset.rio.write_transform(geo("affine").Affine(*m.transform))
        if b == d == 0:
            x, y = (np.arange(n) + 0.5 for n in (new.shape[1], new.shape[0]))
            dataset = dataset.assign_coords(x=c + a * x, y=f + e * y)
    variables = to_variables(m)
    names = {"wavelength": "wavelength", "fwhm": "fwhm", "bbl": "good_wavelengths"}
    names |= {name: name for name in ("scale", "offset") if not _uniform(getattr(m, name))}
    for name, written in names.items():
        if name in variables:
            dataset = dataset.assign_coords({written: ("band", variables[name])})
    for name in ("wavelength", "fwhm"):
        if name in dataset:
            dataset[name].attrs["units"] = m.wavelength_unit or "nm"
    if m.band_names is not None:
        dataset = dataset.assign_coords(band_name=("band", np.array(m.band_names, object)))
    if "wavelength" in dataset:
        dataset["wavelength"].attrs["standard_name"] = "radiation_wavelength"
    return dataset


def _uniform(values: np.ndarray | None) -> bool:
    return values is not None and bool((values == values[0]).all())


def _attributes(m: Metadata, skeleton: Any) -> dict[str, Any]:
    """The attributes of the cube, without `_FillValue`."""
    found: dict[str, Any] = {name: m.tags[name] for name in _OF_THE_CUBE if name in m.tags}
    if "spatial_ref" in skeleton.coords:
        found["grid_mapping"] = "spatial_ref"
    others = [n for n in skeleton.coords if n not in ("x", "y", "spatial_ref")]
    if others:
        found["coordinates"] = " ".join(others)
    for name, values in (("scale_factor", m.scale), ("add_offset", m.offset)):
        if values is not None and _uniform(values):
            found[name] = float(values[0])
    if m.reflectance_scale is not None:
        found["reflectance_scale_factor"] = m.reflectance_scale
    return found


@contextlib.contextmanager
def create_netcdf(new: NewCube) -> Iterator[CubeWriter]:
    """Writes a NetCDF-4 file, not packed; raises ValueError if it cannot hold a tag or the CRS."""
    h5netcdf = geo("h5netcdf")
    for name, tag in new.metadata.tags.items():
        if len(tag.encode()) > _MOST_ATTRIBUTE_BYTES:
            raise ValueError(
                f"NetCDF cannot hold the tag {name!r} of {len(tag.encode())} bytes: write another "
                "format, such as Zarr"
            )
    shape, skeleton = in_order(new.shape, BANDS_FIRST), _skeleton(new)
    fill = storable(new.metadata.nodata, new.dtype)
    with replacing(new.path) as partial:
        skeleton.to_netcdf(partial, engine="h5netcdf")
        with h5netcdf.File(partial, "a") as file:
            for name, length in zip(_DIMENSIONS, shape, strict=True):
                if name not in file.dimensions:
                    file.dimensions[name] = length
            cube = file.create_variable("cube", _DIMENSIONS, new.dtype, fillvalue=fill)
            cube.attrs.update(_attributes(new.metadata, skeleton))
            yield CubeWriter(cube, BANDS_FIRST)


@contextlib.contextmanager
def create_zarr(new: NewCube) -> Iterator[CubeWriter]:
    """Writes a Zarr store of version 2, packed by chunk, which GDAL reads too."""
    zarr, zlib = geo("zarr"), geo("numcodecs").Zlib(level=4)
    shape, skeleton = in_order(new.shape, BANDS_FIRST), _skeleton(new)
    attributes = {"_ARRAY_DIMENSIONS": list(_DIMENSIONS), **_attributes(new.metadata, skeleton)}
    with replacing(new.path) as partial:
        skeleton.to_zarr(partial, mode="w", zarr_format=2, consolidated=False)
        cube = zarr.open_group(partial, mode="a", zarr_format=2).create_array(
            "cube",
            shape=shape,
            chunks=tuple(min(c, n) for c, n in zip(_CHUNK, shape, strict=True)),
            dtype=new.dtype,
            fill_value=storable(new.metadata.nodata, new.dtype),
            compressors=zlib,
            attributes=attributes,
        )
        yield CubeWriter(cube, BANDS_FIRST)
        zarr.consolidate_metadata(partial, zarr_format=2)
