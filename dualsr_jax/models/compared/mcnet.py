"""MCNet: separable 3-D convolutions mixed with 2-D convolutions of each band.

Contract: that of `base`. Band means, kept with the weights as `band_mean` but not trained, are
subtracted first and added at the end; there is no skip from the image. Source: Li, Wang, Li, "Mixed
2D/3D convolutional network for hyperspectral image super-resolution", Remote Sensing 12:1660, 2020.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from dualsr_jax.models.compared.base import Compared
from dualsr_jax.models.compared.layers import (
    Kernel,
    SliceConv,
    Volume,
    VolumeConv,
    to_volume,
    upsampled_image,
    upsampling_maps,
)

_NUM_MODULES = 4


class S3D(nn.Module):
    """ReLU(conv(3,1,1)(ReLU(conv(1,3,3)(x)))).

    Attributes:
        dtype: data type of the convolutions.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Volume) -> Volume:
        """Convolves in space, then along the bands."""
        c = x.shape[-1]
        x = nn.relu(VolumeConv(c, (1, 3, 3), dtype=self.dtype, name="spatial")(x))
        return nn.relu(VolumeConv(c, (3, 1, 1), dtype=self.dtype, name="spectral")(x))


class SSRM(nn.Module):
    """Three blocks of 3-D convolutions, each seen by 2-D convolutions, and their fusion.

    Attributes:
        num_convs: separable convolutions per block.
        dtype: data type of the convolutions.
    """

    num_convs: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Volume) -> Volume:
        """Runs the module; its result is not negative."""
        c, dtype = x.shape[-1], self.dtype
        gamma = self.param("gamma", nn.initializers.ones, (3,))
        y, seen = x, []
        for k in range(1, 4):
            z = y
            for index in range(self.num_convs):
                z = S3D(dtype, name=f"Block{k}_{index}")(z)
            y = z + y
            u = nn.relu(SliceConv(c, dtype=dtype, name=f"conv{k}_0")(y))
            seen.append(gamma[k - 1] * SliceConv(c, dtype=dtype, name=f"conv{k}_2")(u))
        fuse = VolumeConv(c, (1, 1, 1), dtype=dtype, name="reduceF")
        return S3D(dtype, name="Conv")(nn.relu(fuse(jnp.concatenate(seen, -1))) + x)


class MCNet(Compared):
    """MCNet.

    Attributes:
        features: channels C of every feature map.
        num_convs: separable convolutions per block.
    """

    features: int = 64
    num_convs: int = 1

    @property
    def needs_num_bands(self) -> bool:
        """True: the band means are part of the weights."""
        return True

    @property
    def reach(self) -> int:
        """How many LR pixels away, on every side, a pixel of the result depends on."""
        return self.reach_with_skip(2 + _NUM_MODULES * (3 * self.num_convs + 3))

    @property
    def feature_maps(self) -> float:
        """Feature maps of one band that the network holds at a time, counted at LR size."""
        return 12

    @property
    def chunk_maps(self) -> float:
        """Feature maps of one band of a chunk, which are held besides."""
        return upsampling_maps(self.scale)

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted."""
        super().check_settings()
        self.require_positive("features", "num_convs")

    @nn.compact
    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        dtype, size = self.precision, (3, 3, 3)
        mean = self.band_mean()
        x = to_volume(lr - jnp.broadcast_to(mean, lr.shape))
        x = head = VolumeConv(self.features, size, dtype=dtype, name="head")(x)
        for k in range(1, _NUM_MODULES + 1):
            x = SSRM(self.num_convs, dtype, name=f"SSRM{k}")(x) + head
        c, side = self.features, self.scale + 2
        up = Kernel((3, side, side, c, c), name="tail_0")()
        last, bias = Kernel((*size, c, 1), self.last_gain, name="tail_1")()
        y = upsampled_image(x, up, last, dtype, self.band_chunk) + bias[0]
        return y if self.adds_bicubic else y + jnp.broadcast_to(mean, y.shape)
