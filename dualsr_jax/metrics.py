"""Quality metrics of super-resolved cubes.

Contract: a metric is called as `metric(sr, hr, scale=s)`. The result `sr` and the reference `hr`
are float cubes of peak 1 and of one shape, `[H, W, L]` or with any leading batch axes. A metric
returns one number per image (`[...]`, the batch shape). Only ERGAS depends on the scale factor; the
others can be called without it. All are pure, can be compiled, are exact at identity (PSNR inf,
SSIM 1, SAM 0), and raise ValueError if the shapes differ. They do not clip: the protocol decides.

Sources: `dualsr` is the code released with Li et al., IEEE TIP 2022; `sspsr` is the code released
with Jiang et al., IEEE TCI 2020. `protocols.py` says which metrics belong together.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualsr_jax.ops.spectral_angle import spectral_angle_rad

Cubes = Float[jax.Array | np.ndarray, "..."]  # [..., H, W, L], sizes are checked by value
PerImage = Float[jax.Array, "..."]

_K1, _K2 = 0.01, 0.03  # Wang et al., "Image quality assessment", IEEE TIP 2004
_BAND_AXES = (-3, -2)


def _same_shape(sr: Cubes, hr: Cubes) -> tuple[jax.Array, jax.Array]:
    if sr.shape != hr.shape or sr.ndim < 3:
        raise ValueError(
            f"metrics compare cubes [..., H, W, L] of one shape, got {sr.shape} and {hr.shape}: "
            "crop the reference to a multiple of the scale first"
        )
    return jnp.asarray(sr), jnp.asarray(hr)


def _band_mse(sr: jax.Array, hr: jax.Array) -> jax.Array:
    return jnp.square(sr - hr).mean(_BAND_AXES)


def psnr_db(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Peak signal-to-noise ratio of the whole cube: -10 log10(MSE over all pixels and bands).

    Returns:
        dB, inf at identity. Source: `dualsr`.
    """
    sr, hr = _same_shape(sr, hr)
    return -10 * jnp.log10(_band_mse(sr, hr).mean(-1))


def mpsnr_db(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Peak signal-to-noise ratio, mean over the bands of -10 log10(MSE of the band).

    Returns:
        dB, inf if a band equals its reference. Source: `sspsr`.
    """
    sr, hr = _same_shape(sr, hr)
    return (-10 * jnp.log10(_band_mse(sr, hr))).mean(-1)


def _filter_valid(x: jax.Array, window: np.ndarray) -> jax.Array:
    """Filters H and W with a separable window, where it lies inside the image."""
    rows, columns = x.shape[-3] - len(window) + 1, x.shape[-2] - len(window) + 1
    x = sum(w * x[..., k : k + rows, :, :] for k, w in enumerate(window.tolist()))
    return sum(w * x[..., :, k : k + columns, :] for k, w in enumerate(window.tolist()))


def _ssim(sr: Cubes, hr: Cubes, window: np.ndarray, covariance_factor: float) -> PerImage:
    sr, hr = _same_shape(sr, hr)
    if min(sr.shape[-3:-1]) < len(window):
        raise ValueError(
            f"SSIM needs images of at least {len(window)}x{len(window)} pixels, its window, "
            f"got {sr.shape[-3]}x{sr.shape[-2]}"
        )
    filtered = functools.partial(_filter_valid, window=window)
    mean_sr, mean_hr, mean_diff = filtered(sr), filtered(hr), filtered(sr - hr)
    var_sum = filtered(sr**2) + filtered(hr**2) - mean_sr**2 - mean_hr**2
    var_diff = filtered((sr - hr) ** 2) - mean_diff**2
    # 1 - difference/sum is the usual quotient (2ab + c) / (a^2 + b^2 + c), but exact at identity.
    luminance = 1 - mean_diff**2 / (mean_sr**2 + mean_hr**2 + _K1**2)
    structure = 1 - covariance_factor * var_diff / (covariance_factor * var_sum + _K2**2)
    return (luminance * structure).mean(_BAND_AXES).mean(-1)


def ssim(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Structural similarity, mean over pixels and bands, with a Gaussian window.

    (2 ab + C1) (2 cov + C2) / ((a^2 + b^2 + C1) (var_a + var_b + C2)) in each 11x11 window, sigma
    1.5, that lies inside the image, of means a and b and population variances; C1 = 0.01^2,
    C2 = 0.03^2.

    Returns:
        A number in [-1, 1]. Source: Wang et al., IEEE TIP 2004; `dualsr`.
    """
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    return _ssim(sr, hr, window / window.sum(), covariance_factor=1.0)


def ssim_uniform(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Structural similarity like `ssim`, with a uniform 7x7 window and sample variances.

    Returns:
        A number in [-1, 1]. Source: scikit-image's default, which `sspsr` uses.
    """
    return _ssim(sr, hr, np.full(7, 1 / 7), covariance_factor=49 / 48)


def sam_deg(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Spectral angle mapper: mean over the pixels of `arccos(<a, b> / |a| |b|)` of their spectra.

    Returns:
        Degrees in [0, 180]; an all-zero spectrum counts as 0. Source: `dualsr`.
    """
    sr, hr = _same_shape(sr, hr)
    return jnp.rad2deg(spectral_angle_rad(sr, hr).mean((-2, -1)))


def sam_deg_nonzero(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Mean spectral angle over the pixels where neither spectrum is all zero.

    Returns:
        Degrees in [0, 180]; 0 if there are no such pixels. Source: `sspsr`.
    """
    sr, hr = _same_shape(sr, hr)
    counted = jnp.any(sr != 0, -1) & jnp.any(hr != 0, -1)
    total = spectral_angle_rad(sr, hr).sum((-2, -1))
    return jnp.rad2deg(total / jnp.maximum(counted.sum((-2, -1)).astype(total.dtype), 1))


def cc(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Cross-correlation: mean over the bands of Pearson's cov(a, b) / (std_a std_b).

    Returns:
        A number in [-1, 1]; NaN if a band is constant. Source: `sspsr`.
    """
    sr, hr = _same_shape(sr, hr)
    sr = sr - sr.mean(_BAND_AXES, keepdims=True)
    hr = hr - hr.mean(_BAND_AXES, keepdims=True)
    covariance = (sr * hr).sum(_BAND_AXES)
    return (covariance / jnp.sqrt((sr**2).sum(_BAND_AXES) * (hr**2).sum(_BAND_AXES))).mean(-1)


def rmse(sr: Cubes, hr: Cubes, *, scale: float = 1) -> PerImage:
    """Root of the mean squared error over all pixels and bands.

    Returns:
        In units of the peak. Source: `sspsr`.
    """
    sr, hr = _same_shape(sr, hr)
    return jnp.sqrt(_band_mse(sr, hr).mean(-1))


def ergas(sr: Cubes, hr: Cubes, *, scale: float) -> PerImage:
    """Relative dimensionless global error in synthesis.

    100 / scale * sqrt(mean over the bands of (RMSE of the band / mean of its reference)^2).

    Returns:
        A number from 0, which is perfect. Source: Wald, "Data Fusion", 2002; `sspsr`.
    """
    sr, hr = _same_shape(sr, hr)
    relative = _band_mse(sr, hr) / jnp.square(hr.mean(_BAND_AXES))
    return 100 / scale * jnp.sqrt(relative.mean(-1))
