"""The 2-D convolution of the network, with gradients that are fast on every platform.

Contract: `conv2d` is a stride-1, zero-padded ('SAME') NHWC x HWIO convolution. On XLA:CPU the
weight gradient of a convolution inside a loop, or over a large batch, runs 15 to 25 times slower
than the forward pass; there it is computed as matrix products of shifted inputs, a few images at
a time so that they stay in cache. Other platforms keep XLA's own gradient.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_PIXELS_AT_ONCE = 8 * 32 * 32  # in the CPU's weight gradient: larger products fall out of cache


def _forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)


def _kernel_gradient_default(x: jax.Array, dy: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.vjp(lambda k: _forward(x, k), kernel)[1](dy)[0]


def _kernel_gradient_cpu(x: jax.Array, dy: jax.Array, kernel: jax.Array) -> jax.Array:
    kernel_h, kernel_w, c_in, c_out = kernel.shape
    batch, height, width, _ = x.shape
    top, left = (kernel_h - 1) // 2, (kernel_w - 1) // 2
    padding = ((0, 0), (top, kernel_h - 1 - top), (left, kernel_w - 1 - left), (0, 0))

    def of_images(x: jax.Array, dy: jax.Array) -> jax.Array:
        padded = jnp.pad(x, padding)
        dy = dy.reshape(-1, c_out)
        taps = [
            padded[:, i : i + height, j : j + width].reshape(-1, c_in).T @ dy
            for i in range(kernel_h)
            for j in range(kernel_w)
        ]
        return jnp.stack(taps).reshape(kernel.shape)

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
    """Convolves images with a kernel of odd size, stride 1, zero padding.

    Args:
        x: `[N, H, W, C_in]`.
        kernel: `[kh, kw, C_in, C_out]`, kh and kw odd.

    Returns:
        `[N, H, W, C_out]`.
    """
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
