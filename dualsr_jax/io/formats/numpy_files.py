"""NumPy files: `.npy`, with a JSON sidecar for its metadata, and `.npz`. Nothing is unpickled."""

import contextlib
import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.io.axes import ROWS_FIRST, AxisOrder, reversed_axes
from dualsr_jax.io.base import CubeReader, CubeWriter, NewCube
from dualsr_jax.io.choice import Sides, choose_cube, is_side, sides_among
from dualsr_jax.io.damage import OWN_ERRORS, BadFileError, check_size, reported_as_damage
from dualsr_jax.io.guards.hdf5_references import MOST_SMALL
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import RawArray, staged
from dualsr_jax.io.variables import from_variables, to_variables, variable_name

_MOST_JSON_BYTES = 2**26
_MOST_MEMBER_BYTES = 2**23  # of an array other than the cube


def open_npy(path: Path, key: str | None = None, order: AxisOrder | None = None) -> CubeReader:
    """Opens a three-dimensional array, or a flattened one whose sides `order` gives."""
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(path.open("rb", buffering=0))
        shape, fortran, dtype = _npy_header(path, file)
        chosen = choose_cube(path, {"an array": shape}, None, order)
        offset, size = file.tell(), path.stat().st_size
        stored = (1, *shape) if chosen.flattened else shape
        array = RawArray(file, stored[::-1] if fortran else stored, dtype, offset=offset)
        if size != offset + array.nbytes:
            raise BadFileError(
                f"{path} cannot be read, it may be damaged: its header says "
                f"{offset + array.nbytes} bytes, it has {size}"
            )
        metadata = read_json(path, chosen.num_bands)
        if chosen.flattened:
            check_size(path, chosen.shape, dtype, size)
            with reported_as_damage(path, OWN_ERRORS):
                whole = array[(slice(None),) * 3]
            cube = chosen.unfolded(whole[..., 0].T if fortran else whole[0])
            return CubeReader(path, cube, axes=chosen.axes, metadata=metadata)
        close = opened.pop_all().close
    axes = reversed_axes(chosen.axes) if fortran else chosen.axes
    return CubeReader(
        path, array, axes=axes, metadata=metadata, close=close, assumed=chosen.assumed
    )


def _npy_header(
    path: Path, file: IO[bytes] | zipfile.ZipExtFile
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis is the fastest, and type."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with reported_as_damage(path):
        version = np.lib.format.read_magic(file)
    if version not in read:
        raise BadFileError(f"{path} cannot be read: NumPy's format has no version {version}")
    with reported_as_damage(path):
        shape, fortran, dtype = read[version](file)
    if dtype.kind not in "biufcSU":
        raise BadFileError(f"{path} cannot be read: it holds {dtype}, expected numbers or text")
    if any(n < 0 for n in shape):
        raise BadFileError(f"{path} is damaged: its header declares the shape {shape}")
    return shape, fortran, dtype


def with_sidecar(path: Path) -> tuple[Path, Path]:
    """A cube of a format without room for metadata, and the JSON file next to it."""
    return path, path.with_name(path.name + ".json")


def read_json(path: Path, num_bands: int) -> Metadata:
    """Reads the sidecar of a cube; without one, the metadata is empty."""
    _, described = with_sidecar(path)
    if not described.is_file():
        return Metadata()
    with reported_as_damage(described), described.open("rb") as file:
        content = json.loads(file.read(_MOST_JSON_BYTES))
    if not isinstance(content, dict):
        raise BadFileError(f"{described} is damaged: expected an object of names and values")
    return from_variables(content, num_bands)


@contextlib.contextmanager
def create_npy(new: NewCube) -> Iterator[CubeWriter]:
    """Writes an array, straight to its place."""
    partly = replacing_with_json(new.path, new.metadata)
    with partly as partial, partial.open("w+b", buffering=0) as file:
        file.write(_npy_bytes(new))
        array = RawArray(file, new.shape, new.dtype, offset=file.tell())
        array.allocate()
        yield CubeWriter(array, ROWS_FIRST)


def _npy_bytes(new: NewCube) -> bytes:
    """The header of an array."""
    array = np.broadcast_to(np.zeros((), new.dtype), new.shape)  # takes no memory
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return header.getvalue()


@contextlib.contextmanager
def replacing_with_json(path: Path, metadata: Metadata) -> Iterator[Path]:
    """Like `replacing`, and writes the JSON sidecar last; a stale sidecar is removed."""
    _, described = with_sidecar(path)
    variables = {
        name: value if isinstance(value, str) else value.tolist()
        for name, value in to_variables(metadata).items()
    }
    if not variables:
        with replacing(path) as partial:
            yield partial
        described.unlink(missing_ok=True)
        return
    with replacing(described) as partial_json, replacing(path) as partial:
        yield partial
        partial_json.write_text(json.dumps(variables, indent=1) + "\n", encoding="utf-8")


def open_npz(path: Path, key: str | None = None, order: AxisOrder | None = None) -> CubeReader:
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

        def sides() -> Sides | None:
            return sides_among({
                name: _member(path, archive, info)
                for name, info in members.items()
                if is_side(name) and math.prod(shapes[name]) == 1
            })  # fmt: skip

        chosen = choose_cube(path, shapes, key, order, sides=sides)
        cube = _member(path, archive, members[chosen.name])
        others = {  # by their known names, as any number of members may have one
            variable_name(name): _plain(_member(path, archive, info))
            for name, info in members.items()
            if name != chosen.name
            and variable_name(name)
            and info.file_size <= _MOST_MEMBER_BYTES
            and math.prod(shapes[name]) <= MOST_SMALL
        }
    if chosen.flattened:
        cube = chosen.unfolded(cube)
    metadata = from_variables({k: v for k, v in others.items() if k}, chosen.num_bands)
    return CubeReader(path, cube, axes=chosen.axes, metadata=metadata, assumed=chosen.assumed)


def _checked_shape(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    """The shape of an array that the archive can hold."""
    with reported_as_damage(path):
        file = archive.open(info)
    with file:
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
def create_npz(new: NewCube) -> Iterator[CubeWriter]:
    """Writes an archive with the array `cube` and the metadata, packed in the end."""
    with staged(new.path.parent, new.shape, new.dtype) as array:
        yield CubeWriter(array, ROWS_FIRST)
        with replacing(new.path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name, value in to_variables(new.metadata).items():
                content = io.BytesIO()
                np.lib.format.write_array(content, np.asarray(value), allow_pickle=False)
                archive.writestr(_new_member(name), content.getvalue())
            with archive.open(_new_member("cube"), "w", force_zip64=True) as member:
                member.write(_npy_bytes(new))
                for row in range(new.shape[0]):
                    member.write(array[row : row + 1, :, :].data)


def _new_member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name + ".npy")  # dated 1980: the same content gives the same file
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
