"""MATLAB-bicubic resizing by whole factors, as stencils.

Contract: `enlarge(images, f)` and `reduce(images, f)` give what `resize.imresize` gives with scale
f and 1 / f, but with the image's height and width last, and without matrices of the image's size:
the same few weights for all pixels, which come from `resize_matrix`. For windows of large scenes;
both take NumPy arrays (and stay in NumPy) or JAX arrays. A pixel of the enlarged image depends on
two pixels of the image on either side, one of the reduced image on two blocks of `f` pixels.
"""

import functools
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualsr_jax.ops.resize import resize_matrix

REACH = 2  # small pixels on either side that a large or small pixel depends on


@functools.cache
def _enlarging_weights(factor: int) -> np.ndarray:
    """`[factor, 5]`: of the five pixels around a pixel, for each pixel that it becomes."""
    centre = 2 * REACH
    matrix = resize_matrix(2 * centre + 1, float(factor))
    return matrix[centre * factor : (centre + 1) * factor, centre - REACH : centre + REACH + 1]


@functools.cache
def _reducing_weights(factor: int) -> np.ndarray:
    """`[5, factor]`: of the pixels of the five blocks around one that becomes a pixel."""
    centre = 2 * REACH
    row = resize_matrix((2 * centre + 1) * factor, 1 / factor)[centre]
    return row.reshape(-1, factor)[centre - REACH : centre + REACH + 1]


def _padded(images: Any, width: int) -> Any:
    module = np if isinstance(images, np.ndarray) else jnp
    return module.pad(images, [(0, 0)] * (images.ndim - 1) + [(width, width)], mode="symmetric")


def _enlarge_rows(images: Any, factor: int) -> Any:
    """Along the last axis."""
    module = np if isinstance(images, np.ndarray) else jnp
    weights, padded, length = _enlarging_weights(factor), _padded(images, REACH), images.shape[-1]
    phases = [
        sum(float(w) * padded[..., k : k + length] for k, w in enumerate(taps) if w)
        for taps in weights
    ]
    return module.stack(phases, -1).reshape(*images.shape[:-1], length * factor)


def _reduce_rows(images: Any, factor: int) -> Any:
    """Along the last axis."""
    weights, length = _reducing_weights(factor), images.shape[-1] // factor
    blocks = _padded(images, REACH * factor).reshape(*images.shape[:-1], -1, factor)
    return sum(
        float(w) * blocks[..., k : k + length, t]
        for k, taps in enumerate(weights)
        for t, w in enumerate(taps)
        if w
    )


@overload
def enlarge(images: Float[np.ndarray, "*n h w"], factor: int) -> Float[np.ndarray, "*n H W"]: ...


@overload
def enlarge(images: Float[jax.Array, "*n h w"], factor: int) -> Float[jax.Array, "*n H W"]: ...


def enlarge(
    images: Float[jax.Array | np.ndarray, "*n h w"], factor: int
) -> Float[jax.Array | np.ndarray, "*n H W"]:
    """Enlarges images.

    Args:
        images: `[..., h, w]`, floating point, any range.
        factor: 1 or more.

    Returns:
        `[..., h * factor, w * factor]`, of the same type.
    """
    columns_first = _enlarge_rows(images, factor).swapaxes(-1, -2)
    return _enlarge_rows(columns_first, factor).swapaxes(-1, -2)


@overload
def reduce(images: Float[np.ndarray, "*n H W"], factor: int) -> Float[np.ndarray, "*n h w"]: ...


@overload
def reduce(images: Float[jax.Array, "*n H W"], factor: int) -> Float[jax.Array, "*n h w"]: ...


def reduce(
    images: Float[jax.Array | np.ndarray, "*n H W"], factor: int
) -> Float[jax.Array | np.ndarray, "*n h w"]:
    """Reduces images, with antialiasing.

    Args:
        images: `[..., H, W]`, floating point, any range.
        factor: divides both sides.

    Returns:
        `[..., H / factor, W / factor]`, of the same type.

    Raises:
        ValueError: if a side is not a multiple of the factor.
    """
    if images.shape[-2] % factor or images.shape[-1] % factor:
        raise ValueError(f"images {images.shape} cannot be reduced {factor} times: crop them first")
    columns_first = _reduce_rows(images, factor).swapaxes(-1, -2)
    return _reduce_rows(columns_first, factor).swapaxes(-1, -2)
