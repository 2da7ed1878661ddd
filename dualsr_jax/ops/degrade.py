"""Degradation: how an LR image comes from an HR image.

Contract: cubes are `[B, H, W, L]`, in [0, 1]. Every image of a batch has its own random key, so
that its degradation does not depend on its batch or device. With every kernel, LR pixels lie where
MATLAB bicubic puts them: at the centres of blocks of s x s HR pixels.

- "bicubic": MATLAB bicubic by 1/s, as published.
- "isotropic", "anisotropic": a Gaussian blur, then decimation. The standard deviation is drawn
  uniformly from a range; an anisotropic kernel draws one for each of its axes, and their direction.
  A share of the images, drawn at random, is degraded in this way, the others by MATLAB bicubic.
- Then white Gaussian noise, whose standard deviation is drawn uniformly from a range.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key

from dualsr_jax.ops.resize import Array, imresize

KERNELS = ("bicubic", "isotropic", "anisotropic")


@dataclasses.dataclass(frozen=True)
class Degradation:
    """What is done to HR images.

    Raises ValueError if the kernel is unknown, a range is not (low, high) with low <= high, or the
    share is not in (0, 1].
    """

    kernel: str = "bicubic"  # one of `KERNELS`
    sigma: tuple[float, float] = (1.0, 1.0)  # range of the blur's standard deviation, in HR pixels
    noise: tuple[float, float] = (0.0, 0.0)  # the same of the noise, as a fraction of the peak
    share: float = 1.0  # fraction of the images that are blurred

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.kernel not in KERNELS:
            raise ValueError(
                f"unknown degradation.kernel {self.kernel!r}: expected one of {KERNELS}"
            )
        if not 0 < self.share <= 1:
            raise ValueError(
                f"degradation.share={self.share} is not the fraction of blurred images: expected "
                "more than 0, at most 1"
            )
        for name, least in (("sigma", 1e-3), ("noise", 0.0)):
            ends = tuple(getattr(self, name))
            if len(ends) != 2 or not least <= ends[0] <= ends[1] < math.inf:
                raise ValueError(
                    f"degradation.{name}={ends} is not a range: expected (low, high) with "
                    f"{least:g} <= low <= high"
                )

    def kernel_size(self, scale: int) -> int:
        """Taps along a side of the blur kernel, which reaches three standard deviations far.

        The size has the parity of the scale, so that the kernel's centre is the centre of a block
        of `scale` pixels.
        """
        size = 2 * math.ceil(3 * self.sigma[1]) + 1
        return size + (size - scale) % 2


def sigma_of_mtf(mtf: float, scale: int) -> float:
    """Standard deviation in HR pixels of the Gaussian blur of an imaging spectrometer.

    A Gaussian has the modulation transfer exp(-2 (pi f sigma)^2) at the frequency f. `mtf`, more
    than 0 and below 1, is its value at the Nyquist frequency of the LR pixels, f = 1 / (2 scale).
    """
    return scale / math.pi * math.sqrt(-2 * math.log(mtf))


def gaussian_kernel(
    size: int,
    sigma_y: Float[jax.Array | np.ndarray | float, ""],
    sigma_x: Float[jax.Array | np.ndarray | float, ""],
    angle_rad: Float[jax.Array | np.ndarray | float, ""] = 0.0,
) -> Float[jax.Array, "{size} {size}"]:
    """Returns a Gaussian blur kernel of `size` x `size` taps that sums to 1.

    An even kernel is centred between its two middle taps. The standard deviations are in pixels
    down the rows (y) and across the columns (x), both axes turned by the angle.
    """
    offset = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    y, x = offset.reshape(size, 1), offset.reshape(1, size)
    cos, sin = jnp.cos(angle_rad), jnp.sin(angle_rad)
    along_x, along_y = cos * x + sin * y, cos * y - sin * x
    kernel = jnp.exp(-0.5 * ((along_x / sigma_x) ** 2 + (along_y / sigma_y) ** 2))
    return kernel / kernel.sum()


def blur_and_decimate(
    hr: Float[jax.Array, "H W L"], kernel: Float[jax.Array, "K K"], scale: int
) -> Float[jax.Array, "h w L"]:
    """Blurs an image and keeps one pixel of each block of `scale` x `scale`, at its centre.

    The image consists of whole blocks, and is continued by reflection with the edge repeated.
    Raises ValueError if one of the kernel's size and the scale is even and the other odd.
    """
    size = kernel.shape[0]
    if (size - scale) % 2:
        raise ValueError(
            f"a kernel of {size} taps has no centre in blocks of {scale} pixels: both must be even "
            "or both odd"
        )
    margin = (size - scale) // 2  # how far a kernel reaches beyond its block; may be negative
    around = (max(margin, 0), max(margin, 0))
    hr = jnp.pad(hr, (around, around, (0, 0)), mode="symmetric")
    start = max(-margin, 0)
    bands = jnp.moveaxis(hr, -1, 0)[:, start:, start:, None]
    lr = jax.lax.conv_general_dilated(
        bands,
        kernel.reshape(size, size, 1, 1).astype(hr.dtype),
        window_strides=(scale, scale),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.moveaxis(lr[..., 0], 0, -1)


def add_noise(
    cube: Float[jax.Array, "H W L"],
    key: Key[jax.Array, ""],
    sigma: Float[jax.Array | np.ndarray | float, ""],
) -> Float[jax.Array, "H W L"]:
    """Adds white Gaussian noise of standard deviation `sigma`, without clipping."""
    return cube + sigma * jax.random.normal(key, cube.shape, cube.dtype)


def draw_kernel(
    degradation: Degradation, key: Key[jax.Array, ""], scale: int
) -> Float[jax.Array, "K K"]:
    """Draws the blur kernel of one image, from a key of `image_keys`."""
    keys = jax.random.split(key, 3)
    low, high = degradation.sigma
    sigma_y, sigma_x = (jax.random.uniform(k, minval=low, maxval=high) for k in keys[:2])
    angle = jax.random.uniform(keys[2], maxval=jnp.pi)
    if degradation.kernel == "isotropic":
        sigma_x, angle = sigma_y, jnp.zeros(())
    return gaussian_kernel(degradation.kernel_size(scale), sigma_y, sigma_x, angle)


def image_keys(seed: int, number: jax.Array | np.ndarray) -> Key[jax.Array, "B"]:
    """Makes a random key for each image from the seed and the image's number, `[B]` uint32."""
    return jax.vmap(lambda n: jax.random.fold_in(jax.random.key(seed), n))(number)


def degrade(
    hr: Float[Array, "B H W L"], keys: Key[jax.Array, "B"], *, scale: int, degradation: Degradation
) -> Float[Array, "B h w L"]:
    """Makes the LR images of HR images in [0, 1], whose sides are multiples of `scale`.

    The keys are those of `image_keys`. Scale and degradation are static under jit. The results are
    NumPy for NumPy and JAX for JAX, and may overshoot [0, 1].
    """

    def blurred(image: jax.Array, key: jax.Array) -> jax.Array:
        return blur_and_decimate(image, draw_kernel(degradation, key, scale), scale)

    def blurred_or_not(image: jax.Array, key: jax.Array, bicubic: jax.Array) -> jax.Array:
        chosen = jax.random.uniform(jax.random.fold_in(key, 4)) < degradation.share
        return jnp.where(chosen, blurred(image, key), bicubic)

    def noised(image: jax.Array, key: jax.Array) -> jax.Array:
        # 3: `split(key, 3)`, of the blur, are the keys `fold_in(key, 0)` to `fold_in(key, 2)`.
        which, what = jax.random.split(jax.random.fold_in(key, 3))
        low, high = degradation.noise
        return add_noise(image, what, jax.random.uniform(which, minval=low, maxval=high))

    lr: Any
    if degradation.kernel == "bicubic":
        lr = imresize(hr, 1 / scale)
    elif degradation.share == 1:
        lr = jax.vmap(blurred)(jnp.asarray(hr), keys)
    else:
        bicubic = jnp.asarray(imresize(hr, 1 / scale))
        lr = jax.vmap(blurred_or_not)(jnp.asarray(hr), keys, bicubic)
    if degradation.noise[1] > 0:
        lr = jax.vmap(noised)(jnp.asarray(lr), keys)
    if isinstance(hr, np.ndarray):
        lr = np.asarray(lr)
    return lr
