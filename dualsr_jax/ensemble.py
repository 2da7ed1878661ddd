"""Self-ensemble: results on turned and mirrored inputs, turned back and averaged.

Contract: a network is run on every view of a cube, and each result is turned back, so that all
members show the same scene. Their mean is less noisy than any of them, and their standard deviation
shows where the network is unsure. Cubes are `[..., H, W, L]`, NumPy or JAX. Source: Timofte, Rothe,
Van Gool, "Seven ways to improve example-based single image super resolution", CVPR 2016; reversing
the bands is the spectral counterpart.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

MEMBERS = (1, 8, 16)

Cube = TypeVar("Cube", np.ndarray, jax.Array)  # [..., H, W, L]


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """A way to turn a cube: transpose it, and reverse its rows, columns or bands."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    reverse_bands: bool = False

    def _flip(self, cube: Cube) -> Cube:
        flips = (self.flip_rows, self.flip_columns, self.reverse_bands)
        rows, columns, bands = (slice(None, None, -1 if flip else 1) for flip in flips)
        return cube[..., rows, columns, bands]

    def apply(self, cube: Cube) -> Cube:
        """Turns a cube `[..., H, W, L]` into this view, `[..., W, H, L]` if it is transposed."""
        return self._flip(cube.swapaxes(-3, -2) if self.transpose else cube)

    def undo(self, cube: Cube) -> Cube:
        """Turns a cube in this view, of any scale, back."""
        cube = self._flip(cube)
        return cube.swapaxes(-3, -2) if self.transpose else cube


def views(members: int) -> tuple[View, ...]:
    """Returns the views of an ensemble, the plain one first.

    One is the plain view alone, 8 are flips and rotations, 16 these in both orders of the bands.
    Raises ValueError if `members` is another number.
    """
    if members not in MEMBERS:
        raise ValueError(
            f"an ensemble of {members} members is unknown: expected 1 (no ensemble), 8 (flips and "
            "rotations) or 16 (also with the bands reversed)"
        )
    names = ("reverse_bands", "transpose", "flip_rows", "flip_columns")
    ways = itertools.product((False, True), repeat=len(names))
    return tuple(View(**dict(zip(names, way, strict=True))) for way in ways)[:members]


def count_member(
    mean: Cube, squares: Cube | None, member: Cube, count: int
) -> tuple[Cube, Cube | None]:
    """Adds a member to Welford's sums, which are exact in float32 at any level of the members.

    `mean` is that of the members so far, zero before the first; `squares` is the sum of their
    squared deviations from it, or None if it is not needed; `count` includes this member.
    """
    deviation = member - mean
    mean = mean + deviation / count
    return mean, None if squares is None else squares + deviation * (member - mean)


def ensemble(
    run: Callable[[Cube], tuple[Cube, ...]], lr: Cube, members: int
) -> tuple[tuple[Cube, ...], Cube | None]:
    """Averages the results of `run`, each an enlarged cube, over `members` views of a cube.

    `run` is called with two shapes, unless H and W are equal.

    Returns:
        The mean of each result over the members and, with more than one member, the (population)
        standard deviation of the first result; with the shapes and data types that `run` returns.

    Raises:
        ValueError: if the number of members is unknown.
    """
    means = list(run(lr))
    squares = 0 * means[0] if members > 1 else None
    for count, view in enumerate(views(members)[1:], start=2):
        for place, result in enumerate(run(view.apply(lr))):
            wanted, member = (squares if place == 0 else None), view.undo(result)
            means[place], sums = count_member(means[place], wanted, member, count)
            squares = sums if place == 0 else squares
    return tuple(means), None if squares is None else (squares / members) ** 0.5
