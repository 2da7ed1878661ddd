"""Quality without ground truth: what can be said of a result when there is no reference.

Contract: cubes are arrays or readers, stored values as in their file; only windows of them are in
memory, so that they may be of any size. Intensity is the stored value divided by `peak`; a pixel
with a NaN or nodata value in any of the good bands is masked and counts nowhere, nor does one whose
reduction sees a masked pixel, in any of the results.

The consistency of a result is how well it reduces, by MATLAB's bicubic, to the image it was made
of (PSNR of the whole cube and mean spectral angle, as in `metrics`). It is necessary, not
sufficient: bicubic enlargement is fairly consistent too, and nothing here sees invented detail.
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

from dualsr_jax.large_scene.normalisation import WindowReader
from dualsr_jax.ops.resize import imresize, resize_matrix
from dualsr_jax.ops.spectral_angle import spectral_angle_rad

BICUBIC = "Bicubic"
_HALO = 6  # LR pixels beyond a window that its enlargement and reduction see: 2 + 2, and spare
VALUES_AT_ONCE = 2**24  # of one enlarged window


Cube = WindowReader | Shaped[np.ndarray, "_ _ _"]  # [H, W, L]


@dataclasses.dataclass(frozen=True)
class Intensity:
    """Reads windows of a cube, stored values turned to intensity, float32, NaN where masked."""

    cube: Cube
    peak: float
    nodata: float | None

    def read(self, rows: slice, columns: slice, bands: Sequence[int]) -> Float[np.ndarray, "h w l"]:
        """A window of the given bands."""
        if isinstance(self.cube, np.ndarray):
            stored = self.cube[rows, columns][..., np.array(bands)]
        else:
            stored = self.cube.read(rows, columns, bands)
        values = stored.astype(np.float32) / np.float32(self.peak)
        return values if self.nodata is None else np.where(stored == self.nodata, np.nan, values)


@dataclasses.dataclass
class _Sums:
    """Over the pixels counted so far, by method."""

    squared_error: dict[str, float]
    angle_rad: dict[str, float]
    pixels: int = 0

    @classmethod
    def of(cls, methods: Sequence[str]) -> "_Sums":
        return cls(dict.fromkeys(methods, 0.0), dict.fromkeys(methods, 0.0))


_angle_rad = jax.jit(spectral_angle_rad)


def good_bands(num_bands: int, bad_bands: Bool[np.ndarray, "L"] | None) -> list[int]:
    """The bands, counted from 0, that are not bad."""
    return [band for band in range(num_bands) if bad_bands is None or not bad_bands[band]]


def _windows(shape: tuple[int, int], side: int) -> Iterator[tuple[slice, slice]]:
    for row, column in itertools.product(*(range(0, length, side) for length in shape)):
        yield slice(row, min(row + side, shape[0])), slice(column, min(column + side, shape[1]))


def _grown(window: slice, length: int) -> slice:
    return slice(max(window.start - _HALO, 0), min(window.stop + _HALO, length))


def scaled(window: slice, scale: int) -> slice:
    """The window of a result that shows a window of its input."""
    return slice(scale * window.start, scale * window.stop)


@functools.lru_cache(maxsize=64)
def _sees(length: int, scale: float) -> Float[np.ndarray, "out {length}"]:
    """1 where a resized sample depends on a sample."""
    return (np.abs(resize_matrix(length, scale)) > 1e-9).astype(np.float32)


def _resized(
    cube: Float[np.ndarray, "h w l"], masked: Bool[np.ndarray, "h w"], scale: float
) -> tuple[Float[np.ndarray, "_ _ l"], Bool[np.ndarray, "_ _"]]:
    """A cube without NaN, resized, and where its pixels depend on masked ones."""
    rows, columns = _sees(cube.shape[0], scale), _sees(cube.shape[1], scale)
    return imresize(cube, scale), rows @ masked.astype(np.float32) @ columns.T > 0


def _without_nan(cube: Float[np.ndarray, "h w l"]) -> tuple[np.ndarray, np.ndarray]:
    return np.nan_to_num(cube, nan=0.0), ~np.isfinite(cube).all(-1)


def lr_consistency(
    lr: Cube,
    results: Mapping[str, Cube],
    scale: int,
    *,
    peak: float = 1.0,
    nodata: float | None = None,
    bad_bands: Bool[np.ndarray, "L"] | None = None,
    window: int | None = None,
) -> dict[str, Any]:
    """How well results, and plain bicubic enlargement, reduce to the image they were made of.

    Args:
        lr: the input `[H, W, L]`, stored values.
        results: cubes `[s H, s W, L]` by method, stored values in the same units.
        scale: scale factor s.
        peak: stored value of intensity 1.
        nodata: stored value of masked pixels, besides NaN.
        bad_bands: True where a band is left out.
        window: pixels a side of the windows of `lr`; None: what fits into memory. The numbers do
            not depend on it.

    Returns:
        `{"pixels": ..., "methods": {"Bicubic": {"psnr_db": ..., "sam_deg": ...}, ...}}`; pixels of
        the input that were compared. PSNR is inf without any error; both are NaN without pixels.

    Raises:
        ValueError: if a result is not `[s H, s W, L]`, the peak is not positive, or no band is
            good.
    """
    height, width, num_bands = lr.shape
    check_report(lr, results, scale, peak, bad_bands)
    bands = good_bands(num_bands, bad_bands)
    source = Intensity(lr, peak, nodata)
    made = {name: Intensity(cube, peak, nodata) for name, cube in results.items()}
    if window is None:
        window = max(int(math.sqrt(VALUES_AT_ONCE / len(bands)) / scale) - 2 * _HALO, 16)
    sums = _Sums.of((BICUBIC, *results))
    for rows, columns in _windows((height, width), window):
        _add_window(sums, source, made, scale, (rows, columns), bands)
    methods = {
        name: _scores(sums.squared_error[name], sums.angle_rad[name], sums.pixels, len(bands))
        for name in sums.angle_rad
    }
    return {"pixels": sums.pixels, "methods": methods}


def _add_window(
    sums: _Sums,
    source: Intensity,
    made: Mapping[str, Intensity],
    scale: int,
    window: tuple[slice, slice],
    bands: Sequence[int],
) -> None:
    """Compares the pixels of one window of the input, seen with a halo."""
    rows, columns = (
        _grown(part, length) for part, length in zip(window, source.cube.shape[:2], strict=True)
    )
    inner = (
        slice(window[0].start - rows.start, window[0].stop - rows.start),
        slice(window[1].start - columns.start, window[1].stop - columns.start),
    )
    reference, masked = _without_nan(source.read(rows, columns, bands))
    enlarged = {BICUBIC: _resized(reference, masked, scale)}
    for name, result in made.items():
        tile = result.read(scaled(rows, scale), scaled(columns, scale), bands)
        enlarged[name] = _without_nan(tile)
    reduced = {name: _resized(*pair, 1 / scale) for name, pair in enlarged.items()}
    counted = ~np.any([masked, *(mask for _, mask in reduced.values())], axis=0)[inner]
    sums.pixels += int(counted.sum())
    for name, (cube, _) in reduced.items():
        error = np.square(cube[inner] - reference[inner]).sum(-1, dtype=np.float64)
        sums.squared_error[name] += float(error[counted].sum())
        angles = np.asarray(_angle_rad(cube[inner], reference[inner]), np.float64)
        sums.angle_rad[name] += float(angles[counted].sum())


def _scores(
    squared_error: float, angle_rad: float, pixels: int, num_bands: int
) -> dict[str, float]:
    if pixels == 0:
        return {"psnr_db": math.nan, "sam_deg": math.nan}
    mse = squared_error / (pixels * num_bands)
    psnr_db = math.inf if mse == 0 else -10 * math.log10(mse)
    return {"psnr_db": psnr_db, "sam_deg": math.degrees(angle_rad / pixels)}


def check_report(
    lr: Cube,
    results: Mapping[str, Cube],
    scale: int,
    peak: float,
    bad_bands: Bool[np.ndarray, "L"] | None,
) -> None:
    """Raises ValueError as `lr_consistency` says, before any pixel is read."""
    height, width, num_bands = lr.shape
    expected = (scale * height, scale * width, num_bands)
    for name, cube in results.items():
        if tuple(cube.shape) != expected:
            raise ValueError(
                f"the result {name!r} is {tuple(cube.shape)}, but x{scale} of an input of "
                f"{(height, width, num_bands)} is {expected}"
            )
    if BICUBIC in results:
        raise ValueError(f"a result may not be named {BICUBIC!r}: that one is made here")
    if not (math.isfinite(peak) and peak > 0):
        raise ValueError(f"peak must be the positive stored value of intensity 1, got {peak}")
    if bad_bands is not None and (bad_bands.shape != (num_bands,) or bad_bands.all()):
        raise ValueError(
            f"bad_bands must name some of {num_bands} bands and leave at least one, "
            f"got {int(bad_bands.sum())} of {bad_bands.size}"
        )
