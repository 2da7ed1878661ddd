"""Radiometry: results within the range of the measured scene, and consistent with it.

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

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from dualsr_jax.ops import resize
from dualsr_jax.ops.pseudo_inverse import solve

CLIPS = ("input", "unit")
NEIGHBOURS = 1  # pixels of the scene on either side whose range limits a pixel of the result

Images = Float[np.ndarray, "k _ _"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Radiometry:
    """What is done to a result after the fine stage; by default nothing.

    Attributes:
        clip: "input" limits each value to the range of its band's 3x3 neighbourhood in the measured
            scene, "unit" to [0, 1] of full intensity; None does not clip.
        consistent: number of back-projections towards the measured scene. One suffices if nothing
            is clipped.

    Raises:
        ValueError: if `clip` is unknown, or `consistent` is not a whole number of at least 0.
    """

    clip: str | None = None
    consistent: int = 0

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.clip is not None and self.clip not in CLIPS:
            raise ValueError(f"clip must be one of {CLIPS} or None, got {self.clip!r}")
        whole = isinstance(self.consistent, int | np.integer)
        if not whole or isinstance(self.consistent, bool) or self.consistent < 0:
            raise ValueError(
                "consistent is the number of back-projections, a whole number of at least 0, got "
                f"{self.consistent!r}"
            )

    def correct(
        self, sr: Float[np.ndarray, "_ _ L"], lr: Float[np.ndarray, "h w L"]
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
        limits = find_limits(measured, None, self.clip)
        multipliers, made = np.zeros_like(measured), images
        for count in range(self.consistent):
            made = made if count == 0 else clipped(made, limits)
            multipliers += solve(measured - resize.reduce(made, factor), factor)
            made = images + resize.reduce_adjoint(multipliers, factor)
        return np.moveaxis(clipped(made, limits), 0, -1)


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


@dataclasses.dataclass
class Effect:
    """What the radiometry did to a result.

    Attributes:
        clipped: number of values that were clipped, of `values` with data.
        before_db: PSNR, against the measured scene and with peak 1, of the result reduced to the
            scene's size, before; NaN if it was not measured. `after_db` is that after clipping and
            rounding to the data type.
    """

    clipped: int = 0
    values: int = 0
    before_db: float = math.nan
    after_db: float = math.nan

    def describe(self, how: Radiometry) -> list[str]:
        """Says, in one line each, how many values were clipped and how consistent the result is."""
        lines = []
        if how.consistent:
            lines.append(
                f"{how.consistent} back-projection{'s' * (how.consistent > 1)}: reduced to the "
                f"scene's size, the result agrees with the scene to {self.after_db:.2f} dB PSNR "
                f"({self.before_db:.2f} dB before)"
            )
        if how.clip is not None:
            to = {"input": "the range of the scene's pixels around", "unit": "[0, 1]"}[how.clip]
            share = 100 * self.clipped / max(self.values, 1)
            lines.append(
                f"{self.clipped:,} of {self.values:,} values ({share:.3g} %) were clipped to {to}"
            )
        return lines


def psnr_db(squared_error: float, count: int) -> float:
    """PSNR for a peak of 1 from a sum of squared errors; inf without error, NaN without values."""
    if not count:
        return math.nan
    return math.inf if squared_error == 0 else -10 * math.log10(squared_error / count)
