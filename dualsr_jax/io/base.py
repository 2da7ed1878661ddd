"""What readers and writers of every format have in common.

Contract: a format hands over a source (anything with `shape`, `dtype` and `source[slices]`) or a
target (anything with `shape`, `dtype` and `target[slices] = block`) whose three axes lie in the
format's order; `CubeReader` and `CubeWriter` put them in the order rows, columns, bands. What is
wrong with a file is raised as ValueError or FileNotFoundError and names the file.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Shaped

from dualsr_jax.io.axes import Axes
from dualsr_jax.io.damage import OWN_ERRORS, BadFileError, reported_as_damage
from dualsr_jax.io.metadata import Metadata

Item = TypeVar("Item")
Block = Shaped[np.ndarray, "h w l"]


def choose(path: Path, shapes: Mapping[str, tuple[int, ...]], key: str | None) -> str:
    """Chooses the cube among the arrays of a file, of which the shapes are given, bands last.

    `key` is the name of the cube; None: the only three-dimensional array. If there are several,
    those of fewer than five bands, such as colour previews, do not count.
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
            "with --key, in Python with key, in training with config.data.key"
        )
    return cubes[0]


def in_order(items: Sequence[Item], axes: Axes) -> tuple[Item, ...]:
    """Puts what belongs to rows, columns and bands in the order of a format's axes."""
    return tuple(items[k] for k in np.argsort(axes))


class CubeReader:
    """A cube in a file, read by window. A context manager; threads may share it.

    `shape` is (H, W, L), `dtype` as stored, in this machine's byte order; `files` are all files
    that the cube is read from, `path` among them. `assumed` is whether the order of the axes was
    named neither in the file nor by the caller.
    """

    def __init__(
        self,
        path: Path,
        source: Any,
        *,
        axes: Axes,
        metadata: Metadata,
        close: Callable[[], object] = lambda: None,
        files: Sequence[Path] = (),
        assumed: bool = False,
    ) -> None:
        """Wraps a source that `close` frees.

        Raises ValueError if the cube is empty or its values are not real numbers.
        """
        self.path, self.metadata, self.files = path, metadata, (path, *files)
        self._source, self._axes, self._close = source, axes, close
        self.assumed = assumed
        rows, columns, bands = (int(source.shape[axis]) for axis in axes)
        self.shape = (rows, columns, bands)
        dtype = np.dtype(source.dtype)
        self.dtype = dtype.newbyteorder("=")
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            close()
            what = "complex numbers" if dtype.kind == "c" else f"values of type {dtype}"
            raise BadFileError(f"{path} holds {what}: expected integers or floating-point numbers")
        if 0 in self.shape:
            close()
            raise BadFileError(f"{path} is an empty cube, {self.shape}")

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Block:
        """Reads a window `[h, w, l]`; possibly a view, if the format is unpacked whole.

        Rows are within 0..H, columns within 0..W, without a step; bands within 0..L are a slice or
        numbers in any order; None: all. Raises ValueError if the window is not inside the cube, or
        the file is damaged there.
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
        with reported_as_damage(self.path, OWN_ERRORS):
            blocks = [self._window((*place, slice(int(r[0]), int(r[-1]) + 1))) for r in runs]
        return np.concatenate(blocks, -1) if len(blocks) > 1 else blocks[0]

    def _window(self, place: tuple[slice, slice, slice]) -> np.ndarray:
        index = in_order(place, self._axes)
        return np.ascontiguousarray(self._source[index].transpose(self._axes), self.dtype)

    def on_close(self, close: Callable[[], object]) -> None:
        """Says what frees the file."""
        self._close = close

    def close(self) -> None:
        """Frees the file."""
        self._close()

    def __enter__(self) -> "CubeReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _inside(selection: slice, length: int, what: str) -> slice:
    start, stop = selection.start or 0, length if selection.stop is None else selection.stop
    if selection.step not in (None, 1) or not 0 <= start < stop <= length:
        raise ValueError(f"{what} {selection} are not inside 0..{length}")
    return slice(int(start), int(stop))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewCube:
    """A cube to be written: its path, shape (H, W, L), data type and metadata."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    metadata: Metadata


class CubeWriter:
    """A cube of `shape` (H, W, L) that is being written in blocks of `dtype`, by any thread."""

    def __init__(self, target: Any, axes: Axes) -> None:
        rows, columns, bands = (int(target.shape[axis]) for axis in axes)
        self.shape, self.dtype = (rows, columns, bands), np.dtype(target.dtype).newbyteorder("=")
        self._target, self._axes = target, axes
        self._lock = threading.Lock()

    def write(self, block: Block, row: int, column: int, band: int = 0) -> None:
        """Writes a block `[h, w, l]` whose first pixel is at `row`, `column` and `band`.

        Blocks come in any order; what is never written is zero. Raises ValueError if the block is
        of another type, or does not lie inside the cube.
        """
        starts = (row, column, band)
        ends = tuple(start + n for start, n in zip(starts, block.shape, strict=True))
        if block.dtype != self.dtype:
            raise ValueError(f"the block is {block.dtype}, the cube {self.dtype}")
        if min(starts) < 0 or any(e > n for e, n in zip(ends, self.shape, strict=True)):
            raise ValueError(
                f"a block of {block.shape} at {starts} is not inside the cube {self.shape}"
            )
        index = in_order(tuple(map(slice, starts, ends)), self._axes)
        with self._lock:
            self._target[index] = np.ascontiguousarray(block.transpose(np.argsort(self._axes)))
