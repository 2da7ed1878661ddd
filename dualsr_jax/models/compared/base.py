"""What the compared methods have in common: settings, their checks, and the interface of `CoarSR`.

Contract: `Method(scale, ...).apply(variables, lr, bicubic)` maps `[B, h, w, L]` to
`[B, s h, s w, L]`, float32, not clipped; `bicubic` is `lr` enlarged by MATLAB bicubic, computed
when it is not given. A method overrides `restore`. Parameters have the names of the published code,
with an underscore for the dot before a number, and their layout is [..., in, out].
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from dualsr_jax.choices import PRECISIONS
from dualsr_jax.ops.resize import REACH, imresize

GLOBAL = "global"  # reach of a network whose every pixel depends on the whole image
SKIPS = ("published", "bicubic")
_SMALL_GAIN = 0.01  # of a last layer whose output corrects the bicubic image

Cubes = Float[jax.Array, "B _ _ _"]  # smaller than the bicubic image without padding


class Compared(nn.Module):
    """A compared method.

    Attributes:
        scale: scale factor s.
        num_bands: number of bands L of its cubes. Methods whose weights depend on it need it; for
            the others None means any number.
        skip: "published", or "bicubic": the network corrects the bicubic image, and its last layer
            starts so small that training begins at that image.
        band_chunk: bands processed as one batch, None for all, where the network can divide them:
            all of SFCSR and 3D-FCNN, the upsampling of MCNet and ERCSR.
        precision: "float32" or "bfloat16", in which convolutions and products are computed.

    Raises:
        ValueError: when applied, if a setting is unknown, or the cube or the bicubic image does not
            fit to the settings.
    """

    scale: int
    _: dataclasses.KW_ONLY
    num_bands: int | None = None
    skip: str = "published"
    band_chunk: int | None = None
    precision: str = "float32"

    joint: ClassVar[bool] = False
    admitted_scales: ClassVar[tuple[int, ...]] = (2, 3, 4, 8)

    @property
    def scales(self) -> tuple[int, ...]:
        """Scale factors of the results."""
        return (self.scale,)

    @property
    def min_bands(self) -> int:
        """The fewest bands that a cube may have."""
        return 1

    @property
    def feature_maps(self) -> float:
        """Feature maps of one band that the network holds at a time, counted at LR size."""
        raise NotImplementedError

    @property
    def chunk_maps(self) -> float:
        """Feature maps of one band of a chunk, which are held besides."""
        return 0.0

    def held_maps(self, num_bands: int, band_chunk: int) -> float:
        """Feature maps that the network holds at a time for a cube, counted at LR size."""
        return num_bands * self.feature_maps + band_chunk * self.chunk_maps

    @property
    def keeps_size(self) -> bool:
        """Whether the result has the size of the enlarged image."""
        return True

    @property
    def min_side(self) -> int:
        """The fewest LR pixels along a side of an image of unknown size, in an exported network."""
        return 1

    @property
    def needs_num_bands(self) -> bool:
        """Whether the weights depend on the number of bands."""
        return False

    @property
    def adds_bicubic(self) -> bool:
        """Whether the output of the layers is added to the bicubic image."""
        return self.skip == "bicubic"

    @property
    def last_gain(self) -> float:
        """Factor on the initial values of the last layer."""
        return _SMALL_GAIN if self.adds_bicubic else 1.0

    def reach_with_skip(self, reach: int) -> int:
        """The reach of the layers and, where it is added, of the bicubic image."""
        return max(reach, REACH) if self.adds_bicubic else reach

    def check_settings(self) -> None:
        """Raises ValueError if a setting is not admitted; methods add checks of their own."""
        name = type(self).__name__
        if self.scale not in self.admitted_scales:
            raise ValueError(
                f"scale {self.scale} is not supported by {name}: expected one of "
                f"{list(self.admitted_scales)}"
            )
        if self.skip not in SKIPS:
            raise ValueError(f"unknown skip {self.skip!r}: expected one of {SKIPS}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: expected one of {PRECISIONS}")
        if self.band_chunk is not None and self.band_chunk < 1:
            raise ValueError(f"band_chunk must be 1 or more, or None for all: {self.band_chunk}")
        if self.num_bands is None and self.needs_num_bands:
            raise ValueError(f"the weights of {name} depend on the number of bands: set num_bands")
        if self.num_bands is not None and self.num_bands < self.min_bands:
            raise ValueError(
                f"num_bands={self.num_bands} is too small: {name} needs {self.min_bands} or more"
            )

    def require_positive(self, *names: str) -> None:
        """Raises ValueError if one of these settings is not at least 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")

    def check_cube(self, lr: jax.Array) -> None:
        """Raises ValueError if a cube has a number of bands that the network does not take."""
        bands, name = lr.shape[-1], type(self).__name__
        if self.num_bands is not None and bands != self.num_bands:
            raise ValueError(
                f"a cube of {bands} bands does not fit: this {name} is made for {self.num_bands}"
            )
        if bands < self.min_bands:
            raise ValueError(
                f"a cube of {bands} bands is too small: {name} needs {self.min_bands} or more"
            )

    def band_mean(self) -> Float[jax.Array, "L"]:
        """The means of the bands: a parameter, so that it stays with the weights, but not trained.

        It starts at zero; training must set it to the means of its scenes.
        """
        mean = self.param("band_mean", nn.initializers.zeros, (self.num_bands,))
        return jax.lax.stop_gradient(mean)

    def restore(
        self, lr: jax.Array, bicubic: jax.Array, *, train: bool, through_time: bool
    ) -> jax.Array:
        """The output of the layers, before the bicubic image is added."""
        raise NotImplementedError

    def __call__(
        self,
        lr: Float[jax.Array | np.ndarray, "B h w L"],
        bicubic: Float[jax.Array | np.ndarray, "B _ _ L"] | None = None,
        *,
        train: bool = False,
        through_time: bool = False,
    ) -> Cubes:
        """Super-resolves cubes.

        Args:
            lr: low-resolution cubes, [0, 1].
            bicubic: `lr` enlarged by the scale; computed when not given.
            train: whether dropout is on (ESSAformer).
            through_time: whether gradients flow through the state between bands (SFCSR).

        Returns:
            The result, not clipped.
        """
        bicubics = None if bicubic is None else (bicubic,)
        return self.at_scales(lr, bicubics, train=train, through_time=through_time)[0]

    def at_scales(
        self,
        lr: Float[jax.Array | np.ndarray, "B h w L"],
        bicubics: Sequence[Any] | None = None,
        *,
        train: bool = False,
        through_time: bool = False,
    ) -> tuple[Cubes, ...]:
        """Super-resolves cubes by each of `scales`, of which there is one, as `__call__` does."""
        self.check_settings()
        lr = jnp.asarray(lr)
        self.check_cube(lr)
        bicubic = imresize(lr, self.scale) if bicubics is None else jnp.asarray(bicubics[0])
        expected = (lr.shape[0], self.scale * lr.shape[1], self.scale * lr.shape[2], lr.shape[3])
        if bicubic.shape != expected:
            raise ValueError(
                f"lr {lr.shape} and bicubic {bicubic.shape} do not match: "
                f"at scale {self.scale} the bicubic image must be {expected}"
            )
        output = self.restore(lr, bicubic, train=train, through_time=through_time)
        return (bicubic + output if self.adds_bicubic else output,)
