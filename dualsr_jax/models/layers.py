"""Layers that the coarse network is made of.

Contract: feature maps are `[N, H, W, C]`. Every convolution has a bias and is weight-normalised
over its output channel, w = g v / |v|, with g = |v| at the start, so that a new layer equals the
plain one. Initial values are PyTorch's, which the published runs used: weights and biases are
uniform in +-1/sqrt(fan in).

With `dtype="bfloat16"` convolutions and products are made in bfloat16; parameters, biases and the
sums of residual paths stay float32.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from dualsr_jax.ops.conv import conv2d

Features = Float[jax.Array, "N H W C"]
UPSAMPLING_STEPS = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}


def subpixel_reach(scale: int) -> int:
    """LR pixels to either side that a pixel depends on through sub-pixel steps and a 3x3 layer."""
    reach = 1  # of the last convolution, in pixels of the result
    for step in reversed(UPSAMPLING_STEPS[scale]):
        reach = math.ceil(reach / step) + 1
    return reach


def torch_uniform(fan_in: int) -> Callable[..., jax.Array]:
    """Returns PyTorch's default initialiser of a convolution (Kaiming uniform, a = sqrt 5)."""
    bound = fan_in**-0.5
    return lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class WeightNorm(nn.Module):
    """Parameters of a weight-normalised convolution, without applying it."""

    shape: tuple[int, ...]  # of the kernel, [..., C_in, C_out]
    gain: float = 1.0  # factor on the initial gains and biases

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns the effective kernel, of `shape`, and the bias `[C_out]`."""
        init = torch_uniform(fan_in=math.prod(self.shape[:-1]))

        def norm(v: jax.Array) -> jax.Array:
            return jnp.sqrt(jnp.square(v).sum(tuple(range(v.ndim - 1))))

        v = self.param("v", init, self.shape)
        g = self.param("g", lambda _: self.gain * norm(v))
        bias = self.param("bias", lambda *how: self.gain * init(*how), self.shape[-1:])
        return v * (g / norm(v)).reshape((1,) * (v.ndim - 1) + (-1,)), bias


def add_bias(
    x: Float[jax.Array, "*batch C"], bias: Float[jax.Array, "C"]
) -> Float[jax.Array, "*batch C"]:
    """Adds one number per channel."""
    return x + jnp.broadcast_to(bias, x.shape)


def product(
    x: Float[jax.Array, "*batch I"], kernel: Float[jax.Array, "I O"], dtype: str
) -> Float[jax.Array, "*batch O"]:
    """Computes `x @ kernel` in a data type; the result has the type of `x`."""
    return (x.astype(dtype) @ kernel.astype(dtype)).astype(x.dtype)


class Conv(nn.Module):
    """Weight-normalised 2-D convolution, stride 1, zero padding.

    `train_bias` is False where BatchNorm follows and removes the bias again: its gradient is then
    pure rounding noise, which Adam would turn into steps of full size.
    """

    features: int  # output channels
    _: dataclasses.KW_ONLY
    size: int = 3  # kernel height and width, odd
    dtype: str = "float32"
    train_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[jax.Array, "N H W I"]) -> Float[jax.Array, "N H W O"]:
        """Convolves images."""
        kernel, bias = WeightNorm((self.size, self.size, x.shape[-1], self.features), name="wn")()
        if not self.train_bias:
            bias = jax.lax.stop_gradient(bias)
        if self.size == 1:
            return add_bias(product(x, kernel[0, 0], self.dtype), bias)
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype))
        return add_bias(y.astype(x.dtype), bias)


class BatchNorm(nn.Module):
    """BatchNorm with PyTorch's running statistics (momentum 0.1, eps 1e-5, unbiased variance).

    `flax.linen.BatchNorm` keeps the biased variance; the published weights hold the unbiased one.
    """

    @nn.compact
    def __call__(self, x: Features, *, train: bool = False) -> Features:
        """Normalises with the batch's statistics in training, else with the running ones."""
        c = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, c)
        bias = self.param("bias", nn.initializers.zeros, c)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, c)
        running_var = self.variable("batch_stats", "var", jnp.ones, c)
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            if not self.is_initializing():
                n = x.size // x.shape[-1]
                running_mean.value = 0.9 * running_mean.value + 0.1 * mean
                running_var.value = 0.9 * running_var.value + 0.1 * var * (n / (n - 1))
        gain = scale * jax.lax.rsqrt(var + 1e-5)
        return add_bias(add_bias(x, -mean) * jnp.broadcast_to(gain, x.shape), bias)


class ResBlock(nn.Module):
    """conv, ReLU, conv, plus the input.

    `norm` is None (paper) or "batch": BatchNorm after both convolutions, as in the released code.
    """

    norm: str | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features, *, train: bool = False) -> Features:
        """Adds a correction to `x`."""
        plain = self.norm is None

        def conv_norm(y: Features, index: int) -> Features:
            conv = Conv(x.shape[-1], dtype=self.dtype, train_bias=plain, name=f"conv_{index}")
            return conv(y) if plain else BatchNorm(name=f"bn_{index}")(conv(y), train=train)

        return x + conv_norm(nn.relu(conv_norm(x, 0)), 1)


class Body(nn.Module):
    """Residual blocks in sequence."""

    num_blocks: int = 2
    norm: str | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features, *, train: bool = False) -> Features:
        """Runs the blocks."""
        for index in range(self.num_blocks):
            x = ResBlock(self.norm, self.dtype, name=f"block_{index}")(x, train=train)
        return x


def pixel_shuffle(x: Float[jax.Array, "N H W K"], r: int) -> Float[jax.Array, "N rH rW C"]:
    """Moves channels into space, `[N, H, W, C r r]` -> `[N, r H, r W, C]`.

    Channels are ordered (C, r, r), as in PyTorch's PixelShuffle.
    """
    n, h, w, channels = x.shape
    x = x.reshape(n, h, w, channels // r**2, r, r)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(n, h * r, w * r, channels // r**2)


class ConvWeights(nn.Module):
    """The parameters of a `Conv`, under the same names, without applying it."""

    shape: tuple[int, ...]  # of the kernel, [kh, kw, C_in, C_out]
    gain: float = 1.0  # factor on the initial gains and biases

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns the effective kernel, of `shape`, and the bias `[C_out]`."""
        return WeightNorm(self.shape, self.gain, name="wn")()


class Tail(nn.Module):
    """Sub-pixel upsampling, then one image per band.

    Only linear maps follow the last upsampling convolution, so its `C r r` channels need not be
    made. The image is a sum over the nine taps t of the last kernel, sum_t <out_t, up(x)> shifted
    by t, and <out_t, up(x)> is itself a convolution of x, to `9 r r` channels. This is exact, also
    at the borders, because both forms shift in zeros.
    """

    scale: int
    dtype: str = "float32"
    gain: float = 1.0  # factor on the initial values of the last convolution

    @nn.compact
    def __call__(self, x: Features) -> Float[jax.Array, "N sH sW"]:
        """Turns features into enlarged images."""
        features = x.shape[-1]
        *steps, r = UPSAMPLING_STEPS[self.scale]
        for index, step in enumerate(steps):
            x = Conv(features * step**2, dtype=self.dtype, name=f"up_{index}")(x)
            x = pixel_shuffle(x, step)
        shape = (3, 3, features, features * r**2)
        kernel, bias = ConvWeights(shape, name=f"up_{len(steps)}")()
        taps, shift = ConvWeights((3, 3, features, 1), self.gain, name="out")()

        def through_taps(a: jax.Array) -> jax.Array:
            # [..., C r r] -> [..., 9 r r]
            a = a.reshape(*a.shape[:-1], features, r**2)
            flat = taps.reshape(9, features)
            through = jnp.einsum("...cp,tc->...tp", a, flat, precision="highest")
            return through.reshape(*a.shape[:-2], 9 * r**2)

        y = conv2d(x.astype(self.dtype), through_taps(kernel).astype(self.dtype))
        y = add_bias(y.astype(x.dtype), through_taps(bias))
        n, h, w, _ = y.shape
        y = y.reshape(n, h, w, 3, 3, r, r).transpose(3, 4, 0, 1, 5, 2, 6)
        y = y.reshape(3, 3, n, h * r, w * r)
        y = jnp.pad(y, ((0, 0),) * 3 + ((1, 1),) * 2)
        shifted = [y[i, j, :, i : i + h * r, j : j + w * r] for i in range(3) for j in range(3)]
        return sum(shifted[1:], shifted[0]) + shift[0]
