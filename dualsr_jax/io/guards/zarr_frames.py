"""Checks the lengths that chunks of a Zarr store declare before numcodecs believes them.

The checks that numcodecs 0.16 lacks: it decodes as many bytes as the header of a Blosc frame says,
also where fewer are stored, and the process ends; and it makes room for as many texts or lists as a
chunk of them says. Zarr calls the decoders wherever a store names them, in shards too, so that the
checks have to be in the decoders themselves. This module can go once numcodecs makes them (issue
228 of zarr-developers/numcodecs). Layouts: "Blosc Header Format" of C-Blosc; `numcodecs/vlen.pyx`.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from dualsr_jax.extras import geo

_HEADER = 16  # bytes before a Blosc frame's content
_LENGTH = 4  # bytes of the number of texts, and of the length before each of them


@functools.cache
def check_frames() -> None:
    """From now on, decoders of numcodecs raise ValueError at lengths that cannot be."""
    _check_before_decoding(geo("numcodecs.blosc").Blosc, _check_blosc)
    vlen = geo("numcodecs.vlen")
    for codec in (vlen.VLenUTF8, vlen.VLenBytes, vlen.VLenArray):
        _check_before_decoding(codec, _check_items)


def _check_before_decoding(codec: Any, check: Callable[[np.ndarray], None]) -> None:
    decode, to_array = codec.decode, geo("numcodecs.compat").ensure_contiguous_ndarray

    @functools.wraps(decode)
    def checked(self: Any, buf: Any, out: Any = None) -> Any:
        check(to_array(buf).view(np.uint8))
        return decode(self, buf, out)

    codec.decode = checked


def _check_blosc(stored: np.ndarray) -> None:
    declared = _number(stored, 12)
    if not _HEADER <= declared <= stored.size:
        raise ValueError(f"a Blosc frame of {declared} bytes is stored in {stored.size}")


def _check_items(stored: np.ndarray) -> None:
    declared = _number(stored, 0)
    if declared * _LENGTH > stored.size - _LENGTH:
        raise ValueError(f"{declared} texts or lists are stored in {stored.size} bytes")


def _number(stored: np.ndarray, place: int) -> int:
    return int.from_bytes(stored[place : place + 4].tobytes(), "little")
