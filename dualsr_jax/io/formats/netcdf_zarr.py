"""NetCDF and Zarr, by xarray, in the conventions of CF and rioxarray.

Contract: written are a variable `cube` `[band, y, x]` with the coordinate `wavelength` and, beside
it, `fwhm` and `good_wavelengths`; the coordinate system and the transform in `spatial_ref`;
`_FillValue`, `scale_factor` and `add_offset` where they are one number for all bands, else the
variables `scale` and `offset`. Read are, besides, other names of the value without data, variables
of other names and groups, dimensions in any order, and Zarr arrays without names.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.extras import geo
from dualsr_jax.io.base import CubeReader, CubeWriter, check_size, choose, damage_told
from dualsr_jax.io.crs import parse_crs
from dualsr_jax.io.guards.hdf5_references import MOST_SMALL, check_texts
from dualsr_jax.io.metadata import (
    Metadata,
    from_attributes,
    from_variables,
    representable,
    rows_columns_bands,
    to_variables,
    variable_name,
)

_DIMENSIONS = ("band", "y", "x")
_AXES = (1, 2, 0)
_CHUNK = (16, 256, 256)
_DECODING: dict[str, Any] = {
    "mask_and_scale": False,
    "decode_times": False,
    "decode_coords": "all",
    "cache": False,
}
_MOST_ATTRIBUTE_BYTES = 60_000  # of HDF5
_OF_THE_CUBE = ("units", "long_name", "standard_name")  # tags that are attributes of the cube


class _Variable:
    """An xarray variable as a source; its backend reads only what is asked for."""

    def __init__(self, variable: Any) -> None:
        self.shape, self.dtype = variable.shape, variable.dtype
        self._variable = variable

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        return self._variable[index].values


def open_netcdf(path: Path, key: str | None = None) -> CubeReader:
    """Opens the cube of a NetCDF file, version 3 or 4; `key` names it, with its group.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, or has no such cube or not exactly one candidate.
    """
    xarray = geo("xarray")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with damage_told(path):
        if h5py.is_hdf5(path):
            geo("h5netcdf")
            with h5py.File(path, "r") as file:
                check_texts(file)
            groups = xarray.open_groups(path, engine="h5netcdf", **_DECODING)
        else:
            groups = {"/": xarray.open_dataset(path, engine="scipy", **_DECODING)}
        return _open(path, groups, key, path.stat().st_size)


def open_zarr(path: Path, key: str | None = None) -> CubeReader:
    """Opens the cube of a Zarr store, version 2 or 3; `key` names it, with its group.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, or has no such cube or not exactly one candidate.
    """
    xarray, zarr = geo("xarray"), geo("zarr")
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    with damage_told(path):
        root = zarr.open(path, mode="r")
        if isinstance(root, zarr.Array):  # one array, no names: rows, columns, bands
            shape = tuple(root.shape)
            choose(path, {"the array": shape}, None)
            for length in (shape, root.chunks):
                check_size(path, length, np.dtype(root.dtype), size)
            attributes = {**root.attrs, **from_attributes(root.attrs)}
            return CubeReader(path, root, (0, 1, 2), from_variables(attributes, shape[2]))
        options = {**_DECODING, "consolidated": False, "chunks": None}
        groups = xarray.open_groups(path, engine="zarr", **options)
        return _open(path, groups, key, size)


def _open(path: Path, groups: Mapping[str, Any], key: str | None, size: int) -> CubeReader:
    def close() -> None:
        for dataset in groups.values():
            dataset.close()

    try:
        variables = {
            f"{group.strip('/')}/{name}".lstrip("/"): variable
            for group, dataset in groups.items()
            for name, variable in dataset.variables.items()
        }
        axes = {
            name: rows_columns_bands(variable.dims) or (0, 1, 2)
            for name, variable in variables.items()
            if variable.ndim == 3
        }
        shapes = {
            name: tuple(v.shape[a] for a in axes[name]) if v.ndim == 3 else tuple(v.shape)
            for name, v in variables.items()
        }
        chosen = choose(path, shapes, key)
        cube = variables[chosen]
        chunks = cube.encoding.get("chunks") or cube.encoding.get("chunksizes") or ()
        for length in (cube.shape, chunks):
            check_size(path, length, cube.dtype, size)
        group, _, name = chosen.rpartition("/")
        metadata = _metadata(groups["/" + group][name], axes[chosen], variables, groups["/"].attrs)
        return CubeReader(path, _Variable(cube), axes[chosen], metadata, close)
    except BaseException:
        close()
        raise


def _metadata(
    cube: Any, axes: tuple[int, int, int], variables: Mapping[str, Any], tags: Mapping[str, Any]
) -> Metadata:
    num_bands = cube.shape[axes[2]]
    found: dict[str, Any] = {"tags": "{}"}
    for path, variable in variables.items():
        name = variable_name(path.rpartition("/")[2])
        if name in (None, "tags") or variable.size > MOST_SMALL:
            continue
        values = variable.values
        text = values.dtype.kind in "OSTU"
        found[name] = "\n".join(str(v) for v in values.ravel()) if text else values
        if name == "wavelength" and "units" in variable.attrs:
            found["wavelength_units"] = str(variable.attrs["units"])
    found.update(from_attributes(cube.attrs))
    crs, transform = _georeference(cube, axes)
    tags = {**tags, **{name: cube.attrs[name] for name in _OF_THE_CUBE if name in cube.attrs}}
    return dataclasses.replace(
        from_variables(found, num_bands),
        crs=crs,
        transform=transform,
        tags={str(k): str(v) for k, v in tags.items() if k != "Conventions"},
    )


def _georeference(
    cube: Any, axes: tuple[int, int, int]
) -> tuple[str | None, tuple[float, ...] | None]:
    """Coordinate system, by rioxarray, and transform, of which it gives no exact one."""
    geo("rioxarray")
    y, x = (cube.dims[k] for k in axes[:2])
    crs = cube.rio.crs
    mapping = cube.coords.get(cube.rio.grid_mapping)
    written = "" if mapping is None else str(mapping.attrs.get("GeoTransform", ""))
    transform: tuple[float, ...] | None = None
    if len(written.split()) == 6:
        c, a, b, f, d, e = (float(number) for number in written.split())
        transform = (a, b, c, d, e, f)
    elif (xs := _steps(cube, x)) is not None and (ys := _steps(cube, y)) is not None:
        transform = (xs[1], 0.0, xs[0] - xs[1] / 2, 0.0, ys[1], ys[0] - ys[1] / 2)
    return (crs.to_wkt() if crs else None), transform


def _steps(cube: Any, name: str) -> tuple[float, float] | None:
    """Begin and step of a coordinate; None if it is not there or not even."""
    if name not in cube.coords or cube.coords[name].dtype.kind not in "iuf":
        return None
    values = cube.coords[name].values.astype(float)
    if values.size < 2 or values[0] == values[-1] or not np.isfinite(values).all():
        return None
    step = (values[-1] - values[0]) / (values.size - 1)
    even = np.abs(np.diff(values) - step).max() < 1e-3 * abs(step)
    return (float(values[0]), float(step)) if even else None


def _skeleton(shape: Sequence[int], m: Metadata) -> Any:
    """Everything but the cube."""
    xarray, _ = geo("xarray"), geo("rioxarray")
    tags = {name: tag for name, tag in m.tags.items() if name not in _OF_THE_CUBE}
    dataset = xarray.Dataset(attrs={"Conventions": "CF-1.8", **tags})
    if m.crs:
        dataset = dataset.rio.write_crs(parse_crs(m.crs))
    if m.transform is not None:
        a, b, c, d, e, f = m.transform
        dataset = dataset.rio.write_transform(geo("affine").Affine(*m.transform))
        if b == d == 0:
            dataset = dataset.assign_coords(
                x=c + a * (np.arange(shape[1]) + 0.5), y=f + e * (np.arange(shape[0]) + 0.5)
            )
    variables = to_variables(m)
    names = {"wavelength": "wavelength", "fwhm": "fwhm", "bbl": "good_wavelengths"}
    if not _uniform(m.scale):
        names["scale"] = "scale"
    if not _uniform(m.offset):
        names["offset"] = "offset"
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
    """Of the cube, but for `_FillValue`."""
    found: dict[str, Any] = {name: m.tags[name] for name in _OF_THE_CUBE if name in m.tags}
    if "spatial_ref" in skeleton.coords:
        found["grid_mapping"] = "spatial_ref"
    beside = [n for n in skeleton.coords if n not in ("x", "y", "spatial_ref")]
    if beside:
        found["coordinates"] = " ".join(beside)
    for name, values in (("scale_factor", m.scale), ("add_offset", m.offset)):
        if values is not None and _uniform(values):
            found[name] = float(values[0])
    if m.reflectance_scale is not None:
        found["reflectance_scale_factor"] = m.reflectance_scale
    return found


@contextlib.contextmanager
def create_netcdf(
    path: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes a NetCDF-4 file, not packed, straight to its place.

    Raises:
        ValueError: if a tag is longer than an attribute can be, or the metadata's crs is none.
    """
    h5netcdf = geo("h5netcdf")
    for name, tag in metadata.tags.items():
        if len(tag.encode()) > _MOST_ATTRIBUTE_BYTES:
            raise ValueError(
                f"NetCDF cannot hold the tag {name!r} of {len(tag.encode())} bytes: write another "
                "format, such as Zarr"
            )
    skeleton = _skeleton(shape, metadata)
    fill = metadata.nodata if representable(metadata.nodata, dtype) else None
    with replacing(path) as beside:
        skeleton.to_netcdf(beside, engine="h5netcdf")
        with h5netcdf.File(beside, "a") as file:
            for name, length in zip(_DIMENSIONS, _lengths(shape), strict=True):
                if name not in file.dimensions:
                    file.dimensions[name] = length
            cube = file.create_variable("cube", _DIMENSIONS, dtype, fillvalue=fill)
            cube.attrs.update(_attributes(metadata, skeleton))
            yield CubeWriter(cube, _AXES, shape, dtype)


def _lengths(shape: Sequence[int]) -> tuple[int, int, int]:
    return shape[2], shape[0], shape[1]


@contextlib.contextmanager
def create_zarr(
    path: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes a Zarr store of version 2, packed by chunk, which GDAL reads too.

    Raises:
        ValueError: if the metadata's crs is none.
    """
    zarr, zlib = geo("zarr"), geo("numcodecs").Zlib(level=4)
    skeleton = _skeleton(shape, metadata)
    attributes = {"_ARRAY_DIMENSIONS": list(_DIMENSIONS), **_attributes(metadata, skeleton)}
    with replacing(path) as beside:
        skeleton.to_zarr(beside, mode="w", zarr_format=2, consolidated=False)
        group = zarr.open_group(beside, mode="a", zarr_format=2)
        cube = group.create_array(
            "cube",
            shape=_lengths(shape),
            chunks=tuple(min(c, n) for c, n in zip(_CHUNK, _lengths(shape), strict=True)),
            dtype=dtype,
            fill_value=metadata.nodata if representable(metadata.nodata, dtype) else None,
            compressors=zlib,
            attributes=attributes,
        )
        yield CubeWriter(cube, _AXES, shape, dtype)
        zarr.consolidate_metadata(beside, zarr_format=2)
