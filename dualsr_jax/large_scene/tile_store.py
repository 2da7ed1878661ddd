"""What the first pass over a scene leaves for the second: results of tiles, in files or in memory.

Contract: a tile has a few layers, each a cube of its core, bands first, float32, on its own grid.
`with store.tile(index)` gives its writer, which appends chunk by chunk; the tile is finished when
the block ends without an error. In files, tiles can be written in any order, by several processes,
even twice; the record of a tile comes last, by renaming, and holds checksums: a tile that does not
match its record, or whose record is damaged, is not finished.
Layers are read by window, across tiles, without memory maps, whose pages count as memory.
"""

import abc
import contextlib
import dataclasses
import functools
import json
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dualsr_jax.io.raw import RawArray
from dualsr_jax.large_scene.tiling import Tile

_STORED = np.dtype("<f4")
_BYTES_AT_ONCE = 16 * 2**20


class Layout(NamedTuple):
    """The tiles of a scene and their layers, which all have `num_bands` bands.

    `layers` gives the grid factor of each layer: its pixels per LR pixel, along a side.
    """

    tiles: Sequence[Tile]
    layers: Mapping[str, int]
    num_bands: int

    def shape(self, tile: Tile, layer: str) -> tuple[int, int, int]:
        """`(K, h, w)` of a layer of a tile."""
        rows, columns = tile.place(self.layers[layer])
        return self.num_bands, rows.stop - rows.start, columns.stop - columns.start

    def nbytes(self, tile: Tile) -> dict[str, int]:
        """Stored bytes of a tile by layer."""
        return {
            layer: _STORED.itemsize * int(np.prod(self.shape(tile, layer))) for layer in self.layers
        }


@dataclasses.dataclass
class AngleSum:
    """Sum of the spectral angles of a tile, in degrees, and their number."""

    sum_deg: float = 0.0
    count: int = 0


class TileWriter:
    """A tile that is being written; its spectral `angles` are set before it is finished."""

    def __init__(self, appends: Mapping[str, Callable[[Any], object]]) -> None:
        self._appends = appends
        self.angles = AngleSum()

    def append(self, layer: str, chunk: Float[np.ndarray, "k h w"]) -> None:
        """Writes the next bands of a layer."""
        self._appends[layer](np.ascontiguousarray(chunk, _STORED))


def _overlap(wanted: slice, core: slice) -> tuple[slice, slice]:
    """What two ranges have in common, counted from the start of each."""
    start, stop = max(wanted.start, core.start), min(wanted.stop, core.stop)
    return (
        slice(start - wanted.start, stop - wanted.start),
        slice(start - core.start, stop - core.start),
    )


class TileStore(abc.ABC):
    """Keeps the tiles of a scene."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @abc.abstractmethod
    def finished(self) -> dict[int, AngleSum]:
        """The finished tiles by index."""

    @abc.abstractmethod
    def tile(self, index: int) -> contextlib.AbstractContextManager[TileWriter]:
        """Writes a tile, which is finished when the block ends without an error."""

    @abc.abstractmethod
    def _read_tile(self, index: int, layer: str, window: tuple[slice, slice, slice]) -> np.ndarray:
        """Reads bands, rows and columns of a layer of one tile."""

    def read(
        self, layer: str, rows: slice, columns: slice, bands: slice
    ) -> Float[np.ndarray, "k h w"]:
        """Reads a window of a layer, in the layer's pixels; its tiles must be finished."""
        shape = bands.stop - bands.start, rows.stop - rows.start, columns.stop - columns.start
        window = np.empty(shape, np.float32)
        for index, tile in enumerate(self.layout.tiles):
            core_rows, core_columns = tile.place(self.layout.layers[layer])
            to_rows, from_rows = _overlap(rows, core_rows)
            to_columns, from_columns = _overlap(columns, core_columns)
            if to_rows.start < to_rows.stop and to_columns.start < to_columns.stop:
                found = self._read_tile(index, layer, (bands, from_rows, from_columns))
                window[:, to_rows, to_columns] = found
        return window


def _crc32(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(_BYTES_AT_ONCE):
            found = zlib.crc32(block, found)
    return found


def _sealed(crc32: int, angles: AngleSum) -> int:
    """The checksum of a layer that also covers the numbers of the record."""
    return zlib.crc32(repr(angles).encode(), crc32)


class FileTileStore(TileStore):
    """Tiles in an existing folder, which several processes may share."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        super().__init__(layout)
        self.folder = folder
        self._verified: set[int] = set()  # tiles whose checksums need not be compared again

    def _path(self, index: int, suffix: str) -> Path:
        return self.folder / f"tile_{index:06d}.{suffix}"

    def bytes_missing(self) -> int:
        """Bytes that the tiles which are not finished will take."""
        finished = self.finished()
        missing = (tile for index, tile in enumerate(self.layout.tiles) if index not in finished)
        return sum(sum(self.layout.nbytes(tile).values()) for tile in missing)

    def finished(self) -> dict[int, AngleSum]:
        """The finished tiles by index."""
        found = ((index, self._record(index)) for index in range(len(self.layout.tiles)))
        return {index: angles for index, angles in found if angles is not None}

    def _record(self, index: int) -> AngleSum | None:
        """What the record of a tile says; None if it or the tile is missing or damaged."""
        sizes = self.layout.nbytes(self.layout.tiles[index])
        paths = {name: self._path(index, name) for name in sizes}
        try:
            record = json.loads(self._path(index, "json").read_text())
            angles = AngleSum(record["sum_deg"], record["count"])
            if any(path.stat().st_size != sizes[name] for name, path in paths.items()):
                return None
            if index not in self._verified:
                sums = {name: _sealed(_crc32(path), angles) for name, path in paths.items()}
                if record["crc32"] != sums:
                    return None
                self._verified.add(index)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return angles

    @contextlib.contextmanager
    def tile(self, index: int) -> Iterator[TileWriter]:
        """Writes a tile."""
        # Random names: another process may be computing the same tile.
        names = (*self.layout.layers, "json")
        partial = {name: self.folder / f".{uuid.uuid4().hex}.{name}" for name in names}
        try:
            with contextlib.ExitStack() as stack:
                files = {
                    name: stack.enter_context(partial[name].open("wb"))
                    for name in self.layout.layers
                }
                sums = dict.fromkeys(files, 0)

                def append(name: str, chunk: Any) -> None:
                    files[name].write(chunk)
                    sums[name] = zlib.crc32(chunk, sums[name])

                writer = TileWriter({name: functools.partial(append, name) for name in files})
                yield writer
            sealed = {name: _sealed(crc32, writer.angles) for name, crc32 in sums.items()}
            record = {**dataclasses.asdict(writer.angles), "crc32": sealed}
            partial["json"].write_text(json.dumps(record))
            for name, path in partial.items():  # the record comes last
                path.replace(self._path(index, name))
            self._verified.add(index)
        finally:
            for path in partial.values():
                path.unlink(missing_ok=True)

    def _read_tile(self, index: int, layer: str, window: tuple[slice, slice, slice]) -> np.ndarray:
        shape = self.layout.shape(self.layout.tiles[index], layer)
        with self._path(index, layer).open("rb", buffering=0) as file:
            return RawArray(file, shape, _STORED)[window]


def _append_to(cube: np.ndarray) -> Callable[[np.ndarray], None]:
    """A function that fills the bands of a cube, bands first, in order."""
    unfilled = iter(cube)

    def append(chunk: np.ndarray) -> None:
        for image, band in zip(chunk, unfilled, strict=False):
            band[:] = image

    return append


class MemoryTileStore(TileStore):
    """Tiles in arrays."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._tiles: dict[int, tuple[dict[str, np.ndarray], AngleSum]] = {}

    def finished(self) -> dict[int, AngleSum]:
        """The finished tiles by index."""
        return {index: angles for index, (_, angles) in self._tiles.items()}

    @contextlib.contextmanager
    def tile(self, index: int) -> Iterator[TileWriter]:
        """Writes a tile."""
        tile = self.layout.tiles[index]
        cubes = {n: np.empty(self.layout.shape(tile, n), np.float32) for n in self.layout.layers}
        writer = TileWriter({name: _append_to(cube) for name, cube in cubes.items()})
        yield writer
        self._tiles[index] = cubes, writer.angles

    def _read_tile(self, index: int, layer: str, window: tuple[slice, slice, slice]) -> np.ndarray:
        return self._tiles[index][0][layer][window]
