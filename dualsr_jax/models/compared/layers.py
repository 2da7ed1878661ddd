"""Layers of the compared methods: plain 2-D convolutions, and 3-D ones folded into 2-D ones.

Contract: images are `[N, H, W, C]`, volumes `[B, L, H, W, C]` with the bands as depth. Convolutions
have stride 1, zero padding and a bias. Initial values are PyTorch's. Kernels of volumes are stored
whole, `[kd, kh, kw, in, out]`.

A 3-D convolution runs as a 2-D convolution over all bands as one batch, whose parts, one per tap
along the bands, are then shifted and summed: XLA:CPU takes up to twenty times as long for 3-D
convolutions, and for transposed ones.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export, lax
from jaxtyping import Float

from dualsr_jax.models.layers import (
    UPSAMPLING_STEPS,
    Features,
    WeightNorm,
    add_bias,
    pixel_shuffle,
    product,
    torch_uniform,
)
from dualsr_jax.ops.conv import conv2d

Volume = Float[jax.Array, "B L H W C"]


def to_volume(cubes: Float[jax.Array, "B H W L"]) -> Float[jax.Array, "B L H W 1"]:
    """Makes volumes with one channel of cubes."""
    return jnp.moveaxis(cubes, -1, 1)[..., None]


def to_cubes(volume: Float[jax.Array, "B L H W 1"]) -> Float[jax.Array, "B H W L"]:
    """Undoes `to_volume`."""
    return jnp.moveaxis(volume[..., 0], 1, -1)


class PlainConv(nn.Module):
    """2-D convolution without weight normalisation.

    Attributes:
        features: output channels.
        size: kernel height and width, odd.
        dtype: data type of the convolution.
        gain: factor on the initial values.
    """

    features: int
    _: dataclasses.KW_ONLY
    size: int = 3
    dtype: str = "float32"
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[jax.Array, "N H W I"]) -> Float[jax.Array, "N H W O"]:
        """Convolves."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        init = torch_uniform(fan_in=math.prod(shape[:-1]))
        kernel = self.param("kernel", lambda *how: self.gain * init(*how), shape)
        bias = self.param("bias", lambda *how: self.gain * init(*how), shape[-1:])
        if self.size == 1:
            return add_bias(product(x, kernel[0, 0], self.dtype), bias)
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype))
        return add_bias(y.astype(x.dtype), bias)


class Upsampling(nn.Module):
    """Sub-pixel upsampling without activations.

    Attributes:
        scale: 1, which changes nothing, or a key of `UPSAMPLING_STEPS`.
        dtype: data type of the convolutions.
    """

    scale: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Float[jax.Array, "N sH sW C"]:
        """Enlarges."""
        features = x.shape[-1]
        for index, r in enumerate(UPSAMPLING_STEPS.get(self.scale, ())):
            conv = PlainConv(features * r**2, dtype=self.dtype, name=f"up_{2 * index}")
            x = pixel_shuffle(conv(x), r)
        return x


def _over_slices(x: jax.Array, kernel: jax.Array, dtype: str) -> jax.Array:
    """Convolves each band's slice with one kernel `[kh, kw, in, out]`."""
    b, bands, h, w, c = x.shape
    images = x.reshape(b * bands, h, w, c)
    if kernel.shape[:2] == (1, 1):
        y = product(images, kernel[0, 0], dtype)
    else:
        y = conv2d(images.astype(dtype), kernel.astype(dtype)).astype(x.dtype)
    return y.reshape(b, bands, h, w, kernel.shape[-1])


def _sum_along_bands(parts: Sequence[jax.Array]) -> jax.Array:
    """Sums over k of part k at band l + k - K // 2, zero beyond the bands."""
    depth, bands = len(parts), parts[0].shape[1]
    reach = depth // 2
    around = ((0, 0), (reach, reach), *((0, 0),) * (parts[0].ndim - 2))
    shifted = [jnp.pad(part, around)[:, k : k + bands] for k, part in enumerate(parts)]
    return sum(shifted[1:], shifted[0])


def conv3d(
    x: Float[jax.Array, "B L H W I"], kernel: Float[jax.Array, "kd kh kw I O"], dtype: str
) -> Float[jax.Array, "B L H W O"]:
    """Convolves volumes.

    The taps along the bands stand in the channels of the input or of the output of a 2-D
    convolution, wherever there are fewer.

    Args:
        x: the volumes.
        kernel: of odd size on its three axes.
        dtype: data type of the convolution.
    """
    depth, kh, kw, c_in, c_out = kernel.shape
    if depth == 1:
        return _over_slices(x, kernel[0], dtype)
    if c_in < c_out:
        reach, bands = depth // 2, x.shape[1]
        padded = jnp.pad(x, ((0, 0), (reach, reach), *((0, 0),) * 3))
        taps = jnp.concatenate([padded[:, k : k + bands] for k in range(depth)], -1)
        folded = jnp.moveaxis(kernel, 0, 2).reshape(kh, kw, depth * c_in, c_out)
        return _over_slices(taps, folded, dtype)
    folded = jnp.moveaxis(kernel, 0, 3).reshape(kh, kw, c_in, depth * c_out)
    return _sum_along_bands(jnp.split(_over_slices(x, folded, dtype), depth, -1))


class VolumeConv(nn.Module):
    """Weight-normalised 3-D convolution.

    Attributes:
        features: output channels.
        size: kernel size along bands, rows and columns, odd.
        dtype: data type of the convolution.
        gain: factor on the initial values.
    """

    features: int
    size: tuple[int, int, int]
    _: dataclasses.KW_ONLY
    dtype: str = "float32"
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[jax.Array, "B L H W I"]) -> Float[jax.Array, "B L H W O"]:
        """Convolves."""
        shape = (*self.size, x.shape[-1], self.features)
        kernel, bias = WeightNorm(shape, gain=self.gain, name="wn")()
        return add_bias(conv3d(x, kernel, self.dtype), bias)


class SliceConv(nn.Module):
    """Weight-normalised 3x3 convolution of each band's slice, stored as a 2-D kernel.

    Attributes:
        features: output channels.
        dtype: data type of the convolution.
    """

    features: int
    _: dataclasses.KW_ONLY
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Volume) -> Volume:
        """Convolves."""
        kernel, bias = WeightNorm((3, 3, x.shape[-1], self.features), name="wn")()
        return add_bias(_over_slices(x, kernel, self.dtype), bias)


class Kernel(nn.Module):
    """The parameters of a weight-normalised convolution, under its names, without applying it.

    Attributes:
        shape: kernel shape, `[kd, kh, kw, in, out]`; of a transposed convolution the input channels
            come last, because PyTorch normalises over them.
        gain: factor on the initial values.
    """

    shape: tuple[int, ...]
    gain: float = 1.0

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns the effective kernel, of `shape`, and the bias `[out]`."""
        return WeightNorm(self.shape, self.gain, name="wn")()


def in_chunks(
    run: Callable[[jax.Array], jax.Array], x: jax.Array, chunk: int | None, depth: int
) -> jax.Array:
    """Applies a function to chunks of bands, one after another, which bounds the memory.

    Args:
        run: function of k + depth - 1 neighbouring bands `[B, k + depth - 1, ...]` that gives k
            bands `[B, k, ...]`.
        x: all bands, with those that `run` needs before the first and after the last.
        chunk: bands of the result that are computed at once; None means all.
        depth: bands on which a band of the result depends.
    """
    bands = x.shape[1] - depth + 1
    if chunk is None or (not export.is_symbolic_dim(bands) and chunk >= bands):
        return run(x)
    count = -(-bands // chunk)
    x = jnp.pad(x, ((0, 0), (0, count * chunk - bands), *((0, 0),) * (x.ndim - 2)))

    def part(start: jax.Array) -> jax.Array:
        return run(lax.dynamic_slice_in_dim(x, start, chunk + depth - 1, axis=1))

    y = jnp.moveaxis(lax.map(part, chunk * jnp.arange(count)), 0, 1)
    return y.reshape(y.shape[0], count * chunk, *y.shape[3:])[:, :bands]


def _padded_bands(x: jax.Array) -> jax.Array:
    """Zeros before the first and after the last band."""
    return jnp.pad(x, ((0, 0), (1, 1), *((0, 0),) * (x.ndim - 2)))


def upsampled_image(
    x: Volume,
    up: tuple[jax.Array, jax.Array],
    last: Float[jax.Array, "kd kh kw C 1"],
    dtype: str,
    chunk: int | None,
) -> Float[jax.Array, "B sH sW L"]:
    """Runs a transposed convolution, then a convolution to one channel, without its bias.

    Args:
        x: the volumes.
        up: kernel and bias of the transposed convolution, as `transposed` takes them.
        last: kernel of the convolution.
        dtype: data type of products and convolutions.
        chunk: bands that are enlarged at once; None means all.
    """
    depth, kh, kw, c, _ = last.shape
    folded = jnp.moveaxis(last, 0, 3).reshape(kh, kw, c, depth)

    def parts(some: jax.Array) -> jax.Array:  # one for each tap of `last` along the bands
        return _over_slices(transposed(some, *up, dtype), folded, dtype)

    y = in_chunks(parts, _padded_bands(x), chunk, depth=3)
    return to_cubes(_sum_along_bands(jnp.split(y, depth, -1)))


def upsampling_maps(scale: int) -> float:
    """Feature maps per band that `upsampled_image` holds at a time, counted at LR size."""
    return 2 * (scale + 2) ** 2 + scale**2 + 6


def transposed(
    x: Float[jax.Array, "B K H W C"],
    kernel: Float[jax.Array, "3 side side C C"],
    bias: Float[jax.Array, "C"],
    dtype: str,
) -> Float[jax.Array, "B L sH sW C"]:
    """Runs a transposed convolution on K bands; gives the L = K - 2 inner ones.

    Kernel (3, s+2, s+2), stride (1, s, s), padding (1, 1, 1): with o = s j + r, row o of the result
    has tap r + 1 of pixel j, and besides tap s + 1 of pixel j - 1 if r = 0, and tap 0 of pixel
    j + 1 if r = s - 1; columns are alike. So it is one product per pixel and a few shifted sums.
    """
    b, bands, h, w, c = x.shape
    bands, (_, side, _, out, _) = bands - 2, kernel.shape
    # Tap k along the bands is that of band l + 1 - k.
    neighbours = jnp.concatenate([x[:, 2 - k : 2 - k + bands] for k in range(3)], -1)
    matrix = jnp.moveaxis(kernel, -1, 1).reshape(3 * c, side**2 * out)
    y = product(neighbours, matrix, dtype).reshape(b, bands, h, w, side, side, out)
    y = _overlapped(_overlapped(y, pixels=2, taps=4), pixels=3, taps=5)
    y = y.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, bands, h * (side - 2), w * (side - 2), out)
    return add_bias(y, bias)


def _overlapped(y: jax.Array, *, pixels: int, taps: int) -> jax.Array:
    """Adds the outer two of the s + 2 taps on one axis to the neighbours on the axis of pixels."""
    s = y.shape[taps] - 2

    def neighbour(first: int, tap: tuple[int, int], pixel: tuple[int, int]) -> jax.Array:
        # One tap, seen from the next or previous pixel, among zeros for the other taps.
        width = [(0, 0)] * y.ndim
        width[taps], width[pixels] = tap, pixel
        padded = jnp.pad(jax.lax.slice_in_dim(y, first, first + 1, axis=taps), width)
        start = pixel[1]
        return jax.lax.slice_in_dim(padded, start, start + y.shape[pixels], axis=pixels)

    inner = jax.lax.slice_in_dim(y, 1, s + 1, axis=taps)
    return inner + neighbour(s + 1, (0, s - 1), (1, 0)) + neighbour(0, (s - 1, 0), (0, 1))
