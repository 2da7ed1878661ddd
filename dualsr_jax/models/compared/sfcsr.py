"""SFCSR: a 2-D path on each band, a 3-D path on its window of three bands, and a recurrence.

Contract: that of `base`, and `bands` restores consecutive bands, as that of `CoarSR` does. Only
the recurrence FCF is sequential and it is linear: all else runs on all bands as one batch, or on
chunks of bands. There is no skip from the image and no mean is subtracted. Source: Wang, Li, Li,
"Hyperspectral image super-resolution using spectrum and feature context", IEEE TIE 68:11276, 2021.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import export
from jaxtyping import Bool, Float, Int

from dualsr_jax.models.coarsr import nbp
from dualsr_jax.models.coarsr.fcf import State, recurrence
from dualsr_jax.models.compared.base import Compared
from dualsr_jax.models.compared.layers import Volume, VolumeConv
from dualsr_jax.models.layers import (
    Conv,
    Features,
    Tail,
    WeightNorm,
    add_bias,
    product,
    subpixel_reach,
)

_WINDOW = 3


class ThreeUnit(nn.Module):
    """x + P1(A) + Q1(A) with A = ReLU(P0(x) + Q0(x)), P in space and Q along the bands.

    Attributes:
        dtype: data type of the convolutions.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Volume) -> Volume:
        """Adds a correction to `x`."""

        def both(x: Volume, index: int) -> Volume:
            c, dtype = x.shape[-1], self.dtype
            spatial = VolumeConv(c, (1, 3, 3), dtype=dtype, name=f"body_spatial_{index}")
            spectral = VolumeConv(c, (3, 1, 1), dtype=dtype, name=f"body_spectral_{index}")
            return spatial(x) + spectral(x)

        return x + both(nn.relu(both(x, 0)), 1)


class TwoUnit(nn.Module):
    """y + conv3x3(y).

    Attributes:
        dtype: data type of the convolution.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, y: Features) -> Features:
        """Adds a correction to `y`."""
        return y + Conv(y.shape[-1], dtype=self.dtype, name="body")(y)


class Mix(nn.Module):
    """The kernel and bias of a weight-normalised 1x1 convolution, without applying it.

    Attributes:
        shape: `[1, 1, in, out]`.
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns the matrix `[in, out]` and the bias `[out]`."""
        kernel, bias = WeightNorm(self.shape, name="wn")()
        return kernel[0, 0], bias


def _slices(window: Volume) -> list[jax.Array]:
    return [window[:, k] for k in range(_WINDOW)]


class SFCSR(Compared):
    """SFCSR.

    Attributes:
        features: channels C of every feature map.
        num_modules: modules of both paths in sequence.
    """

    features: int = 64
    num_modules: int = 5

    @property
    def min_bands(self) -> int:
        """The fewest bands that a cube may have: one window."""
        return _WINDOW

    @property
    def reach(self) -> int:
        """How many LR pixels away, on every side, a pixel of the result depends on."""
        return self.reach_with_skip(2 + 2 * self.num_modules + subpixel_reach(self.scale))

    @property
    def feature_maps(self) -> float:
        """Feature maps of one band that XLA holds at a time, counted at LR size.

        Measured with `memory_analysis` on CPUs at scale 4: 61 with 2 modules, 79 with 5.
        """
        at_end = 18 * self.scale**2 / self.features + self.scale**2 / 4 + 32
        return max(6 * self.num_modules + 50, at_end)

    def held_maps(self, num_bands: int, band_chunk: int) -> float:
        """Feature maps that the network holds at a time for a cube, counted at LR size."""
        return band_chunk * self.feature_maps

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted."""
        super().check_settings()
        self.require_positive("features", "num_modules")

    def band_table(self, num_bands: int | Any) -> Int[np.ndarray | jax.Array, "L 4"]:
        """The channels of each band i: itself, and its window.

        The window is i - 1, i, i + 1, at the ends the outermost three bands.
        """
        xp = jnp if export.is_symbolic_dim(num_bands) else np
        i = xp.arange(num_bands)[:, None]
        first = xp.clip(i - 1, 0, num_bands - _WINDOW)
        return xp.concatenate([i, *(first + k for k in range(_WINDOW))], axis=1)

    def partition(self, lr: Float[jax.Array, "B h w L"]) -> Float[jax.Array, "L B h w 4"]:
        """Gathers the channels of `band_table`, bands first."""
        return jnp.moveaxis(lr[..., self.band_table(lr.shape[-1])], 3, 0)

    def initial_state(self, lr: Float[jax.Array, "B h w L"]) -> State:
        """A state for the first band, whose value is never used."""
        return jnp.zeros((*lr.shape[:3], self.features), lr.dtype)

    def _features(self, partitioned: jax.Array) -> tuple[Features, Features]:
        """What FCF fuses, and the features of the bands alone; both `[N, h, w, C]`."""
        c, n, dtype = self.features, self.num_modules, self.precision
        gamma_x = self.param("gamma_X", nn.initializers.ones, (n,))
        gamma_y = self.param("gamma_Y", nn.initializers.ones, (n,))
        gamma = self.param("gamma_DFF", nn.initializers.ones, (_WINDOW + 1,))

        def along(x: jax.Array, name: str) -> jax.Array:
            x = VolumeConv(c, (1, 3, 3), dtype=dtype, name=f"{name}_0")(x)
            return VolumeConv(c, (3, 1, 1), dtype=dtype, name=f"{name}_1")(x)

        def mix(xs: list[jax.Array], name: str) -> jax.Array:
            return Conv(c, size=1, dtype=dtype, name=name)(jnp.concatenate(xs, -1))

        x = head_x = along(jnp.moveaxis(partitioned[..., 1:], -1, 1)[..., None], "ThreeHead")
        y = head_y = Conv(c, dtype=dtype, name="TwoHead_0")(partitioned[..., :1])
        xs, ys = [], []
        for j in range(n):
            x = head_x + ThreeUnit(dtype, name=f"threeCNN_{j}")(x)
            y = TwoUnit(dtype, name=f"twoCNN_{j}")(y)
            y = head_y + mix([y, *_slices(x)], f"reduceD_{j}")
            xs.append(gamma_x[j] * x)
            ys.append(gamma_y[j] * y)
        x = VolumeConv(c, (1, 1, 1), dtype=dtype, name="reduceD_X")(jnp.concatenate(xs, -1))
        x = along(x, "threefusion")
        y = Conv(c, dtype=dtype, name="twofusion")(mix(ys, "reduceD_Y"))
        fused = [gamma[k] * image for k, image in enumerate([*_slices(x), y])]
        d = Conv(c, size=1, dtype=dtype, name="conv_DFF")(mix(fused, "reduceD_DFF"))
        return d, head_y

    def _recurrence(
        self, state: State, d: jax.Array, first: jax.Array, *, through_time: bool
    ) -> tuple[State, jax.Array]:
        """FCF: S_0 = d_0; S_i is two 1x1 convolutions of the concatenation of d_i and S_{i-1}."""
        c = self.features
        gamma = self.param("gamma_FCF", nn.initializers.ones, (2,))
        reduce, reduce_bias = Mix((1, 1, 2 * c, c), name="reduceD_FCF")()
        last, last_bias = Mix((1, 1, c, c), name="conv_FCF")()
        from_state = gamma[1] * jnp.matmul(reduce[c:], last, precision="highest")
        from_d = add_bias(product(d, gamma[0] * reduce[:c], "float32"), reduce_bias)
        from_d = add_bias(product(from_d, last, "float32"), last_bias)

        return recurrence(state, d, from_d, first, from_state, through_time=through_time)

    @nn.compact
    def bands(
        self,
        state: State,
        partitioned: Float[jax.Array, "K B h w 4"],
        first: Bool[jax.Array, "K"],
        *,
        train: bool = False,
        through_time: bool = False,
    ) -> tuple[State, tuple[Float[jax.Array, "K B _ _"], ...]]:
        """Restores consecutive bands.

        Args:
            state: FCF state after the band before these.
            partitioned: bands with their windows, of `partition`.
            first: whether a band is the first of its cube.
            train: has no effect.
            through_time: whether gradients flow through the FCF state.

        Returns:
            The state after the last of these bands, and the bands, `[K, B, s h, s w]`; with
            `skip="bicubic"` their differences from the bicubic images.
        """
        k, b, h, w, _ = partitioned.shape
        d, head = self._features(partitioned.reshape(k * b, h, w, _WINDOW + 1))
        d = d.reshape(k, b, h, w, -1)
        state, states = self._recurrence(state, d, first, through_time=through_time)
        self.sow("intermediates", "state", states)
        tail = Tail(self.scale, self.precision, self.last_gain, name="TwoTail")
        y = tail(states.reshape(k * b, h, w, -1) + head)
        return state, (y.reshape(k, b, *y.shape[1:]),)

    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        num_bands = lr.shape[-1]
        partitioned, index = self.partition(lr), nbp.chunks(num_bands, self.band_chunk)
        state = self.initial_state(lr)
        if index.shape[0] == 1 or self.is_initializing():
            first = jnp.arange(num_bands) == 0
            _, (y,) = self.bands(state, partitioned, first, through_time=through_time)
            return jnp.moveaxis(y, 0, -1)

        def chunk(model: SFCSR, state: State, xs: Any) -> tuple[State, jax.Array]:
            images, first = xs
            state, (y,) = model.bands(state, images, first, through_time=through_time)
            return state, y

        scan = nn.scan(
            chunk,
            variable_broadcast="params",
            variable_axes={"intermediates": 0},
            split_rngs={"params": False},
        )
        _, y = scan(self, state, (partitioned[index], jnp.asarray(index == 0)))
        return jnp.moveaxis(y.reshape(-1, *y.shape[2:])[:num_bands], 0, -1)
