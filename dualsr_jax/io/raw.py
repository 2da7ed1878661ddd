"""A plain array in a file: the pixels of ENVI and NumPy files."""

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np


class RawArray:
    """Three axes of numbers in a file, slowest first, read and written by window, by any thread.

    Not a memory map: its pages would count as this process's memory, and a file that shrinks
    meanwhile would end the process. `dtype` has the file's byte order.
    """

    def __init__(
        self, file: IO[bytes], shape: Sequence[int], dtype: np.dtype, *, offset: int = 0
    ) -> None:
        """Lays an array over an unbuffered file, from the byte `offset` on; the file stays open."""
        self.shape, self.dtype = tuple(int(n) for n in shape), dtype
        self._file, self._offset = file, offset

    @property
    def nbytes(self) -> int:
        """Bytes that the whole array takes in the file."""
        return self.dtype.itemsize * math.prod(self.shape)

    def _place(self, first: int, second: int) -> int:
        """The byte at which a line along the last axis begins."""
        line = first * self.shape[1] + second
        return self._offset + line * self.shape[2] * self.dtype.itemsize

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        outer, middle, inner = (range(n)[s] for s, n in zip(index, self.shape, strict=True))
        block = np.empty((len(outer), len(middle), len(inner)), self.dtype)
        lines = np.empty((len(middle), self.shape[2]), self.dtype)
        whole = len(inner) == self.shape[2]
        for k, first in enumerate(outer):
            into = block[k] if whole else lines
            self._move(os.preadv, into, self._place(first, middle.start))
            if not whole:
                block[k] = lines[:, inner.start : inner.stop]
        return block

    def _move(self, call: Callable[..., int], values: np.ndarray, place: int) -> None:
        """Reads or writes contiguous values, by as many calls as the system needs."""
        view = values.view(np.uint8).data.cast("B")
        while view:
            count = call(self._file.fileno(), [view], place)
            if not count:
                raise EOFError("the file is shorter than its header says")
            view, place = view[count:], place + count

    def __setitem__(self, index: tuple[slice, ...], block: np.ndarray) -> None:
        outer, middle, inner = (range(n)[s] for s, n in zip(index, self.shape, strict=True))
        block = np.ascontiguousarray(block, self.dtype)
        whole = len(inner) == self.shape[2]
        for k, first in enumerate(outer):
            if whole:
                self._move(os.pwritev, block[k], self._place(first, middle.start))
                continue
            for m, second in enumerate(middle):
                place = self._place(first, second) + inner.start * self.dtype.itemsize
                self._move(os.pwritev, block[k, m], place)

    def allocate(self) -> None:
        """Makes the file as long as the array is, with zeros."""
        os.ftruncate(self._file.fileno(), self._offset + self.nbytes)


@contextlib.contextmanager
def staged(folder: Path, shape: Sequence[int], dtype: np.dtype) -> Iterator[RawArray]:
    """Gives an array of zeros in a temporary file in a folder; it is removed after the block."""
    with tempfile.TemporaryFile(dir=folder) as file:
        array = RawArray(file, shape, dtype)
        array.allocate()
        yield array
