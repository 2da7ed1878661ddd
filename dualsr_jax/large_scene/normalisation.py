"""What a scene's stored values mean to the network, and back.

Contract: `scan` reads a scene once, strip by strip; `prepare` decides from what it found which
bands are usable and which stored value is full intensity, by rule:

1. the peak that the user gives, in stored units;
2. the stored value of reflectance 1 in the metadata;
3. else physical values, stored * scale + offset where the metadata say so: full intensity is 1 if
   they are floating-point or scaled and none is above 1.5, and the largest valid one otherwise.

The other half of the way, from windows of stored values to what the network takes, is here too;
filling and rounding are in `stored_values`.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.nodata import RADIUS, fill, invalid_pixels, nodata_of
from dualsr_jax.models.coarsr.nbp import MIN_BANDS

_UNIT_RANGE = 1.5  # values of floating-point data up to here are taken as reflectance
_BLOCK_BYTES = 64 * 2**20


@runtime_checkable
class WindowReader(Protocol):
    """A cube of which windows can be read; whatever its size, they are all that is in memory."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(H, W, L)`."""

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Shaped[np.ndarray, "h w l"]:
        """A window, as stored."""


@runtime_checkable
class SceneReader(WindowReader, Protocol):
    """What a scene is read from: a file, or an array."""

    @property
    def dtype(self) -> np.dtype:
        """Of the stored values."""

    @property
    def metadata(self) -> Metadata:
        """What is said beside them."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of the valid pixels of each band, stored units, float64 `[L]`; NaN where there are none.

    Attributes:
        minimum: smallest.
        maximum: largest.
        mean: average.
        valid: how many valid pixels there are.
        pixels: how many pixels a band has.
        content: hash of the stored values, which tells the scene from others.
    """

    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    valid: np.ndarray
    pixels: int
    content: str


def blocks_of_rows(height: int, row_bytes: int, most: int) -> list[slice]:
    """Cuts rows into blocks_of_rows of about equal memory."""
    rows = max(1, most // max(row_bytes, 1))
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def scan(source: SceneReader) -> Statistics:
    """Reads a scene once, by blocks_of_rows.

    Raises:
        ValueError: if its values are neither integers nor floating-point numbers.
    """
    height, width, bands = source.shape
    if source.dtype.kind not in "iuf":
        raise ValueError(
            f"values of type {source.dtype} are no intensities: integers or floats are"
        )
    nodata = nodata_of(source.metadata.nodata, source.dtype)
    minimum, maximum = np.full(bands, np.inf), np.full(bands, -np.inf)
    total, valid = np.zeros(bands), np.zeros(bands, np.int64)
    row_bytes = width * bands * source.dtype.itemsize
    content = hashlib.sha256()
    for rows in blocks_of_rows(height, row_bytes, _BLOCK_BYTES):
        block = np.ascontiguousarray(source.read(rows, slice(0, width)))
        content.update(block.data)
        for band in range(bands):  # one at a time: masks and float64 copies stay small
            values = block[..., band]
            values = values[~invalid_pixels(values, nodata)]
            if values.size:
                minimum[band] = min(minimum[band], values.min())
                maximum[band] = max(maximum[band], values.max())
                total[band] += values.sum(dtype=np.float64)
                valid[band] += values.size
    none = valid == 0
    minimum[none], maximum[none] = np.nan, np.nan
    mean = np.where(none, np.nan, total / np.maximum(valid, 1))
    return Statistics(minimum, maximum, mean, valid, height * width, content.hexdigest())


def bad_bands(statistics: Statistics, metadata: Metadata) -> dict[int, str]:
    """The bands that the network must not see, with the reason, by index from 0."""
    flagged = metadata.bad_bands
    found: dict[int, str] = {}
    for band, valid in enumerate(statistics.valid):
        if flagged is not None and flagged[band]:
            found[band] = "flagged"
        elif valid == 0:
            found[band] = "empty"
        elif statistics.minimum[band] == statistics.maximum[band]:
            found[band] = "constant"
    return found


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """How a scene is made ready for the network: normalised = stored * gain + bias.

    Attributes:
        bands: int64 `[K]`, the usable bands.
        bad: the others, with the reason.
        gain: float64 `[K]`.
        bias: float64 `[K]`.
        rule: how full intensity was chosen, in words.
        mean: float64 `[L]`, of each band, stored units.
        masked: bool `[L]`, whether any pixel of a band is invalid.
        nodata: of `nodata_of` for the stored type.
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
        """What was decided, for the user."""
        if not self.bad:
            return f"normalisation: {self.rule}; all {len(self.bands)} bands are usable"
        reasons = sorted(set(self.bad.values()))
        named = [
            f"{reason} {', '.join(str(b + 1) for b, why in self.bad.items() if why == reason)}"
            for reason in reasons
        ]
        return (
            f"normalisation: {self.rule}; {len(self.bands)} bands are usable, {len(self.bad)} are "
            f"not and are enlarged by bicubic interpolation: {'; '.join(named)}"
        )


def _affine(
    statistics: Statistics,
    bands: np.ndarray,
    dtype: np.dtype,
    metadata: Metadata,
    peak: float | None,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Gain and bias `[K]` by the rules of the module's contract, and the rule in words."""
    ones, zeros = np.ones(len(bands)), np.zeros(len(bands))
    if peak is not None:
        if not (np.isfinite(peak) and peak > 0):
            raise ValueError(f"the peak must be a positive number, got {peak}")
        return ones / peak, zeros, f"peak {peak:g} as given"
    full = metadata.reflectance_scale
    if full is not None and full > 0:
        return ones / full, zeros, f"stored value {full:g} is reflectance 1, by the metadata"
    scale = ones if metadata.scale is None else np.asarray(metadata.scale, np.float64)[bands]
    offset = zeros if metadata.offset is None else np.asarray(metadata.offset, np.float64)[bands]
    scaled = bool(np.any(scale != 1) or np.any(offset != 0))
    extremes = np.stack([statistics.minimum[bands], statistics.maximum[bands]])
    largest = float((extremes * scale + offset).max())
    unit = "after scale and offset" if scaled else "stored"
    if largest <= 0:
        raise ValueError(f"no value is positive ({unit}, the largest is {largest:g}): set the peak")
    if (scaled or dtype.kind == "f") and largest <= _UNIT_RANGE:
        return scale, offset, f"values ({unit}) are reflectances up to {largest:g}: full is 1"
    return scale / largest, offset / largest, f"full is the largest value ({unit}), {largest:g}"


def plan(
    statistics: Statistics, dtype: np.dtype, metadata: Metadata, *, peak: float | None = None
) -> Normalisation:
    """Decides how a scene is made ready for the network.

    Args:
        statistics: of `scan`.
        dtype: of the stored values.
        metadata: of the scene.
        peak: stored value of full intensity; None: by rule.

    Raises:
        ValueError: if fewer than 5 bands are usable, or no peak can be found.
    """
    bad = bad_bands(statistics, metadata)
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
    masked = statistics.valid < statistics.pixels
    nodata = nodata_of(metadata.nodata, dtype)
    return Normalisation(bands, bad, gain, bias, rule, statistics.mean, masked, nodata)


def _read_filled(
    source: SceneReader,
    rows: slice,
    columns: slice,
    normalisation: Normalisation,
    bands: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None, tuple[slice, slice]]:
    """Stored values, with a margin where there is something to fill; the mask; the window in it."""
    height, width, _ = source.shape
    here = slice(0, rows.stop - rows.start), slice(0, columns.stop - columns.start)
    whole = len(bands) == source.shape[2]
    chosen = None if whole else bands.tolist()
    stored = source.read(rows, columns, chosen)
    if not normalisation.masked[bands].any():
        return stored, None, here
    invalid = invalid_pixels(stored, normalisation.nodata)
    if not invalid.any():
        return stored, None, here
    wide = [
        slice(max(s.start - RADIUS, 0), min(s.stop + RADIUS, length))
        for s, length in ((rows, height), (columns, width))
    ]
    stored = source.read(wide[0], wide[1], chosen)
    inner = tuple(
        slice(s.start - w.start, s.stop - w.start)
        for s, w in zip((rows, columns), wide, strict=True)
    )
    return stored, invalid_pixels(stored, normalisation.nodata), (inner[0], inner[1])


def read_normalised(
    source: SceneReader, rows: slice, columns: slice, normalisation: Normalisation
) -> tuple[Float[np.ndarray, "K h w"], Bool[np.ndarray, "h w"]]:
    """A window as the network takes it.

    Args:
        source: the scene.
        rows: of the window.
        columns: likewise.
        normalisation: of `prepare`.

    Returns:
        The usable bands, bands first, float32, filled; and which pixels are valid in all of them.
    """
    stored, invalid, here = _read_filled(source, rows, columns, normalisation, normalisation.bands)
    shape = here[0].stop - here[0].start, here[1].stop - here[1].start
    cube = np.empty((len(normalisation.bands), *shape), np.float32)
    valid = np.ones(shape, bool)
    if invalid is not None:
        valid &= ~invalid[here].any(-1)
    for index, band in enumerate(normalisation.bands):
        gain, bias = normalisation.gain[index], normalisation.bias[index]
        if invalid is None or not invalid[..., index].any():
            cube[index] = stored[*here, index] * gain + bias
        else:
            with np.errstate(invalid="ignore"):  # of what is filled
                values = (stored[..., index] * gain + bias).astype(np.float32)
            otherwise = float(normalisation.mean[band] * gain + bias)
            cube[index] = fill(values, invalid[..., index], otherwise)[here]
    return cube, valid


def read_stored(
    source: SceneReader, rows: slice, columns: slice, normalisation: Normalisation, band: int
) -> Float[np.ndarray, "h w"]:
    """One band of a window in stored units, float64, filled; NaN where the band is empty."""
    stored, invalid, here = _read_filled(source, rows, columns, normalisation, np.array([band]))
    values = stored[..., 0].astype(np.float64)
    if invalid is None:
        return values[here]
    return fill(values, invalid[..., 0], normalisation.mean[band])[here]
