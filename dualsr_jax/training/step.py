"""One training step, a pure function of state and batch.

Contract: `make_train_step(...)` returns `step(state, batch) -> (state, metrics)`, without devices
or jit. A batch is `{"hr": [B, S, S, L], "variant": [B], "sample": [B]}`; integers are divided by
the largest value of their type. The step makes the rest: variants, LR and bicubic images, and blur
and noise, which the number of the sample decides. Metrics are scalars: loss, psnr_db (of results
clipped to [0, 1], each band before its own update), learning_rate, and half_psnr_db for a joint
network.

The loss is one of `losses.LOSSES`; that of a joint network adds the loss of the cube at half the
scale, whose target is the HR patch reduced by 2 (MATLAB bicubic). There are two ways to update:
- "band", as published: for each band in order one forward pass, one backward pass and one optimiser
  update; the FCF state is carried to the next band without gradient. L updates per batch.
- "image": one update per batch, with the loss averaged over the bands. Networks that do not restore
  bands one after another have no other way.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Float

from dualsr_jax.losses import LOSSES, OF_BANDS
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.coarsr import nbp
from dualsr_jax.models.network import Model, check_size_kept, method_of
from dualsr_jax.ops.augment import augment
from dualsr_jax.ops.degrade import Degradation, degrade, image_keys
from dualsr_jax.ops.resize import imresize

UPDATES = ("band", "image")
Batch = Mapping[str, jax.Array | np.ndarray]
Metrics = dict[str, jax.Array]
Results = tuple[Float[jax.Array, "B _ _ L"], ...]  # one cube for each of the network's `scales`
Bands = tuple[Float[jax.Array, "n B _ _"], ...]  # some of their bands


@struct.dataclass
class TrainState:
    """What a step changes: number of steps made, variables and the optimiser's state."""

    step: Any  # int32 scalar
    params: Any
    batch_stats: Any  # empty without BatchNorm
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the network, for `apply`."""
        statistics = {"batch_stats": self.batch_stats} if self.batch_stats else {}
        return {"params": self.params, **statistics}


class Images(NamedTuple):
    """The images of a batch."""

    lr: Float[jax.Array, "B h w L"]
    bicubics: Results  # `lr` enlarged by each of the network's `scales`
    targets: Results  # the cube that each result should equal


def _example(model: Model) -> np.ndarray:
    """A cube that the network takes; no shape in a state depends on its height and width."""
    return np.zeros((1, 8, 8, model.num_bands or model.min_bands), np.float32)


def _beginning(variables: Any, optimizer: optax.GradientTransformation) -> TrainState:
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
    )


@functools.lru_cache(maxsize=8)
def _init(model: Model) -> Callable[..., Any]:
    """The network's `init`; each network is traced once in a process, and compiled once."""
    # Run once: what optimising the program would save is less than what it costs.
    return jax.jit(model.init, compiler_options={"xla_backend_optimization_level": 1})


def create_state(
    model: Model, optimizer: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """A new state; its shapes do not depend on the size of images."""
    return _beginning(_init(model)(key, _example(model)), optimizer)


def state_shapes(model: Model, optimizer: optax.GradientTransformation) -> TrainState:
    """The shapes and types of `create_state`, without computing it."""
    shapes = cast(Any, _init(model)).eval_shape(jax.random.key(0), _example(model))
    return jax.eval_shape(lambda variables: _beginning(variables, optimizer), shapes)


def make_images(
    batch: Batch, scales: tuple[int, ...], *, degradation: Degradation, seed: int = 0
) -> Images:
    """Makes the images of a batch; the first of `scales` is that of the LR images."""
    hr = jnp.asarray(batch["hr"])
    if jnp.issubdtype(hr.dtype, jnp.integer):
        hr = hr.astype(jnp.float32) / jnp.iinfo(hr.dtype).max
    hr = augment(hr, jnp.asarray(batch["variant"]))
    keys = image_keys(seed, batch["sample"])
    lr = jnp.asarray(degrade(hr, keys, scale=scales[0], degradation=degradation))
    return Images(
        lr,
        tuple(imresize(lr, scale) for scale in scales),
        (hr, *(imresize(hr, scale / scales[0]) for scale in scales[1:])),
    )


def updates_per_batch(update: str, num_bands: int) -> int:
    """Optimiser updates per batch."""
    return num_bands if update == "band" else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning:
    """The learning part of a step: `learning(state, images) -> (state, loss, results)`.

    The loss is `[L]`, per band, or `[1]`, of whole cubes, if all bands are computed at once.
    Raises ValueError if a setting is unknown or out of range, or does not go with another one or
    with the network.
    """

    model: Model
    optimizer: optax.GradientTransformation
    update: str = "band"  # or "image"
    loss: str = "l1"  # a key of `LOSSES`; update "band" needs one of `OF_BANDS`
    through_time: bool = False  # gradients flow through the FCF state; needs update "image"
    half_weight: float = 1.0  # of the half-scale term in the loss of a joint network
    axis_name: str | None = None  # averages gradients, BatchNorm statistics and metrics over it

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.update not in UPDATES:
            raise ValueError(f"unknown update {self.update!r}: expected one of {UPDATES}")
        if self.through_time and self.update == "band":
            raise ValueError(
                "through_time=True needs update='image': with an update per band, the features of "
                "earlier bands come from parameters that no longer exist"
            )
        check_size_kept(self.model)
        if self.loss not in LOSSES:
            raise ValueError(f"unknown train.loss {self.loss!r}: expected one of {list(LOSSES)}")
        if self.update == "band" and not hasattr(self.model, "bands"):
            raise ValueError(
                f"update='band' needs a network that restores bands one after another, which "
                f"{method_of(self.model)} does not: use update='image'"
            )
        if self.update == "band" and self.loss not in OF_BANDS:
            raise ValueError(
                f"train.loss={self.loss!r} needs update='image', because it is that of whole cubes"
            )
        if not self.half_weight > 0:
            raise ValueError(f"train.half_weight={self.half_weight} must be more than 0")

    def __call__(self, state: TrainState, images: Images) -> tuple[TrainState, jax.Array, Results]:
        """Learns from the images; returns the new state, the loss and the results."""
        bands_alone = hasattr(self.model, "bands") and self.loss in OF_BANDS
        at_once = self.through_time or not bands_alone
        if not at_once:
            self.check_bands(images.lr.shape[-1])
        return (self._at_once if at_once else self._in_chunks)(state, images)

    def check_bands(self, num_bands: int) -> None:
        """Raises ValueError if BatchNorm would count the last band of a cube more than once.

        It does if the last chunk of bands is filled up with copies of that band.
        """
        chunk = 1 if self.update == "band" else self.model.band_chunk
        if getattr(self.model, "norm", None) and nbp.chunks(num_bands, chunk).size != num_bands:
            fitting = (str(k) for k in range(1, num_bands + 1) if num_bands % k == 0)
            raise ValueError(
                f"model.band_chunk={chunk} does not divide {num_bands} bands: BatchNorm would "
                f"count the last one several times; choose one of {', '.join(fitting)}, or None"
            )

    def mean(self, tree: Any) -> Any:
        """The mean over `axis_name`."""
        return tree if self.axis_name is None else jax.lax.pmean(tree, self.axis_name)

    def _loss(self, results: Results, targets: Results) -> Float[jax.Array, ""]:
        """The loss of cubes, added up over the scales."""
        first, *half = map(LOSSES[self.loss], results, targets)
        return first + self.half_weight * half[0] if half else first

    def _loss_of_bands(self, results: Bands, targets: Bands) -> Float[jax.Array, " n"]:
        """The loss of each of `n` bands."""
        cubes = jax.tree.map(lambda bands: bands[..., None], (results, targets))
        return jax.vmap(self._loss)(*cubes)

    def _optimise(self, state: TrainState, gradient: Any, batch_stats: Any) -> TrainState:
        gradient, batch_stats = self.mean((gradient, batch_stats))
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return dataclasses.replace(
            state, params=params, batch_stats=batch_stats, opt_state=opt_state
        )

    def _apply(self, params: Any, state: TrainState, *args: Any, **how: Any) -> tuple[Any, Any]:
        """Results of the network in training mode, and its new BatchNorm statistics."""
        variables = {"params": params, "batch_stats": state.batch_stats}
        if getattr(self.model, "dropout", 0):
            how["rngs"] = {"dropout": self._dropout_key(state)}
        found, new = self.model.apply(variables, *args, train=True, mutable=["batch_stats"], **how)
        return found, new.get("batch_stats", {})

    def _dropout_key(self, state: TrainState) -> jax.Array:
        """A key for each step and device."""
        key = jax.random.fold_in(jax.random.key(0), state.step)
        if self.axis_name is None:
            return key
        return jax.random.fold_in(key, jax.lax.axis_index(self.axis_name))

    def _at_once(self, state: TrainState, images: Images) -> tuple[TrainState, jax.Array, Results]:
        """Makes one update with the gradient of all bands at once."""

        def loss_of(params: Any) -> tuple[jax.Array, tuple]:
            how = {"through_time": self.through_time, "method": "at_scales"}
            results, batch_stats = self._apply(params, state, images.lr, images.bicubics, **how)
            loss = self._loss(results, images.targets)
            return loss, (loss, results, batch_stats)

        gradient, (loss, results, batch_stats) = jax.grad(loss_of, has_aux=True)(state.params)
        return self._optimise(state, gradient, batch_stats), self.mean(loss)[None], results

    def _in_chunks(
        self, state: TrainState, images: Images
    ) -> tuple[TrainState, jax.Array, Results]:
        """An update per band, or one with the gradients of chunks of bands added up.

        No gradient flows between bands, so that the backward pass of a chunk can follow its forward
        pass, and only the features of one chunk are kept at a time.
        """
        per_band, num_bands = self.update == "band", images.lr.shape[-1]
        index = nbp.chunks(num_bands, 1 if per_band else self.model.band_chunk)
        real = np.arange(index.size).reshape(index.shape) < num_bands
        weight = real / (1 if per_band else num_bands)

        def one_chunk(carry: Any, chunk: Any) -> tuple[Any, Any]:
            state, fcf_state, total = carry
            partitioned, bicubics, targets, first, weight = chunk

            def loss_of(params: Any) -> tuple[jax.Array, tuple]:
                (new_fcf_state, residuals), batch_stats = self._apply(
                    params, state, fcf_state, partitioned, first, method="bands"
                )
                results = residuals
                if self.model.adds_bicubic:
                    results = jax.tree.map(jnp.add, bicubics, residuals)
                loss = self._loss_of_bands(results, targets)
                return loss @ weight, (loss, results, new_fcf_state, batch_stats)

            gradient, aux = jax.grad(loss_of, has_aux=True)(state.params)
            loss, results, fcf_state, batch_stats = aux
            if per_band:
                state = self._optimise(state, gradient, batch_stats)
            else:
                total = jax.tree.map(jnp.add, total, gradient)
                state = dataclasses.replace(state, batch_stats=batch_stats)
            return (state, fcf_state, total), (loss, results)

        def chunks_of(cube: jax.Array) -> jax.Array:
            return jnp.moveaxis(cube, -1, 0)[index]

        xs = (
            self.model.partition(images.lr)[index],
            jax.tree.map(chunks_of, images.bicubics),
            jax.tree.map(chunks_of, images.targets),
            jnp.asarray(index == 0),
            jnp.asarray(weight, images.lr.dtype),
        )
        total = None if per_band else jax.tree.map(jnp.zeros_like, state.params)
        carry = (state, self.model.initial_state(images.lr), total)
        (state, _, total), found = jax.lax.scan(one_chunk, carry, xs)
        if not per_band:
            state = self._optimise(state, total, state.batch_stats)
        loss, results = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:num_bands], found)
        return state, self.mean(loss), jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), results)


def make_train_step(
    learning: Learning,
    schedule: optax.Schedule,
    *,
    degradation: Degradation = Degradation(),  # noqa: B008, immutable
    seed: int = 0,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the step; the schedule is that of the optimiser, for the metrics."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        scales = learning.model.scales
        images = make_images(batch, scales, degradation=degradation, seed=seed)
        updates = state.step * updates_per_batch(learning.update, images.lr.shape[-1])
        state, loss, results = learning(state, images)
        metrics = {"loss": loss.mean(), "learning_rate": jnp.asarray(schedule(updates))}
        names = ("psnr_db", "half_psnr_db")
        for name, result, target in zip(names, results, images.targets, strict=False):
            metrics[name] = learning.mean(psnr_db(result.clip(0, 1), target).mean())
        return dataclasses.replace(state, step=state.step + 1), metrics

    return step
