"""CoarSR, the coarse stage: restores a cube band by band from neighbouring bands.

Contract: `CoarSR(scale).apply(variables, lr)` maps `[B, h, w, L]` to `[B, s h, s w, L]`, float32,
in [0, 1] up to overshoot, not clipped. A joint network also restores the cube at half the scale,
with a second tail on the same features: `apply(..., method="at_scales")` returns the cubes of all
its `scales`. Only FCF is sequential: NBP, heads, ASFMs and tails run on all bands as one batch
(`band_chunk=None`) or on chunks of bands. The FCF state is carried from chunk to chunk, which
bounds the memory. The method `bands` also serves the training step that updates once per band.
Source: paper, section on the coarse stage; the joint form is not in the paper.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from dualsr_jax.choices import PRECISIONS
from dualsr_jax.models.coarsr import nbp
from dualsr_jax.models.coarsr.asfm import ASFM
from dualsr_jax.models.coarsr.fcf import FCF, State
from dualsr_jax.models.layers import UPSAMPLING_STEPS, Conv, Tail, subpixel_reach
from dualsr_jax.ops.resize import REACH, imresize


class CoarSR(nn.Module):
    """The coarse network.

    Attributes:
        joint: whether a second tail restores the cube at half the scale, as the guide of the fine
            stage; for scales 4 and 8.
        band_chunk: bands processed as one batch, which bounds the memory; None means all bands.
            With BatchNorm in training, statistics are taken over one chunk; the published code
            trains with chunks of 1.
        precision: data type of convolutions and products, "float32" or "bfloat16"; parameters,
            residual sums, FCF and the bicubic images are always float32. On GPUs and TPUs
            `jax_default_matmul_precision` decides how exact float32 is.

    Raises:
        ValueError: when applied, if an attribute has another value than said here, the cube has
            fewer than 5 bands, or `bicubic` does not have the size of the result.
    """

    scale: int  # scale factor s: 2, 3, 4 or 8
    _: dataclasses.KW_ONLY
    features: int = 64  # channels C of every feature map
    num_asfm: int = 2  # adjacent spectral fusion modules in sequence
    num_blocks: int = 2  # residual blocks in each body
    norm: str | None = None  # or "batch": BatchNorm in the residual blocks, as released
    neighbours: str = "paper"  # or "released": a mode of `nbp.neighbour_table`
    joint: bool = False
    band_chunk: int | None = None
    precision: str = "float32"

    min_bands: ClassVar[int] = nbp.MIN_BANDS  # fewest bands of a cube
    num_bands: ClassVar[None] = None  # its weights suit any number
    adds_bicubic: ClassVar[bool] = True  # to the residuals of `bands`
    keeps_size: ClassVar[bool] = True
    min_side: ClassVar[int] = 1  # fewest LR pixels along a side

    def setup(self) -> None:
        """Checks the attributes and names the layers."""
        if self.scale not in UPSAMPLING_STEPS:
            raise ValueError(
                f"scale {self.scale} is not supported: expected one of {list(UPSAMPLING_STEPS)}"
            )
        for name in ("features", "num_asfm", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")
        if self.norm not in (None, "batch"):
            raise ValueError(f"unknown norm {self.norm!r}: expected None or 'batch'")
        if self.band_chunk is not None and self.band_chunk < 1:
            raise ValueError(
                f"band_chunk must be 1 or more, or None for all bands, got {self.band_chunk}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: expected one of {PRECISIONS}")
        if self.joint and self.scale not in (4, 8):
            raise ValueError(
                f"joint=True needs scale 4 or 8, got {self.scale}: at other scales the LR cube "
                "itself guides the fine stage"
            )
        dtype = self.precision
        self.heads = [Conv(self.features, dtype=dtype) for _ in nbp.GROUP_SIZES]
        self.asfms = [ASFM(self.num_blocks, self.norm, dtype) for _ in range(self.num_asfm)]
        self.reduce = Conv(self.features, size=1, dtype=dtype)
        self.conv = Conv(self.features, dtype=dtype)
        self.fcf = FCF()
        self.tail = Tail(self.scale, dtype)
        if self.joint:
            self.half_tail = Tail(self.scale // 2, dtype)

    @property
    def scales(self) -> tuple[int, ...]:
        """Scale factors of the results: s, and s/2 if the network is joint."""
        return (self.scale, self.scale // 2) if self.joint else (self.scale,)

    @property
    def reach(self) -> int:
        """LR pixels on every side of a result pixel on which it depends."""
        body = 2 * self.num_blocks  # two convolutions per block
        asfm = 2 * body + 2  # intra- and inter-group bodies, mixed unit
        return max(subpixel_reach(self.scale) + 1 + self.num_asfm * asfm + 1, REACH)

    @property
    def feature_maps(self) -> float:
        """Feature maps of one band that XLA holds at a time, counted at LR size.

        Measured with `memory_analysis` on CPUs: with 64 features 28 at scales 2 to 4 and 36 at 8,
        with 24 features 30 and 52, with 4 features 29 at scale 2, 74 at 4 and 292 at 8. What
        exceeds 30 belongs to the 9 maps per result pixel of the tail, with any number of features.
        """
        return max(30, 18 * self.scale**2 / self.features + self.scale**2 / 4 + 2)

    def _features(self, partitioned: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """The features that FCF fuses, and those of the bands alone; both `[K, B, h, w, C]`."""
        k, b, h, w, _ = partitioned.shape
        images = nbp.groups(partitioned.reshape(k * b, h, w, -1))
        heads = tuple(head(image) for head, image in zip(self.heads, images, strict=True))
        g = heads
        for asfm in self.asfms:
            g = asfm(g, heads, train=train)
        d = self.conv(self.reduce(jnp.concatenate(g, -1))) + heads[0]
        return d.reshape(k, b, h, w, -1), heads[0].reshape(k, b, h, w, -1)

    def bands(
        self,
        state: State,
        partitioned: Float[jax.Array, "K B h w 5"],
        first: Bool[jax.Array, "K"],
        *,
        train: bool = False,
        through_time: bool = False,
    ) -> tuple[State, tuple[Float[jax.Array, "K B _ _"], ...]]:
        """Restores consecutive bands, made by `nbp.partition`.

        `state` is the FCF state after the band before these; `first` tells which band is the first
        of its cube. The flags are those of `__call__`.

        Returns:
            The state after the last of these bands, and for each of `scales` the residuals to the
            bicubic images, `[K, B, s h, s w]`.
        """
        d, head = self._features(partitioned, train=train)
        state, states = self.fcf(state, d, first, through_time=through_time)
        self.sow("intermediates", "state", states)
        k, b, h, w, c = d.shape
        features = (states + head).reshape(k * b, h, w, c)
        tails = (self.tail, self.half_tail) if self.joint else (self.tail,)
        residuals = (tail(features) for tail in tails)
        return state, tuple(residual.reshape(k, b, *residual.shape[1:]) for residual in residuals)

    def held_maps(self, num_bands: int, band_chunk: int) -> float:
        """Feature maps that the network holds at a time for a cube, counted at LR size."""
        return band_chunk * self.feature_maps

    def band_table(self, num_bands: int | Any) -> Int[np.ndarray | jax.Array, "L 5"]:
        """The channels of each band: the band and its neighbours."""
        return nbp.with_self(nbp.neighbour_table(num_bands, self.neighbours))

    def partition(self, lr: Float[jax.Array, "B h w L"]) -> Float[jax.Array, "L B h w 5"]:
        """Gathers each band with its neighbours, for `bands`."""
        return nbp.partition(lr, nbp.neighbour_table(lr.shape[-1], self.neighbours))

    def initial_state(self, lr: Float[jax.Array, "B h w L"]) -> State:
        """Makes a state for the first band; its value is never used."""
        return jnp.zeros((*lr.shape[:3], self.features), lr.dtype)

    def __call__(
        self,
        lr: Float[jax.Array | np.ndarray, "B h w L"],
        bicubic: Float[jax.Array | np.ndarray, "B _ _ L"] | None = None,
        *,
        train: bool = False,
        through_time: bool = False,
    ) -> Float[jax.Array, "B sh sw L"]:
        """Super-resolves cubes in [0, 1] with L >= 5; the result is not clipped.

        `bicubic` is `lr` enlarged by the scale, computed if not given. With `train`, BatchNorm uses
        and updates the batch's statistics; with `through_time`, gradients flow through FCF's state.
        """
        bicubics = None
        if bicubic is not None:
            bicubics = (bicubic, *(imresize(jnp.asarray(lr), s) for s in self.scales[1:]))
        return self.at_scales(lr, bicubics, train=train, through_time=through_time)[0]

    def at_scales(
        self,
        lr: Float[jax.Array | np.ndarray, "B h w L"],
        bicubics: Sequence[Float[jax.Array | np.ndarray, "B _ _ L"]] | None = None,
        *,
        train: bool = False,
        through_time: bool = False,
    ) -> tuple[Float[jax.Array, "B _ _ L"], ...]:
        """Super-resolves cubes by each of `scales`; arguments as in `__call__`."""
        lr = jnp.asarray(lr)
        if bicubics is None:
            bicubics = [imresize(lr, scale) for scale in self.scales]
        for scale, bicubic in zip(self.scales, bicubics, strict=True):
            expected = (lr.shape[0], scale * lr.shape[1], scale * lr.shape[2], lr.shape[3])
            if bicubic.shape != expected:
                raise ValueError(
                    f"lr {lr.shape} and bicubic {bicubic.shape} do not match: "
                    f"at scale {scale} the bicubic image must be {expected}"
                )
        num_bands = lr.shape[-1]
        partitioned = self.partition(lr)
        index = nbp.chunks(num_bands, self.band_chunk)
        state = self.initial_state(lr)

        def restore(model: CoarSR, state: State, xs: Any) -> tuple[State, tuple]:
            return model.bands(state, *xs, train=train, through_time=through_time)

        if index.shape[0] == 1 or self.is_initializing():
            _, residuals = restore(self, state, (partitioned, jnp.arange(num_bands) == 0))
        else:
            scan = nn.scan(
                restore,
                variable_broadcast="params" if train else ("params", "batch_stats"),
                variable_carry="batch_stats" if train else False,
                variable_axes={"intermediates": 0},
                split_rngs={"params": False},
            )
            _, residuals = scan(self, state, (partitioned[index], jnp.asarray(index == 0)))
            residuals = tuple(r.reshape(-1, *r.shape[2:])[:num_bands] for r in residuals)
        return tuple(
            jnp.asarray(bicubic) + jnp.moveaxis(residual, 0, -1)
            for bicubic, residual in zip(bicubics, residuals, strict=True)
        )
