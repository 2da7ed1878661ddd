"""Cubes in files, read by window.

Contract: the suffix chooses the format; a folder that is no Zarr store is one of band images.
"""

from collections.abc import Callable
from pathlib import Path

from dualsr_jax.io.arrays import open_npy, open_npz
from dualsr_jax.io.band_images import open_band_images
from dualsr_jax.io.base import CubeReader
from dualsr_jax.io.envi import RAW_SUFFIXES, open_envi
from dualsr_jax.io.geotiff import open_geotiff
from dualsr_jax.io.hdf5 import open_hdf5
from dualsr_jax.io.mat import open_mat
from dualsr_jax.io.xarray_files import open_netcdf, open_zarr

__all__ = ["READERS", "CubeReader", "open_cube"]

READERS: dict[str, Callable[[Path, str | None], CubeReader]] = {
    ".hdr": open_envi,
    **dict.fromkeys(RAW_SUFFIXES, open_envi),
    ".tif": open_geotiff,
    ".tiff": open_geotiff,
    ".nc": open_netcdf,
    ".zarr": open_zarr,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".mat": open_mat,
    ".npy": open_npy,
    ".npz": open_npz,
}


def open_cube(path: Path, key: str | None = None) -> CubeReader:
    """Opens a cube.

    Args:
        path: a file (ENVI: its header or its raw file), a Zarr store, or a folder of band images.
        key: name of the variable in formats that hold several (`group/name` in a group); None: the
            only three-dimensional one.

    Returns:
        A context manager; reading waits until `read`, but for `.npz`, MATLAB v5 and band images,
        which are unpacked whole.

    Raises:
        FileNotFoundError: if there is no such file, or not all that belongs to it.
        ValueError: if the format is not known or its packages are missing, the file is damaged, or
            holds no cube of real numbers, or not exactly one.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None and path.is_dir():
        reader = open_band_images
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if reader is None:
        raise ValueError(
            f"{path} is of no known format: expected a folder of band images or one of "
            f"{', '.join(READERS)}"
        )
    return reader(path, key)
