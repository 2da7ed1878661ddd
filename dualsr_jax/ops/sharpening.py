"""Sharpening: turns an image that optics have blurred into what MATLAB bicubic would have made.

Contract: networks learn from LR images that MATLAB bicubic made of HR images. An imaging
spectrometer blurs more. How much is known of most: it is the modulation transfer (MTF) at the
Nyquist frequency. `sharpen` filters an image so that the networks find what they expect.

The filter h has as many taps along the rows as along the columns. Of all filters of this length
that keep the mean, h leaves the smallest expected squared error against the bicubic image: the
integral over all frequencies f of HR pixels, those that alias too, of

    |G(f) H(f) - B(f)|^2 / f^2,

with G the transfer of a Gaussian of that MTF, B that of MATLAB bicubic, and 1 / f^2 the power of
natural images (D. Field, "Relations between the statistics of natural images and the response
properties of cortical cells", 1987). It is a small linear least-squares problem.
"""

import functools

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from dualsr_jax.ops import resize
from dualsr_jax.ops.degrade import sigma_of_mtf

REACH = 7  # pixels on either side that a pixel of the sharpened image depends on
LEAST_MTF = 0.1  # for which the filter makes white noise 5.8 times as large
_FREQUENCIES = 2000


def check_mtf(mtf: float) -> None:
    """Raises ValueError if a number is not an MTF that can be compensated."""
    if not LEAST_MTF <= mtf < 1:
        raise ValueError(
            f"mtf={mtf:g} is not an MTF at the Nyquist frequency that can be compensated: expected "
            f"{LEAST_MTF:g} or more, below 1, such as 0.3"
        )


@functools.cache
def sharpening_filter(mtf: float, scale: int) -> Float[np.ndarray, "15"]:
    """Returns the filter for optics of an MTF and networks of a scale; it sums to 1.

    Raises ValueError if the MTF cannot be compensated (`check_mtf`).
    """
    check_mtf(mtf)
    frequency = (np.arange(_FREQUENCIES) + 0.5) / (2 * _FREQUENCIES)  # cycles per HR pixel
    bicubic = resize.reducing_weights(scale).ravel()
    place = np.arange(bicubic.size) - (bicubic.size - 1) / 2
    wanted = np.cos(2 * np.pi * frequency[:, None] * place) @ bicubic
    gaussian = np.exp(-2 * (np.pi * frequency * sigma_of_mtf(mtf, scale)) ** 2)
    # H(f) = 1 + sum of h_k (2 cos(2 pi f s k) - 2): the middle tap makes the sum 1.
    lags = np.arange(1, REACH + 1)
    cosines = 2 * np.cos(2 * np.pi * frequency[:, None] * scale * lags) - 2
    matrix, rest = gaussian[:, None] * cosines, wanted - gaussian
    side = np.linalg.lstsq(matrix / frequency[:, None], rest / frequency, rcond=None)[0]
    taps = np.concatenate([side[::-1], [1 - 2 * side.sum()], side])
    taps.setflags(write=False)
    return taps


def sharpen(image: Float[np.ndarray, "h w"], mtf: float, scale: int) -> Float[np.ndarray, "h w"]:
    """Sharpens an image of any range, which is continued by reflection with the edge repeated.

    Raises ValueError if the MTF cannot be compensated.
    """
    taps = sharpening_filter(mtf, scale)
    return ndimage.correlate1d(ndimage.correlate1d(image, taps, axis=0), taps, axis=1)
