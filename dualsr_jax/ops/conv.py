"""The 2-D convolution of the network, with gradients, fast on every platform.

Contract: `conv2d` is a stride-1, zero-padded ('SAME') NHWC x HWIO convolution. XLA:CPU convolves
wide images twice as fast as narrow ones of as many pixels, so narrow images are laid side by side
with a column of zeros between them. Its weight gradient, inside a loop or over a large batch, runs
15 to 25 times slower than the forward pass, so it is computed as matrix products of shifted images,
a few images at a time so that they stay in cache. Other platforms keep XLA's own.
"""

import jax
import jax.numpy as jnp
from jax import export, lax
from jaxtyping import Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_WIDE = 128  # pixels per row from which XLA:CPU convolves at full speed
_PIXELS_AT_ONCE = 4 * 32 * 32  # in the CPU's weight gradient: larger products fall out of cache


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)


def _convolve_side_by_side(x: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, height, width, c_in = x.shape
    gap = kernel.shape[1] // 2
    if batch == 1 or export.is_symbolic_dim(width) or width >= _WIDE:  # symbolic: perhaps wide
        return _convolve(x, kernel)
    row = jnp.pad(x.transpose(1, 0, 2, 3), ((0, 0), (0, 0), (0, gap), (0, 0)))
    y = _convolve(row.reshape(1, height, batch * (width + gap), c_in), kernel)
    return y.reshape(height, batch, width + gap, -1)[:, :, :width].transpose(1, 0, 2, 3)


def _forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.platform_dependent(x, kernel, cpu=_convolve_side_by_side, default=_convolve)


def _kernel_gradient_default(x: jax.Array, dy: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.vjp(lambda k: _convolve(x, k), kernel)[1](dy)[0]


def _over_pixels(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a.T @ b`, with the narrower matrix first, which is faster on XLA:CPU."""
    if a.shape[1] > b.shape[1]:
        return _over_pixels(b, a).T
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())))


def _shifted_products(
    still: jax.Array, moved: jax.Array, kernel_size: tuple[int, int]
) -> jax.Array:
    """`[kh, kw, C_still, C_moved]`: sums over pixels of one image times another, shifted.

    The shifts that a row of the kernel needs stand side by side in the channels, one product each.
    """
    kernel_h, kernel_w = kernel_size
    _, height, width, channels = moved.shape
    padded = jnp.pad(moved, ((0, 0), (kernel_h // 2,) * 2, (kernel_w // 2,) * 2, (0, 0)))
    across = jnp.concatenate([padded[:, :, j : j + width] for j in range(kernel_w)], -1)
    still = still.reshape(-1, still.shape[-1])
    rows = [
        _over_pixels(still, across[:, i : i + height].reshape(-1, kernel_w * channels))
        for i in range(kernel_h)
    ]
    return jnp.stack(rows).reshape(kernel_h, -1, kernel_w, channels).swapaxes(1, 2)


def _kernel_gradient_cpu(x: jax.Array, dy: jax.Array, kernel: jax.Array) -> jax.Array:
    size = (kernel.shape[0], kernel.shape[1])
    batch, height, width, c_in = x.shape

    def of_images(x: jax.Array, dy: jax.Array) -> jax.Array:
        if c_in < dy.shape[-1]:  # the smaller one is moved, which copies it
            return _shifted_products(dy, x, size).swapaxes(2, 3)
        return jnp.flip(_shifted_products(x, dy, size), (0, 1))

    at_once = max(1, min(batch, _PIXELS_AT_ONCE // (height * width)))
    whole = batch // at_once * at_once
    gradient = jnp.zeros_like(kernel)
    if whole > at_once:
        chunks = jax.tree.map(lambda a: a[:whole].reshape(-1, at_once, *a.shape[1:]), (x, dy))
        gradient = lax.scan(lambda sum_, xy: (sum_ + of_images(*xy), None), gradient, chunks)[0]
    else:
        whole = 0
    return gradient + of_images(x[whole:], dy[whole:]) if whole < batch else gradient


@jax.custom_vjp
def conv2d(
    x: Float[jax.Array, "N H W I"], kernel: Float[jax.Array, "kh kw I O"]
) -> Float[jax.Array, "N H W O"]:
    """Convolves images with a kernel of odd height and width, stride 1, zero padding."""
    return _forward(x, kernel)


def _conv2d_fwd(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return _forward(x, kernel), (x, kernel)


def _conv2d_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    dx = _forward(dy, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    dkernel = lax.platform_dependent(
        x, dy, kernel, cpu=_kernel_gradient_cpu, default=_kernel_gradient_default
    )
    return dx, dkernel


conv2d.defvjp(_conv2d_fwd, _conv2d_bwd)
