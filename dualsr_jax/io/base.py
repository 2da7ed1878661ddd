"""What readers and writers of every format have in common.

Contract: a format gives a source, anything with `shape`, `dtype` and `source[slices]`, or a target,
anything with `target[slices] = block`, whose three axes lie in the format's order; `CubeReader` and
`CubeWriter` put them in the order rows, columns, bands. What is wrong with a file comes out as
ValueError or FileNotFoundError that names the file.
"""

import contextlib
import struct
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from scipy.io.matlab import MatReadError

from dualsr_jax.io.metadata import Metadata

Block = Shaped[np.ndarray, "h w l"]

# What numpy, scipy, h5py, zarr and GDAL raise at damaged files, as scripts/fuzz_readers.py finds.
# MemoryError: a size in the file that no memory holds.
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    MatReadError,
    tokenize.TokenError,  # numpy
    UnboundLocalError,  # scipy
    SystemError,  # numcodecs
)
# Deflate packs at most 1032 : 1. Smaller cubes than this are let through whatever they claim.
_MOST_PACKED = 1100
_HARMLESS_BYTES = 2**28


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turns what libraries raise at a damaged file into a ValueError that names the file."""
    try:
        yield
    except (FileNotFoundError, BadFileError):
        raise
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read, it may be damaged: {error}") from error


class BadFileError(ValueError):
    """Already says which file is wrong and how."""


def check_size(path: Path, shape: Sequence[int], dtype: np.dtype, stored_bytes: int) -> None:
    """Checks the size that a packed file declares, before anything of that size is held.

    Args:
        path: for the error.
        shape: declared.
        dtype: declared.
        stored_bytes: of the packed data.

    Raises:
        ValueError: if the declared cube is larger than any packing explains.
    """
    declared = dtype.itemsize
    for length in shape:
        declared *= int(length)
    if declared > max(_HARMLESS_BYTES, _MOST_PACKED * stored_bytes):
        raise BadFileError(
            f"{path} declares a cube of {tuple(shape)} {dtype}, {declared} bytes, but holds only "
            f"{stored_bytes}: it is damaged or made to fill the memory"
        )


def choose(path: Path, shapes: Mapping[str, tuple[int, ...]], key: str | None) -> str:
    """Which of a file's arrays is the cube.

    Args:
        path: for the error.
        shapes: of all arrays, by name, last axis bands.
        key: its name; None: the only three-dimensional one. If there are several, those of fewer
            than five bands, such as colour previews, are none.

    Raises:
        ValueError: if there is no such array, or not exactly one.
    """
    cubes = [name for name, shape in shapes.items() if len(shape) == 3]
    held = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no array"
    if key is not None:
        if key not in cubes:
            raise BadFileError(f"{path} has no cube {key!r}, only {held}")
        return key
    if len(cubes) > 1:
        cubes = [name for name in cubes if shapes[name][2] >= 5]
    if len(cubes) != 1:
        raise BadFileError(
            f"{path} should hold one three-dimensional array, it holds {held}: name the right one "
            "(key, in training config.data.key)"
        )
    return cubes[0]


class CubeReader:
    """A cube in a file, read by window. A context manager; threads may share it.

    Attributes:
        path: the file.
        shape: (H, W, L).
        dtype: as stored, in this machine's byte order.
        metadata: what the file says beside the pixels.
        files: all that it is read from, `path` among them.
    """

    def __init__(
        self,
        path: Path,
        source: Any,
        axes: tuple[int, int, int],
        metadata: Metadata,
        close: Callable[[], object] = lambda: None,
        *,
        files: Sequence[Path] = (),
    ) -> None:
        """Opens a source.

        Args:
            path: the file.
            source: has `shape`, `dtype` and `source[slices]`, safe between threads.
            axes: of the source that are rows, columns and bands.
            metadata: what the file says beside the pixels.
            close: frees the source.
            files: beside `path`, of formats of several files.

        Raises:
            ValueError: if it is empty or its values are no real numbers.
        """
        self.path, self.metadata, self.files = path, metadata, (path, *files)
        self._source, self._axes, self._close = source, axes, close
        self.shape = (
            int(source.shape[axes[0]]),
            int(source.shape[axes[1]]),
            int(source.shape[axes[2]]),
        )
        dtype = np.dtype(source.dtype)
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            close()
            what = "complex numbers" if dtype.kind == "c" else f"values of type {dtype}"
            raise BadFileError(f"{path} holds {what}: expected integers or floating-point numbers")
        if 0 in self.shape:
            close()
            raise BadFileError(f"{path} is an empty cube, {self.shape}")
        self.dtype = dtype.newbyteorder("=")

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Block:
        """Reads a window.

        Args:
            rows: within 0..H, no step.
            columns: within 0..W, no step.
            bands: within 0..L, a slice or numbers in any order; None: all.

        Returns:
            `[h, w, l]` in `dtype`; of formats that are unpacked whole maybe a view.

        Raises:
            ValueError: if the window is not inside the cube, or the file is damaged there.
        """
        height, width, num_bands = self.shape
        place = (_inside(rows, height, "rows"), _inside(columns, width, "columns"))
        wanted = np.arange(num_bands)
        if isinstance(bands, slice):
            wanted = wanted[bands]
        elif bands is not None:
            wanted = np.asarray(bands, int)
        if not wanted.size or wanted.min() < 0 or wanted.max() >= num_bands:
            raise ValueError(f"bands {bands} are not among the {num_bands} of {self.path}")
        # Neighbouring bands are read at once, others are not read.
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
        with damage_told(self.path):
            blocks = [self._window((*place, slice(int(r[0]), int(r[-1]) + 1))) for r in runs]
        return np.concatenate(blocks, -1) if len(blocks) > 1 else blocks[0]

    def _window(self, place: tuple[slice, slice, slice]) -> np.ndarray:
        index = [slice(None)] * 3
        for axis, part in zip(self._axes, place, strict=True):
            index[axis] = part
        block = np.asarray(self._source[tuple(index)]).transpose(self._axes)
        return np.ascontiguousarray(block, self.dtype)

    def close(self) -> None:
        """Frees the file."""
        self._close()

    def __enter__(self) -> "CubeReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _inside(part: slice, length: int, what: str) -> slice:
    start, stop = part.start or 0, length if part.stop is None else part.stop
    if part.step not in (None, 1) or not 0 <= start < stop <= length:
        raise ValueError(f"{what} {part} are not inside 0..{length}")
    return slice(int(start), int(stop))


class CubeWriter:
    """A cube that is being written; threads may share it.

    Attributes:
        shape: (H, W, L).
        dtype: of the blocks.
    """

    def __init__(
        self, target: Any, axes: tuple[int, int, int], shape: Sequence[int], dtype: np.dtype
    ) -> None:
        """Writes to a target.

        Args:
            target: has `target[slices] = block`.
            axes: of the target that are rows, columns and bands.
            shape: (H, W, L).
            dtype: of the blocks.
        """
        self.shape, self.dtype = (int(shape[0]), int(shape[1]), int(shape[2])), dtype
        self._target, self._axes = target, axes
        self._lock = threading.Lock()

    def write(self, block: Block, row: int, column: int, band: int = 0) -> None:
        """Writes a block; blocks come in any order, what is never written is zero.

        Args:
            block: in `dtype`.
            row: of its first pixel.
            column: of its first pixel.
            band: of its first pixel.

        Raises:
            ValueError: if it is of another type, or does not lie inside the cube.
        """
        starts = (row, column, band)
        ends = tuple(start + n for start, n in zip(starts, block.shape, strict=True))
        if block.dtype != self.dtype:
            raise ValueError(f"the block is {block.dtype}, the cube {self.dtype}")
        if min(starts) < 0 or any(e > n for e, n in zip(ends, self.shape, strict=True)):
            raise ValueError(
                f"a block of {block.shape} at {starts} is not inside the cube {self.shape}"
            )
        index = [slice(None)] * 3
        for axis, start, end in zip(self._axes, starts, ends, strict=True):
            index[axis] = slice(start, end)
        order = sorted(range(3), key=lambda k: self._axes[k])
        with self._lock:
            self._target[tuple(index)] = np.ascontiguousarray(block.transpose(order))
