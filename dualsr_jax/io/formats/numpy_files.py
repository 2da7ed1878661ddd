"""NumPy files: `.npy`, with a JSON sidecar for its metadata, and `.npz`. Nothing is unpickled."""

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
from dualsr_jax.io.base import (
    OWN_ERRORS,
    ROWS_COLUMNS_BANDS,
    BadFileError,
    CubeReader,
    CubeWriter,
    DamageError,
    check_size,
    choose,
    reported_as_damage,
)
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import RawArray, staged
from dualsr_jax.io.variables import from_variables, to_variables, variable_name

_MOST_JSON_BYTES = 2**26


def open_npy(path: Path, key: str | None = None) -> CubeReader:
    """Opens a three-dimensional array."""
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(path.open("rb", buffering=0))
        shape, fortran, dtype = _npy_header(path, file)
        if len(shape) != 3:
            raise BadFileError(f"{path} should hold one three-dimensional array, it holds {shape}")
        offset, size = file.tell(), path.stat().st_size
        array = RawArray(file, shape[::-1] if fortran else shape, dtype, offset=offset)
        if size != offset + array.nbytes:
            raise BadFileError(
                f"{path} cannot be read, it may be damaged: its header says "
                f"{offset + array.nbytes} bytes, it has {size}"
            )
        metadata = read_json(path, shape[2])
        close = opened.pop_all().close
    axes = (2, 1, 0) if fortran else ROWS_COLUMNS_BANDS
    return CubeReader(path, array, axes=axes, metadata=metadata, close=close)


def _npy_header(
    path: Path, file: IO[bytes] | zipfile.ZipExtFile
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis is the fastest, and type."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with reported_as_damage(path, OWN_ERRORS):
        with reported_as_damage(path):
            version = np.lib.format.read_magic(file)
        if version not in read:
            raise DamageError(f"version {version} of the format is not known")
        with reported_as_damage(path):
            shape, fortran, dtype = read[version](file)
        if dtype.kind not in "biufcSU":
            raise DamageError(f"it holds {dtype}, which is not read")
        if any(n < 0 for n in shape):
            raise DamageError(f"the shape {shape} is impossible")
    return shape, fortran, dtype


def sidecar(path: Path) -> Path:
    """The JSON file next to a cube, of a format without room for metadata."""
    return path.with_name(path.name + ".json")


def read_json(path: Path, num_bands: int) -> Metadata:
    """Reads the sidecar of a cube; the metadata is empty if it has none.

    Raises:
        ValueError: if the file is damaged.
    """
    described = sidecar(path)
    if not described.is_file():
        return Metadata()
    with reported_as_damage(described), described.open("rb") as file:
        content = json.loads(file.read(_MOST_JSON_BYTES))
    if not isinstance(content, dict):
        raise BadFileError(f"{described} is damaged: expected an object of names and values")
    return from_variables(content, num_bands)


def write_json(path: Path, metadata: Metadata) -> None:
    """Writes metadata to a file, unless it is empty."""
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
        replacing_with_json(path, metadata) as partial,
        partial.open("w+b", buffering=0) as file,
    ):
        file.write(_npy_bytes(shape, dtype))
        array = RawArray(file, shape, dtype, offset=file.tell())
        array.allocate()
        yield CubeWriter(array, axes=ROWS_COLUMNS_BANDS, shape=shape, dtype=dtype)


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
    """Like `replacing`, and writes the JSON sidecar last; a stale sidecar is removed."""
    described = sidecar(path)
    if not to_variables(metadata):
        with replacing(path) as partial:
            yield partial
        described.unlink(missing_ok=True)
        return
    with replacing(described) as new, replacing(path) as partial:
        yield partial
        write_json(new, metadata)


def open_npz(path: Path, key: str | None = None) -> CubeReader:
    """Opens the cube of an archive, which is unpacked whole; `key` names it."""
    with contextlib.ExitStack() as opened:
        with reported_as_damage(path):
            archive = opened.enter_context(zipfile.ZipFile(path))
            listed = archive.infolist()
        members = {
            info.filename.removesuffix(".npy"): info
            for info in listed
            if info.filename.endswith(".npy")
        }
        shapes = {name: _checked_shape(path, archive, info) for name, info in members.items()}
        chosen = choose(path, shapes, key)
        cube = _member(path, archive, members[chosen])
        others = {
            name: _plain(_member(path, archive, info))
            for name, info in members.items()
            if variable_name(name) and name != chosen
        }
    metadata = from_variables(others, cube.shape[2])
    return CubeReader(path, cube, axes=ROWS_COLUMNS_BANDS, metadata=metadata)


def _checked_shape(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    """The shape of an array that the archive can hold."""
    with contextlib.ExitStack() as opened:
        with reported_as_damage(path):
            file = opened.enter_context(archive.open(info))
        shape, _, dtype = _npy_header(path, file)
        length = file.tell() + dtype.itemsize * math.prod(shape)
    if length != info.file_size:
        raise BadFileError(
            f"{path} cannot be read, it may be damaged: {info.filename} has {info.file_size} "
            f"bytes, its header says {length}"
        )
    check_size(path, shape, dtype, min(info.compress_size, path.stat().st_size))
    return shape


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with reported_as_damage(path), archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


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
        yield CubeWriter(array, axes=ROWS_COLUMNS_BANDS, shape=shape, dtype=dtype)
        with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name, value in to_variables(metadata).items():
                content = io.BytesIO()
                np.lib.format.write_array(content, np.asarray(value), allow_pickle=False)
                archive.writestr(_new_member(name), content.getvalue())
            with archive.open(_new_member("cube"), "w", force_zip64=True) as member:
                member.write(_npy_bytes(shape, dtype))
                file.seek(0)
                shutil.copyfileobj(file, member, 1 << 20)


def _new_member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name + ".npy")  # dated 1980: the same content gives the same file
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
