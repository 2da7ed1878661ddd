"""Normalisation: from the stored values of a scene to what the network takes.

Contract: `scan` reads a scene once, by blocks of whole rows; `plan` decides from the statistics
which bands are usable and which stored value counts as full intensity, by the first rule that
applies:

1. the peak that the user gives, in stored units;
2. the stored value of reflectance 1 in the metadata;
3. physical values, which are stored * scale + offset if the metadata say so: 1 is full intensity if
   they are floating-point or scaled and at most 1.5; else their maximum over the valid pixels is.

Numbers of the metadata that are not finite, zero, or beyond the range of float32 are not believed:
such a reflectance scale is ignored, a band with such a scale or offset is unusable under rule 3.
Windows of a scene are normalised here; no-data pixels are handled in `nodata`.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.blocks import blocks_of_rows, grown
from dualsr_jax.large_scene.nodata import RADIUS, fill, invalid_pixels, nodata_of
from dualsr_jax.models.coarsr.nbp import MIN_BANDS

_UNIT_RANGE = 1.5  # physical values up to here count as reflectances
_BLOCK_BYTES = 64 * 2**20
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@runtime_checkable
class WindowReader(Protocol):
    """A cube of any size, `shape` is (H, W, L), of which windows can be read."""

    shape: tuple[int, int, int]

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Shaped[np.ndarray, "h w l"]:
        """Reads a window in stored values; `bands` None: all."""


@runtime_checkable
class SceneReader(WindowReader, Protocol):
    """A cube of stored values of which the data type and the metadata are known."""

    dtype: np.dtype
    metadata: Metadata


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of a scene over the valid pixels of each band.

    `minimum`, `maximum` and `mean` are float64 `[L]` in stored units, NaN if no pixel is valid.
    `valid` `[L]` of the `pixels` of each band are valid. `content` is the SHA-256 of the values.
    """

    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    valid: np.ndarray
    pixels: int
    content: str


def scan(source: SceneReader, done: Callable[[int], object] = lambda _: None) -> Statistics:
    """Computes the statistics of a scene, read once; raises ValueError unless it holds numbers.

    `done` is called with numbers of rows that were read.
    """
    height, width, bands = source.shape
    if source.dtype.kind not in "iuf":
        raise ValueError(
            f"values of type {source.dtype} are not intensities: expected integers or floats"
        )
    nodata = nodata_of(source.metadata.nodata, source.dtype)
    minimum, maximum = np.full(bands, np.inf), np.full(bands, -np.inf)
    total, valid = np.zeros(bands), np.zeros(bands, np.int64)
    content = hashlib.sha256()
    for rows in blocks_of_rows(height, width * bands * source.dtype.itemsize, _BLOCK_BYTES):
        block = np.ascontiguousarray(source.read(rows, slice(0, width)))
        content.update(block.data)
        for band in range(bands):  # one at a time: masks and float64 copies stay small
            values = block[..., band][~invalid_pixels(block[..., band], nodata)]
            if values.size:
                minimum[band] = min(minimum[band], values.min())
                maximum[band] = max(maximum[band], values.max())
                total[band] += values.sum(dtype=np.float64)
                valid[band] += values.size
        done(rows.stop - rows.start)
    empty = valid == 0
    minimum[empty], maximum[empty] = np.nan, np.nan
    return Statistics(
        minimum=minimum,
        maximum=maximum,
        mean=np.where(empty, np.nan, total / np.maximum(valid, 1)),
        valid=valid,
        pixels=height * width,
        content=content.hexdigest(),
    )


def _is_normal(number: float) -> bool:
    """Whether a number is positive and in the range of float32; NaN is not."""
    return bool(_SMALLEST <= number <= _LARGEST)


def _scale_and_offset(metadata: Metadata, num_bands: int) -> tuple[np.ndarray, np.ndarray]:
    scale = np.ones(num_bands) if metadata.scale is None else metadata.scale
    offset = np.zeros(num_bands) if metadata.offset is None else metadata.offset
    return np.asarray(scale, np.float64), np.asarray(offset, np.float64)


def _keeps_values(low: float, high: float, scale: float, offset: float) -> bool:
    """Whether scale and offset leave different values of a band different in float32."""
    if (scale, offset) == (1, 0):
        return True
    with np.errstate(all="ignore"):
        ends = (np.array([low, high]) * scale + offset).astype(np.float32)
    return _is_normal(abs(scale)) and bool(np.isfinite(ends).all() and ends[0] != ends[1])


def bad_bands(
    statistics: Statistics, metadata: Metadata, *, physical: bool = True
) -> dict[int, str]:
    """The bands that the network must not see, counted from 0, each with the reason.

    With `physical`, bands whose scale or offset cannot be used are among them.
    """
    flagged = metadata.bad_bands
    scale, offset = _scale_and_offset(metadata, len(statistics.valid))
    found: dict[int, str] = {}
    for band, valid in enumerate(statistics.valid):
        if flagged is not None and flagged[band]:
            found[band] = "flagged"
        elif valid == 0:
            found[band] = "empty"
        elif (low := statistics.minimum[band]) == (high := statistics.maximum[band]):
            found[band] = "constant"
        elif physical and not _keeps_values(low, high, scale[band], offset[band]):
            found[band] = f"unusable scale {scale[band]:g} or offset {offset[band]:g}"
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalisation:
    """How a scene is normalised: normalised = stored * gain + bias.

    Attributes:
        bands: int64 `[K]`, the usable bands; `gain` and `bias`, float64 `[K]`, are theirs.
        bad: the other bands, each with the reason.
        rule: how full intensity was chosen, in words.
        mean: float64 `[L]`, mean of each band in stored units.
        masked: bool `[L]`, whether any pixel of a band is invalid.
        nodata: what `nodata_of` makes of the nodata value.
    """

    bands: np.ndarray
    bad: dict[int, str]
    gain: np.ndarray
    bias: np.ndarray
    rule: str
    mean: np.ndarray
    masked: np.ndarray
    nodata: Any

    def describe(self) -> str:
        """One line for the user: the rule and the usable bands."""
        total = len(self.bands) + len(self.bad)
        if not self.bad:
            return f"normalisation: {self.rule}; all {total} bands are usable"
        named = []
        for reason in sorted(set(self.bad.values())):
            found = [str(band + 1) for band, why in self.bad.items() if why == reason]
            named.append(f"band{'s' * (len(found) > 1)} {', '.join(found)} ({reason})")
        return (
            f"normalisation: {self.rule}; {len(self.bands)} of {total} bands are usable, the "
            f"others are enlarged by bicubic interpolation: {'; '.join(named)}"
        )


def _affine(
    statistics: Statistics,
    bands: np.ndarray,
    dtype: np.dtype,
    metadata: Metadata,
    peak: float | None,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Gain and bias `[K]` of the usable bands by the rules of the contract, and the rule used."""
    ones, zeros = np.ones(len(bands)), np.zeros(len(bands))
    if peak is not None:
        if not _is_normal(peak):
            raise ValueError(f"the peak must be a positive number, got {peak}")
        return ones / peak, zeros, f"{peak:g} counts as full intensity, the peak that was given"
    full = metadata.reflectance_scale
    if full is not None and _is_normal(full):
        return ones / full, zeros, f"stored value {full:g} is reflectance 1, by the metadata"
    ignored = "" if full is None else f" (the metadata's reflectance scale {full:g} is ignored)"
    scale, offset = (a[bands] for a in _scale_and_offset(metadata, len(statistics.valid)))
    scaled = bool(np.any(scale != 1) or np.any(offset != 0))
    extremes = np.stack([statistics.minimum[bands], statistics.maximum[bands]])
    largest = float((extremes * scale + offset).max())
    if largest <= 0:
        what = "no value is positive" + " after scale and offset" * scaled
        raise ValueError(f"{what} (the largest is {largest:g}): set the peak")
    values = "values after scale and offset" if scaled else "values"
    if (scaled or dtype.kind == "f") and largest <= _UNIT_RANGE:
        rule = f"{values} are reflectances (largest {largest:g}), 1 counts as full intensity"
        return scale, offset, rule + ignored
    rule = f"the largest of the {values}, {largest:g}, counts as full intensity"
    return scale / largest, offset / largest, rule + ignored


def plan(
    statistics: Statistics, dtype: np.dtype, metadata: Metadata, *, peak: float | None = None
) -> Normalisation:
    """Decides how a scene of a stored data type is normalised.

    `peak` is the stored value of full intensity; None: by the rules of the module's contract.
    Raises ValueError if fewer than 5 bands are usable, `peak` is not positive, or no value is.
    """
    full = metadata.reflectance_scale
    by_rule_3 = peak is None and not (full is not None and _is_normal(full))
    bad = bad_bands(statistics, metadata, physical=by_rule_3)
    bands = np.array([b for b in range(len(statistics.valid)) if b not in bad], np.int64)
    if len(bands) < MIN_BANDS:
        shown = [f"{band + 1} {why}" for band, why in list(bad.items())[:8]]
        more = ["..."] if len(bad) > 8 else []
        raise ValueError(
            f"{len(bands)} of {len(statistics.valid)} bands are usable, at least {MIN_BANDS} are "
            f"needed: band {', '.join(shown + more)}"
            if bad
            else f"the cube has {len(bands)} bands, at least {MIN_BANDS} are needed"
        )
    gain, bias, rule = _affine(statistics, bands, dtype, metadata, peak)
    return Normalisation(
        bands=bands,
        bad=bad,
        gain=gain,
        bias=bias,
        rule=rule,
        mean=statistics.mean,
        masked=statistics.valid < statistics.pixels,
        nodata=nodata_of(metadata.nodata, dtype),
    )


def _read_with_margin(
    source: SceneReader,
    rows: slice,
    columns: slice,
    normalisation: Normalisation,
    bands: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None, tuple[slice, slice]]:
    """Reads a window, grown by `RADIUS` if pixels are invalid, and gives its mask and its place."""
    height, width, _ = source.shape
    here = slice(0, rows.stop - rows.start), slice(0, columns.stop - columns.start)
    stored = source.read(rows, columns, bands.tolist())
    masked = normalisation.masked[bands].any()
    if not masked or not invalid_pixels(stored, normalisation.nodata).any():
        return stored, None, here
    tall, wide = grown(rows, RADIUS, height), grown(columns, RADIUS, width)
    stored = source.read(tall, wide, bands.tolist())
    down, right = rows.start - tall.start, columns.start - wide.start
    here = slice(down, down + here[0].stop), slice(right, right + here[1].stop)
    return stored, invalid_pixels(stored, normalisation.nodata), here


def read_filled(
    source: SceneReader, rows: slice, columns: slice, normalisation: Normalisation
) -> tuple[Float[np.ndarray, "K h w"], Bool[np.ndarray, "K h w"] | None]:
    """Reads the usable bands of a window, filled, and which pixels are invalid; None: no pixel."""
    bands = normalisation.bands
    stored, invalid, here = _read_with_margin(source, rows, columns, normalisation, bands)
    shape = rows.stop - rows.start, columns.stop - columns.start
    cube = np.empty((len(bands), *shape), np.float32)
    for index, band in enumerate(bands):
        gain, bias = normalisation.gain[index], normalisation.bias[index]
        if invalid is None or not invalid[..., index].any():
            cube[index] = stored[*here, index] * gain + bias
        else:
            with np.errstate(invalid="ignore"):  # of pixels that are filled
                values = (stored[..., index] * gain + bias).astype(np.float32)
            otherwise = float(normalisation.mean[band] * gain + bias)
            cube[index] = fill(values, invalid[..., index], otherwise)[here]
    return cube, None if invalid is None else np.moveaxis(invalid[here], -1, 0)


def read_normalised(
    source: SceneReader, rows: slice, columns: slice, normalisation: Normalisation
) -> tuple[Float[np.ndarray, "K h w"], Bool[np.ndarray, "h w"]]:
    """Reads the usable bands of a window, filled, and which pixels are valid in all of them."""
    cube, invalid = read_filled(source, rows, columns, normalisation)
    valid = np.ones(cube.shape[1:], bool)
    if invalid is not None:
        valid &= ~invalid.any(0)
    return cube, valid


def read_band(
    source: SceneReader, rows: slice, columns: slice, normalisation: Normalisation, band: int
) -> Float[np.ndarray, "h w"]:
    """Reads a window of one band in stored units, float64, filled; NaN if the band is empty."""
    bands = np.array([band])
    stored, invalid, here = _read_with_margin(source, rows, columns, normalisation, bands)
    values = stored[..., 0].astype(np.float64)
    if invalid is not None:
        values = fill(values, invalid[..., 0], normalisation.mean[band])
    return values[here]
