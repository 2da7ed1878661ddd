"""Cubes in files: opened by window, written by block, listed, or read whole.

Contract: the suffix of a path chooses the format (`FORMATS`); a path without a suffix is a folder
of band images. Cubes are `[H, W, L]` in their stored data type, not scaled.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from dualsr_jax.disk import check_folder, visible
from dualsr_jax.io.axes import AxisOrder, parse_axes
from dualsr_jax.io.base import CubeReader, CubeWriter, NewCube
from dualsr_jax.io.choice import say_what_was_assumed
from dualsr_jax.io.damage import check_size
from dualsr_jax.io.formats import band_images as images
from dualsr_jax.io.formats import (
    envi,
    geotiff,
    hdf5,
    matlab,
    matlab_output,
    netcdf_zarr,
    netcdf_zarr_output,
    numpy_files,
)
from dualsr_jax.io.metadata import Metadata, check_shape
from dualsr_jax.io.notes import note
from dualsr_jax.io.sensors import dlr, prisma

Cube = Shaped[np.ndarray, "H W L"]
_OF_RESULTS = "dualsr_scale"  # a tag of what this package wrote, whose order is known


@dataclasses.dataclass(frozen=True)
class Format:
    """How cubes of one format are read and written; `open` takes the path, the key and the axes.

    `files` names the files or folders that `create` makes of a path. If they are folders, `is_cube`
    says whether a folder holds a cube and nothing else.
    """

    open: Callable[[Path, str | None, AxisOrder | None], CubeReader]
    create: Callable[[NewCube], contextlib.AbstractContextManager[CubeWriter]]
    _: dataclasses.KW_ONLY
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    is_cube: Callable[[Path], bool] | None = None
    holds_angles: bool = False  # latitude and longitude of every pixel


def _in_order(
    open_as_stored: Callable[[Path, str | None], CubeReader],
) -> Callable[[Path, str | None, AxisOrder | None], CubeReader]:
    """Opens a format that says itself which axes are rows, columns and bands."""

    def open_(path: Path, key: str | None, order: AxisOrder | None) -> CubeReader:
        if order is not None:
            raise ValueError(
                f"{path} says itself which axes are rows, columns and bands: leave out the axes "
                f"{order.text!r}"
            )
        return open_as_stored(path, key)

    return open_


_ENVI = Format(_in_order(envi.open_envi), envi.create_envi, files=envi.envi_pair)
_GEOTIFF = Format(_in_order(dlr.open_geotiff), geotiff.create_geotiff)
_HDF5 = Format(prisma.open_hdf5, hdf5.create_hdf5, holds_angles=True)
_NETCDF = Format(netcdf_zarr.open_netcdf, netcdf_zarr_output.create_netcdf, holds_angles=True)
_ZARR = Format(
    netcdf_zarr.open_zarr,
    netcdf_zarr_output.create_zarr,
    is_cube=netcdf_zarr.is_zarr_store,
    holds_angles=True,
)
_NPY = Format(numpy_files.open_npy, numpy_files.create_npy, files=numpy_files.with_sidecar)
_FOLDER = Format(
    _in_order(images.open_band_images),
    images.create_band_images,
    files=numpy_files.with_sidecar,
    is_cube=images.is_band_images,
)

FORMATS: dict[str, Format] = {  # by suffix
    ".hdr": _ENVI,
    **dict.fromkeys(envi.RAW_SUFFIXES, _ENVI),
    ".tif": _GEOTIFF,
    ".tiff": _GEOTIFF,
    ".nc": _NETCDF,
    ".zarr": _ZARR,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".he5": _HDF5,
    ".mat": Format(matlab.open_mat, matlab_output.create_mat),
    ".npy": _NPY,
    ".npz": Format(numpy_files.open_npz, numpy_files.create_npz),
    "": _FOLDER,
}
_FILE_SUFFIXES = tuple(s for s in FORMATS if s and s not in envi.RAW_SUFFIXES)  # ENVI by its header
_KNOWN_SUFFIXES = ", ".join(filter(None, FORMATS))


def open_cube(
    path: str | Path, key: str | None = None, *, axes: str | Sequence[str] | None = None
) -> CubeReader:
    """Opens a cube.

    Args:
        path: a file (ENVI: its header or its raw file), a Zarr store, or a folder of band images.
            `.npz`, MATLAB v5 and band images are unpacked whole when they are opened.
        key: name of the variable if there are several, or `group/name`; None: the only 3-D one.
        axes: names of the axes in their order, such as `y,band,x`, in formats that may not say it;
            None: as the file says, else rows, columns, bands, which is noted if it is doubtful.

    Raises:
        FileNotFoundError: if there is no such file, or a file that belongs to it is missing.
        ValueError: if the format is not known or its packages are missing, the file is damaged, or
            it does not hold exactly one cube of real numbers, or the axes do not fit.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    # The name of a folder of band images may have a dot.
    found = FORMATS.get(path.suffix.lower(), FORMATS[""] if path.is_dir() else None)
    if path.is_file() and found in (None, _FOLDER) and envi.has_header(path):
        found = _ENVI  # such as AVIRIS-NG's, without a suffix
    if found is None:
        image = ", here the image -SPECTRAL_IMAGE.TIF" * (path.suffix.lower() == ".xml")
        raise ValueError(
            f"{path} is not of a known format: expected a folder of band images or one of "
            f"{_KNOWN_SUFFIXES}{image}"
        )
    reader = found.open(path, key, parse_axes(axes))
    if reader.assumed and _OF_RESULTS not in reader.metadata.tags:
        known = reader.metadata.wavelengths
        say_what_was_assumed(path, reader.shape, None if known is None else len(known))
    return reader


def read_cube(
    path: str | Path, key: str | None = None, *, axes: str | Sequence[str] | None = None
) -> Cube:
    """Reads a cube whole, `[H, W, L]`, in the stored data type; takes and raises as `open_cube`."""
    with open_cube(path, key, axes=axes) as reader:
        return read_whole(reader)


def read_whole(reader: CubeReader) -> Cube:
    """Reads an open cube whole; raises ValueError if it is larger than its file can explain."""
    if reader.path.is_file():  # GeoTIFF may be larger than what it is packed to explains
        stored = sum(file.stat().st_size for file in set(reader.files))
        check_size(reader.path, reader.shape, reader.dtype, stored)
    return reader.read(slice(None), slice(None))


def list_cubes(folder: str | Path) -> dict[str, Path]:
    """Finds cube files, and folders of band images (also nested once, `x_ms/x_ms/*.png`).

    Gives their paths by name, without suffix and without CAVE's `_ms`, in order of names; hidden
    ones, such as leftovers of a killed run, do not count. Raises FileNotFoundError if the folder
    does not exist, ValueError if it holds no cube, or two of the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {str(folder)!r}: set config.data.path to the folder of cubes"
        )
    found: dict[str, Path] = {}
    for entry in visible(folder):
        if entry.suffix.lower() in _FILE_SUFFIXES:
            cubes = [entry]
        elif entry.is_dir():
            inner = [entry, *(path for path in visible(entry) if path.is_dir())]
            cubes = [path for path in inner if images.band_images(path)]
        else:
            cubes = []
        for path in cubes[:1]:
            name = entry.stem.removesuffix("_ms")
            if name in found:
                raise ValueError(f"{found[name]} and {path} are both named {name!r}: rename one")
            found[name] = path
    if not found:
        raise ValueError(
            f"no cubes in {str(folder)!r}: expected files ({', '.join(_FILE_SUFFIXES)}) or folders "
            f"of band images ({', '.join(images.IMAGE_SUFFIXES)})"
        )
    return found


def written_files(path: Path) -> tuple[Path, ...]:
    """The files or folders that `create_cube` writes for a path; of unknown suffix, the path."""
    found = FORMATS.get(path.suffix.lower())
    return (path,) if found is None else found.files(path)


@contextlib.contextmanager
def create_cube(
    path: str | Path,
    shape: Sequence[int],
    dtype: DTypeLike,
    metadata: Metadata,
    *,
    overwrite: bool = False,
) -> Iterator[CubeWriter]:
    """Writes a cube. It appears, whole, when the block ends well; otherwise nothing is left.

    Args:
        path: the suffix chooses the format; ENVI: of the header or the raw file, both are written.
        shape: (H, W, L).
        dtype: integers or floating-point numbers, of a type that the format has.
        metadata: of L bands.
        overwrite: whether a cube of this name may be replaced.

    Raises:
        ValueError: if the format is not known or its packages are missing; if it cannot hold the
            type or the metadata; if the path exists and must not be replaced, or cannot be.
        FileNotFoundError: if its folder does not exist.
        PermissionError: if its folder is read-only.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(
            f"cubes of {dtype} are not written: expected integers or floats of at most 8 bytes"
        )
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"the shape is {tuple(shape)}: expected (H, W, L), all positive")
    lengths = (int(shape[0]), int(shape[1]), int(shape[2]))
    check_shape(metadata, lengths)
    made = FORMATS[path.suffix.lower()]
    if metadata.latitude is not None and not made.holds_angles:
        note(
            f"{path} does not hold latitude and longitude of every pixel, which are left out; "
            "NetCDF, HDF5 and Zarr do",
            path.suffix.lower(),
        )
        metadata = dataclasses.replace(metadata, latitude=None, longitude=None)
    new = NewCube(path=path, shape=lengths, dtype=dtype, metadata=metadata)
    with made.create(new) as writer:
        yield writer


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Raises the errors of `create_cube` that concern the path and what is there already."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise ValueError(
            f"{path} is not of a known format: expected one of {_KNOWN_SUFFIXES}, or no "
            "suffix for a folder of band images"
        )
    check_folder(path)
    for target in found.files(path):
        into = f", or write into it (--output={target}/)" if target.is_dir() else ""
        is_cube = found.is_cube if target == path else None
        if target.exists() and target.is_dir() != (is_cube is not None):
            is_, writes = ("folder", "file") if target.is_dir() else ("file", "folder")
            raise ValueError(
                f"{target} is a {is_}, and a {writes} is written: choose another name{into}"
            )
        if target.is_dir() and is_cube is not None and not is_cube(target):
            raise ValueError(
                f"{target} holds more than a cube of its name: choose another name{into}"
            )
        if target.exists() and not overwrite:
            raise ValueError(
                f"{target} exists: choose another name, or overwrite it (--overwrite, in Python "
                f"overwrite=True){into}"
            )
