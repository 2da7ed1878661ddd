"""No-data pixels: finding them, filling them, writing them back.

Contract: a pixel that is nodata, NaN or infinite holds no measurement: it is invalid. A filled
value depends only on pixels within `RADIUS`, so that tiles agree. In results the invalid pixels
become nodata again.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

RADIUS = 16  # pixels


def nodata_of(value: float | None, dtype: np.dtype) -> Any:
    """A nodata value in a data type, or None if it is not given or the type cannot hold it."""
    if value is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            mark = dtype.type(value)
        return mark if np.isfinite(mark) else None  # other pixels are invalid anyway
    limits = np.iinfo(dtype)
    whole = float(value).is_integer() and limits.min <= value <= limits.max
    return dtype.type(int(value)) if whole else None


def invalid_pixels(stored: Shaped[np.ndarray, "*shape"], nodata: Any) -> Bool[np.ndarray, "*shape"]:
    """Marks the pixels that hold no measurement; `nodata` comes from `nodata_of`."""
    invalid = np.zeros(stored.shape, bool) if stored.dtype.kind != "f" else ~np.isfinite(stored)
    if nodata is not None:
        invalid |= stored == nodata
    return invalid


def describe_missing(valid: Int[np.ndarray, "K"], pixels: int) -> str:
    """Says how many of the pixels have no data, where `valid` of them do in each usable band."""
    least, most = int(pixels - valid.max()), int(pixels - valid.min())
    if most == 0:
        return "all pixels have data"
    if least == most:
        return f"{most:,} of {pixels:,} pixels ({100 * most / pixels:.3g} %) have no data"
    return f"{least:,} to {most:,} of {pixels:,} pixels have no data, depending on the band"


def _around(x: np.ndarray) -> np.ndarray:
    """Sums over 3x3 pixels; the order of summation is the same for every pixel."""
    padded = np.pad(x, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def fill(
    values: Float[np.ndarray, "h w"], invalid: Bool[np.ndarray, "h w"], otherwise: float
) -> Float[np.ndarray, "h w"]:
    """Gives an image whose invalid pixels are filled from the valid ones around, step by step.

    A filled pixel is an average of valid ones at most `RADIUS` rows and columns away, or
    `otherwise` if there is no such pixel.
    """
    known = ~invalid
    filled = np.where(invalid, values.dtype.type(0), values)
    for _ in range(RADIUS):
        if known.all() or not known.any():
            break
        counts = _around(known.astype(values.dtype))
        grown = ~known & (counts > 0)
        filled[grown] = _around(filled)[grown] / counts[grown]
        known |= grown
    return np.where(known, filled, values.dtype.type(otherwise))


def to_stored(
    values: Float[np.ndarray, "*shape"],
    invalid: Bool[np.ndarray, "*shape"] | None,
    dtype: np.dtype,
    nodata: float | None,
) -> Shaped[np.ndarray, "*shape"]:
    """Converts values in stored units to the data type of a file; they saturate.

    Invalid pixels become nodata; None: NaN, if `dtype` is floating point. A valid pixel whose value
    would happen to be nodata becomes the next number.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = np.nan_to_num(values.astype(dtype), copy=False, nan=np.nan)
    else:
        limits = np.iinfo(dtype)
        whole = np.rint(np.nan_to_num(values))
        stored = np.empty(values.shape, dtype)
        high, low = whole >= float(limits.max), whole <= float(limits.min)
        np.copyto(stored, whole, where=~(high | low), casting="unsafe")
        stored[high], stored[low] = limits.max, limits.min
    mark = nodata_of(nodata, dtype)
    if mark is not None:
        if dtype.kind == "f":
            adjacent = np.nextafter(mark, dtype.type(0 if mark else 1))
        else:
            adjacent = mark - dtype.type(1) if mark == np.iinfo(dtype).max else mark + dtype.type(1)
        stored[stored == mark] = adjacent
    if invalid is not None and invalid.any():
        stored[invalid] = np.nan if mark is None else mark
    return stored
