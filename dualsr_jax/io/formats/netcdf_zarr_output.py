"""Writes NetCDF and Zarr, by xarray, in the conventions of CF and rioxarray.

Contract: a file gets a variable `[band, y, x]`, named as in the file that the scene comes from, or
`cube`, with the coordinates `wavelength`, `fwhm` and `good_wavelengths`, and `latitude` and
`longitude` of every pixel of a swath; the coordinate system and the transform in `spatial_ref`;
`_FillValue`; `scale_factor` and `add_offset` where they are one number for all bands, else the
variables `scale` and `offset`.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.extras import geo
from dualsr_jax.io.axes import BANDS_FIRST
from dualsr_jax.io.base import CubeWriter, NewCube, in_order
from dualsr_jax.io.formats.netcdf_zarr import OF_THE_CUBE
from dualsr_jax.io.metadata import Metadata, parse_crs, storable
from dualsr_jax.io.swath import LATITUDE, LONGITUDE
from dualsr_jax.io.variables import to_variables

_DIMENSIONS = ("band", "y", "x")
_CHUNK = (16, 256, 256)
_MOST_ATTRIBUTE_BYTES = 60_000  # of HDF5
_ANGLE_UNITS = {LATITUDE: "degrees_north", LONGITUDE: "degrees_east"}
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")  # in a Zarr store it is that of a folder


def _skeleton(new: NewCube) -> Any:
    """A dataset with everything but the cube."""
    xarray, _ = geo("xarray"), geo("rioxarray")
    m = new.metadata
    tags = {name: tag for name, tag in m.tags.items() if name and name not in OF_THE_CUBE}
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
    for name, angles in m.angles().items():
        if angles is not None:
            units = {"units": _ANGLE_UNITS[name], "standard_name": name}
            dataset = dataset.assign_coords({name: (("y", "x"), angles, units)})
    if m.band_names is not None:
        dataset = dataset.assign_coords(band_name=("band", np.array(m.band_names, object)))
    if "wavelength" in dataset:
        dataset["wavelength"].attrs["standard_name"] = "radiation_wavelength"
    return dataset


def _uniform(values: np.ndarray | None) -> bool:
    return values is not None and bool((values == values[0]).all())


def _variable(m: Metadata, skeleton: Any) -> str:
    """The name of the cube: that of the metadata if it is a plain one and free, else `cube`."""
    name = m.variable or ""
    taken = {*_DIMENSIONS, *skeleton.variables}
    return name if _PLAIN_NAME.fullmatch(name) and name not in taken else "cube"


def _attributes(m: Metadata, skeleton: Any) -> dict[str, Any]:
    """The attributes of the cube, without `_FillValue`."""
    found: dict[str, Any] = {name: m.tags[name] for name in OF_THE_CUBE if name in m.tags}
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
            name = _variable(new.metadata, skeleton)
            cube = file.create_variable(name, _DIMENSIONS, new.dtype, fillvalue=fill)
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
            _variable(new.metadata, skeleton),
            shape=shape,
            chunks=tuple(min(c, n) for c, n in zip(_CHUNK, shape, strict=True)),
            dtype=new.dtype,
            fill_value=storable(new.metadata.nodata, new.dtype),
            compressors=zlib,
            attributes=attributes,
        )
        yield CubeWriter(cube, BANDS_FIRST)
        zarr.consolidate_metadata(partial, zarr_format=2)
