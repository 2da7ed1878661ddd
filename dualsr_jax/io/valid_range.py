"""What a file says of valid values besides one no-data value: a range, and further such values.

Contract: the cube's attributes `valid_range`, `valid_min`, `valid_max`, and all values of
`_FillValue` and `missing_value` are followed, in the conventions of CF, as netCDF4 does. Pixels
that hold no measurement become the no-data value; without one, integers become a number outside the
range, and floating-point numbers NaN.
Source: NetCDF User's Guide, "Attribute Conventions".
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualsr_jax.io.metadata import Metadata, storable
from dualsr_jax.io.variables import numbers

_MISSING = ("_FillValue", "missing_value")
NAMES = (*_MISSING, "valid_range", "valid_min", "valid_max", "scale_factor", "add_offset")
_MOST = 100  # values without data


class _Bounded:
    """A source whose values outside of limits, and those that are missing, become `outside`."""

    def __init__(
        self, source: Any, limits: tuple[float, float] | None, missing: np.ndarray, outside: Any
    ) -> None:
        self.shape, self.dtype = source.shape, source.dtype
        self._source, self._limits, self._missing = source, limits, missing
        self._outside = outside

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        values = np.asarray(self._source[index]).astype(self.dtype)
        invalid = np.isin(values, self._missing)
        if self._limits is not None:
            low, high = self._limits
            invalid |= (values < low) | (values > high)
        values[invalid] = self._outside
        return values


def bounded(
    source: Any, attributes: Mapping[str, Any], metadata: Metadata, *, signed: bool = False
) -> tuple[Any, Metadata]:
    """The source, and its metadata, in which values that the attributes exclude become no-data.

    `signed` says that the attributes of unsigned values are signed numbers of as many bits.
    """
    if np.dtype(source.dtype).kind not in "iuf":
        return source, metadata
    dtype = np.dtype(source.dtype).newbyteorder("=")
    limits = _limits(attributes, dtype, signed=signed)
    missing = _missing(attributes, dtype, signed=signed)
    if limits is None and set(missing.tolist()) <= {metadata.nodata}:
        return source, metadata
    nodata = None if metadata.nodata is None else storable(metadata.nodata, dtype)
    if dtype.kind == "f":
        mark = dtype.type(np.nan if nodata is None else nodata)
        return _Bounded(source, limits, missing, mark), metadata
    if nodata is None or not float(nodata).is_integer():
        info = np.iinfo(dtype)
        outside = [] if limits is None else [info.min if limits[0] > info.min else info.max]
        nodata = [*missing.tolist(), *outside][0]
    mark = dtype.type(int(nodata))
    changed = dataclasses.replace(metadata, nodata=float(mark))
    return _Bounded(source, limits, missing, mark), changed


def _missing(attributes: Mapping[str, Any], dtype: np.dtype, *, signed: bool) -> np.ndarray:
    """The values of pixels without data that the data type has."""
    said = [_numbers(attributes.get(name)) for name in _MISSING]
    found: list[Any] = [n for values in said if values.size <= _MOST for n in values.tolist()]
    if dtype.kind != "f":
        found = [int(n) for n in found if float(n).is_integer()]
        found = [n + 2 ** (8 * dtype.itemsize) if signed and n < 0 else n for n in found]
    found = [n for n in found if math.isfinite(n) and storable(n, dtype) is not None]
    return np.array(list(dict.fromkeys(found)), dtype)


def _limits(
    attributes: Mapping[str, Any], dtype: np.dtype, *, signed: bool
) -> tuple[float, float] | None:
    """The least and the largest valid value as stored, or None if every value is valid.

    Limits of floating-point type of packed integers are those of the unpacked values. What is not
    finite, or of another kind, does not count, nor does a range without any value.
    """
    said = {name: _numbers(attributes.get(name)) for name in NAMES}
    pair = said["valid_range"]
    ends = [said["valid_min"], said["valid_max"]] if pair.size != 2 else [pair[:1], pair[1:]]
    info: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    limits = [float(info.min), float(info.max)]
    scale, offset = said["scale_factor"], said["add_offset"]
    packed = dtype.kind != "f" and "f" in (scale.dtype.kind, offset.dtype.kind)
    for k, end in enumerate(ends):
        if end.size != 1 or not np.isfinite(end).all():
            continue
        limit = float(end[0])
        if packed and end.dtype.kind == "f":
            if scale.size > 1 or offset.size > 1 or not (scale > 0).all():
                return None
            with np.errstate(all="ignore"):
                limit = float((limit - offset.sum()) / scale.prod())
        elif signed and limit < 0:
            limit += 2.0 ** (8 * dtype.itemsize)
        limits[k] = limit
    low, high = max(limits[0], float(info.min)), min(limits[1], float(info.max))
    whole = (low, high) == (float(info.min), float(info.max))
    return (low, high) if low <= high and not whole else None


def _numbers(value: Any) -> np.ndarray:
    """Real numbers in an attribute, in a row; none if it is of another kind."""
    found = np.zeros(0, np.uint8) if value is None else numbers(value)
    if found is None or found.dtype.kind == "b":
        return np.zeros(0, np.uint8)
    return found.ravel()
