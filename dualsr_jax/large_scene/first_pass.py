"""Super-resolves scenes of any size: the first of two passes.

Contract: the first pass computes, tile by tile, the coarse result U and the fine stage's residual
R = V - down(U), with V the guide (`fine_stage`), and the spectral angles between V and down(U). The
gain of the fine stage is one number a scene, the mean angle in degrees, at most 1, so that it is
known when all tiles are there; the second pass (`assembly`) then makes U + gain up(R), strip by
strip, and turns it into stored values. Memory is bounded by `choose_tiling`, whatever the scene's
size, and the result is that of `DualSR.__call__` on the whole scene up to rounding. Pixels that are
masked in any usable band do not count in the gain.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from dualsr_jax.large_scene import normalisation, tiling
from dualsr_jax.large_scene.normalisation import Normalisation, SceneReader
from dualsr_jax.large_scene.prefetch import BackgroundCalls, prefetched
from dualsr_jax.large_scene.tile_store import AngleSum, TileStore
from dualsr_jax.large_scene.tiling import Tile
from dualsr_jax.large_scene.windows import (
    Bands,
    CoarseWindows,
    Networks,
    device_count,
    feature_maps,
)

COARSE, RESIDUAL, SPREAD = "coarse", "residual", "spread"
MEMORY_GB = 2.5
_MOST_BANDS = 16  # at a time


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How a scene is computed; the result depends on it in the last bits only.

    Attributes:
        window: height and width of the tiles with their halo, LR pixels.
        band_chunk: bands at a time.
    """

    window: tuple[int, int]
    band_chunk: int


def _bytes_per_pixel(
    networks: Networks, num_bands: int, itemsize: int, band_chunk: int, spread: bool
) -> int:
    """Memory that a tile takes, for each LR pixel of its window: host and device together."""
    model, floats = networks.model, 4
    models = [model] if networks.half_model is None else [model, networks.half_model]
    guide, maps = model.scale // networks.ratio, max(map(feature_maps, models))
    # As stored; ready for the network, this tile and the next.
    cube = num_bands * (2 * itemsize + 2 * floats)
    state = sum(floats * m.features for m in models)  # between bands
    results = 4 * floats * (model.scale**2 + 2 * guide**2 + 5)
    ensemble = 0
    if networks.ensemble > 1:
        ensemble = floats * num_bands * (model.scale**2 * (2 if spread else 1) + guide**2 + 1)
    maps_bytes = math.ceil(floats * model.features * maps)
    return cube + state + ensemble + band_chunk * (maps_bytes + results)


def choose_tiling(
    shape: tuple[int, int, int],
    itemsize: int,
    networks: Networks,
    *,
    memory_gb: float = MEMORY_GB,
    window: tuple[int, int] | None = None,
    spread: bool = False,
) -> Tiling:
    """The tiles with which the least is computed twice, within the memory.

    Args:
        shape: of the scene, `(H, W, L)`.
        itemsize: bytes of a stored value.
        networks: both stages.
        memory_gb: for a tile, of every device.
        window: shape of the tiles, halo included; None: by memory.
        spread: whether the self-ensemble's spread is kept.

    Raises:
        ValueError: if the memory is too small for a tile, or the window for a halo.
    """
    height, width, num_bands = shape
    margin = tiling.halo(networks.model, networks.half_model)
    memory = int(memory_gb * 1e9)
    per_pixel = {
        band_chunk: _bytes_per_pixel(networks, num_bands, itemsize, band_chunk, spread)
        for band_chunk in range(1, min(_MOST_BANDS, num_bands) + 1)
    }
    least = min(per_pixel, key=lambda band_chunk: per_pixel[band_chunk])
    if window is None:
        devices = device_count()
        pixels = memory // per_pixel[least]
        window = tiling.choose_window(height, width, margin, pixels, devices)
    window = tiling.check_window(window, height, width, margin)
    memory_of_pixel = memory // (window[0] * window[1])
    fitting = [band_chunk for band_chunk, size in per_pixel.items() if size <= memory_of_pixel]
    return Tiling(window, max(fitting, default=least))


class _AngleSums:
    """Sums over bands of which spectral angles are made, float64, at each pixel of a tile."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._dot, self._low, self._guide = np.zeros((3, *shape))

    def add(self, low: np.ndarray, guide: np.ndarray) -> None:
        for a, b in zip(low.astype(np.float64), guide.astype(np.float64), strict=True):
            self._dot += a * b
            self._low += a * a
            self._guide += b * b

    def finish(self, valid: Bool[np.ndarray, "h w"]) -> AngleSum:
        norms = np.sqrt(self._low * self._guide)
        cosine = np.divide(self._dot, norms, out=np.ones_like(norms), where=norms > 0)
        angle_deg = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
        return AngleSum(float(angle_deg[valid].sum()), int(valid.sum()))


def _sides(tile: Tile, grid: int) -> tuple[int, int]:
    rows, columns = tile.core(grid)
    return rows.stop - rows.start, columns.stop - columns.start


def _enlarged(mask: np.ndarray, factor: int) -> np.ndarray:
    return mask.repeat(factor, -2).repeat(factor, -1)


@dataclasses.dataclass(frozen=True)
class FirstPass:
    """A scene, the networks for it, and how it is computed.

    Attributes:
        source: of the stored values.
        preparation: see `preprocessing`.
        networks: both stages.
        tiling: see `choose`.
        spread: whether the self-ensemble's spread is kept.
    """

    source: SceneReader
    preparation: Normalisation
    networks: Networks
    tiling: Tiling
    spread: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError if the networks are not what a scene is computed with."""
        if self.networks.iterations != 1:
            raise ValueError(
                f"the fine stage of a scene is one correction, not {self.networks.iterations}"
            )

    @property
    def scale(self) -> int:
        """Scale factor."""
        return self.networks.model.scale

    @property
    def layers(self) -> dict[str, int]:
        """What the first pass leaves, with its pixels an LR pixel."""
        layers = {COARSE: self.scale, RESIDUAL: self.scale // self.networks.ratio}
        return {**layers, SPREAD: self.scale} if self.spread else layers

    @functools.cached_property
    def tiles(self) -> list[Tile]:
        """The tiles, row by row."""
        height, width, _ = self.source.shape
        margin = tiling.halo(self.networks.model, self.networks.half_model)
        return tiling.tiles(height, width, self.tiling.window, margin)

    @functools.cached_property
    def _coarse(self) -> CoarseWindows:
        return CoarseWindows(
            self.networks,
            len(self.preparation.bands),
            self.tiling.band_chunk,
            self.networks.ensemble,
            self.spread,
        )

    def _load(self, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.tiling.window
        rows, columns = slice(tile.row, tile.row + height), slice(tile.column, tile.column + width)
        return normalisation.read_normalised(self.source, rows, columns, self.preparation)

    def compute(
        self,
        indices: Sequence[int],
        parts: TileStore,
        done: Callable[[int], object] = lambda _: None,
    ) -> None:
        """First pass over some tiles.

        Args:
            indices: of the tiles.
            parts: to write them to.
            done: called with the index of each tile that is finished.
        """
        devices = self._coarse.devices
        batches = [indices[i : i + devices] for i in range(0, len(indices), devices)]

        def load(batch: Sequence[int]) -> tuple[np.ndarray, list[np.ndarray]]:
            cubes, valid = zip(*(self._load(self.tiles[index]) for index in batch), strict=True)
            # Devices without a tile of their own repeat the last one.
            filled = (*cubes, *cubes[-1:] * (devices - len(cubes)))
            return filled[0][None] if devices == 1 else np.stack(filled), list(valid)

        for batch, (cubes, valid) in prefetched(load, batches):
            self._compute_batch(batch, cubes, valid, parts)
            for index in batch:
                done(index)

    def _compute_batch(
        self, batch: Sequence[int], cubes: np.ndarray, valid: list[np.ndarray], parts: TileStore
    ) -> None:
        guide = self.layers[RESIDUAL]
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(parts.tile(index)) for index in batch]
            tiles = [self.tiles[index] for index in batch]
            sums = [_AngleSums(_sides(tile, guide)) for tile in tiles]

            def keep(found: Bands) -> None:
                for device, (tile, writer, angles) in enumerate(
                    zip(tiles, writers, sums, strict=True)
                ):
                    here = (device, slice(None), *tile.core(self.scale))
                    writer.append(COARSE, found.coarse[here])
                    if found.spread is not None:
                        writer.append(SPREAD, found.spread[here])
                    here = (device, slice(None), *tile.core(guide))
                    writer.append(RESIDUAL, found.guide[here] - found.low[here])
                    angles.add(found.low[here], found.guide[here])

            with BackgroundCalls() as behind:
                for found in self._coarse(cubes):
                    behind.call(keep, found)
            for tile, writer, angles, mask in zip(tiles, writers, sums, valid, strict=True):
                writer.angles = angles.finish(_enlarged(mask[tile.core(1)], guide))
