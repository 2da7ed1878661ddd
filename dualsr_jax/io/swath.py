"""Latitude and longitude of every pixel: of swaths that have no map projection.

Contract: degrees north and east of the centres of pixels, float64 `[H, W]`, NaN where a file has no
valid angle.
"""

import numpy as np
from jaxtyping import Float, Num

LATITUDE, LONGITUDE = "latitude", "longitude"
_NAMES = {
    **dict.fromkeys(("lat", "latitude"), LATITUDE),
    **dict.fromkeys(("lon", "long", "longitude"), LONGITUDE),
}
_LARGEST = {LATITUDE: 90.0, LONGITUDE: 360.0}
_HALF_TURN = 180.0


def angle_name(name: str) -> str | None:
    """`latitude` or `longitude` if a variable of this name holds it, else None."""
    return _NAMES.get(name.lower())


def valid_angles(name: str, stored: Num[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The stored angles of a name, NaN where they are not possible, such as fill values."""
    angles = stored.astype(np.float64)
    with np.errstate(invalid="ignore"):
        angles[~(np.abs(angles) <= _LARGEST[name])] = np.nan
    return angles


def finer(values: np.ndarray, axis: int, factor: int) -> np.ndarray:
    """Values at the centres of pixels `factor` times smaller, linearly inter- and extrapolated."""
    length = values.shape[axis]
    if values.dtype.kind not in "iuf" or length == 1:
        return values.repeat(factor, axis)  # such as names
    place = (np.arange(length * factor) + 0.5) / factor - 0.5
    left = np.clip(np.floor(place).astype(int), 0, length - 2)
    weight = (place - left).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    values = values.astype(np.float64)
    before, after = values.take(left, axis), values.take(left + 1, axis)
    return before + weight * (after - before)


def finer_angles(angles: Float[np.ndarray, "h w"], factor: int) -> Float[np.ndarray, "_ _"]:
    """Bilinear angles of pixels `factor` times smaller; those that a NaN takes part in are NaN.

    Where a scene crosses the meridian of 180 degrees, longitudes jump there and not in between.
    """
    crosses = any((np.abs(np.diff(angles, axis=axis)) > _HALF_TURN).any() for axis in (0, 1))
    near = np.where(angles < 0, angles + 2 * _HALF_TURN, angles) if crosses else angles
    made = finer(finer(near, 0, factor), 1, factor)
    return np.where(made > _HALF_TURN, made - 2 * _HALF_TURN, made) if crosses else made
