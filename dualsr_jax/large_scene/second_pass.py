"""The second pass over a scene: from finished tiles to stored values.

Contract: `SecondPass` reads the results of `first_pass` by whole rows and writes the super-resolved
scene block by block, in the wanted data type: U + gain up(R), corrected as a `Radiometry` says, for
the bands that the network saw, bicubic enlargement for the others, nodata where the scene has it.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped

from dualsr_jax.large_scene.blocks import blocks_of_rows, grown
from dualsr_jax.large_scene.correction import (
    Chunk,
    Correction,
    Scratch,
    chunks_of_bands,
    in_memory,
)
from dualsr_jax.large_scene.first_pass import COARSE, RESIDUAL, SPREAD, FirstPass
from dualsr_jax.large_scene.nodata import invalid_pixels, nodata_of, to_stored
from dualsr_jax.large_scene.normalisation import Normalisation, read_band
from dualsr_jax.large_scene.prefetch import background_calls, prefetched
from dualsr_jax.large_scene.tile_store import TileStore
from dualsr_jax.ops import resize
from dualsr_jax.radiometry import Effect, Radiometry

_BLOCK_BYTES = 48 * 2**20  # of the result

Write = Callable[[Shaped[np.ndarray, "h w l"], int, int], object]


def check_dtype(normalisation: Normalisation, nodata: float | None, dtype: np.dtype) -> None:
    """Raises ValueError if a scene has invalid pixels and the data type no value for them."""
    if dtype.kind == "f" or not normalisation.masked.any():
        return
    if nodata_of(nodata, dtype) is None:
        held = "NaN" if nodata is None else f"nodata {nodata:g}"
        raise ValueError(
            f"the scene has pixels without data, and {dtype} has no value for them (it cannot hold "
            f"{held}): keep the scene's own data type, or choose float32"
        )


class SecondPass:
    """Results of a scene whose tiles are all finished; a `WindowReader` of the coarse result.

    `gain` is the gain of the fine stage, at most `CoarseStage.max_gain`, and 0 if no pixel counts;
    `shape` is (s H, s W, L).
    """

    def __init__(
        self,
        scene: FirstPass,
        store: TileStore,
        radiometry: Radiometry = Radiometry(),  # noqa: B008
        scratch: Scratch = in_memory,
    ) -> None:
        """Computes the gain from all tiles of a store.

        `scratch` makes the arrays of the scene's size that the radiometry needs.
        """
        self._scene, self._store = scene, store
        angles = [found for _, found in sorted(store.finished().items())]
        count = sum(found.count for found in angles)
        mean_deg = math.fsum(found.sum_deg for found in angles) / count if count else 0.0
        self.gain = min(mean_deg, scene.stage.max_gain)
        height, width, bands = scene.source.shape
        self.shape = height * scene.stage.scale, width * scene.stage.scale, bands
        self._correction = Correction(scene, radiometry, self._fine, scratch)

    @property
    def effect(self) -> Effect:
        """What the radiometry did to the result that was written last."""
        return self._correction.effect

    @property
    def passes(self) -> int:
        """How often `write_fine` goes over the scene."""
        return 1 + self._correction.passes

    def _layer(self, layer: str, chunk: Chunk) -> Float[np.ndarray, "k _ _"]:
        (rows, bands), grid = chunk, self._scene.layout.layers[layer]
        wide = slice(0, self._scene.source.shape[1] * grid)
        return self._store.read(layer, slice(rows.start * grid, rows.stop * grid), wide, bands)

    def _fine(self, chunk: Chunk) -> Float[np.ndarray, "k _ _"]:
        rows, bands = chunk
        seen = grown(rows, resize.REACH, self._scene.source.shape[0])
        residual = self._layer(RESIDUAL, (seen, bands))
        correction = resize.enlarge(residual, self._scene.stage.ratio)
        correction *= np.float32(self.gain)
        first = (rows.start - seen.start) * self._scene.stage.scale
        coarse = self._layer(COARSE, chunk)
        coarse += correction[:, first : first + coarse.shape[1]]
        return coarse

    def _invalid(self, rows: slice) -> Bool[np.ndarray, "L h w"] | None:
        """Invalid pixels of the scene, at its own size."""
        scene = self._scene
        if not scene.normalisation.masked.any():
            return None
        stored = scene.source.read(rows, slice(0, scene.source.shape[1]))
        return np.moveaxis(invalid_pixels(stored, scene.normalisation.nodata), -1, 0)

    def _bicubic(self, rows: slice, band: int) -> Float[np.ndarray, "_ _"]:
        """A band that the network does not use, enlarged."""
        scene = self._scene
        height, width, _ = scene.source.shape
        seen = grown(rows, resize.REACH, height)
        stored = read_band(scene.source, seen, slice(0, width), scene.normalisation, band)
        first, last = ((row - seen.start) * scene.stage.scale for row in (rows.start, rows.stop))
        return resize.enlarge(stored, scene.stage.scale)[first:last]

    def _denormalised(
        self, values: np.ndarray, bands: slice, exact: np.dtype, *, deviation: bool = False
    ) -> Float[np.ndarray, "k _ _"]:
        """Values of some usable bands in stored units; a deviation has no bias."""
        normalisation = self._scene.normalisation
        gain, bias = (
            a[bands, None, None].astype(exact) for a in (normalisation.gain, normalisation.bias)
        )
        return values / gain if deviation else (values - bias) / gain

    def _write(
        self,
        make: Callable[[Chunk], np.ndarray],
        write: Write,
        dtype: np.dtype,
        nodata: float | None,
        *,
        deviation: bool = False,
        done: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Writes a result block by block; in a deviation the unusable bands are 0."""
        scene, normalisation = self._scene, self._scene.normalisation
        (height, width, num_bands), scale = scene.source.shape, scene.stage.scale
        row_bytes = width * num_bands * scale**2 * dtype.itemsize
        usable = len(normalisation.bands)
        chunks = [
            (rows, bands)
            for rows in blocks_of_rows(height, row_bytes, _BLOCK_BYTES)
            for bands in chunks_of_bands(usable)
        ]
        exact = np.result_type(dtype, np.float32)  # represents large integers exactly

        def stored(values: np.ndarray, band: int | np.integer) -> np.ndarray:
            mask = None
            if invalid is not None and invalid[band].any():
                mask = invalid[band].repeat(scale, 0).repeat(scale, 1)
            return to_stored(values, mask, dtype, nodata)

        with background_calls() as call:
            for (rows, bands), values in prefetched(make, chunks):
                if bands.start == 0:
                    invalid = self._invalid(rows)
                    shape = num_bands, (rows.stop - rows.start) * scale, width * scale
                    block = np.zeros(shape, dtype)
                found = self._denormalised(values, bands, exact, deviation=deviation)
                for band, image in zip(normalisation.bands[bands], found, strict=True):
                    block[band] = stored(image, band)
                if bands.stop < usable:
                    continue
                for band in normalisation.bad if not deviation else ():
                    block[band] = stored(self._bicubic(rows, band), band)
                call(write, np.moveaxis(block, 0, -1), rows.start * scale, 0)
                done(rows.stop - rows.start)

    def write_fine(
        self, write: Write, dtype: np.dtype, done: Callable[[int], object] = lambda _: None
    ) -> None:
        """Writes the result of both stages in a data type that passes `check_dtype`.

        `write` gets blocks of whole rows, in order, with their first row and column; `done` is
        called with numbers of LR rows, `passes` times for each row.
        """
        nodata, normalisation = self._scene.source.metadata.nodata, self._scene.normalisation
        exact = np.result_type(dtype, np.float32)

        def rounded(values: np.ndarray, bands: slice) -> np.ndarray:
            stored = to_stored(self._denormalised(values, bands, exact), None, dtype, nodata)
            gain, bias = (a[bands, None, None] for a in (normalisation.gain, normalisation.bias))
            return (stored * gain + bias).astype(np.float32)

        self._correction.prepare(rounded, done)
        self._write(self._correction, write, dtype, nodata, done=done)

    def write_spread(self, write: Write) -> None:
        """Writes the standard deviation of the ensemble, float32, in stored units.

        Bands that the network does not use are 0, invalid pixels are NaN.
        """
        spread = functools.partial(self._layer, SPREAD)
        self._write(spread, write, np.dtype(np.float32), None, deviation=True)

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Float[np.ndarray, "h w l"]:
        """Reads a window of the coarse result, float32, in stored units.

        Bands that the network does not use are NaN; invalid pixels hold what the network made of
        the values that filled them.
        """
        usable = self._scene.normalisation.bands.tolist()
        chosen = slice(None) if bands is None else bands
        wanted = np.arange(self.shape[2])[chosen if isinstance(chosen, slice) else list(chosen)]
        shape = rows.stop - rows.start, columns.stop - columns.start, len(wanted)
        window = np.full(shape, np.nan, np.float32)
        for index, band in enumerate(wanted.tolist()):
            if band in usable:
                place = usable.index(band)
                here = slice(place, place + 1)
                values = self._store.read(COARSE, rows, columns, here)
                window[..., index] = self._denormalised(values, here, np.dtype(np.float32))[0]
        return window
