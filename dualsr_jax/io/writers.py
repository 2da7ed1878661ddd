"""Cubes written to files, by block.

Contract: the suffix chooses the format; a path without one becomes a folder of band images.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from dualsr_jax.io.arrays import create_npy, create_npz, json_beside
from dualsr_jax.io.band_images import create_band_images
from dualsr_jax.io.base import CubeWriter
from dualsr_jax.io.envi import RAW_SUFFIXES, create_envi, envi_pair
from dualsr_jax.io.geotiff import create_geotiff
from dualsr_jax.io.hdf5 import create_hdf5
from dualsr_jax.io.mat import create_mat
from dualsr_jax.io.metadata import Metadata, check_bands
from dualsr_jax.io.xarray_files import create_netcdf, create_zarr

__all__ = ["WRITERS", "CubeWriter", "check_output", "create_cube"]

_Create = Callable[
    [Path, Sequence[int], np.dtype, Metadata], contextlib.AbstractContextManager[CubeWriter]
]
WRITERS: dict[str, _Create] = {
    ".hdr": create_envi,
    **dict.fromkeys(RAW_SUFFIXES, create_envi),
    ".tif": create_geotiff,
    ".tiff": create_geotiff,
    ".nc": create_netcdf,
    ".zarr": create_zarr,
    ".h5": create_hdf5,
    ".hdf5": create_hdf5,
    ".mat": create_mat,
    ".npy": create_npy,
    ".npz": create_npz,
    "": create_band_images,
}


_FOLDERS = (create_zarr, create_band_images)


def _is_cube(folder: Path) -> bool:
    """Whether a folder is a Zarr store, or holds nothing but band images of its own name."""
    names = {path.name for path in folder.iterdir()}
    if folder.suffix.lower() == ".zarr":
        return not names or not names.isdisjoint({".zgroup", "zarr.json"})
    return all(re.fullmatch(re.escape(folder.name) + r"_\d+\.png", name) for name in names)


def written_files(path: Path) -> tuple[Path, ...]:
    """The files or folders that `create_cube` makes of a path."""
    create = WRITERS.get(path.suffix.lower())
    if create is create_envi:
        return envi_pair(path)
    return (path, json_beside(path)) if create in (create_npy, create_band_images) else (path,)


@contextlib.contextmanager
def create_cube(
    path: Path,
    shape: Sequence[int],
    dtype: DTypeLike,
    metadata: Metadata,
    *,
    overwrite: bool = False,
) -> Iterator[CubeWriter]:
    """Writes a cube; it appears, whole, when the block ends well, else nothing is left.

    Args:
        path: its suffix chooses the format; the folder exists. ENVI: header or raw file, both are
            written.
        shape: (H, W, L).
        dtype: integers or floating-point numbers, of the kinds that the format has.
        metadata: of L bands.
        overwrite: whether a cube of this name may be replaced.

    Raises:
        ValueError: if the format is not known or its packages are missing, it cannot hold the type
            or the metadata, or the file exists and is not to be replaced, or is a folder where a
            file is written or the other way round, or a folder that holds more than a cube.
        FileNotFoundError: if its folder does not exist.
    """
    check_output(path, overwrite=overwrite)
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(
            f"cubes of {dtype} are not written: expected integers or floats of at most 8 bytes"
        )
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"the shape is {tuple(shape)}: expected (H, W, L), all positive")
    check_bands(metadata, shape[2])
    with WRITERS[path.suffix.lower()](path, shape, dtype, metadata) as writer:
        yield writer


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Raises what `create_cube` does of a path: of its format, its folder, and what is there."""
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        known = ", ".join(filter(None, WRITERS))
        raise ValueError(
            f"{path} is of no known format: expected one of {known}, or no suffix for a folder of "
            "band images"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    for target in written_files(path):
        into = f", or write into it (--output={target}/)" if target.is_dir() else ""
        if target.exists() and target.is_dir() != (target == path and WRITERS[suffix] in _FOLDERS):
            is_, writes = ("folder", "file") if target.is_dir() else ("file", "folder")
            raise ValueError(
                f"{target} is a {is_}, and a {writes} is written: choose another name{into}"
            )
        if target.is_dir() and not _is_cube(target):
            raise ValueError(
                f"{target} holds more than a cube of its name: choose another name{into}"
            )
        if target.exists() and not overwrite:
            raise ValueError(
                f"{target} exists: choose another name, or overwrite it (--overwrite, in Python "
                f"overwrite=True){into}"
            )
