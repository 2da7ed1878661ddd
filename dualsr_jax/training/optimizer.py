"""Adam with the published schedule, counted in epochs.

Contract: configurations count in epochs; optax counts optimiser steps, of which a batch makes one
or, with one update a band, as many as it has bands. The conversion happens here only.
"""

import optax


def learning_rate_schedule(
    learning_rate: float, halve_every_epochs: float, updates_per_epoch: int
) -> optax.Schedule:
    """Step size as a function of the number of optimiser updates made.

    Args:
        learning_rate: at the start, positive.
        halve_every_epochs: epochs after which it is halved, again and again; positive.
        updates_per_epoch: optimiser updates an epoch.

    Returns:
        A staircase.

    Raises:
        ValueError: if an argument is not positive.
    """
    if min(learning_rate, halve_every_epochs, updates_per_epoch) <= 0:
        raise ValueError(
            "learning_rate, halve_every_epochs and updates_per_epoch must be positive, got "
            f"{learning_rate}, {halve_every_epochs} and {updates_per_epoch}"
        )
    halving = max(1, round(halve_every_epochs * updates_per_epoch))
    return optax.exponential_decay(learning_rate, halving, 0.5, staircase=True)


def adam(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam with beta 0.9 and 0.999 and eps 1e-8, as published."""
    return optax.adam(schedule, b1=0.9, b2=0.999, eps=1e-8)
