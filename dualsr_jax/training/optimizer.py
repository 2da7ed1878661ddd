"""Adam with its learning rate, gradient clipping and a moving average of the parameters.

Contract: configs count in epochs, optax in optimiser updates, of which a batch makes one or, with
an update per band, as many as it has bands. The conversion happens here only.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("halve", "tenth", "cosine", "constant")


def learning_rate_schedule(
    learning_rate: float,
    halve_every_epochs: float,
    updates_per_epoch: int,
    *,
    kind: str = "halve",
    epochs: float = 200.0,
    warmup_epochs: float = 0.0,
    last_rate: float = 0.0,
) -> optax.Schedule:
    """The learning rate as a function of the number of optimiser updates made.

    It rises linearly from 0 to `learning_rate` in `warmup_epochs`. Then it stays ("constant") or
    falls: "halve" is a staircase, as published; "tenth" is SSPSR's, ten times lower from epoch
    `halve_every_epochs` on, counted from 1, and so forth; "cosine" is half a cosine down to
    `last_rate`, a fraction of `learning_rate`, at the end of the run of `epochs`. Raises ValueError
    if the kind is unknown, an argument is out of range, or the warm-up is as long as the run.
    """
    if min(learning_rate, halve_every_epochs, updates_per_epoch) <= 0:
        raise ValueError(
            "learning_rate, halve_every_epochs and updates_per_epoch must be positive, got "
            f"{learning_rate}, {halve_every_epochs} and {updates_per_epoch}"
        )
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(
            f"train.warmup_epochs={warmup_epochs} must be 0 or more, and less than the "
            f"{epochs} epochs of the run"
        )
    if not 0 <= last_rate <= 1:
        raise ValueError(f"train.last_rate={last_rate} must be at least 0 and at most 1")
    warmup = round(warmup_epochs * updates_per_epoch)
    period = max(1, round(halve_every_epochs * updates_per_epoch))
    after: optax.Schedule
    if kind == "halve":
        after = optax.exponential_decay(learning_rate, period, 0.5, staircase=True)
    elif kind == "tenth":
        lower = optax.exponential_decay(learning_rate, period, 0.1, staircase=True)
        after = lambda count: lower(count + updates_per_epoch)  # noqa: E731
    elif kind == "constant":
        after = optax.constant_schedule(learning_rate)
    elif kind == "cosine":
        length = max(1, round(epochs * updates_per_epoch) - warmup)
        after = optax.cosine_decay_schedule(learning_rate, length, last_rate)
    else:
        raise ValueError(f"unknown train.schedule {kind!r}: expected one of {SCHEDULES}")
    if not warmup:
        return after
    rise = optax.linear_schedule(0.0, learning_rate, warmup)
    return optax.join_schedules([rise, after], [warmup])


class AverageState(NamedTuple):
    """The exponential moving average of the parameters."""

    average: Any


def keep_average(decay: float) -> optax.GradientTransformation:
    """Leaves updates as they are, and averages the parameters that they lead to.

    It must be the last transformation of a chain. The average is saved as part of its state.
    """

    def init(params: Any) -> AverageState:
        # A copy: a step gives up the buffers of its state, and no buffer can be given up twice.
        return AverageState(jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: AverageState, params: Any) -> tuple[Any, AverageState]:
        new = optax.apply_updates(params, updates)
        return updates, AverageState(
            jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, new)
        )

    return optax.GradientTransformation(init, update)


def averaged_params(opt_state: optax.OptState) -> Any | None:
    """The average that `keep_average` keeps; None if it is not used."""
    is_average = lambda node: isinstance(node, AverageState)  # noqa: E731
    found = [s for s in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(s)]
    return found[0].average if found else None


def adam(
    schedule: optax.Schedule, *, clip_norm: float | None = None, ema_decay: float | None = None
) -> optax.GradientTransformation:
    """Adam with beta 0.9 and 0.999 and eps 1e-8, as published.

    Gradients whose norm over all parameters exceeds `clip_norm` are shortened to it. `ema_decay`,
    in (0, 1), is the decay per update of a moving average of the parameters. None leaves them out.
    Raises ValueError if `clip_norm` or `ema_decay` is out of range.
    """
    transformations = [optax.adam(schedule, b1=0.9, b2=0.999, eps=1e-8)]
    if clip_norm is not None:
        if clip_norm <= 0:
            raise ValueError(f"train.clip_norm={clip_norm} must be positive, or None")
        transformations.insert(0, optax.clip_by_global_norm(clip_norm))
    if ema_decay is not None:
        if not 0 < ema_decay < 1:
            raise ValueError(f"train.ema_decay={ema_decay} must be between 0 and 1, or None")
        transformations.append(keep_average(ema_decay))
    return optax.chain(*transformations) if len(transformations) > 1 else transformations[0]
