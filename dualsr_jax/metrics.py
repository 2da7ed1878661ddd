"""Quality metrics of super-resolved cubes.

Contract: every function takes `sr` and `hr` as `[H, W, L]` or with any leading batch axes, float,
peak 1, and returns one number an image (`[...]`, the batch shape). All are pure and jit-able, and
exact at identity (PSNR inf, SSIM 1, SAM 0). None of them clips: results of networks are clipped
to [0, 1] by whoever scores them.

`protocols.py` says which of them belong together.
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


def psnr_db(sr: Cubes, hr: Cubes) -> PerImage:
    """Peak signal-to-noise ratio of the whole cube, in dB: one mean squared error (`dualsr`)."""
    sr, hr = _same_shape(sr, hr)
    return -10 * jnp.log10(_band_mse(sr, hr).mean(-1))


def mpsnr_db(sr: Cubes, hr: Cubes) -> PerImage:
    """Mean over the bands of each band's PSNR, in dB (`sspsr`)."""
    sr, hr = _same_shape(sr, hr)
    return (-10 * jnp.log10(_band_mse(sr, hr))).mean(-1)


def _filter_valid(x: jax.Array, window: np.ndarray) -> jax.Array:
    """Separable window over H and W, 'valid'."""
    rows, columns = x.shape[-3] - len(window) + 1, x.shape[-2] - len(window) + 1
    x = sum(w * x[..., k : k + rows, :, :] for k, w in enumerate(window.tolist()))
    return sum(w * x[..., :, k : k + columns, :] for k, w in enumerate(window.tolist()))


def _ssim(sr: Cubes, hr: Cubes, window: np.ndarray, covariance_factor: float) -> PerImage:
    sr, hr = _same_shape(sr, hr)
    if min(sr.shape[-3:-1]) < len(window):
        raise ValueError(
            f"SSIM uses a {len(window)}x{len(window)} window, "
            f"the images have only {sr.shape[-3]}x{sr.shape[-2]} pixels"
        )
    filtered = functools.partial(_filter_valid, window=window)
    mean_sr, mean_hr, mean_diff = filtered(sr), filtered(hr), filtered(sr - hr)
    var_sum = filtered(sr**2) + filtered(hr**2) - mean_sr**2 - mean_hr**2
    var_diff = filtered((sr - hr) ** 2) - mean_diff**2
    # 1 - difference/sum is the usual quotient (2ab + c) / (a^2 + b^2 + c), but exact at identity.
    luminance = 1 - mean_diff**2 / (mean_sr**2 + mean_hr**2 + _K1**2)
    structure = 1 - covariance_factor * var_diff / (covariance_factor * var_sum + _K2**2)
    return (luminance * structure).mean(_BAND_AXES).mean(-1)


def ssim(sr: Cubes, hr: Cubes) -> PerImage:
    """Structural similarity in [-1, 1], mean over bands (`dualsr`).

    Gaussian window 11x11, sigma 1.5, 'valid', population variance, K = (0.01, 0.03).
    """
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    return _ssim(sr, hr, window / window.sum(), covariance_factor=1.0)


def ssim_uniform(sr: Cubes, hr: Cubes) -> PerImage:
    """Structural similarity, mean over bands, uniform 7x7 window, sample covariance (`sspsr`)."""
    return _ssim(sr, hr, np.full(7, 1 / 7), covariance_factor=49 / 48)


def sam_deg(sr: Cubes, hr: Cubes) -> PerImage:
    """Spectral angle mapper: mean angle in degrees; an all-zero spectrum counts as 0 (`dualsr`)."""
    sr, hr = _same_shape(sr, hr)
    return jnp.rad2deg(spectral_angle_rad(sr, hr).mean((-2, -1)))


def sam_deg_nonzero(sr: Cubes, hr: Cubes) -> PerImage:
    """Mean spectral angle in degrees over pixels where neither spectrum is all zero (`sspsr`)."""
    sr, hr = _same_shape(sr, hr)
    counted = jnp.any(sr != 0, -1) & jnp.any(hr != 0, -1)
    total = spectral_angle_rad(sr, hr).sum((-2, -1))
    return jnp.rad2deg(total / jnp.maximum(counted.sum((-2, -1)).astype(total.dtype), 1))


def cc(sr: Cubes, hr: Cubes) -> PerImage:
    """Cross-correlation: mean over bands of Pearson's coefficient, in [-1, 1] (`sspsr`).

    A constant band has no correlation and gives NaN.
    """
    sr, hr = _same_shape(sr, hr)
    sr = sr - sr.mean(_BAND_AXES, keepdims=True)
    hr = hr - hr.mean(_BAND_AXES, keepdims=True)
    covariance = (sr * hr).sum(_BAND_AXES)
    return (covariance / jnp.sqrt((sr**2).sum(_BAND_AXES) * (hr**2).sum(_BAND_AXES))).mean(-1)


def rmse(sr: Cubes, hr: Cubes) -> PerImage:
    """Root mean squared error of the whole cube, in units of the peak (`sspsr`)."""
    sr, hr = _same_shape(sr, hr)
    return jnp.sqrt(_band_mse(sr, hr).mean(-1))


def ergas(sr: Cubes, hr: Cubes, scale: float) -> PerImage:
    """Relative dimensionless global error in synthesis, 0 is perfect (`sspsr`).

    100 / scale * sqrt(mean over bands of (RMSE / mean of the reference)^2); Wald, 2002.
    """
    sr, hr = _same_shape(sr, hr)
    relative = _band_mse(sr, hr) / jnp.square(hr.mean(_BAND_AXES))
    return 100 / scale * jnp.sqrt(relative.mean(-1))
