"""ASFM, adjacent spectral fusion mechanism: mixes the features of the three band groups.

Contract: takes and gives a tuple of three `[N, H, W, C]`, one per group. Source: paper, section on
the adjacent spectral fusion mechanism.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from dualsr_jax.models.layers import Body, Conv, Features, WeightNorm, add_bias, product

GroupFeatures = tuple[Features, ...]  # three, one per group


class Fusion(nn.Module):
    """Three 1x1 convolutions of all groups, v_k = conv_k(concat_j gamma[k, j] u_j).

    The scaled kernels next to each other are one matrix 3C -> 3C: one product instead of three
    concatenations and products.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, u: GroupFeatures) -> list[Features]:
        """Fuses three `[N, H, W, C]` into three."""
        c = u[0].shape[-1]
        gamma = self.param("gamma", nn.initializers.ones, (3, 3))
        kernels, biases = zip(
            *(WeightNorm((1, 1, 3 * c, c), name=f"wn_{k}")() for k in range(3)), strict=True
        )
        scaled = [
            kernel[0, 0] * jnp.repeat(gamma[k], c, total_repeat_length=3 * c)[:, None]
            for k, kernel in enumerate(kernels)
        ]
        v = product(jnp.concatenate(u, -1), jnp.concatenate(scaled, 1), self.dtype)
        return jnp.split(add_bias(v, jnp.concatenate(biases)), 3, axis=-1)


class MixedUnit(nn.Module):
    """y = x + conv(1,3,3)(ReLU(conv(1,3,3)(x) + conv(3,1,1)(x))) on a volume of depth 3.

    The kernel of size (1,3,3) is a 2-D convolution shared by the slices, and the kernel of size
    (3,1,1) is a 1x1 mix of neighbouring slices, so that no 3-D convolution is needed.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, volume: Float[jax.Array, "3 N H W C"]) -> Float[jax.Array, "3 N H W C"]:
        """Mixes the slices of `[depth, N, H, W, C]`."""
        depth, _, h, w, c = volume.shape

        def spatial(x: jax.Array, name: str) -> jax.Array:
            y = Conv(c, dtype=self.dtype, name=name)(x.reshape(-1, h, w, c))
            return y.reshape(volume.shape)

        kernel, bias = WeightNorm((depth, c, c), name="spectral")()
        padded = jnp.pad(volume, ((1, 1), *[(0, 0)] * 4))
        neighbours = jnp.concatenate([padded[:-2], padded[1:-1], padded[2:]], -1)
        mixed = product(neighbours, kernel.reshape(depth * c, c), self.dtype)
        spectral = add_bias(mixed, bias)
        return volume + spatial(nn.relu(spatial(volume, "spatial_in") + spectral), "spatial_out")


class ASFM(nn.Module):
    """Mixes the features of three groups: bodies per group, fusion, bodies again, mixed unit."""

    num_blocks: int = 2
    norm: str | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, g: GroupFeatures, heads: GroupFeatures, *, train: bool = False
    ) -> GroupFeatures:
        """Fuses the features `g`, and adds those of the head convolutions at the end."""

        def body(name: str, x: Features) -> Features:
            return Body(self.num_blocks, self.norm, self.dtype, name=name)(x, train=train) + x

        u = tuple(body(f"intra_{k}", g[k]) for k in range(3))
        v = Fusion(self.dtype, name="fusion")(u)
        w = [body(f"inter_{k}", v[k]) + g[k] for k in range(3)]
        gamma = self.param("gamma", nn.initializers.ones, (3,))
        y = MixedUnit(self.dtype, name="mixed_unit")(jnp.stack([gamma[k] * w[k] for k in range(3)]))
        return tuple(y[k] + heads[k] for k in range(3))
