"""Damaged files: what libraries raise at them becomes an error that names the file.

Contract: a slip of our own code is never reported as a damaged file. `reported_as_damage` with
`LIBRARY_ERRORS` surrounds calls into libraries only.
"""

import contextlib
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io.matlab import MatReadError

from dualsr_jax.extras import geo


class BadFileError(ValueError):
    """Names a file and says what is wrong with it."""


class DamageError(ValueError):
    """Says what is wrong with a file; `reported_as_damage` adds the name of the file."""


# What libraries raise at damaged files, as scripts/fuzz_readers.py finds, even MemoryError (a size
# in the file that no memory holds), TokenError (numpy), UnboundLocalError (scipy) and SystemError
# (numcodecs).
LIBRARY_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError,
                  ArithmeticError, RuntimeError, MemoryError, SyntaxError, UnboundLocalError,
                  SystemError, struct.error, zlib.error, zipfile.BadZipFile, MatReadError,
                  tokenize.TokenError)  # fmt: skip
# What our own code raises at damaged files.
OWN_ERRORS = (DamageError, OSError, EOFError)
# Deflate packs at most 1032 : 1. Smaller cubes than this are let through whatever they claim.
_MOST_PACKED = 1100
_HARMLESS_BYTES = 2**28


@contextlib.contextmanager
def reported_as_damage(
    path: Path, errors: tuple[type[Exception], ...] = LIBRARY_ERRORS
) -> Iterator[None]:
    """Turns errors about a damaged file into one that names it.

    The block calls a library, or, with `OWN_ERRORS`, checks of our own.
    """
    try:
        yield
    except (FileNotFoundError, BadFileError):
        raise
    except errors as error:
        raise BadFileError(f"{path} cannot be read, it may be damaged: {error}") from error


def reported_as_gdal_damage(path: Path) -> contextlib.AbstractContextManager[None]:
    """Like `reported_as_damage`, and for errors of GDAL that rasterio has no public name for."""
    return reported_as_damage(path, (*LIBRARY_ERRORS, geo("rasterio._err").CPLE_BaseError))


class LibraryArray:
    """A source that is an array of a library: whatever it raises is reported as damage."""

    def __init__(self, path: Path, array: Any, chunk: Sequence[int], stored_bytes: int) -> None:
        """Raises ValueError if array or chunk are larger than the stored bytes can explain."""
        with reported_as_damage(path):
            self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        for shape in (self.shape, chunk):
            check_size(path, shape, self.dtype, stored_bytes)
        self._path, self._array = path, array

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        with reported_as_damage(self._path):
            return np.asarray(self._array[index])


def check_size(path: Path, shape: Sequence[int], dtype: np.dtype, stored_bytes: int) -> None:
    """Raises ValueError if a file declares a larger cube than deflate explains.

    Called before a whole cube, or a chunk, is read into memory.
    """
    declared = math.prod(map(int, shape), start=dtype.itemsize)
    if declared > max(_HARMLESS_BYTES, _MOST_PACKED * stored_bytes):
        raise BadFileError(
            f"{path} declares a cube of {tuple(shape)} {dtype}, {declared} bytes, but holds only "
            f"{stored_bytes}: it is damaged or made to fill the memory"
        )
