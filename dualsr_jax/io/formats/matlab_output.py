"""Writes MATLAB files: of version 5 up to 2 GB, which MATLAB's readers all read, else of 7.3.

Contract: the variable `cube` `[H, W, L]` is written straight to its place, next to the metadata.
Version 5 cannot hold variables of 2 GB. Its layout: "MAT-File Format", MathWorks, 2023.
"""

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from dualsr_jax.disk import replacing
from dualsr_jax.io.axes import ROWS_FIRST, reversed_axes
from dualsr_jax.io.base import CubeWriter, NewCube
from dualsr_jax.io.raw import RawArray
from dualsr_jax.io.variables import to_variables

# MATLAB's name of a type; codes of its class and of its numbers in files of version 5.
_CLASSES = {
    "float64": ("double", 6, 9),
    "float32": ("single", 7, 7),
    "int8": ("int8", 8, 1),
    "uint8": ("uint8", 9, 2),
    "int16": ("int16", 10, 3),
    "uint16": ("uint16", 11, 4),
    "int32": ("int32", 12, 5),
    "uint32": ("uint32", 13, 6),
    "int64": ("int64", 14, 12),
    "uint64": ("uint64", 15, 13),
}
_FLAGS, _LENGTHS, _NAME, _MATRIX = 6, 5, 1, 14  # codes of elements: uint32, int32, int8, matrix
_MOST_BYTES_5 = 2**31 - 2**10  # of the numbers of a variable
_USER_BLOCK = 512  # bytes before the HDF5 content, as MATLAB has them
_COLUMNS_FIRST = reversed_axes(ROWS_FIRST)  # the first axis is the fastest
_TEXT_5 = b"MATLAB 5.0 MAT-file, Platform: GLNXA64"
_TEXT_7 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."
_TEXT_BYTES = 116


@contextlib.contextmanager
def create_mat(new: NewCube) -> Iterator[CubeWriter]:
    """Writes a file of the version that its size needs."""
    if new.dtype.name not in _CLASSES:
        raise ValueError(f"MATLAB has no class for {new.dtype}, only for {', '.join(_CLASSES)}")
    size = np.prod(new.shape, dtype=float) * new.dtype.itemsize
    with replacing(new.path) as partial:
        write = _write_5 if size <= _MOST_BYTES_5 else _write_7
        with write(new, partial) as writer:
            yield writer


def _element(code: int, content: bytes) -> bytes:
    return struct.pack("<II", code, len(content)) + content + bytes(-len(content) % 8)


@contextlib.contextmanager
def _write_5(new: NewCube, partial: Path) -> Iterator[CubeWriter]:
    _, class_code, number_code = _CLASSES[new.dtype.name]
    described = io.BytesIO()
    scipy.io.savemat(described, to_variables(new.metadata), oned_as="column")
    content = _TEXT_5.ljust(_TEXT_BYTES) + described.getvalue()[_TEXT_BYTES:]  # without the time
    head = _element(_FLAGS, struct.pack("<II", class_code, 0))
    head += _element(_LENGTHS, struct.pack("<3i", *new.shape)) + _element(_NAME, b"cube")
    with partial.open("w+b", buffering=0) as file:
        offset = len(content) + 8 + len(head) + 8
        dtype = new.dtype.newbyteorder("<")
        array = RawArray(file, new.shape[::-1], dtype, offset=offset)
        padding = -array.nbytes % 8
        file.write(content)
        file.write(struct.pack("<II", _MATRIX, len(head) + 8 + array.nbytes + padding) + head)
        file.write(struct.pack("<II", number_code, array.nbytes))
        os.ftruncate(file.fileno(), offset + array.nbytes + padding)
        yield CubeWriter(array, _COLUMNS_FIRST)


@contextlib.contextmanager
def _write_7(new: NewCube, partial: Path) -> Iterator[CubeWriter]:
    with h5py.File(partial, "w", userblock_size=_USER_BLOCK) as file:
        for name, value in to_variables(new.metadata).items():
            _write_variable(file, name, value)
        cube = file.create_dataset("cube", new.shape[::-1], new.dtype)
        cube.attrs["MATLAB_class"] = np.bytes_(_CLASSES[new.dtype.name][0])
        yield CubeWriter(cube, _COLUMNS_FIRST)
    with partial.open("r+b") as raw:
        raw.write(_TEXT_7.ljust(_TEXT_BYTES) + bytes(8) + b"\x00\x02IM")


def _write_variable(file: h5py.File, name: str, value: np.ndarray | str) -> None:
    if isinstance(value, str):
        codes = np.frombuffer(value.encode("utf-16-le"), "<u2")
        dataset = file.create_dataset(name, data=codes[:, None])
        dataset.attrs["MATLAB_class"] = np.bytes_("char")
        dataset.attrs["MATLAB_int_decode"] = np.int32(2)
    else:
        dataset = file.create_dataset(name, data=value[:, None])
        dataset.attrs["MATLAB_class"] = np.bytes_(_CLASSES[value.dtype.name][0])
