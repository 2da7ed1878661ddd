"""The fine stage: back-projection under a spectral-angle constraint. No parameters, no training.

Contract: `u` is the coarse result at the wanted scale, `v` the guide, `ratio` times smaller (for
ratio 2, the coarse result at half the scale). Paper, fine stage:

    lambda = min(SAM(down(u), v) in degrees, 1)
    u <- u + up(lambda (v - down(u)))

with MATLAB-bicubic `down` and `up`. The gain lambda is one scalar per image and iteration. The
paper uses one iteration. A limit below 1 suits a guide that is about as good as `down(u)`: at
lambda = 0.5, the reduced result is about the mean of both.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualsr_jax.ops.resize import imresize
from dualsr_jax.ops.spectral_angle import spectral_angle_rad

MAX_GAIN = 1.0  # of the paper


def check_max_gain(max_gain: float) -> None:
    """Raises ValueError unless a limit of the gain is above 0 and at most 1."""
    if not 0 < max_gain <= MAX_GAIN:
        raise ValueError(f"max_gain must be above 0 and at most {MAX_GAIN:g}, got {max_gain}")


@functools.partial(jax.jit, static_argnames=("ratio", "iterations", "max_gain"))
def back_project(
    u: Float[jax.Array | np.ndarray, "*batch H W L"],
    v: Float[jax.Array | np.ndarray, "..."],
    *,
    ratio: int = 2,
    iterations: int = 1,
    max_gain: float = MAX_GAIN,
) -> tuple[Float[jax.Array, "*batch H W L"], Float[jax.Array, "*batch iterations"]]:
    """Corrects `u` so that its reduction comes closer to `v`.

    Args:
        u: coarse result `[..., H, W, L]`, around [0, 1].
        v: guide `[..., H / ratio, W / ratio, L]`, in the same range.
        ratio: pixels of `u` per pixel of `v`, along a side.
        iterations: number of corrections, each with its own gain.
        max_gain: limit of the gain, in (0, 1].

    Returns:
        The corrected cube, not clipped, and the gains `[..., iterations]`, in [0, max_gain].

    Raises:
        ValueError: if the sizes do not match the ratio, iterations is negative, or max_gain is
            not in its range.
    """
    check_max_gain(max_gain)
    expected = (*u.shape[:-3], u.shape[-3] // ratio, u.shape[-2] // ratio, u.shape[-1])
    if u.shape[-3] % ratio or u.shape[-2] % ratio or v.shape != expected:
        raise ValueError(
            f"u {u.shape} and v {v.shape} do not match: with ratio {ratio} a height and width "
            f"divisible by {ratio} and v of shape {expected} are expected"
        )
    if iterations < 0:
        raise ValueError(f"iterations must be 0 or more, got {iterations}")

    guide = jnp.asarray(v)

    def correct(u: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        low = imresize(u, 1 / ratio)
        sam_deg = jnp.rad2deg(spectral_angle_rad(low, guide).mean(axis=(-2, -1)))
        gain = jnp.minimum(sam_deg, max_gain)
        return u + imresize(gain[..., None, None, None] * (guide - low), ratio), gain

    sr, gains = jax.lax.scan(correct, jnp.asarray(u), None, length=iterations)
    return sr, jnp.moveaxis(gains, 0, -1)
