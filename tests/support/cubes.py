"""Cubes of every data type with full metadata, written to files and compared."""

import dataclasses

import numpy as np
import rasterio

from dualsr_jax.io.cubes import create_cube
from dualsr_jax.io.metadata import Metadata

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float32", "float64"]
TYPES = {
    ".hdr": [t for t in INTEGERS if t != "int8"] + FLOATS,
    ".bil": [t for t in INTEGERS if t != "int8"] + FLOATS,
    ".bip": [t for t in INTEGERS if t != "int8"] + FLOATS,
    ".tif": INTEGERS + FLOATS,
    ".nc": INTEGERS + FLOATS,
    ".zarr": [*INTEGERS, *FLOATS, "float16"],
    ".h5": [*INTEGERS, *FLOATS, "float16"],
    ".mat": INTEGERS + FLOATS,
    ".npy": [*INTEGERS, *FLOATS, "float16"],
    ".npz": [*INTEGERS, *FLOATS, "float16"],
    "": ["uint8", "uint16"],
}
UTM = rasterio.crs.CRS.from_epsg(32633).to_wkt()
LAEA = rasterio.crs.CRS.from_epsg(3035).to_wkt()
DEGREES = rasterio.crs.CRS.from_epsg(4326).to_wkt()


def everything(num_bands):
    """Metadata with no field empty; the corner has all digits that a double can have."""
    k = np.arange(num_bands)
    return Metadata(
        crs=UTM,
        transform=(30.0, 0.0, 383472.3712345678, 0.0, -30.0, 5818302.350987654),
        wavelengths=400 + 10.123 * k,
        wavelength_unit="Micrometers",
        fwhm=5 + 0.01 * k,
        band_names=tuple(f"band {n}" for n in k),
        bad_bands=k % 3 == 2,
        nodata=7.0,
        scale=np.full(num_bands, 1e-4),
        offset=np.linspace(-1, 1, num_bands),
        reflectance_scale=10000.0,
        tags={"sensor type": "made up", "default bands": "{3, 2, 1}", "dualsr_scale": "2"},
    )


def assert_same(found, expected):
    for field in dataclasses.fields(Metadata):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if b is None:
            assert a is None, field.name
        elif field.name == "crs":
            assert rasterio.crs.CRS.from_wkt(a) == rasterio.crs.CRS.from_wkt(b)
        elif field.name == "transform":
            assert (a[2], a[5]) == (b[2], b[5])
            np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-14)
        elif field.name == "nodata":
            np.testing.assert_equal(a, b)  # NaN too
        elif isinstance(b, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_allclose(a, b, rtol=1e-14, err_msg=field.name)
        else:
            assert a == b, field.name


def random_cube(shape, dtype, seed=0):
    """All values that the type has, extremes included."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        cube = rng.standard_normal(shape).astype(dtype)
        cube.flat[0] = np.nan
        return cube
    limits = np.iinfo(dtype)
    cube = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    cube.flat[0], cube.flat[-1] = limits.min, limits.max
    return cube


def write(path, cube, metadata=None, **options):
    """In four blocks, out of order."""
    row, band = cube.shape[0] // 2, cube.shape[2] // 2
    metadata = Metadata() if metadata is None else metadata
    with create_cube(path, cube.shape, cube.dtype, metadata, **options) as writer:
        for rows in (slice(row, None), slice(0, row)):
            for bands in (slice(band, None), slice(0, band)):
                block = cube[rows, :, bands]
                if block.size:
                    writer.write(block, rows.start, 0, bands.start)
