"""NBP, neighbouring band partition: which bands guide the restoration of each band.

Contract: partition is data, not control flow: a table of four neighbours per band and one gather.
Band i with neighbours (a, b, c, d) forms the groups {i}, {a, i, b} and {c, i, d}.
Source: paper, section on neighbouring band partition.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float, Int

from dualsr_jax.choices import NEIGHBOURS

MIN_BANDS = 5
GROUP_SIZES = (1, 3, 3)


def _arange(length: int | Any) -> Any:
    """Indices, traced if the length is a symbolic dimension."""
    return (jnp if export.is_symbolic_dim(length) else np).arange(length)


def neighbour_table(
    num_bands: int | Any, mode: str = "paper"
) -> Int[np.ndarray | jax.Array, "L 4"]:
    """Makes the table of neighbours (a, b, c, d) of every band, int32 `[L, 4]`.

    A symbolic number of bands gives a traced table. Mode "released" is for weights that the
    published code trained: it never resets its neighbour lists, so that every band sees the
    neighbours of band 0. Raises ValueError if there are fewer than 5 bands or the mode is unknown.
    """
    if num_bands < MIN_BANDS:
        raise ValueError(
            f"a cube of {num_bands} bands is too small: each band is guided by 4 others, "
            f"so at least {MIN_BANDS} bands are needed"
        )
    if mode not in NEIGHBOURS:
        raise ValueError(f"unknown neighbours {mode!r}: expected 'paper' or 'released'")
    i = _arange(num_bands)[:, None]
    if mode == "released":
        return (0 * i + np.array([[1, 2, 3, 4]])).astype(np.int32)
    xp, table = i.__array_namespace__(), i + np.array([[-1, 1, -2, 2]])
    ends = [  # the bands that lack a neighbour, counted from either end
        (i == 0, np.array([[1, 2, 3, 4]])),
        (i == 1, np.array([[0, 2, 3, 4]])),
        (i == num_bands - 2, num_bands - 2 + np.array([[-1, 1, -3, -2]])),
        (i == num_bands - 1, num_bands - 1 + np.array([[-1, -2, -3, -4]])),
    ]
    for there, neighbours in ends:
        table = xp.where(there, neighbours, table)
    return table.astype(np.int32)


def with_self(table: Int[np.ndarray | jax.Array, "L 4"]) -> Int[np.ndarray | jax.Array, "L 5"]:
    """Puts each band before its neighbours: the channels (i, a, b, c, d)."""
    xp = table.__array_namespace__()
    return xp.concatenate([xp.arange(table.shape[0])[:, None], table], axis=1)


def partition(
    cube: Float[jax.Array, "B H W L"], table: Int[np.ndarray | jax.Array, "L 4"]
) -> Float[jax.Array, "L B H W 5"]:
    """Moves bands first, and gathers each with its neighbours as channels (i, a, b, c, d)."""
    return jnp.moveaxis(cube[..., with_self(table)], 3, 0)


def chunks(num_bands: int | Any, chunk: int | None) -> Int[np.ndarray | jax.Array, "N K"]:
    """Indices of bands in chunks of `chunk` bands, or in one chunk if it is None.

    The last chunk is filled up with copies of the last band. Indices of a symbolic
    number are traced.
    """
    size = num_bands if chunk is None or chunk >= num_bands else chunk
    index = _arange(-(-num_bands // size) * size)
    return index.__array_namespace__().minimum(index, num_bands - 1).reshape(-1, size)


def groups(
    bands: Float[jax.Array, "N H W 5"],
) -> tuple[Float[jax.Array, "N H W 1"], Float[jax.Array, "N H W 3"], Float[jax.Array, "N H W 3"]]:
    """Splits the channels (i, a, b, c, d) into the groups {i}, {a, i, b}, {c, i, d}."""
    return bands[..., :1], bands[..., np.array([1, 0, 2])], bands[..., np.array([3, 0, 4])]
