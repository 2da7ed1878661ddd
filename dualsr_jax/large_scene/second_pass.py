"""The second pass over a scene: from finished tiles to stored values.

Contract: `SecondPass` reads the results of the first pass (`large_scene`) by whole rows and writes
the super-resolved scene block by block: U + gain up(R) for the bands that the network saw, bicubic
enlargement for the others, nodata where the scene has it, in the wanted data type. What is written
does not depend on how the scene was cut into tiles, but for rounding.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from dualsr_jax.large_scene.first_pass import COARSE, RESIDUAL, SPREAD, FirstPass
from dualsr_jax.large_scene.nodata import invalid_pixels, nodata_of, to_stored
from dualsr_jax.large_scene.normalisation import Normalisation, blocks_of_rows, read_stored
from dualsr_jax.large_scene.prefetch import BackgroundCalls, prefetched
from dualsr_jax.large_scene.tile_store import TileStore
from dualsr_jax.ops import resize

_BLOCK_BYTES = 48 * 2**20  # of the result
_BANDS_AT_ONCE = 8  # of a strip

Write = Callable[[Shaped[np.ndarray, "h w l"], int, int], object]


class _Block(NamedTuple):
    """Rows of the scene and some of its usable bands."""

    rows: slice
    bands: slice


def _grown(rows: slice, height: int) -> slice:
    """Rows with those that bicubic enlargement sees besides."""
    return slice(max(rows.start - resize.REACH, 0), min(rows.stop + resize.REACH, height))


def check_dtype(normalisation: Normalisation, nodata: float | None, dtype: np.dtype) -> None:
    """Raises ValueError if a scene has pixels without data and the data type no value for them."""
    if dtype.kind == "f" or not normalisation.masked.any():
        return
    if nodata_of(nodata, dtype) is None:
        held = "NaN" if nodata is None else f"nodata, {nodata:g},"
        raise ValueError(
            f"the scene has pixels without data, and {dtype} has no value for them ({held} is none "
            "of its numbers): keep the scene's own data type, or choose float32"
        )


class SecondPass:
    """Results of a scene whose tiles are all finished; one of them, CoarSR's, readable by window.

    Attributes:
        gain: of the fine stage, in [0, 1]; 0 if no pixel counts.
        shape: of the result.
    """

    def __init__(self, scene: FirstPass, store: TileStore) -> None:
        """Computes the gain.

        Args:
            scene: of the first pass.
            store: that it left.
        """
        self._scene, self._store = scene, store
        angles = [found for _, found in sorted(store.finished().items())]
        count = sum(found.count for found in angles)
        mean_deg = math.fsum(found.sum_deg for found in angles) / count if count else 0.0
        self.gain = min(mean_deg, 1.0)
        height, width, bands = scene.source.shape
        self.shape = height * scene.scale, width * scene.scale, bands

    def _layer(self, layer: str, block: _Block) -> Float[np.ndarray, "k _ _"]:
        """Whole rows of a layer."""
        grid = self._scene.layers[layer]
        rows = slice(block.rows.start * grid, block.rows.stop * grid)
        width = self._scene.source.shape[1]
        return self._store.read(layer, rows, slice(0, width * grid), block.bands)

    def _fine(self, block: _Block) -> Float[np.ndarray, "k _ _"]:
        seen = _grown(block.rows, self._scene.source.shape[0])
        correction = resize.enlarge(
            self._layer(RESIDUAL, block._replace(rows=seen)), self._scene.stage.ratio
        )
        correction *= np.float32(self.gain)
        first = (block.rows.start - seen.start) * self._scene.scale
        coarse = self._layer(COARSE, block)
        coarse += correction[:, first : first + coarse.shape[1]]
        return coarse

    def _invalid(self, rows: slice) -> Bool[np.ndarray, "L h w"] | None:
        """The pixels without data, in the scene's own size."""
        scene = self._scene
        if not scene.normalisation.masked.any():
            return None
        stored = scene.source.read(rows, slice(0, scene.source.shape[1]))
        return np.moveaxis(invalid_pixels(stored, scene.normalisation.nodata), -1, 0)

    def _bicubic(self, rows: slice, band: int) -> Float[np.ndarray, "_ _"]:
        """A band that the network did not see, enlarged."""
        scene = self._scene
        height, width, _ = scene.source.shape
        seen = _grown(rows, height)
        stored = read_stored(scene.source, seen, slice(0, width), scene.normalisation, band)
        enlarged = resize.enlarge(stored, scene.scale)
        return enlarged[(rows.start - seen.start) * scene.scale :][
            : (rows.stop - rows.start) * scene.scale
        ]

    def _to_stored(
        self, values: np.ndarray, bands: slice, exact: np.dtype, bias: bool = True
    ) -> Float[np.ndarray, "k _ _"]:
        normalisation = self._scene.normalisation
        gain, offset = (
            a[bands, None, None].astype(exact) for a in (normalisation.gain, normalisation.bias)
        )
        return (values - offset) / gain if bias else values / gain

    def _write(
        self,
        make: Callable[[_Block], np.ndarray],
        write: Write,
        dtype: np.dtype,
        nodata: float | None,
        *,
        deviation: bool = False,
        done: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Writes a result block by block; a deviation has no bias, and no bicubic bands."""
        scene, normalisation = self._scene, self._scene.normalisation
        (height, width, num_bands), scale = scene.source.shape, scene.scale
        row_bytes = width * num_bands * scale**2 * dtype.itemsize
        usable = len(normalisation.bands)
        blocks = [
            _Block(rows, slice(start, min(start + _BANDS_AT_ONCE, usable)))
            for rows in blocks_of_rows(height, row_bytes, _BLOCK_BYTES)
            for start in range(0, usable, _BANDS_AT_ONCE)
        ]
        exact = np.result_type(dtype, np.float32)  # in which large integers are exact too

        def stored(values: np.ndarray, band: int | np.integer) -> np.ndarray:
            mask = None
            if invalid is not None and invalid[band].any():
                mask = invalid[band].repeat(scale, 0).repeat(scale, 1)
            return to_stored(values, mask, dtype, nodata)

        with BackgroundCalls() as behind:
            for block, values in prefetched(make, blocks):
                rows = block.rows
                if block.bands.start == 0:
                    invalid = self._invalid(rows)
                    shape = num_bands, (rows.stop - rows.start) * scale, width * scale
                    strip = np.zeros(shape, dtype)
                found = self._to_stored(values, block.bands, exact, not deviation)
                for band, image in zip(normalisation.bands[block.bands], found, strict=True):
                    strip[band] = stored(image, band)
                if block.bands.stop < usable:
                    continue
                for band in normalisation.bad if not deviation else ():
                    strip[band] = stored(self._bicubic(rows, band), band)
                behind.call(write, np.moveaxis(strip, 0, -1), rows.start * scale, 0)
                done(rows.stop - rows.start)

    def write_fine(
        self, write: Write, dtype: np.dtype, done: Callable[[int], object] = lambda _: None
    ) -> None:
        """Writes the result of both stages.

        Args:
            write: takes blocks of whole rows, in order, with their first row and column.
            dtype: of the result; `check_dtype` says whether it will do.
            done: called with the number of the scene's rows that each strip has.
        """
        nodata = self._scene.source.metadata.nodata
        self._write(self._fine, write, dtype, nodata, done=done)

    def write_spread(self, write: Write) -> None:
        """Writes the ensemble's standard deviation, in stored units, float32.

        Bands that the network did not see are 0, pixels without data NaN.
        """
        self._write(
            functools.partial(self._layer, SPREAD),
            write,
            np.dtype(np.float32),
            None,
            deviation=True,
        )

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Float[np.ndarray, "h w l"]:
        """A window of CoarSR's result, stored units, float32; bands it did not see are NaN.

        Pixels without data hold what the network made of what they were filled with.
        """
        normalisation = self._scene.normalisation
        everything = np.arange(self.shape[2])
        chosen = slice(None) if bands is None else bands
        wanted = everything[chosen if isinstance(chosen, slice) else list(chosen)]
        place = {int(band): k for k, band in enumerate(normalisation.bands)}
        shape = rows.stop - rows.start, columns.stop - columns.start, len(wanted)
        window = np.full(shape, np.nan, np.float32)
        for index, band in enumerate(wanted):
            if int(band) in place:
                here = slice(place[int(band)], place[int(band)] + 1)
                values = self._store.read(COARSE, rows, columns, here)
                window[..., index] = self._to_stored(values, here, np.dtype(np.float32))[0]
        return window
