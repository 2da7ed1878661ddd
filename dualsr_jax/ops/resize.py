"""MATLAB-compatible bicubic resizing of cubes.

Contract: `imresize(cube, scale)` equals MATLAB's `imresize(cube, scale, 'bicubic')` with
antialiasing. Resizing is linear and separable, so it is two small matrices, `A X B^T`, which
makes it jit-able, differentiable and exact at the borders (`jax.image.resize` is not: it
normalises the kernel over the image, MATLAB repeats the edge pixels by reflection). Where a length
is symbolic, as in an export, no matrix can be made, and its middle rows slide over the signal.

Source: R. Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5.
"""

import functools
import math
from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -0.5, support [-2, 2]."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def resize_matrix(length: int, scale: float) -> Float[np.ndarray, "out {length}"]:
    """The matrix that resizes a signal.

    Args:
        length: samples of the signal, at least 1.
        scale: output samples per input sample, positive.

    Returns:
        float64 `[ceil(length * scale), length]`; each row sums to 1. Read-only (it is cached).

    Raises:
        ValueError: if length or scale is not positive and finite.
    """
    if length < 1 or not (math.isfinite(scale) and scale > 0):
        raise ValueError(
            f"cannot resize {length} samples by {scale}: "
            "both the length and the scale must be positive and finite"
        )
    out_length = math.ceil(length * scale)
    stretch = min(scale, 1.0)  # antialiasing: the kernel widens when shrinking
    width = 4.0 / stretch
    centre = np.arange(1, out_length + 1) / scale + 0.5 * (1.0 - 1.0 / scale)  # 1-based
    first = np.floor(centre - width / 2)
    index = first[:, None] + np.arange(math.ceil(width) + 2)
    weight = stretch * _cubic(stretch * (centre[:, None] - index))
    weight /= weight.sum(axis=1, keepdims=True)

    period = np.mod(index.astype(np.int64) - 1, 2 * length)  # reflect: 1 2 .. n n .. 2 1
    source = np.where(period < length, period, 2 * length - 1 - period)
    matrix = np.zeros((out_length, length))
    np.add.at(matrix, (np.arange(out_length)[:, None], source), weight)
    matrix.setflags(write=False)
    return matrix


def _resize_unknown_length(signal: jax.Array, scale: float) -> jax.Array:
    """`resize_matrix(length, scale) @ signal` along the first axis, without the matrix.

    For a whole enlargement or reduction: a low-resolution pixel and the pixels in it form a cell,
    the kernel sees two cells to either side of its own, and all cells have the same weights.
    """
    enlarge, reduce = (round(scale), 1) if scale >= 1 else (1, round(1 / scale))
    if not math.isclose(enlarge / reduce, scale):
        raise ValueError(
            f"cannot resize an image of symbolic size by {scale}: expected a whole number or one "
            "over it"
        )
    weights = resize_matrix(5 * reduce, enlarge / reduce)[2 * enlarge : 3 * enlarge]
    length = signal.shape[0]
    period = jnp.mod(jnp.arange(-2 * reduce, length + 2 * reduce), 2 * length)
    source = jnp.where(period < length, period, 2 * length - 1 - period)
    num_cells = length // reduce
    cells = signal[source].reshape(num_cells + 4, reduce, *signal.shape[1:])
    resized = sum(
        jnp.einsum(
            "pc,qc...->qp...",
            weights[:, k * reduce : (k + 1) * reduce].astype(signal.dtype),
            cells[k : k + num_cells],
            precision=jax.lax.Precision.HIGHEST,
        )
        for k in range(5)
    )
    return jnp.reshape(resized, (num_cells * enlarge, *signal.shape[1:]))


@overload
def imresize(
    cube: Float[np.ndarray, "*batch H W L"], scale: float
) -> Float[np.ndarray, "*batch sH sW L"]: ...


@overload
def imresize(
    cube: Float[jax.Array, "*batch H W L"], scale: float
) -> Float[jax.Array, "*batch sH sW L"]: ...


def imresize(
    cube: Float[jax.Array | np.ndarray, "..."], scale: float
) -> Float[jax.Array | np.ndarray, "..."]:
    """Resizes cubes in space as MATLAB's bicubic `imresize` does.

    A NumPy array is computed in NumPy in its own precision and returned as NumPy; a JAX array
    or tracer stays in JAX, at full float32 precision on every device.

    Args:
        cube: `[..., H, W, L]`, floating point, any range. Results may overshoot the range. Of a
            tracer, H and W may be symbolic multiples of 1 / scale.
        scale: output pixels per input pixel, any positive number, static under jit.

    Returns:
        `[..., ceil(H * scale), ceil(W * scale), L]`, of the dtype of `cube`.

    Raises:
        ValueError: if `cube` has fewer than 3 axes, the scale is not positive, or the size is
            symbolic and the scale neither a whole number nor one over it.
    """
    if cube.ndim < 3:
        raise ValueError(f"imresize needs a cube [..., H, W, L], got shape {cube.shape}")
    if any(export.is_symbolic_dim(length) for length in cube.shape[-3:-1]):
        for axis in (-3, -2):
            resized = _resize_unknown_length(jnp.moveaxis(cube, axis, 0), scale)
            cube = jnp.moveaxis(resized, 0, axis)
        return cube
    rows = resize_matrix(cube.shape[-3], float(scale))
    columns = resize_matrix(cube.shape[-2], float(scale))
    if isinstance(cube, np.ndarray):
        rows, columns = rows.astype(cube.dtype), columns.astype(cube.dtype)
        width, bands = cube.shape[-2:]
        resized = rows @ cube.reshape(*cube.shape[:-2], width * bands)
        return columns @ resized.reshape(*cube.shape[:-3], len(rows), width, bands)
    resized = jnp.einsum(
        "ph,...hwl->...pwl", rows.astype(cube.dtype), cube, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.einsum(
        "qw,...pwl->...pql",
        columns.astype(cube.dtype),
        resized,
        precision=jax.lax.Precision.HIGHEST,
    )
