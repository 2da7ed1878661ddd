"""SSPSR: one branch for groups of neighbouring bands, then a trunk over all bands.

Contract: that of `base`. The bicubic image enters through a convolution. The channel attention
takes means over the whole image, so that tiles are not restored as the image is. Source: Jiang,
Sun, Liu, Ma, "Learning spatial-spectral prior for super-resolution of hyperspectral imagery", IEEE
TCI 6:1082, 2020.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from dualsr_jax.models.compared.base import GLOBAL, Compared
from dualsr_jax.models.compared.layers import PlainConv, Upsampling
from dualsr_jax.models.layers import Features

_REDUCTION = 16  # of the channels inside the channel attention


def group_starts(num_bands: int, group: int, overlap: int) -> list[int]:
    """The first bands of the groups.

    Args:
        num_bands: bands L, at least `group`.
        group: bands per group.
        overlap: bands that a group shares with the next one, fewer than `group`.

    Returns:
        First bands in order; the last group is moved back to end at the last band.
    """
    count = -(-(num_bands - overlap) // (group - overlap))
    return [min(g * (group - overlap), num_bands - group) for g in range(count)]


class ChannelAttention(nn.Module):
    """x times a weight in (0, 1) per channel, made of the channels' means.

    Attributes:
        dtype: data type of the products.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Weights the channels."""
        c = x.shape[-1]
        y = x.mean((1, 2), keepdims=True)
        y = nn.relu(PlainConv(c // _REDUCTION, size=1, dtype=self.dtype, name="conv_du_0")(y))
        y = PlainConv(c, size=1, dtype=self.dtype, name="conv_du_2")(y)
        return x * jnp.broadcast_to(nn.sigmoid(y), x.shape)


class Residual(nn.Module):
    """x + res_scale conv(ReLU(conv(x))), with channel attention after the 1x1 convolutions.

    Attributes:
        size: kernel size; 1 for the spectral block, which has the attention.
        res_scale: factor on the correction.
        dtype: data type of the convolutions.
    """

    size: int
    res_scale: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Adds a correction to `x`."""
        c = x.shape[-1]
        y = PlainConv(c, size=self.size, dtype=self.dtype, name="body_0")(x)
        y = PlainConv(c, size=self.size, dtype=self.dtype, name="body_2")(nn.relu(y))
        if self.size == 1:
            y = ChannelAttention(self.dtype, name="body_3")(y)
        return x + self.res_scale * y


class SSB(nn.Module):
    """A spatial block, then a spectral one.

    Attributes:
        res_scale: factor on the corrections.
        dtype: data type of the convolutions.
    """

    res_scale: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Runs both blocks."""
        x = Residual(3, self.res_scale, self.dtype, name="spa")(x)
        return Residual(1, self.res_scale, self.dtype, name="spc")(x)


class SSPN(nn.Module):
    """net(x) + x, where net is blocks in sequence.

    Attributes:
        num_blocks: number of blocks.
        res_scale: factor on the corrections of the blocks.
        dtype: data type of the convolutions.
    """

    num_blocks: int
    res_scale: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Runs the blocks."""
        y = x
        for index in range(self.num_blocks):
            y = SSB(self.res_scale, self.dtype, name=f"net_{index}")(y)
        return y + x


class Branch(nn.Module):
    """Head, SSPN, upsampling and, unless it is the trunk, a tail.

    Attributes:
        features: channels C.
        num_blocks: blocks of the SSPN.
        res_scale: factor on the corrections of the blocks.
        scale: by which it enlarges.
        out_channels: channels of the tail; 0: there is no tail.
        dtype: data type of the convolutions.
    """

    features: int
    _: dataclasses.KW_ONLY
    num_blocks: int
    res_scale: float
    scale: int
    out_channels: int = 0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[jax.Array, "N H W I"]) -> Float[jax.Array, "N sH sW O"]:
        """Enlarges images."""
        x = PlainConv(self.features, dtype=self.dtype, name="head")(x)
        x = SSPN(self.num_blocks, self.res_scale, self.dtype, name="body")(x)
        x = Upsampling(self.scale, self.dtype, name="upsample")(x)
        if not self.out_channels:
            return x
        return PlainConv(self.out_channels, dtype=self.dtype, name="tail")(x)


class SSPSR(Compared):
    """SSPSR; the defaults are the published setting for CAVE.

    Attributes:
        features: channels C, 16 or more.
        num_blocks: blocks per SSPN.
        group: bands per group.
        overlap: bands that neighbouring groups share.
        res_scale: factor on the corrections of the blocks.
        share_branch: whether all groups have one branch; False needs scale 4, for which alone the
            published code is right.
    """

    features: int = 256
    num_blocks: int = 8
    group: int = 4
    overlap: int = 1
    res_scale: float = 0.1
    share_branch: bool = True

    admitted_scales: ClassVar[tuple[int, ...]] = (2, 4, 8)

    @property
    def min_bands(self) -> int:
        """The fewest bands that a cube may have: one group."""
        return self.group

    @property
    def needs_num_bands(self) -> bool:
        """True: the trunk has all bands as channels."""
        return True

    @property
    def reach(self) -> str:
        """A pixel depends on the whole image, through the channel attention."""
        return GLOBAL

    @property
    def feature_maps(self) -> float:
        """Feature maps that the network holds at a time, per band and counted at LR size."""
        if self.num_bands is None:
            raise ValueError("the memory of SSPSR depends on the number of bands: set num_bands")
        groups = len(group_starts(self.num_bands, self.group, self.overlap))
        return (groups * (self.scale**2 + 4) + 5 * self.scale**2) / self.num_bands

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted."""
        super().check_settings()
        self.require_positive("num_blocks", "group")
        if self.features < _REDUCTION:
            raise ValueError(f"features={self.features} must be {_REDUCTION} or more")
        if not 0 <= self.overlap < self.group:
            raise ValueError(
                f"overlap={self.overlap} must be at least 0 and less than group={self.group}"
            )
        if not self.share_branch and self.scale != 4:
            raise ValueError(f"share_branch=False needs scale 4, got {self.scale}")

    @nn.compact
    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        dtype, (b, h, w, bands) = self.precision, lr.shape
        first = np.array(group_starts(bands, self.group, self.overlap))
        index = first[:, None] + np.arange(self.group)[None]
        stage = functools.partial(
            Branch,
            self.features,
            num_blocks=self.num_blocks,
            res_scale=self.res_scale,
            dtype=dtype,
        )
        branch = functools.partial(stage, scale=self.scale // 2, out_channels=self.group)

        images = jnp.moveaxis(lr[..., index], 3, 1)  # B G h w n
        if self.share_branch:
            y = branch(name="branch")(images.reshape(b * len(first), h, w, self.group))
            y = y.reshape(b, len(first), *y.shape[1:])
        else:
            y = jnp.stack([branch(name=f"branch_{g}")(images[:, g]) for g in range(len(first))], 1)
        # Sums what the groups say of a band, divided by the number of groups that hold it.
        merge = np.eye(bands, dtype=np.float32)[index]
        merge /= merge.sum((0, 1))
        y = jnp.einsum("bghwn,gnl->bhwl", y, merge, precision="highest")
        y = stage(scale=2, name="trunk")(y)
        y = y + PlainConv(self.features, dtype=dtype, name="skip_conv")(bicubic)
        return PlainConv(bands, dtype=dtype, gain=self.last_gain, name="final")(y)
