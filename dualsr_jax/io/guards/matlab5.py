"""Checks the structure of a MATLAB 5 file before scipy reads it.

The check that scipy lacks: `scipy.io` takes the type codes of a file as places in a table without
looking whether they lie in it, so that a damaged file ends the process. Here code, length and place
of every element are checked. This module can go once scipy checks the codes, as its pull requests
25349 (closed) and 25829 (open) propose.
"""

import struct
import zlib
from pathlib import Path
from typing import IO

from dualsr_jax.io.damage import DamageError

_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18})
_MATRIX, _PACKED = 14, 15
_OF_NUMBERS = range(4, 16)  # classes of matrices: characters, sparse, floats, integers
_SPARSE = 5
_COMPLEX = 0x0800  # a flag: imaginary parts follow
_MOST_NESTED = 30
_READ_BYTES = 1 << 20


class _Unpacked:
    """A packed element as a stream that is only read forward."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file, self._left = file, length
        self._inflate = zlib.decompressobj()

    def read(self, count: int) -> bytes:
        found: list[bytes] = []
        while count and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail
            if not packed:
                packed = self._file.read(min(self._left, _READ_BYTES))
                self._left -= len(packed)
            try:
                content = self._inflate.decompress(packed, count)
            except zlib.error as error:
                raise DamageError(str(error)) from error
            if not content and not packed:
                break
            found.append(content)
            count -= len(content)
        return b"".join(found)


_Stream = IO[bytes] | _Unpacked


def check_mat5(path: Path) -> None:
    """Checks a file of version 5; files of version 4 have no such codes and pass.

    Raises DamageError if an element is of an unknown type, in a wrong place, or longer than what
    holds it, EOFError if the file is cut short.
    """
    with path.open("rb") as file:
        header = file.read(128)
        if 0 in header[:4]:
            return
        if len(header) < 128:
            raise EOFError("the file is cut short")
        order = "<" if header[126:] == b"IM" else ">"
        end = path.stat().st_size
        while file.tell() < end:
            kind, length, _ = _tag(file, order)
            following = file.tell() + length
            if kind == _PACKED:
                unpacked = _Unpacked(file, length)
                kind, length, _ = _tag(unpacked, order)
                _matrix(unpacked, order, kind, length, 0)
            else:
                _matrix(file, order, kind, length, 0)
            file.seek(following)


def _tag(stream: _Stream, order: str) -> tuple[int, int, bytes | None]:
    """Type and length of an element, and its content where that is in the tag itself."""
    tag = _exactly(stream, 8)
    first, length = struct.unpack(order + "II", tag)
    if first >> 16:  # a small element
        if first >> 16 > 4:
            raise DamageError(f"an element in 4 bytes says that it has {first >> 16}")
        return first & 0xFFFF, first >> 16, tag[4:]
    return first, length, None


def _matrix(stream: _Stream, order: str, kind: int, length: int, depth: int) -> None:
    if kind != _MATRIX or depth > _MOST_NESTED:
        raise DamageError(f"an element is of type {kind}, {depth} deep: expected a matrix")
    left, number, matrix_class, is_complex = length, 0, 0, False
    while left > 0:
        kind, size, content = _tag(stream, order)
        padded = 0 if content is not None else size + -size % 8
        left -= 8 + padded
        if left < 0:
            raise DamageError("an element is longer than the matrix that holds it")
        if kind == _MATRIX and number > 2 and matrix_class not in _OF_NUMBERS:
            _matrix(stream, order, kind, size, depth + 1)
            _pass(stream, padded - size)
        elif kind not in _NUMBERS:
            raise DamageError(f"an element is of type {kind}: expected numbers")
        elif number == 0:
            if padded < 8:
                raise DamageError("the first element of a matrix is too short")
            flags = struct.unpack(order + "I", _exactly(stream, 4))[0]
            matrix_class, is_complex = flags & 0xFF, bool(flags & _COMPLEX)
            _pass(stream, padded - 4)
        else:
            _pass(stream, padded)
        number += 1
    # flags, size, name and numbers, or the places and numbers of what is not zero
    expected = (6 if matrix_class == _SPARSE else 4) + is_complex
    if matrix_class in _OF_NUMBERS and number != expected:
        raise DamageError(f"a matrix has {number} elements: expected {expected}")


def _exactly(stream: _Stream, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the file is cut short")
    return content


def _pass(stream: _Stream, count: int) -> None:
    while count > 0:
        count -= len(_exactly(stream, min(count, _READ_BYTES)))
