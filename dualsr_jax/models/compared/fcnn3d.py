"""3D-FCNN: four 3-D convolutions that sharpen the bicubic image.

Contract: that of `base`. The kernels have the axes (row, column, band), as in the published Keras
code, and every convolution is a "valid" one: the output has 6 pixels less at each side and 4 bands
less at each end. Source: Mei et al., "Hyperspectral image spatial super-resolution via 3D full
convolutional neural network", Remote Sensing 9:1139, 2017.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from dualsr_jax.models.compared.base import Compared
from dualsr_jax.models.compared.layers import in_chunks
from dualsr_jax.models.layers import add_bias, product
from dualsr_jax.ops.conv import conv2d
from dualsr_jax.ops.resize import REACH

PADS = ("symmetric", "valid")
_FIRST, _LAST = (9, 9, 7), (5, 5, 3)  # sizes of the first and last kernel
_MARGIN, _MARGIN_BANDS = 6, 4  # what all convolutions together take from each side


class KerasConv(nn.Module):
    """The parameters of a 3-D convolution with Keras' initial values.

    Attributes:
        shape: kernel shape, `[rows, columns, bands, in, out]`.
        gain: factor on the initial values of the kernel.
    """

    shape: tuple[int, ...]
    gain: float = 1.0

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns the kernel, of `shape`, and the bias `[out]`."""
        init = nn.initializers.glorot_uniform()
        kernel = self.param("kernel", lambda *how: self.gain * init(*how), self.shape)
        return kernel, self.param("bias", nn.initializers.zeros, self.shape[-1:])


def _mirrored(x: jax.Array, axis: int, margin: int) -> jax.Array:
    """Mirrors an array outwards at both ends of an axis, edge repeated."""
    length: Any = x.shape[axis]
    if isinstance(length, int):
        widths = [(margin, margin) if a == axis else (0, 0) for a in range(x.ndim)]
        return jnp.pad(x, widths, mode="symmetric")
    # `jnp.pad` mirrors a short axis several times, and must know its length.
    before = lax.slice_in_dim(x, 0, margin, axis=axis)
    after = lax.slice_in_dim(x, length - margin, length, axis=axis)
    return jnp.concatenate([jnp.flip(before, axis), x, jnp.flip(after, axis)], axis)


class FCNN3D(Compared):
    """3D-FCNN.

    Attributes:
        features: channels after the first convolution.
        hidden: channels after the second and third one.
        pad: "symmetric": the image is mirrored outwards first, edge repeated, so that the output
            has its size; "valid": the output is smaller, as published.
    """

    features: int = 64
    hidden: tuple[int, int] = (32, 9)
    pad: str = "symmetric"

    @property
    def keeps_size(self) -> bool:
        """Whether the result has the size of the enlarged image."""
        return self.pad == "symmetric"

    @property
    def min_bands(self) -> int:
        """The fewest bands that a cube may have: as many as are mirrored, or are lost, and one."""
        return _MARGIN_BANDS if self.pad == "symmetric" else 2 * _MARGIN_BANDS + 1

    @property
    def min_side(self) -> int:
        """The fewest LR pixels along a side of an image of unknown size, in an exported network."""
        return math.ceil(_MARGIN / self.scale)

    @property
    def reach(self) -> int:
        """How many LR pixels away, on every side, a pixel of the result depends on."""
        return math.ceil(_MARGIN / self.scale) + REACH

    @property
    def feature_maps(self) -> float:
        """Feature maps of one band that the network holds at a time, counted at LR size."""
        return 8 * self.scale**2 / self.features  # images

    @property
    def chunk_maps(self) -> float:
        """Feature maps of one band of a chunk, which are held besides."""
        return self.scale**2 * (2 + (_FIRST[2] + sum(self.hidden)) / self.features)

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted."""
        super().check_settings()
        self.require_positive("features")
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"hidden={self.hidden} must be two numbers of 1 or more")
        if self.pad not in PADS:
            raise ValueError(f"unknown pad {self.pad!r}: expected one of {PADS}")
        if self.pad == "valid" and self.adds_bicubic:
            raise ValueError("skip='bicubic' needs pad='symmetric': the output has another size")

    def _valid(self, images: jax.Array, kernel: jax.Array) -> jax.Array:
        """A 2-D convolution without padding."""
        dtype, (rows, columns) = self.precision, (kernel.shape[0] // 2, kernel.shape[1] // 2)
        y = conv2d(images.astype(dtype), kernel.astype(dtype)).astype(images.dtype)
        return y[:, rows:-rows, columns:-columns]

    @nn.compact
    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        x = bicubic
        if self.pad == "symmetric":
            for axis, margin in ((1, _MARGIN), (2, _MARGIN), (3, _MARGIN_BANDS)):
                x = _mirrored(x, axis, margin)
        elif min(x.shape[1:3]) <= 2 * _MARGIN:
            raise ValueError(
                f"an enlarged image of {x.shape[1]} x {x.shape[2]} pixels is too small for "
                f"pad='valid': expected more than {2 * _MARGIN}"
            )
        widths = (1, self.features, *self.hidden, 1)
        shapes = [
            (*size, i, o)
            for size, i, o in zip(
                (_FIRST, (1, 1, 1), (1, 1, 1), _LAST), widths[:-1], widths[1:], strict=True
            )
        ]
        (k1, b1), (k2, b2), (k3, b3), (k4, b4) = (
            KerasConv(shape, self.last_gain if n == 4 else 1.0, name=f"conv3d_{n}")()
            for n, shape in enumerate(shapes, start=1)
        )
        depth = _FIRST[2]

        def taps_of_last(some: jax.Array) -> jax.Array:
            b, bands, h, w = some.shape
            bands -= depth - 1
            # The taps along the bands are input channels: there is one input channel otherwise.
            y = jnp.stack([some[:, k : k + bands] for k in range(depth)], -1)
            y = y.reshape(b * bands, h, w, depth)
            y = nn.relu(add_bias(self._valid(y, k1[:, :, :, 0]), b1))
            y = nn.relu(add_bias(product(y, k2[0, 0, 0], self.precision), b2))
            y = nn.relu(add_bias(product(y, k3[0, 0, 0], self.precision), b3))
            y = self._valid(y, jnp.moveaxis(k4[..., 0], 2, 3))  # one output channel per tap
            return y.reshape(b, bands, *y.shape[1:])

        y = in_chunks(taps_of_last, jnp.moveaxis(x, -1, 1), self.band_chunk, depth)
        bands = y.shape[1] - _LAST[2] + 1
        y = sum(y[:, k : k + bands, ..., k] for k in range(1, _LAST[2])) + y[:, :bands, ..., 0]
        return jnp.moveaxis(y, 1, -1) + b4[0]
