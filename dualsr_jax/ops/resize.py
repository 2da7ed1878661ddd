"""MATLAB-compatible bicubic resizing of cubes.

Contract: `imresize(cube, scale)` equals MATLAB's `imresize(cube, scale, 'bicubic')` with
antialiasing. Resizing is linear and separable, so it is two small matrices, `A X B^T`, which
makes it jit-able, differentiable and exact at the borders (`jax.image.resize` is not: it
normalises the kernel over the image, MATLAB repeats the edge pixels by reflection). A NumPy array
gives a NumPy array, a JAX array or tracer stays in JAX.

At whole factors all pixels have the same few weights. `enlarge` and `reduce` slide them over images
whose height and width come last: for windows of large scenes, and for symbolic sizes, as in an
export, where no matrix can be made. A pixel of the enlarged image depends on two pixels on either
side, a pixel of the reduced image on two blocks of `factor` pixels on either side.

Source: R. Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5.
"""

import functools
import math
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float

REACH = 2  # small pixels on either side that a large or small pixel depends on

Array = TypeVar("Array", bound=np.ndarray | jax.Array)  # what comes in comes out


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -0.5, support [-2, 2]."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _reflected(index: Any, length: Any) -> Any:
    """Indices beyond the ends of a signal, reflected into it: 1 2 .. n n .. 2 1."""
    xp = index.__array_namespace__()
    period = xp.mod(index, 2 * length)
    return xp.where(period < length, period, 2 * length - 1 - period)


@functools.lru_cache(maxsize=64)
def resize_matrix(length: int, scale: float) -> Float[np.ndarray, "out {length}"]:
    """Returns the matrix that resizes a signal of `length` samples.

    It is float64 `[ceil(length * scale), length]`, with rows that sum to 1. Read-only, as cached.
    Raises ValueError if length or scale is not positive and finite.
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

    source = _reflected(index.astype(np.int64) - 1, length)
    matrix = np.zeros((out_length, length))
    np.add.at(matrix, (np.arange(out_length)[:, None], source), weight)
    matrix.setflags(write=False)
    return matrix


@functools.cache
def enlarging_weights(factor: int) -> np.ndarray:
    """`[factor, 5]`: for each pixel that a pixel becomes, the weights of the five around it."""
    centre = 2 * REACH
    matrix = resize_matrix(2 * centre + 1, float(factor))
    return matrix[centre * factor : (centre + 1) * factor, centre - REACH : centre + REACH + 1]


@functools.cache
def reducing_weights(factor: int) -> np.ndarray:
    """`[5, factor]`: for the pixel that a block becomes, the weights of the blocks around it."""
    centre = 2 * REACH
    row = resize_matrix((2 * centre + 1) * factor, 1 / factor)[centre]
    return row.reshape(-1, factor)[centre - REACH : centre + REACH + 1]


def _padded(images: Any, width: int) -> Any:
    """Pads the last axis, whose length may be symbolic."""
    length = images.shape[-1]
    index = images.__array_namespace__().arange(-width, length + width)
    return images[..., _reflected(index, length)]


def _enlarge_rows(images: Any, factor: int) -> Any:
    weights, padded, length = enlarging_weights(factor), _padded(images, REACH), images.shape[-1]
    phases = [
        sum(float(w) * padded[..., k : k + length] for k, w in enumerate(taps) if w)
        for taps in weights
    ]
    stacked = images.__array_namespace__().stack(phases, -1)
    return stacked.reshape(*images.shape[:-1], length * factor)


def _reduce_rows(images: Any, factor: int) -> Any:
    weights, length = reducing_weights(factor), images.shape[-1] // factor
    padded = _padded(images, REACH * factor)
    blocks = padded.reshape(*images.shape[:-1], length + 2 * REACH, factor)
    return sum(
        float(w) * blocks[..., k : k + length, t]
        for k, taps in enumerate(weights)
        for t, w in enumerate(taps)
        if w
    )


def enlarge(images: Float[Array, "*n h w"], factor: int) -> Float[Array, "*n H W"]:
    """Enlarges images `[..., h, w]` of any range to `[..., h * factor, w * factor]`."""
    columns_first = _enlarge_rows(images, factor).swapaxes(-1, -2)
    result: Any = _enlarge_rows(columns_first, factor).swapaxes(-1, -2)
    return result


def reduce(images: Float[Array, "*n H W"], factor: int) -> Float[Array, "*n h w"]:
    """Reduces images `[..., H, W]` to `[..., H / factor, W / factor]`, with antialiasing.

    Raises ValueError if a side is not a multiple of the factor.
    """
    if images.shape[-2] % factor or images.shape[-1] % factor:
        raise ValueError(f"images {images.shape} cannot be reduced {factor} times: crop them first")
    columns_first = _reduce_rows(images, factor).swapaxes(-1, -2)
    result: Any = _reduce_rows(columns_first, factor).swapaxes(-1, -2)
    return result


def _spread_rows(images: np.ndarray, factor: int) -> np.ndarray:
    weights, length = reducing_weights(factor), images.shape[-1]
    blocks = np.zeros((*images.shape[:-1], length + 2 * REACH, factor), images.dtype)
    for k, taps in enumerate(weights):
        for t, w in enumerate(taps):
            if w:
                blocks[..., k : k + length, t] += images.dtype.type(w) * images
    padded, margin = blocks.reshape(*images.shape[:-1], -1), REACH * factor
    spread = padded[..., margin:-margin]
    places = np.arange(-margin, length * factor + margin)
    for place in (*places[:margin], *places[-margin:]):  # the reduction reads their reflections
        spread[..., _reflected(place, length * factor)] += padded[..., place + margin]
    return spread


def reduce_adjoint(images: Float[np.ndarray, "*n h w"], factor: int) -> Float[np.ndarray, "*n H W"]:
    """Applies the transpose of `reduce`: spreads each pixel over those that it was made of.

    With `reduce(X) = A X B^T`, images `[..., h, w]` become `A^T Y B`, `[..., h * factor, w *
    factor]`. A pixel of the result depends on two pixels of the image on either side.
    """
    columns_first = _spread_rows(images, factor).swapaxes(-1, -2)
    return _spread_rows(columns_first, factor).swapaxes(-1, -2)


def imresize(cube: Float[Array, "..."], scale: float) -> Float[Array, "..."]:
    """Resizes cubes in space as MATLAB's bicubic `imresize` does.

    A NumPy array is resized in its own precision; a JAX array or tracer at full float32 precision
    on every device.

    Args:
        cube: `[..., H, W, L]`, floating point, any range, which the result `[..., ceil(H * scale),
            ceil(W * scale), L]` may overshoot. H and W of a tracer may be symbolic multiples of
            1 / scale.
        scale: output pixels per input pixel, any positive number, static under jit.

    Raises:
        ValueError: if `cube` has fewer than 3 axes, the scale is not positive, or the size is
            symbolic and the scale neither a whole number nor one over it.
    """
    if cube.ndim < 3:
        raise ValueError(f"imresize needs a cube [..., H, W, L], got shape {cube.shape}")
    sides = cube.shape[-3:-1]
    if any(map(export.is_symbolic_dim, sides)):
        times = scale if scale >= 1 else 1 / scale
        factor = round(times)
        if not math.isclose(factor, times):
            raise ValueError(
                f"cannot resize an image of symbolic size by {scale}: expected a whole number or "
                "one over it"
            )
        images = jnp.moveaxis(cube, -1, -3)
        images = enlarge(images, factor) if scale >= 1 else reduce(images, factor)
        result: Any = jnp.moveaxis(images, -3, -1)
        return result
    rows, columns = (resize_matrix(n, float(scale)).astype(cube.dtype) for n in sides)
    if isinstance(cube, np.ndarray):
        width, bands = cube.shape[-2:]
        resized = rows @ cube.reshape(*cube.shape[:-2], width * bands)
        result = columns @ resized.reshape(*cube.shape[:-3], len(rows), width, bands)
    else:
        product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
        result = product("qw,...pwl->...pql", columns, product("ph,...hwl->...pwl", rows, cube))
    return result
