"""ERCSR: 3-D convolutions split into two planes, with 2-D units in each module.

Contract: that of `base`. Band means, kept with the weights as `band_mean` but not trained, are
subtracted first and added at the end, and the mean-free cube enlarged by nearest neighbours is
added to the output; with `skip="bicubic"` the bicubic cube takes the place of both. Source: Li,
Wang, Li, "Exploring the relationship between 2D/3D convolution for hyperspectral image
super-resolution", IEEE TGRS 2021.
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


class TwoDUnit(nn.Module):
    """t + conv3x3(ReLU(conv3x3(t))) on each band's slice.

    Attributes:
        dtype: data type of the convolutions.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, t: Volume) -> Volume:
        """Adds a correction to `t`."""
        y = nn.relu(SliceConv(t.shape[-1], dtype=self.dtype, name="conv1")(t))
        return t + SliceConv(t.shape[-1], dtype=self.dtype, name="conv2")(y)


class EHCM(nn.Module):
    """Enhanced hybrid convolution module.

    Attributes:
        num_units: 2-D units.
        dtype: data type of the convolutions.
    """

    num_units: int = 2
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Volume) -> Volume:
        """Runs the module; the result of the 3-D convolutions enters twice, as published."""
        c, dtype = x.shape[-1], self.dtype
        a = nn.relu(VolumeConv(c, (1, 3, 3), dtype=dtype, name="conv1")(x))
        t = VolumeConv(c, (3, 3, 1), dtype=dtype, name="conv2")(a)
        t = t + VolumeConv(c, (3, 1, 3), dtype=dtype, name="conv3")(a)
        u = t
        for index in range(self.num_units):
            u = TwoDUnit(dtype, name=f"twoD_body_{index}")(u)
        return u + t + x


class ERCSR(Compared):
    """ERCSR.

    Attributes:
        features: channels C of every feature map.
        num_modules: hybrid convolution modules.
        num_units: 2-D units per module.
    """

    features: int = 64
    num_modules: int = 4
    num_units: int = 2

    @property
    def needs_num_bands(self) -> bool:
        """True: the band means are part of the weights."""
        return True

    @property
    def reach(self) -> int:
        """How many LR pixels away, on every side, a pixel of the result depends on."""
        return self.reach_with_skip(3 + self.num_modules * (2 + 2 * self.num_units))

    @property
    def feature_maps(self) -> float:
        """Feature maps of one band that the network holds at a time, counted at LR size."""
        return 14

    @property
    def chunk_maps(self) -> float:
        """Feature maps of one band of a chunk, which are held besides."""
        return upsampling_maps(self.scale)

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted."""
        super().check_settings()
        self.require_positive("features", "num_modules", "num_units")

    def _image_of(self, x: Volume) -> jax.Array:
        """Enlarges; the last two convolutions, (1,3,3) and (3,1,1), run as one of size (3,3,3).

        They are linear. Beyond the first and last band the second one is given zeros, not the bias
        of the first, so that the end bands lack a part of what that bias adds.
        """
        c, bands, side = self.features, x.shape[1], self.scale + 2
        up = Kernel((3, side, side, c, c), name="tail_0")()
        spatial, spatial_bias = Kernel((1, 3, 3, c, c), name="tail_1")()
        spectral, bias = Kernel((3, 1, 1, c, 1), self.last_gain, name="tail_2")()
        through = spectral[:, 0, 0]
        kernel = jnp.einsum("hwio,doe->dhwie", spatial[0], through, precision="highest")
        y = upsampled_image(x, up, kernel, self.precision, self.band_chunk)
        added = jnp.einsum("doe,o->d", through, spatial_bias, precision="highest")
        band = jnp.arange(bands)
        constant = added.sum() - jnp.where(band == 0, added[0], 0.0)
        constant = constant - jnp.where(band == bands - 1, added[2], 0.0) + bias[0]
        return y + jnp.broadcast_to(constant, y.shape)

    @nn.compact
    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        c, dtype = self.features, self.precision
        mean = self.band_mean()
        cube = lr - jnp.broadcast_to(mean, lr.shape)

        def twice(x: jax.Array, name: str) -> jax.Array:
            x = VolumeConv(c, (1, 3, 3), dtype=dtype, name=f"{name}_0")(x)
            return VolumeConv(c, (3, 1, 1), dtype=dtype, name=f"{name}_1")(x)

        gamma = self.param("gamma", nn.initializers.ones, (self.num_modules,))
        head = twice(to_volume(cube), "head")
        x, states = head, []
        for k in range(self.num_modules):
            x = EHCM(self.num_units, dtype, name=f"body_{k}")(x)
            states.append(gamma[k] * x)
        x = VolumeConv(c, (1, 1, 1), dtype=dtype, name="reduceD")(jnp.concatenate(states, -1))
        x = twice(x, "end") + head
        y = self._image_of(x)
        if self.adds_bicubic:
            return y
        nearest = cube.repeat(self.scale, 1).repeat(self.scale, 2)
        return y + nearest + jnp.broadcast_to(mean, y.shape)
