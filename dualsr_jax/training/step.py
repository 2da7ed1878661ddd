"""One training step, a pure function of state and batch.

Contract: `make_train_step(...)` gives `step(state, batch) -> (state, metrics)`, without devices or
jit; with `axis_name` gradients, BatchNorm statistics and metrics are averaged over that axis. A
batch is `{"hr": [B, S, S, L], "variant": [B], "sample": [B]}`, with integers as fractions of their
type's largest value; everything else (variants, LR and bicubic images, blur and noise by the number
of the sample) is made inside the step. Metrics are scalars: loss (L1), psnr_db (of results clipped
to [0, 1], each band before its own update), learning_rate.

Two updates:
- "band": as published. For each band in order: forward, backward, one optimiser step; the FCF
  state is carried on detached. L steps a batch.
- "image": one step a batch, loss averaged over the bands.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Float

from dualsr_jax.metrics import psnr_db
from dualsr_jax.models import nbp
from dualsr_jax.models.coarse import CoarSR
from dualsr_jax.ops.augment import augment
from dualsr_jax.ops.degrade import Degradation, degrade, image_keys
from dualsr_jax.ops.resize import imresize

UPDATES = ("band", "image")
Batch = Mapping[str, jax.Array | np.ndarray]
Metrics = dict[str, jax.Array]


@struct.dataclass
class TrainState:
    """What training carries on: batches seen, variables and the optimiser's state."""

    step: Any  # int32 scalar
    params: Any
    batch_stats: Any  # empty without BatchNorm
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the network, for `CoarSR.apply`."""
        statistics = {"batch_stats": self.batch_stats} if self.batch_stats else {}
        return {"params": self.params, **statistics}


_EXAMPLE = np.zeros((1, 8, 8, nbp.MIN_BANDS), np.float32)  # no shape in a state depends on it


def _beginning(variables: Any, optimizer: optax.GradientTransformation) -> TrainState:
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
    )


def create_state(
    model: CoarSR, optimizer: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """A new state; every shape in it is independent of the size of images and number of bands."""
    # Run once: what optimising the program would save is less than what it costs.
    init = jax.jit(model.init, compiler_options={"xla_backend_optimization_level": 1})
    return _beginning(init(key, _EXAMPLE), optimizer)


def state_shapes(model: CoarSR, optimizer: optax.GradientTransformation) -> TrainState:
    """The shapes and types of `create_state`, without computing it."""
    return jax.eval_shape(lambda: _beginning(model.init(jax.random.key(0), _EXAMPLE), optimizer))


def make_images(
    batch: Batch, scale: int, *, degradation: Degradation, seed: int = 0
) -> tuple[jax.Array, jax.Array, Float[jax.Array, "B S S L"]]:
    """LR, bicubic and HR images of a batch; the seed is that of random blur and noise."""
    hr = jnp.asarray(batch["hr"])
    if jnp.issubdtype(hr.dtype, jnp.integer):
        hr = hr.astype(jnp.float32) / jnp.iinfo(hr.dtype).max
    hr = augment(hr, jnp.asarray(batch["variant"]))
    keys = image_keys(seed, batch["sample"])
    lr = jnp.asarray(degrade(hr, keys, scale=scale, degradation=degradation))
    return lr, imresize(lr, scale), hr


def updates_per_batch(update: str, num_bands: int) -> int:
    """Optimiser updates that one batch makes."""
    return num_bands if update == "band" else 1


def make_update(
    model: CoarSR,
    optimizer: optax.GradientTransformation,
    *,
    update: str,
    through_time: bool = False,
    axis_name: str | None = None,
) -> Callable[..., tuple[TrainState, jax.Array, jax.Array]]:
    """The learning part of a step, on images that are ready.

    Args:
        model: the network.
        optimizer: an optax transformation.
        update: "band" or "image".
        through_time: whether gradients flow through the FCF state; needs "image".
        axis_name: mapped axis to average over.

    Returns:
        `(state, lr, bicubic, hr) -> (state, loss a band [L], sr)`.

    Raises:
        ValueError: if `update` is unknown or does not go with `through_time`.
    """
    if update not in UPDATES:
        raise ValueError(f"unknown update {update!r}: expected one of {UPDATES}")
    if through_time and update == "band":
        raise ValueError(
            "through_time=True needs update='image': with an update every band, the earlier bands' "
            "features come from parameters that no longer exist"
        )

    def mean(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def optimise(state: TrainState, gradient: Any, batch_stats: Any) -> TrainState:
        gradient, batch_stats = mean((gradient, batch_stats))
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return dataclasses.replace(
            state, params=params, batch_stats=batch_stats, opt_state=opt_state
        )

    def update_at_once(state, lr, bicubic, hr):
        def loss_of(params: Any) -> tuple[jax.Array, tuple]:
            sr, new = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                lr,
                bicubic,
                train=True,
                through_time=through_time,
                mutable=["batch_stats"],
            )
            loss = jnp.abs(sr - hr).mean((0, 1, 2))
            return loss.mean(), (loss, sr, new.get("batch_stats", {}))

        gradient, (loss, sr, batch_stats) = jax.grad(loss_of, has_aux=True)(state.params)
        return optimise(state, gradient, batch_stats), mean(loss), sr

    def update_in_chunks(state, lr, bicubic, hr):
        # No gradient flows between bands, so that each chunk's backward pass can follow its own
        # forward pass, and the features of one chunk are all that is ever kept.
        num_bands = hr.shape[-1]
        index = nbp.chunks(num_bands, 1 if update == "band" else model.band_chunk)
        real = np.arange(index.size).reshape(index.shape) < num_bands
        weight = real / (1 if update == "band" else num_bands)

        def one_chunk(carry, bands):
            state, fcf_state, total = carry
            partitioned, bicubic_i, hr_i, first, weight = bands

            def loss_of(params: Any) -> tuple[jax.Array, tuple]:
                (new_fcf_state, residual), new = model.apply(
                    {"params": params, "batch_stats": state.batch_stats},
                    fcf_state,
                    partitioned,
                    first,
                    train=True,
                    mutable=["batch_stats"],
                    method="bands",
                )
                sr = bicubic_i + residual
                loss = jnp.abs(sr - hr_i).mean((1, 2, 3))
                return loss @ weight, (loss, sr, new_fcf_state, new.get("batch_stats", {}))

            gradient, aux = jax.grad(loss_of, has_aux=True)(state.params)
            loss, sr, fcf_state, batch_stats = aux
            if update == "band":
                state = optimise(state, gradient, batch_stats)
            else:
                total = jax.tree.map(jnp.add, total, gradient)
                state = dataclasses.replace(state, batch_stats=batch_stats)
            return (state, fcf_state, total), (loss, sr)

        partitioned = nbp.partition(lr, nbp.neighbour_table(num_bands, model.neighbours))[index]
        xs = (
            partitioned,
            jnp.moveaxis(bicubic, -1, 0)[index],
            jnp.moveaxis(hr, -1, 0)[index],
            jnp.asarray(index == 0),
            jnp.asarray(weight, hr.dtype),
        )
        total = None if update == "band" else jax.tree.map(jnp.zeros_like, state.params)
        carry = (state, model.initial_state(lr), total)
        (state, _, total), (loss, sr) = jax.lax.scan(one_chunk, carry, xs)
        if update == "image":
            state = optimise(state, total, state.batch_stats)
        loss, sr = (a.reshape(-1, *a.shape[2:])[:num_bands] for a in (loss, sr))
        return state, mean(loss), jnp.moveaxis(sr, 0, -1)

    return update_at_once if through_time else update_in_chunks


def make_train_step(
    model: CoarSR,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    update: str = "band",
    through_time: bool = False,
    degradation: Degradation = Degradation(),  # noqa: B008, immutable
    seed: int = 0,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the step.

    Args:
        model: see `make_update`, as are those not named here.
        optimizer: likewise.
        schedule: of the learning rate, for the log.
        update: likewise.
        through_time: likewise.
        degradation: what makes LR images of HR images.
        seed: of random degradation.
        axis_name: mapped axis to average over.
    """
    learn = make_update(
        model,
        optimizer,
        update=update,
        through_time=through_time,
        axis_name=axis_name,
    )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        lr, bicubic, hr = make_images(batch, model.scale, degradation=degradation, seed=seed)
        learning_rate = schedule(state.step * updates_per_batch(update, hr.shape[-1]))
        state, loss, sr = learn(state, lr, bicubic, hr)
        psnr = psnr_db(sr.clip(0, 1), hr).mean()
        if axis_name is not None:
            psnr = jax.lax.pmean(psnr, axis_name)
        metrics = {"loss": loss.mean(), "psnr_db": psnr, "learning_rate": learning_rate}
        return dataclasses.replace(state, step=state.step + 1), metrics

    return step
