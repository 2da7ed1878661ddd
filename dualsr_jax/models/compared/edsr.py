"""EDSR: a residual 2-D network, on all bands as channels or on each band alone.

Contract: that of `base`. Source: Lim et al., "Enhanced deep residual networks for single image
super-resolution", CVPRW 2017; sanghyun-son/EDSR-PyTorch. It was made for RGB images: that all bands
are channels of one image (`channels="all"`) is our choice.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from dualsr_jax.models.compared.base import Compared
from dualsr_jax.models.compared.layers import PlainConv, Upsampling
from dualsr_jax.models.layers import Features, subpixel_reach

CHANNELS = ("all", "single")


class ResBlock(nn.Module):
    """x + res_scale conv(ReLU(conv(x))).

    Attributes:
        res_scale: factor on the correction.
        dtype: data type of the convolutions.
    """

    res_scale: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Adds a correction to `x`."""
        y = PlainConv(x.shape[-1], dtype=self.dtype, name="body_0")(x)
        y = PlainConv(x.shape[-1], dtype=self.dtype, name="body_2")(nn.relu(y))
        return x + self.res_scale * y


class EDSR(Compared):
    """EDSR.

    Attributes:
        features: channels C of every feature map.
        num_blocks: residual blocks N.
        res_scale: factor on the correction of a block; published: 1 for N = 16 and C = 64, 0.1 for
            N = 32 and C = 256.
        channels: "all", bands as channels of one image, or "single", each band an image of its own,
            with the same weights.
        subtract_mean: whether band means, kept with the weights as `band_mean`, are subtracted
            first and added at the end; needs channels "all".
    """

    features: int = 64
    num_blocks: int = 16
    res_scale: float = 1.0
    channels: str = "all"
    subtract_mean: bool = False

    @property
    def needs_num_bands(self) -> bool:
        """Whether the bands are channels."""
        return self.channels == "all"

    @property
    def reach(self) -> int:
        """How many LR pixels away, on every side, a pixel of the result depends on."""
        return self.reach_with_skip(2 + 2 * self.num_blocks + subpixel_reach(self.scale))

    @property
    def feature_maps(self) -> float:
        """Feature maps that the network holds at a time, per band and counted at LR size."""
        bands = 1 if self.num_bands is None or self.channels == "single" else self.num_bands
        return (3 + 2.5 * self.scale**2) / bands

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted."""
        super().check_settings()
        self.require_positive("features", "num_blocks")
        if self.channels not in CHANNELS:
            raise ValueError(f"unknown channels {self.channels!r}: expected one of {CHANNELS}")
        if self.subtract_mean and self.channels == "single":
            raise ValueError("subtract_mean=True needs channels='all': a mean belongs to a band")

    @nn.compact
    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        dtype, s = self.precision, self.scale
        b, h, w, bands = lr.shape
        mean = jnp.zeros(())
        if self.subtract_mean:
            mean = self.band_mean()
            lr = lr - jnp.broadcast_to(mean, lr.shape)
        x = lr if self.channels == "all" else jnp.moveaxis(lr, -1, 1).reshape(b * bands, h, w, 1)
        out_channels = x.shape[-1]
        head = PlainConv(self.features, dtype=dtype, name="head_0")(x)
        y = head
        for index in range(self.num_blocks):
            y = ResBlock(self.res_scale, dtype, name=f"body_{index}")(y)
        y = PlainConv(self.features, dtype=dtype, name=f"body_{self.num_blocks}")(y) + head
        y = Upsampling(s, dtype, name="tail_0")(y)
        y = PlainConv(out_channels, dtype=dtype, gain=self.last_gain, name="tail_1")(y)
        if self.channels == "single":
            y = jnp.moveaxis(y.reshape(b, bands, h * s, w * s), 1, -1)
        if self.subtract_mean and not self.adds_bicubic:
            y = y + jnp.broadcast_to(mean, y.shape)
        return y
