"""Training losses of cubes.

Contract: `(sr, hr) -> scalar` on `[B, H, W, L]`, differentiable; `LOSSES` names them. All are
means, so that they do not depend on the size of the batch. Those named in `OF_BANDS` are the means
of the losses of single bands.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float

Cubes: TypeAlias = Float[jax.Array, "B H W L"]
_SPATIAL, _SPECTRAL = 1e-3, 2e-3  # factors of SSPSR's smoothness
_LEAST = 1e-6  # added to squared differences: PSNR above 60 dB is hardly rewarded, and finite


def l1(sr: Cubes, hr: Cubes) -> Float[jax.Array, ""]:
    """Mean absolute difference."""
    return jnp.abs(sr - hr).mean()


def mse(sr: Cubes, hr: Cubes) -> Float[jax.Array, ""]:
    """Mean squared difference, as published for 3D-FCNN."""
    return jnp.square(sr - hr).mean()


def psnr(sr: Cubes, hr: Cubes) -> Float[jax.Array, ""]:
    """Minus the PSNR in dB of each image and band, for a peak of 1, as a mean; at most 60 dB each.

    It is minus `metrics.mpsnr_db`, but for that limit. A scene that is easily restored counts as
    much in it as one of fine detail, as it does in the mean PSNR of an evaluation.
    """
    squared = jnp.square(sr - hr).mean((1, 2))
    return 10 * jnp.log10(squared + _LEAST).mean()


def spatial_smoothness(sr: Cubes) -> Float[jax.Array, ""]:
    """SSPSR's 1e-3 times the mean squared differences of neighbouring rows and of columns."""
    rows, columns = jnp.diff(sr, axis=1), jnp.diff(sr, axis=2)
    return _SPATIAL * (jnp.square(rows).mean() + jnp.square(columns).mean())


def spectral_smoothness(sr: Cubes) -> Float[jax.Array, ""]:
    """SSPSR's 2e-3 times the mean squared difference of neighbouring bands."""
    return _SPECTRAL * jnp.square(jnp.diff(sr, axis=-1)).mean()


def sspsr(sr: Cubes, hr: Cubes) -> Float[jax.Array, ""]:
    """L1 and the smoothness of the result, as published for SSPSR.

    Source: the released code, which takes squares; the paper calls them total variation.
    """
    return l1(sr, hr) + spatial_smoothness(sr) + spectral_smoothness(sr)


LOSSES: dict[str, Callable[[Cubes, Cubes], Float[jax.Array, ""]]] = {
    "l1": l1,
    "mse": mse,
    "psnr": psnr,
    "sspsr": sspsr,
}
OF_BANDS = ("l1", "mse", "psnr")
