"""Self-ensemble: results on turned and mirrored inputs, turned back and averaged.

Contract: a network is given every view of a cube (8 flips and rotations, with the bands also in
reversed order 16), and what it makes of each is turned back, so that all members show the same
scene. Their mean is less noisy than any of them, and their standard deviation tells where the
network is unsure. A member is dropped as soon as it is counted. Cubes are `[..., H, W, L]`, NumPy
or JAX. Source: Timofte, Rothe, Van Gool, "Seven ways to improve example-based single image super
resolution", CVPR 2016; the bands' order is the spectral counterpart.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

MEMBERS = (1, 8, 16)

Cube = TypeVar("Cube", np.ndarray, jax.Array)  # [..., H, W, L]


@dataclasses.dataclass(frozen=True)
class View:
    """One way to look at a cube: rows for columns, upside down, left to right, last band first."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    reverse_bands: bool = False

    def _flip(self, cube: Cube) -> Cube:
        flips = (self.flip_rows, self.flip_columns, self.reverse_bands)
        rows, columns, bands = (slice(None, None, -1 if flip else 1) for flip in flips)
        return cube[..., rows, columns, bands]

    def apply(self, cube: Cube) -> Cube:
        """The cube `[..., H, W, L]` in this view, `[..., W, H, L]` where it is transposed."""
        return self._flip(cube.swapaxes(-3, -2) if self.transpose else cube)

    def undo(self, cube: Cube) -> Cube:
        """Turns a cube in this view back, of whatever scale."""
        cube = self._flip(cube)
        return cube.swapaxes(-3, -2) if self.transpose else cube


def views(members: int) -> tuple[View, ...]:
    """The views of an ensemble, the plain one first.

    Args:
        members: 1: the plain view alone; 8: flips and rotations; 16: those in both band orders.

    Raises:
        ValueError: for any other number.
    """
    if members not in MEMBERS:
        raise ValueError(
            f"an ensemble of {members} members is unknown: expected 1 (none), 8 (flips and "
            "rotations) or 16 (also with the bands reversed)"
        )
    ways = [View(*v) for v in itertools.product((False, True), repeat=4)]
    return tuple(sorted(ways, key=lambda view: view.reverse_bands))[:members]


def count_member(
    mean: Cube, squares: Cube | None, member: Cube, count: int
) -> tuple[Cube, Cube | None]:
    """Welford's sums: as exact in float32 as the members, whatever their level.

    Args:
        mean: of the members so far; zero before the first.
        squares: their squared deviations from it, summed up; None: not wanted.
        member: another one.
        count: how many there are with it.

    Returns:
        The new mean and sum.
    """
    deviation = member - mean
    mean = mean + deviation / count
    return mean, None if squares is None else squares + deviation * (member - mean)


def ensemble(
    run: Callable[[Cube], tuple[Cube, ...]], lr: Cube, members: int
) -> tuple[tuple[Cube, ...], Cube | None]:
    """Means of a network's results over the views of a cube.

    Args:
        run: maps `[..., H, W, L]` to results, each an enlarged cube; it meets two shapes, unless H
            and W are equal.
        lr: `[..., H, W, L]`.
        members: see `views`.

    Returns:
        The mean of each result over the members and, of more members than one, the (population)
        standard deviation of the first result; of the shapes and data types that `run` returns.

    Raises:
        ValueError: for an unknown number of members.
    """
    means = list(run(lr))
    squares = 0 * means[0] if members > 1 else None
    for count, view in enumerate(views(members)[1:], start=2):
        for place, result in enumerate(run(view.apply(lr))):
            wanted, member = (squares if place == 0 else None), view.undo(result)
            means[place], sums = count_member(means[place], wanted, member, count)
            squares = sums if place == 0 else squares
    return tuple(means), None if squares is None else (squares / members) ** 0.5
