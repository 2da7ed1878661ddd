"""Results within the range of the measured scene, and consistent with it.

Contract: values are normalised, images are `[k, h, w]`, bands first. Without clipping, one
back-projection makes a result x consistent: with reduction A, MATLAB's bicubic, and the measured
scene y, x + A^+ (y - A x) reduces to y, up to rounding, and of all such images it is the nearest to
x. If y is the reduction of a true image, the result is therefore never further from that image, by
mean squared error, than x was.

Clipping comes last, so that no value is outside its limits, and breaks the consistency a little
where it changes values. More back-projections repair that: they look for multipliers m, of the
scene's size, such that z = clip(x + A^T m) reduces to y, by m <- m + (A A^T)^-1 (y - A z). This is
ascent on the dual of "the nearest consistent image within the limits".
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from dualsr_jax.ops import resize
from dualsr_jax.ops.pseudo_inverse import solve
from dualsr_jax.radiometry import Radiometry

NEIGHBOURS = resize.REACH  # on either side: the pixels that bicubic enlargement reads

Images = Float[np.ndarray, "k _ _"]


class Limits(NamedTuple):
    """The lowest and the highest value allowed within each pixel of the scene, or within all."""

    low: Images
    high: Images


def find_limits(
    measured: Images, invalid: Bool[np.ndarray, "k _ _"] | None, clip: str | None
) -> Limits | None:
    """Finds the limits of `Radiometry.clip` for a scene; None if nothing is clipped.

    Invalid pixels do not count, and there are no limits where all pixels around are invalid.
    """
    if clip is None:
        return None
    if clip == "unit":
        return Limits(*np.array([0, 1], measured.dtype).reshape(2, 1, 1, 1))
    size = (1, 2 * NEIGHBOURS + 1, 2 * NEIGHBOURS + 1)
    low, high = measured, measured
    if invalid is not None:
        low, high = np.where(invalid, np.inf, measured), np.where(invalid, -np.inf, measured)
    low = ndimage.minimum_filter(low, size, mode="nearest")
    high = ndimage.maximum_filter(high, size, mode="nearest")
    unknown = low > high
    low[unknown], high[unknown] = -np.inf, np.inf
    return Limits(low.astype(measured.dtype), high.astype(measured.dtype))


def clipped(images: Images, limits: Limits | None) -> Images:
    """Clips images, `factor` times as large as the limits are if these differ by pixel."""
    if limits is None:
        return images
    blocks, (low, high) = _blocks(images, limits)
    return blocks.clip(low, high).reshape(images.shape)


def outside(images: Images, limits: Limits) -> Bool[np.ndarray, "k _ _"]:
    """Marks the values that `clipped` changes."""
    blocks, (low, high) = _blocks(images, limits)
    return ((blocks < low) | (blocks > high)).reshape(images.shape)


def _blocks(images: np.ndarray, limits: Limits) -> tuple[np.ndarray, Limits]:
    """Images `[k, h, s, w, s]`, and limits that broadcast with them."""
    bands, height, width = images.shape
    rows, columns = limits.low.shape[1:]
    blocks = images.reshape(bands, rows, height // rows, columns, width // columns)
    return blocks, Limits(*(limit[:, :, None, :, None] for limit in limits))


def correct(
    how: Radiometry, sr: Float[np.ndarray, "_ _ L"], lr: Float[np.ndarray, "h w L"]
) -> Float[np.ndarray, "_ _ L"]:
    """Corrects a result `[s h, s w, L]` in memory, such as `Result.fine`, by its input.

    Raises:
        ValueError: if the sizes are not those of a result and its input.
    """
    factor = sr.shape[0] // lr.shape[0]
    if sr.shape != (lr.shape[0] * factor, lr.shape[1] * factor, lr.shape[2]):
        raise ValueError(f"{sr.shape} is not the shape of a result of an input of {lr.shape}")
    measured = np.moveaxis(np.asarray(lr, np.float32), -1, 0)
    images = np.moveaxis(np.asarray(sr, np.float32), -1, 0)
    limits = find_limits(measured, None, how.clip)
    multipliers, made = np.zeros_like(measured), images
    for count in range(how.consistent):
        made = made if count == 0 else clipped(made, limits)
        multipliers += solve(measured - resize.reduce(made, factor), factor)
        made = images + resize.reduce_adjoint(multipliers, factor)
    return np.moveaxis(clipped(made, limits), 0, -1)
