"""ESSAformer: attention of linear cost over all pixels, going up to HR and back down repeatedly.

Contract: that of `base`. Five stages use one set of modules: x1 = R(U(F)), x2 = r(D(x1) + F),
x3 = R(U(x2) + x1), x4 = r(D(x3) + x2), x5 = R(U(x4) + x3), with U and D as upsampling and
downsampling, R and r as refining at HR and LR. The attention sums over the whole image, so that
tiles are not restored as the image is. Source: Zhang et al., "ESSAformer: efficient transformer for
hyperspectral image super-resolution", ICCV 2023; Rexzhan/ESSAformer.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from dualsr_jax.models.compared.base import GLOBAL, Compared
from dualsr_jax.models.compared.layers import PlainConv, Upsampling
from dualsr_jax.models.layers import (
    UPSAMPLING_STEPS,
    Features,
    add_bias,
    product,
    torch_uniform,
)

_SLOPE = 0.2  # of the leaky ReLUs
_EPS_NORM = 1e-5  # of the layer normalisation
_EPS_SUM = 1e-7  # in the denominator of the attention's features
_EPS_SQUARE = 1e-24  # the least squared norm


def pixel_unshuffle(x: Float[jax.Array, "N rH rW C"], r: int) -> Float[jax.Array, "N H W K"]:
    """Moves space into channels, the inverse of `pixel_shuffle`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // r, r, w // r, r, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(n, h // r, w // r, c * r**2)


class Downsampling(nn.Module):
    """As often as `Upsampling` enlarges: a convolution C -> C / r^2, then PixelUnshuffle.

    Attributes:
        scale: a key of `UPSAMPLING_STEPS`.
        dtype: data type of the convolutions.
    """

    scale: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[jax.Array, "N sH sW C"]) -> Features:
        """Reduces."""
        features = x.shape[-1]
        for index, r in enumerate(UPSAMPLING_STEPS[self.scale]):
            conv = PlainConv(features // r**2, dtype=self.dtype, name=f"down_{2 * index}")
            x = pixel_unshuffle(conv(x), r)
        return x


class Linear(nn.Module):
    """A matrix product per pixel.

    Attributes:
        features: output channels.
        dtype: data type of the product.
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Float[jax.Array, "N H W O"]:
        """Multiplies."""
        init = torch_uniform(fan_in=x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", init, (self.features,))
        return add_bias(product(x, kernel, self.dtype), bias)


class Attention(nn.Module):
    """ESSA: attention whose kernel is the squared deviation of a spectrum from its mean.

    Attributes:
        dtype: data type of the linear layers; the attention itself is float32.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Attends to all pixels of each image."""
        _, h, w, c = x.shape
        q, k, v = jnp.split(Linear(3 * c, self.dtype, name="lnqkv")(x), 3, -1)

        def deviation(a: jax.Array) -> jax.Array:
            mean = a.mean(-1, keepdims=True)
            a = jnp.square(a - jnp.broadcast_to(mean, a.shape))
            return a / jnp.broadcast_to(a.sum(-1, keepdims=True) + _EPS_SUM, a.shape)

        def unit(a: jax.Array, axes: tuple[int, ...]) -> jax.Array:
            square = jnp.maximum(jnp.square(a).sum(axes, keepdims=True), _EPS_SQUARE)
            return a * jnp.broadcast_to(jax.lax.rsqrt(square), a.shape)

        q, k = unit(deviation(q), (-1,)), unit(deviation(k), (1, 2))
        values = jnp.einsum("bhwc,bhwd->bcd", k, v, precision="highest")
        t = jnp.einsum("bhwc,bcd->bhwd", q, values, precision="highest")
        t = t * jax.lax.rsqrt(jnp.asarray(h * w, jnp.float32))
        return Linear(c, self.dtype, name="ln")(v + t)


class Refining(nn.Module):
    """Normalisation, attention, and three convolutions of both, plus the input.

    Attributes:
        name_of_convs: "convu" or "convd", the published names.
        dropout: probability with which a channel is dropped in training.
        dtype: data type of the convolutions and linear layers.
    """

    name_of_convs: str
    dropout: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features, *, train: bool = False) -> Features:
        """Adds a correction to `x`."""
        c, name, dtype = x.shape[-1], self.name_of_convs, self.dtype

        def drop(y: Features) -> Features:
            channels = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)
            return channels(y)

        scale = self.param("norm_scale", nn.initializers.ones, (c,))
        bias = self.param("norm_bias", nn.initializers.zeros, (c,))
        mean = x.mean(-1, keepdims=True)
        y = x - jnp.broadcast_to(mean, x.shape)
        gain = jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + _EPS_NORM)
        y = y * jnp.broadcast_to(gain, x.shape) * jnp.broadcast_to(scale, x.shape)
        y = Attention(dtype, name="attn")(add_bias(y, bias))
        y = jnp.concatenate([drop(y), x], -1)
        y = PlainConv(2 * c, size=1, dtype=dtype, name=f"{name}_0")(y)
        y = drop(nn.leaky_relu(y, _SLOPE))
        y = PlainConv(2 * c, dtype=dtype, name=f"{name}_3")(y)
        y = drop(nn.leaky_relu(y, _SLOPE))
        return x + PlainConv(c, size=1, dtype=dtype, name=f"{name}_6")(y)


class ESSAformer(Compared):
    """ESSAformer.

    Attributes:
        features: channels C, a multiple of 4, or of 9 at scale 3.
        dropout: probability with which a channel is dropped in training; with more than 0 training
            needs a random key, `rngs={"dropout": key}`.
    """

    features: int = 256
    dropout: float = 0.2

    @property
    def needs_num_bands(self) -> bool:
        """True: bands are channels."""
        return True

    @property
    def reach(self) -> str:
        """A pixel depends on the whole image, through the attention."""
        return GLOBAL

    @property
    def feature_maps(self) -> float:
        """Feature maps that the network holds at a time, per band and counted at LR size."""
        return 15 * self.scale**2 / (self.num_bands or 1)

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted."""
        super().check_settings()
        divisor = math.prod({r**2 for r in UPSAMPLING_STEPS[self.scale]})
        if self.features < 1 or self.features % divisor:
            raise ValueError(
                f"features={self.features} must be a multiple of {divisor} at scale {self.scale}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be at least 0 and less than 1")

    @nn.compact
    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        dtype, bands = self.precision, lr.shape[-1]
        up = Upsampling(self.scale, dtype, name="convupsample")
        down = Downsampling(self.scale, dtype, name="convdownsample")
        refine_hr = Refining("convu", self.dropout, dtype, name="convup")
        refine_lr = Refining("convd", self.dropout, dtype, name="convdown")
        low = PlainConv(self.features, dtype=dtype, name="conv_first")(lr)
        high = refine_hr(up(low), train=train)
        for _ in range(2):
            low = refine_lr(down(high) + low, train=train)
            high = refine_hr(up(low) + high, train=train)
        return PlainConv(bands, dtype=dtype, gain=self.last_gain, name="conv_last")(high)
