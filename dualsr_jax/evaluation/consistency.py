"""Quality without ground truth: what can be said of a result when there is no reference.

Contract: cubes are arrays or readers of stored values; only windows of them are in memory, so that
they may have any size. Intensity is the stored value divided by `peak`. A pixel with a NaN or
nodata value in a good band is masked. A pixel counts if its reduction depends on unmasked pixels
alone, in all results.

The consistency of a result is how well it reduces, by MATLAB's bicubic, to the image that it was
made from: PSNR of the whole cube and mean spectral angle, as in `metrics`. A good result is
consistent, but a consistent result need not be good: bicubic enlargement is fairly consistent too,
and invented detail is not seen.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Shaped

from dualsr_jax.evaluation.results import BICUBIC
from dualsr_jax.large_scene.normalisation import WindowReader
from dualsr_jax.ops.resize import imresize, resize_matrix
from dualsr_jax.ops.spectral_angle import spectral_angle_rad

_HALO = 6  # LR pixels: enlarging and reducing a window depends on 2 + 2 around it; 2 are spare
VALUES_AT_ONCE = 2**24  # of one enlarged window

ArrayOrReader = WindowReader | Shaped[np.ndarray, "_ _ _"]  # [H, W, L]
BadBands = Bool[np.ndarray, "L"]  # True where a band is left out
Enlarged = tuple[np.ndarray, np.ndarray]  # cube [H, W, L] and mask [H, W]


@dataclasses.dataclass(frozen=True)
class Intensity:
    """Reads windows of a cube as intensity, float32, NaN where a value is masked."""

    cube: ArrayOrReader
    peak: float
    nodata: float | None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.peak) and self.peak > 0):
            raise ValueError(
                f"peak must be the positive stored value of intensity 1, got {self.peak}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of bands."""
        height, width, bands = self.cube.shape
        return height, width, bands

    def read(self, rows: slice, columns: slice, bands: Sequence[int]) -> Float[np.ndarray, "h w l"]:
        """Reads a window of the given bands."""
        if isinstance(self.cube, np.ndarray):
            stored = self.cube[rows, columns][..., np.array(bands)]
        else:
            stored = self.cube.read(rows, columns, bands)
        values = stored.astype(np.float32) / np.float32(self.peak)
        return values if self.nodata is None else np.where(stored == self.nodata, np.nan, values)


_angle_rad = jax.jit(spectral_angle_rad)


def good_bands(num_bands: int, bad_bands: BadBands | None) -> list[int]:
    """Numbers of the bands that are not bad, counted from 0.

    Raises:
        ValueError: if `bad_bands` is not `[num_bands]`, or all bands are bad.
    """
    if bad_bands is not None and (bad_bands.shape != (num_bands,) or bad_bands.all()):
        raise ValueError(
            f"bad_bands must name some of {num_bands} bands and leave at least one, "
            f"got {int(bad_bands.sum())} of {bad_bands.size}"
        )
    return [band for band in range(num_bands) if bad_bands is None or not bad_bands[band]]


def thinned(
    cube: "Intensity | BicubicIntensity", bands: Sequence[int], longest: int
) -> tuple[Float[np.ndarray, "h w l"], int]:
    """Every n-th row and column of some bands, and n, so that no side is longer than `longest`.

    Windows of whole rows are read.
    """
    height, width, _ = cube.shape
    step = -(-max(height, width) // longest)
    rows = max(VALUES_AT_ONCE // (width * len(bands)) // step, 1) * step
    windows = [
        cube.read(slice(row, min(row + rows, height)), slice(0, width), bands)[::step, ::step]
        for row in range(0, height, rows)
    ]
    return np.concatenate(windows), step


def _windows(shape: tuple[int, int], side: int) -> Iterator[tuple[slice, slice]]:
    for row, column in itertools.product(*(range(0, length, side) for length in shape)):
        yield slice(row, min(row + side, shape[0])), slice(column, min(column + side, shape[1]))


def scaled(window: slice, scale: int) -> slice:
    """The window of a result that shows the same area as a window of its input."""
    return slice(scale * window.start, scale * window.stop)


@functools.lru_cache(maxsize=64)
def _depends(length: int, scale: float) -> Float[np.ndarray, "out {length}"]:
    """Matrix of 1 where a resized sample (row) depends on a sample (column), else 0."""
    return (np.abs(resize_matrix(length, scale)) > 1e-9).astype(np.float32)


def _resized(
    cube: Float[np.ndarray, "h w l"], masked: Bool[np.ndarray, "h w"], scale: float
) -> tuple[Float[np.ndarray, "_ _ l"], Bool[np.ndarray, "_ _"]]:
    """Resizes a cube without NaN, and finds the pixels that depend on masked ones."""
    rows, columns = _depends(cube.shape[0], scale), _depends(cube.shape[1], scale)
    return imresize(cube, scale), rows @ masked.astype(np.float32) @ columns.T > 0


@dataclasses.dataclass(frozen=True)
class BicubicIntensity:
    """Reads windows of the bicubic enlargement of a cube, NaN where it depends on masked values."""

    source: Intensity
    scale: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of bands of the enlargement."""
        height, width, bands = self.source.shape
        return self.scale * height, self.scale * width, bands

    def read(self, rows: slice, columns: slice, bands: Sequence[int]) -> Float[np.ndarray, "h w l"]:
        """Enlarges the pixels around a window, and cuts the window out."""
        y, x = (
            surroundings(slice(side.start // self.scale, -(-side.stop // self.scale)), length)[0]
            for side, length in zip((rows, columns), self.source.shape[:2], strict=True)
        )
        cube, masked = _resized(*_without_nan(self.source.read(y, x, bands)), self.scale)
        top, left = self.scale * y.start, self.scale * x.start
        window = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        return np.where(masked[window][..., None], np.float32(np.nan), cube[window])


def _without_nan(cube: Float[np.ndarray, "h w l"]) -> tuple[np.ndarray, np.ndarray]:
    return np.nan_to_num(cube, nan=0.0), ~np.isfinite(cube).all(-1)


def lr_consistency(
    lr: ArrayOrReader,
    results: Mapping[str, ArrayOrReader],
    scale: int,
    *,
    peak: float = 1.0,
    nodata: float | None = None,
    bad_bands: BadBands | None = None,
    window: int | None = None,
) -> dict[str, Any]:
    """Measures how well results, and plain bicubic enlargement, reduce to their input.

    The input `lr` is `[H, W, L]`, and the results, by method, are `[s H, s W, L]`, in stored values
    of the same units. `window` is the side of the windows of `lr` in pixels, on which the numbers
    do not depend; None: what fits into memory.

    Returns:
        `{"pixels": ..., "methods": {"Bicubic": {"psnr_db": ..., "sam_deg": ...}, ...}}`, where
        `pixels` is the number of input pixels that count. PSNR is inf without any error; both
        numbers are NaN if no pixel counts.

    Raises:
        ValueError: if a result is not `[s H, s W, L]` or is named "Bicubic", the peak is not
            positive, or all bands are bad.
    """
    height, width, num_bands = lr.shape
    expected = (scale * height, scale * width, num_bands)
    for name, cube in results.items():
        if tuple(cube.shape) != expected:
            raise ValueError(
                f"the result {name!r} is {tuple(cube.shape)}, but x{scale} of an input of "
                f"{(height, width, num_bands)} is {expected}"
            )
    if BICUBIC in results:
        raise ValueError(f"a result may not be named {BICUBIC!r}: bicubic is computed here")
    bands = good_bands(num_bands, bad_bands)
    source = Intensity(lr, peak, nodata)
    made = {name: Intensity(cube, peak, nodata) for name, cube in results.items()}
    if window is None:
        window = max(int(math.sqrt(VALUES_AT_ONCE / len(bands)) / scale) - 2 * _HALO, 16)
    sums = {name: np.zeros(2) for name in (BICUBIC, *results)}
    pixels = 0
    for rows, columns in _windows((height, width), window):
        pixels += _add_window(sums, source, made, scale, (rows, columns), bands)
    scores = {name: _scores(both, pixels, len(bands)) for name, both in sums.items()}
    return {"pixels": pixels, "methods": scores}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A window of an input and of results, with what bicubic makes of them; 0 where masked."""

    reference: Float[np.ndarray, "h w L"]  # the input
    enlarged: Mapping[str, Enlarged]  # by method, Bicubic first: the results and their masks
    reduced: Mapping[str, Float[np.ndarray, "h w L"]]  # the results at the size of the input
    counted: Bool[np.ndarray, "h w"]  # pixels of the input that count


def surroundings(window: slice, length: int, halo: int = _HALO) -> tuple[slice, slice]:
    """The window with the pixels around it that its resizing sees, and the window inside that."""
    around = slice(max(window.start - halo, 0), min(window.stop + halo, length))
    return around, slice(window.start - around.start, window.stop - around.start)


def compare(
    source: Intensity,
    made: Mapping[str, Intensity],
    scale: int,
    window: tuple[slice, slice],
    bands: Sequence[int],
) -> Comparison:
    """Reads a window of an input and of results, enlarges the one and reduces the others."""
    rows, columns = window
    reference, masked = _without_nan(source.read(rows, columns, bands))
    enlarged = {BICUBIC: _resized(reference, masked, scale)}
    for name, result in made.items():
        tile = result.read(scaled(rows, scale), scaled(columns, scale), bands)
        enlarged[name] = _without_nan(tile)
    reduced = {name: _resized(*pair, 1 / scale) for name, pair in enlarged.items()}
    counted = ~np.any([masked, *(mask for _, mask in reduced.values())], axis=0)
    return Comparison(reference, enlarged, {n: cube for n, (cube, _) in reduced.items()}, counted)


def _add_window(
    sums: Mapping[str, np.ndarray],
    source: Intensity,
    made: Mapping[str, Intensity],
    scale: int,
    window: tuple[slice, slice],
    bands: Sequence[int],
) -> int:
    """Adds the squared error and the angle (rad) of a window by method; returns its pixels."""
    sides = zip(window, source.shape[:2], strict=True)
    (rows, inner_rows), (columns, inner_columns) = (surroundings(*side) for side in sides)
    inner = inner_rows, inner_columns
    found = compare(source, made, scale, (rows, columns), bands)
    counted, reference = found.counted[inner], found.reference[inner]
    for name, cube in found.reduced.items():
        error = np.square(cube[inner] - reference).sum(-1, dtype=np.float64)
        angles = np.asarray(_angle_rad(cube[inner], reference), np.float64)
        sums[name] += error[counted].sum(), angles[counted].sum()
    return int(counted.sum())


def _scores(sums: np.ndarray, pixels: int, num_bands: int) -> dict[str, float]:
    if pixels == 0:
        return {"psnr_db": math.nan, "sam_deg": math.nan}
    squared_error, angle_rad = sums.tolist()
    mse = squared_error / (pixels * num_bands)
    psnr_db = math.inf if mse == 0 else -10 * math.log10(mse)
    return {"psnr_db": psnr_db, "sam_deg": math.degrees(angle_rad / pixels)}
