"""What the first pass over a scene leaves for the second: results of tiles, in files or in memory.

Contract: a tile has a few layers, each a cube of its core, bands first, float32, on its own grid;
a tile is appended to band by band and is finished when `tile` ends well. Every tile has its own
files, so that tiles can be written in any order, by several processes, even twice, and a tile whose
record is there is whole: the record is written last, by renaming. Layers are read by window, across
tiles; no file is mapped, for mapped pages count as memory.
"""

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dualsr_jax.io.raw import RawArray
from dualsr_jax.large_scene.tiling import Tile

_STORED = np.dtype("<f4")


@dataclasses.dataclass
class AngleSum:
    """Spectral angles of a tile: their sum in degrees, and how many there are."""

    sum_deg: float = 0.0
    count: int = 0


class TileWriter:
    """A tile that is being written.

    Attributes:
        angles: of the tile; set before it is finished.
    """

    def __init__(self, targets: Mapping[str, Any]) -> None:
        self._targets = targets
        self.angles = AngleSum()

    def append(self, layer: str, block: Float[np.ndarray, "k h w"]) -> None:
        """Writes the next bands of a layer."""
        self._targets[layer].write(np.ascontiguousarray(block, _STORED))


@runtime_checkable
class TileStore(Protocol):
    """Where tiles are kept."""

    def finished(self) -> dict[int, AngleSum]:
        """The tiles that are whole, by index."""

    def tile(self, index: int) -> contextlib.AbstractContextManager[TileWriter]:
        """Writes a tile."""

    def read(
        self, layer: str, rows: slice, columns: slice, bands: slice
    ) -> Float[np.ndarray, "k h w"]:
        """Reads a window of a layer, in its own pixels; every tile in it is finished."""


@dataclasses.dataclass(frozen=True)
class FileTileStore:
    """Tiles in a folder.

    Attributes:
        folder: exists; all who compute see the same.
        tiles: of the scene.
        layers: pixels an LR pixel of each.
        bands: of every layer.
    """

    folder: Path
    tiles: Sequence[Tile]
    layers: Mapping[str, int]
    bands: int

    def _path(self, index: int, suffix: str) -> Path:
        return self.folder / f"tile_{index:06d}.{suffix}"

    def _shape(self, index: int, layer: str) -> tuple[int, int, int]:
        tile, grid = self.tiles[index], self.layers[layer]
        sides = (s.stop - s.start for s in (tile.rows, tile.columns))
        height, width = (grid * side for side in sides)
        return self.bands, height, width

    def _bytes(self, index: int, layer: str) -> int:
        return _STORED.itemsize * int(np.prod(self._shape(index, layer)))

    def bytes_missing(self) -> int:
        """That the tiles which are not finished will take."""
        finished = self.finished()
        missing = [index for index in range(len(self.tiles)) if index not in finished]
        return sum(self._bytes(index, layer) for index in missing for layer in self.layers)

    def finished(self) -> dict[int, AngleSum]:
        """The tiles that are whole, by index."""
        found = {}
        for index in range(len(self.tiles)):
            record = self._path(index, "json")
            if record.exists() and all(
                self._path(index, layer).exists()
                and self._path(index, layer).stat().st_size == self._bytes(index, layer)
                for layer in self.layers
            ):
                found[index] = AngleSum(**json.loads(record.read_text()))
        return found

    @contextlib.contextmanager
    def tile(self, index: int) -> Iterator[TileWriter]:
        """Writes a tile."""
        # Named by chance: another process may be computing the same tile.
        mine = {
            name: self.folder / f".{uuid.uuid4().hex}.{name}" for name in (*self.layers, "json")
        }
        try:
            with contextlib.ExitStack() as stack:
                files = {n: stack.enter_context(mine[n].open("wb")) for n in self.layers}
                writer = TileWriter(files)
                yield writer
            mine["json"].write_text(json.dumps(dataclasses.asdict(writer.angles)))
            for name, path in mine.items():  # the record comes last
                path.replace(self._path(index, name))
        finally:
            for path in mine.values():
                path.unlink(missing_ok=True)

    def read(
        self, layer: str, rows: slice, columns: slice, bands: slice
    ) -> Float[np.ndarray, "k h w"]:
        """Reads a window of a layer, in its own pixels; every tile in it is finished."""
        grid = self.layers[layer]
        window = np.empty(
            (bands.stop - bands.start, rows.stop - rows.start, columns.stop - columns.start),
            np.float32,
        )
        for index, tile in enumerate(self.tiles):
            top, left = tile.rows.start * grid, tile.columns.start * grid
            _, height, width = self._shape(index, layer)
            row = slice(max(rows.start, top), min(rows.stop, top + height))
            column = slice(max(columns.start, left), min(columns.stop, left + width))
            if row.start >= row.stop or column.start >= column.stop:
                continue
            here = window[
                :,
                row.start - rows.start : row.stop - rows.start,
                column.start - columns.start : column.stop - columns.start,
            ]
            with self._path(index, layer).open("rb", buffering=0) as file:
                stored = RawArray(file, self._shape(index, layer), _STORED)
                here[:] = stored[
                    bands,
                    slice(row.start - top, row.stop - top),
                    slice(column.start - left, column.stop - left),
                ]
        return window


class _Band:
    """The core of a tile in an array, written to like a file."""

    def __init__(self, core: np.ndarray) -> None:
        self._core, self._next = core, 0

    def write(self, block: np.ndarray) -> None:
        self._core[self._next : self._next + len(block)] = block
        self._next += len(block)


class MemoryTileStore:
    """Tiles in arrays."""

    def __init__(
        self, shape: tuple[int, int], tiles: Sequence[Tile], layers: Mapping[str, int], bands: int
    ) -> None:
        """Makes room.

        Args:
            shape: of the scene, LR pixels.
            tiles: of the scene.
            layers: pixels an LR pixel of each.
            bands: of every layer.
        """
        self._tiles, self._layers = tiles, layers
        self._arrays = {
            name: np.empty((bands, shape[0] * grid, shape[1] * grid), np.float32)
            for name, grid in layers.items()
        }
        self._finished: dict[int, AngleSum] = {}

    def finished(self) -> dict[int, AngleSum]:
        """The tiles that are whole, by index."""
        return dict(self._finished)

    @contextlib.contextmanager
    def tile(self, index: int) -> Iterator[TileWriter]:
        """Writes a tile."""
        tile = self._tiles[index]
        targets = {}
        for name, grid in self._layers.items():
            rows, columns = (
                slice(s.start * grid, s.stop * grid) for s in (tile.rows, tile.columns)
            )
            targets[name] = _Band(self._arrays[name][:, rows, columns])
        writer = TileWriter(targets)
        yield writer
        self._finished[index] = writer.angles

    def read(
        self, layer: str, rows: slice, columns: slice, bands: slice
    ) -> Float[np.ndarray, "k h w"]:
        """Reads a window of a layer, in its own pixels; every tile in it is finished."""
        return self._arrays[layer][bands, rows, columns]
