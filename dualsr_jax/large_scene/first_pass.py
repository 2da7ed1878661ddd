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
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from dualsr_jax.large_scene import tiling
from dualsr_jax.large_scene.normalisation import Normalisation, SceneReader, read_normalised
from dualsr_jax.large_scene.prefetch import BackgroundCalls, prefetched
from dualsr_jax.large_scene.tile_store import AngleSum, TileStore
from dualsr_jax.large_scene.tiling import Tile, Tiling
from dualsr_jax.large_scene.windows import Bands, CoarseWindows
from dualsr_jax.models.network import CoarseStage

COARSE, RESIDUAL, SPREAD = "coarse", "residual", "spread"


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
        normalisation: see `preprocessing`.
        stage: the networks.
        tiling: see `choose`.
        spread: whether the self-ensemble's spread is kept.
    """

    source: SceneReader
    normalisation: Normalisation
    stage: CoarseStage
    tiling: Tiling
    spread: bool = False

    @property
    def scale(self) -> int:
        """Scale factor."""
        return self.stage.scale

    @property
    def layers(self) -> dict[str, int]:
        """What the first pass leaves, with its pixels an LR pixel."""
        layers = {COARSE: self.scale, RESIDUAL: self.scale // self.stage.ratio}
        return {**layers, SPREAD: self.scale} if self.spread else layers

    @functools.cached_property
    def tiles(self) -> list[Tile]:
        """The tiles, row by row."""
        height, width, _ = self.source.shape
        margin = tiling.halo(self.stage)
        return tiling.tiles(height, width, self.tiling.window, margin)

    @functools.cached_property
    def _coarse(self) -> CoarseWindows:
        return CoarseWindows(
            self.stage,
            num_bands=len(self.normalisation.bands),
            band_chunk=self.tiling.band_chunk,
            spread=self.spread,
        )

    def _load(self, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.tiling.window
        rows, columns = slice(tile.row, tile.row + height), slice(tile.column, tile.column + width)
        return read_normalised(self.source, rows, columns, self.normalisation)

    def compute(
        self,
        indices: Sequence[int],
        store: TileStore,
        done: Callable[[int], object] = lambda _: None,
    ) -> None:
        """First pass over some tiles.

        Args:
            indices: of the tiles.
            store: to write them to.
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
            self._compute_batch(batch, cubes, valid, store)
            for index in batch:
                done(index)

    def _compute_batch(
        self, batch: Sequence[int], cubes: np.ndarray, valid: list[np.ndarray], store: TileStore
    ) -> None:
        guide = self.layers[RESIDUAL]
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(store.tile(index)) for index in batch]
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
