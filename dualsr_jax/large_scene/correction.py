"""Radiometry of a large scene: the methods of `back_projection`, block by block.

Contract: values are normalised, images `[k, h, w]` of whole rows. `Correction.prepare` finds the
multipliers of the whole scene, which are as large as the scene and may lie in a file; a block of
the result depends on those of two rows around it, so that blocks leave no seams. Memory is bounded
by one band of the scene and by `_BLOCK_BYTES` of the result of a few bands.
"""

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float

from dualsr_jax.back_projection import NEIGHBOURS, Limits, clipped, find_limits, outside
from dualsr_jax.large_scene.blocks import blocks_of_rows, grown
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.normalisation import Normalisation, Statistics, read_filled
from dualsr_jax.ops import resize
from dualsr_jax.ops.pseudo_inverse import solve
from dualsr_jax.radiometry import Effect, Radiometry, psnr_db

BAND_CHUNK = 8
_BLOCK_BYTES = 48 * 2**20

Chunk = tuple[slice, slice]  # rows of the scene, and some of the usable bands
Images = Float[np.ndarray, "k _ _"]
Scratch = Callable[[tuple[int, int, int]], np.ndarray]  # zeros, float32, read and written by slices


def chunks_of_bands(count: int) -> list[slice]:
    """Cuts the usable bands into chunks."""
    starts = range(0, count, BAND_CHUNK)
    return [slice(start, min(start + BAND_CHUNK, count)) for start in starts]


def in_memory(shape: tuple[int, int, int]) -> np.ndarray:
    """A `Scratch` in memory."""
    return np.zeros(shape, np.float32)


def check_clip(
    how: Radiometry, statistics: Statistics, normalisation: Normalisation, dtype: np.dtype
) -> None:
    """Raises ValueError if a data type cannot hold the range that results are clipped to."""
    if how.clip is None:
        return
    usable = normalisation.bands
    low, high = statistics.minimum[usable].min(), statistics.maximum[usable].max()
    if how.clip == "unit":
        ends = (np.array([[0.0], [1.0]]) - normalisation.bias) / normalisation.gain
        low, high = ends.min(), ends.max()
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    few = dtype.kind != "f" and high - low <= 1
    if low < float(limits.min) or high > float(limits.max) or few:
        what = "has too few values in" if few else "cannot hold"
        raise ValueError(
            f"clip={how.clip!r}: {dtype} {what} the range {low:g} to {high:g} that results are "
            "clipped to: choose another data type, such as float32"
        )


class Correction:
    """Clips the result of a scene and makes it consistent, as a `Radiometry` says.

    `fine` makes the normalised result of a chunk; `effect` is complete when all chunks are made.
    """

    def __init__(
        self,
        scene: FirstPass,
        how: Radiometry,
        fine: Callable[[Chunk], Images],
        scratch: Scratch = in_memory,
    ) -> None:
        self._scene, self._how, self._fine, self._scratch = scene, how, fine, scratch
        self._multipliers: np.ndarray | None = None
        self._measured = functools.lru_cache(maxsize=1)(self._read)  # all bands of the last rows
        self.effect = Effect(how)

    @property
    def passes(self) -> int:
        """How often `prepare` goes over the scene."""
        return self._how.consistent + 1 if self._how.consistent else 0

    def _read(self, first: int, last: int) -> tuple[Images, Bool[np.ndarray, "k _ _"] | None]:
        """Some rows of the scene, filled, and their invalid pixels."""
        scene = self._scene
        columns = slice(0, scene.source.shape[1])
        return read_filled(scene.source, slice(first, last), columns, scene.normalisation)

    def _limits(self, chunk: Chunk) -> Limits | None:
        rows, bands = chunk
        if self._how.clip != "input":
            return find_limits(np.zeros((1, 1, 1), np.float32), None, self._how.clip)
        seen = grown(rows, NEIGHBOURS, self._scene.source.shape[0])
        measured, invalid = self._measured(seen.start, seen.stop)
        mask = None if invalid is None else invalid[bands]
        found = find_limits(measured[bands], mask, "input")
        inner = slice(rows.start - seen.start, rows.stop - seen.start)
        return None if found is None else Limits(*(limit[:, inner] for limit in found))

    def _projected(self, chunk: Chunk) -> Images:
        """The result with the multipliers so far, not clipped."""
        (rows, bands), images = chunk, self._fine(chunk)
        if self._multipliers is not None:
            height, width, _ = self._scene.source.shape
            scale, seen = self._scene.stage.scale, grown(rows, resize.REACH, height)
            spread = resize.reduce_adjoint(self._multipliers[bands, seen, 0:width], scale)
            first = (rows.start - seen.start) * scale
            images += spread[:, first : first + images.shape[1]]
        return images

    def _residuals(
        self,
        finish: Callable[[Images, Chunk], Images],
        done: Callable[[int], object],
    ) -> Iterator[tuple[Chunk, Images, Bool[np.ndarray, "k _ _"] | None]]:
        """Yields what the reduced result lacks of the scene, by chunk, and the invalid pixels."""
        (height, width, _), scale = self._scene.source.shape, self._scene.stage.scale
        usable = len(self._scene.normalisation.bands)
        row_bytes = 4 * width * scale**2 * min(BAND_CHUNK, usable)
        for rows in blocks_of_rows(height, row_bytes, _BLOCK_BYTES):
            seen = grown(rows, resize.REACH, height)
            wide = grown(seen, NEIGHBOURS, height)
            inner = slice(rows.start - seen.start, rows.stop - seen.start)
            within = slice(rows.start - wide.start, rows.stop - wide.start)
            for bands in chunks_of_bands(usable):
                made = finish(self._projected((seen, bands)), (seen, bands))
                measured, invalid = self._measured(wide.start, wide.stop)
                residual = measured[bands, within] - resize.reduce(made, scale)[:, inner]
                yield (rows, bands), residual, None if invalid is None else invalid[bands, within]
            done(rows.stop - rows.start)

    def _clip(self, images: Images, chunk: Chunk) -> Images:
        return clipped(images, self._limits(chunk))

    def prepare(
        self, rounded: Callable[[Images, slice], Images], done: Callable[[int], object]
    ) -> None:
        """Finds the multipliers; must come before the first chunk.

        `rounded` makes of images of some bands what is read back if they are stored; `done` is
        called with a number of rows, `passes` times for each row.
        """
        self._multipliers, self.effect = None, Effect(self._how)
        if not self._how.consistent:
            return
        height, width, _ = self._scene.source.shape
        shape = len(self._scene.normalisation.bands), height, width
        residuals, multipliers = self._scratch(shape), self._scratch(shape)
        before_db = math.nan
        for count in range(self._how.consistent):
            # The first one starts from the result without clipping, so that it is the exact one.
            finish = self._clip if count else (lambda images, _: images)
            total = _Total()
            for (rows, bands), residual, invalid in self._residuals(finish, done):
                residuals[bands, rows, 0:width] = residual
                total.add(residual, invalid)
            before_db = before_db if count else total.psnr_db
            for band in range(shape[0]):
                here = slice(band, band + 1), slice(0, height), slice(0, width)
                step = solve(residuals[here], self._scene.stage.scale)
                multipliers[here] = multipliers[here] + step
            self._multipliers = multipliers
        total = _Total()

        def stored(images: Images, chunk: Chunk) -> Images:
            return rounded(self._clip(images, chunk), chunk[1])

        for _, residual, invalid in self._residuals(stored, done):
            total.add(residual, invalid)
        self.effect.before_db, self.effect.after_db = before_db, total.psnr_db

    def __call__(self, chunk: Chunk) -> Images:
        """Makes a chunk of the result, and counts what is clipped."""
        images, limits = self._projected(chunk), self._limits(chunk)
        if limits is None:
            return images
        changed, values = outside(images, limits), images.size
        rows = chunk[0]
        seen = grown(rows, NEIGHBOURS, self._scene.source.shape[0])
        _, invalid = self._measured(seen.start, seen.stop)
        if invalid is not None:
            scale = self._scene.stage.scale
            here = invalid[chunk[1], rows.start - seen.start :][:, : rows.stop - rows.start]
            mask = here.repeat(scale, 1).repeat(scale, 2)
            changed, values = changed & ~mask, values - int(mask.sum())
        self.effect.clipped += int(changed.sum())
        self.effect.values += values
        return clipped(images, limits)


class _Total:
    """Sum of squared errors over valid pixels."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, error: Images, invalid: Bool[np.ndarray, "k _ _"] | None) -> None:
        if invalid is not None:
            error = error[~invalid]
        self._sum += float(np.square(error, dtype=np.float64).sum())
        self._count += error.size

    @property
    def psnr_db(self) -> float:
        return psnr_db(self._sum, self._count)
