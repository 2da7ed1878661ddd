"""NumPy files: `.npy`, with its metadata beside it as JSON, and `.npz`. Nothing is unpickled."""

import contextlib
import io
import json
import math
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.io.base import BadFileError, CubeReader, CubeWriter, check_size, choose, damage_told
from dualsr_jax.io.metadata import (
    Metadata,
    from_variables,
    to_variables,
    variable_name,
)
from dualsr_jax.io.raw import RawArray, staged

_ROWS_COLUMNS_BANDS = (0, 1, 2)
_MOST_JSON_BYTES = 2**26


def open_npy(path: Path, key: str | None = None) -> CubeReader:
    """Opens a three-dimensional array; `key` is of no meaning here.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, of objects, or not three-dimensional.
    """
    file = path.open("rb", buffering=0)
    try:
        with damage_told(path):
            shape, fortran, dtype = _npy_header(file)
            if len(shape) != 3:
                raise BadFileError(
                    f"{path} should hold one three-dimensional array, it holds {shape}"
                )
            offset, size = file.tell(), path.stat().st_size
            array = RawArray(file, shape[::-1] if fortran else shape, dtype, offset)
            if size != offset + array.nbytes:
                raise BadFileError(
                    f"{path} cannot be read, it may be damaged: its header says "
                    f"{offset + array.nbytes} bytes, it has {size}"
                )
            metadata = read_json(path, shape[2])
        axes = (2, 1, 0) if fortran else _ROWS_COLUMNS_BANDS
        return CubeReader(path, array, axes, metadata, file.close)
    except BaseException:
        file.close()
        raise


def _npy_header(file: IO[bytes] | zipfile.ZipExtFile) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis is the fastest, and type."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"version {version} of the format is not known")
    shape, fortran, dtype = read[version](file)
    if dtype.kind not in "biufcSU":
        raise ValueError(f"it holds {dtype}, which is not read")
    if any(n < 0 for n in shape):
        raise ValueError(f"the shape {shape} is impossible")
    return shape, fortran, dtype


def json_beside(path: Path) -> Path:
    """Where the metadata of a format without room for it is."""
    return path.with_name(path.name + ".json")


def read_json(path: Path, num_bands: int) -> Metadata:
    """The metadata beside a cube; empty if there is none.

    Raises:
        ValueError: if the file is damaged.
    """
    beside = json_beside(path)
    if not beside.is_file():
        return Metadata()
    with damage_told(beside):
        with beside.open("rb") as file:
            content = json.loads(file.read(_MOST_JSON_BYTES))
        if not isinstance(content, dict):
            raise ValueError("expected an object of names and values")
        return from_variables(content, num_bands)


def write_json(path: Path, metadata: Metadata) -> None:
    """Writes the metadata to a file; none if there is nothing to say."""
    variables = {
        name: value if isinstance(value, str) else value.tolist()
        for name, value in to_variables(metadata).items()
    }
    if variables:
        path.write_text(json.dumps(variables, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def create_npy(
    path: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes an array, straight to its place."""
    with (
        replacing_with_json(path, metadata) as beside,
        beside.open("w+b", buffering=0) as file,
    ):
        file.write(_npy_bytes(shape, dtype))
        array = RawArray(file, shape, dtype, file.tell())
        array.allocate()
        yield CubeWriter(array, _ROWS_COLUMNS_BANDS, shape, dtype)


def _npy_bytes(shape: Sequence[int], dtype: np.dtype) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header,
        {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": tuple(int(n) for n in shape),
        },
    )
    return header.getvalue()


@contextlib.contextmanager
def replacing_with_json(path: Path, metadata: Metadata) -> Iterator[Path]:
    """As `replacing`, with the metadata beside, which comes last; that of an older cube goes."""
    described = json_beside(path)
    if not to_variables(metadata):
        with replacing(path) as beside:
            yield beside
        described.unlink(missing_ok=True)
        return
    with replacing(described) as new, replacing(path) as beside:
        yield beside
        write_json(new, metadata)


def open_npz(path: Path, key: str | None = None) -> CubeReader:
    """Opens the cube of an archive, which is unpacked whole.

    Args:
        path: the archive.
        key: name of the cube; None: the only three-dimensional array.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, or has no such cube or not exactly one candidate.
    """
    with damage_told(path), zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        shapes = {}
        for name, info in members.items():
            with archive.open(info) as file:
                shapes[name], _, dtype = _npy_header(file)
                length = file.tell() + dtype.itemsize * math.prod(shapes[name])
            if length != info.file_size:
                raise ValueError(f"{name} has {info.file_size} bytes, its header says {length}")
            stored = min(info.compress_size, path.stat().st_size)
            check_size(path, shapes[name], dtype, stored)
        chosen = choose(path, shapes, key)
        wanted = [chosen, *(name for name in members if variable_name(name) and name != chosen)]
        arrays = {}
        for name in wanted:
            with archive.open(members[name]) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        cube = arrays.pop(chosen)
        metadata = from_variables({k: _plain(v) for k, v in arrays.items()}, cube.shape[2])
    return CubeReader(path, cube, _ROWS_COLUMNS_BANDS, metadata)


def _plain(array: np.ndarray) -> np.ndarray | str:
    return str(array.item()) if array.dtype.kind in "SU" and array.size == 1 else array


@contextlib.contextmanager
def create_npz(
    path: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes an archive with the array `cube` and the metadata, packed in the end."""
    with staged(path.parent) as file:
        array = RawArray(file, shape, dtype)
        array.allocate()
        yield CubeWriter(array, _ROWS_COLUMNS_BANDS, shape, dtype)
        with replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
            for name, value in to_variables(metadata).items():
                content = io.BytesIO()
                np.lib.format.write_array(content, np.asarray(value), allow_pickle=False)
                archive.writestr(_member(name), content.getvalue())
            with archive.open(_member("cube"), "w", force_zip64=True) as member:
                member.write(_npy_bytes(shape, dtype))
                file.seek(0)
                shutil.copyfileobj(file, member, 1 << 20)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name + ".npy")  # of 1980: the same content gives the same file
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
