"""The first pass over a scene: coarse results and residuals, tile by tile.

Contract: every tile gets the coarse result U, the fine stage's residual R = V - down(U) with V the
guide (`fine_stage`), and the sum of the spectral angles between V and down(U). The gain of the fine
stage is their mean over all tiles, in degrees, at most 1; pixels that are invalid in any usable
band do not count. Memory is bounded by `choose_tiling`, whatever the size of the scene. Up to
rounding, the result of both passes is that of `DualSR.__call__` on the whole scene.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from dualsr_jax.large_scene import tiling
from dualsr_jax.large_scene.normalisation import Normalisation, SceneReader, read_normalised
from dualsr_jax.large_scene.prefetch import background_calls, prefetched
from dualsr_jax.large_scene.tile_store import AngleSum, Layout, TileStore
from dualsr_jax.large_scene.tiling import Tiling
from dualsr_jax.large_scene.windows import Bands, CoarseWindows, device_count
from dualsr_jax.models.network import CoarseStage

COARSE, RESIDUAL, SPREAD = "coarse", "residual", "spread"


class _AngleSums:
    """Sums over bands that make the spectral angle at each pixel of a tile, float64."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstPass:
    """A scene, the networks for it, how the work is divided, and whether the spread is kept."""

    source: SceneReader
    normalisation: Normalisation
    stage: CoarseStage
    tiling: Tiling
    spread: bool = False

    @functools.cached_property
    def layout(self) -> Layout:
        """The tiles and their layers: coarse result, residual and, if it is kept, spread."""
        height, width, _ = self.source.shape
        layers = {COARSE: self.stage.scale, RESIDUAL: self.stage.scale // self.stage.ratio}
        return Layout(
            tiles=tiling.tiles(height, width, self.tiling.window, tiling.halo(self.stage)),
            layers={**layers, SPREAD: self.stage.scale} if self.spread else layers,
            num_bands=len(self.normalisation.bands),
        )

    @functools.cached_property
    def _coarse(self) -> CoarseWindows:
        return CoarseWindows(
            self.stage,
            num_bands=self.layout.num_bands,
            band_chunk=self.tiling.band_chunk,
            spread=self.spread,
        )

    @property
    def steps_per_tile(self) -> int:
        """Number of bands that are computed for a tile, over all members of a self-ensemble."""
        return self.layout.num_bands * self.stage.ensemble

    @property
    def compiled(self) -> bool:
        """Whether the networks are compiled for the tiles."""
        return self._coarse.compiled(*self.tiling.window)

    def _load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        tile, (height, width) = self.layout.tiles[index], self.tiling.window
        rows, columns = slice(tile.row, tile.row + height), slice(tile.column, tile.column + width)
        return read_normalised(self.source, rows, columns, self.normalisation)

    def compute(
        self,
        indices: Sequence[int],
        store: TileStore,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Computes some of the tiles into a store.

        `progress` is called with 0 when the networks are compiled, and then with numbers of steps,
        of which a tile has `steps_per_tile`.
        """
        devices = device_count()
        batches = [indices[i : i + devices] for i in range(0, len(indices), devices)]

        def load(batch: Sequence[int]) -> tuple[np.ndarray, list[np.ndarray]]:
            cubes, valid = zip(*map(self._load, batch), strict=True)
            # Devices without a tile of their own repeat the last one.
            filled = (*cubes, *cubes[-1:] * (devices - len(cubes)))
            return filled[0][None] if devices == 1 else np.stack(filled), list(valid)

        for batch, (cubes, valid) in prefetched(load, batches):

            def count(bands: int, tiles: int = len(batch)) -> None:
                progress(bands * tiles)

            self._compute_batch(batch, cubes, valid, store, count)

    def _compute_batch(
        self,
        batch: Sequence[int],
        cubes: np.ndarray,
        valid: list[np.ndarray],
        store: TileStore,
        progress: Callable[[int], object],
    ) -> None:
        grid = self.layout.layers[RESIDUAL]
        tiles = [self.layout.tiles[index] for index in batch]
        sums = [_AngleSums(self.layout.shape(tile, RESIDUAL)[1:]) for tile in tiles]
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(store.tile(index)) for index in batch]

            def keep(found: Bands) -> None:
                for device, tile in enumerate(tiles):
                    here = (device, slice(None), *tile.core(self.stage.scale))
                    writers[device].append(COARSE, found.coarse[here])
                    if found.spread is not None:
                        writers[device].append(SPREAD, found.spread[here])
                    here = (device, slice(None), *tile.core(grid))
                    writers[device].append(RESIDUAL, found.guide[here] - found.low[here])
                    sums[device].add(found.low[here], found.guide[here])

            with background_calls() as call:
                for found in self._coarse(cubes, progress):
                    call(keep, found)
            for tile, writer, angles, mask in zip(tiles, writers, sums, valid, strict=True):
                valid_core = mask[tile.core(1)].repeat(grid, 0).repeat(grid, 1)
                writer.angles = angles.finish(valid_core)
