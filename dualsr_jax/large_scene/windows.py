"""The coarse networks on windows of a scene, some bands at a time, on all local devices.

Contract: a batch of windows, one a device, goes in band by band, and what comes out goes out at
once: the devices hold the features of `band_chunk` bands and the state between bands (FCF), never a
cube. The result of a band is that of `the network` on the whole window. No other file of this
package knows devices.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualsr_jax.ensemble import count_member, views
from dualsr_jax.models.coarsr import nbp
from dualsr_jax.models.network import CoarseStage, Model
from dualsr_jax.ops import resize


class Bands(NamedTuple):
    """Some bands of a batch of windows.

    Attributes:
        bands: which ones.
        coarse: `[D, k, s h, s w]`, the coarse result.
        low: the same, reduced to the guide's size `[D, k, h s / ratio, w s / ratio]`.
        guide: of the fine stage, of that size.
        spread: of the ensemble, as `coarse`; None without one.
    """

    bands: slice
    coarse: np.ndarray
    low: np.ndarray
    guide: np.ndarray
    spread: np.ndarray | None = None


def device_count() -> int:
    """Devices that compute a window each at a time."""
    return jax.local_device_count()


def _with_neighbours(images: jax.Array) -> jax.Array:
    """`[k, 5, h, w]` as the network takes them, of one cube."""
    return jnp.moveaxis(images, 1, -1)[:, None]


def _restore(
    model: Model, variables: Any, state: jax.Array, images: jax.Array, first: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The new state, and `[k, s h, s w]` for each of the model's scales.

    Args:
        model: of a network.
        variables: its variables.
        state: of the bands before.
        images: `[k, 5, h, w]`, bands with their neighbours.
        first: whether a band is the first of the cube.
    """
    found = model.apply(variables, state, _with_neighbours(images), first, method="bands")
    state, residuals = cast(tuple[jax.Array, tuple[jax.Array, ...]], found)
    bicubics = (resize.enlarge(images[:, 0], scale) for scale in model.scales)
    return state, tuple(a + b[:, 0] for a, b in zip(bicubics, residuals, strict=True))


def _step(models: list[Model], ratio: int) -> Callable[..., Any]:
    def step(variables: Any, states: Any, images: Any, first: jax.Array) -> Any:
        found = [
            _restore(*arguments, first)
            for arguments in zip(models, variables, states, images, strict=True)
        ]
        results = [cube for _, cubes in found for cube in cubes]  # coarse, and guide if there is
        coarse, guide = results[0], results[1] if len(results) == 2 else images[0][:, 0]
        return [state for state, _ in found], (coarse, resize.reduce(coarse, ratio), guide)

    # The states are used up.
    return jax.pmap(step, in_axes=(None, 0, 0, None), donate_argnums=(1,))


class CoarseWindows:
    """Runs the networks of a scene; compiled once."""

    def __init__(
        self, stage: CoarseStage, *, num_bands: int, band_chunk: int, spread: bool
    ) -> None:
        """Prepares the networks.

        Args:
            stage: the networks.
            num_bands: bands of the cubes to come.
            band_chunk: bands at a time.
            spread: whether the standard deviation over the self-ensemble is wanted.
        """
        self._models = [network.model for network in stage.networks]
        # Whatever their scale, other devices than the first get the weights once, not each time.
        mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("device",))
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        variables = [network.variables for network in stage.networks]
        self._variables = jax.device_put(variables, everywhere)
        self._tables = [
            nbp.with_self(nbp.neighbour_table(num_bands, model.neighbours))
            for model in self._models
        ]
        self._num_bands, self._chunk, self._ratio = num_bands, band_chunk, stage.ratio
        self._views, self._spread = views(stage.ensemble), spread
        self._step = _step(self._models, stage.ratio)
        self._reduce = jax.jit(resize.reduce, static_argnums=1)

    @property
    def devices(self) -> int:
        """Windows that are computed at a time."""
        return device_count()

    def _states(self, cubes: np.ndarray) -> list[jax.Array]:
        devices, _, height, width = cubes.shape
        return [
            jnp.zeros((devices, 1, height, width, model.features), np.float32)
            for model in self._models
        ]

    def _plain(self, cubes: np.ndarray) -> Iterator[Bands]:
        states: Any = self._states(cubes)
        waiting: tuple[slice, Any] | None = None
        chunks = np.asarray(nbp.chunks(self._num_bands, self._chunk))
        for index in chunks:
            images = [cubes[:, table[index]] for table in self._tables]
            states, results = self._step(self._variables, states, images, index == 0)
            if waiting is not None:
                yield self._fetch(*waiting)
            # What is fetched and stored was computed before; the devices are busy meanwhile.
            waiting = slice(int(index[0]), int(index[-1]) + 1), results
        if waiting is not None:
            yield self._fetch(*waiting)

    def _fetch(self, bands: slice, results: Any) -> Bands:
        count = bands.stop - bands.start
        return Bands(bands, *(np.asarray(result)[:, :count] for result in results))

    def _averaged(self, cubes: np.ndarray) -> Iterator[Bands]:
        """Means over the views, and the spread if it is wanted."""
        means: dict[str, np.ndarray] = {}
        squares: np.ndarray | None = None
        for number, view in enumerate(self._views, start=1):
            turned = _turned(view.apply, cubes)
            for part in self._plain(np.ascontiguousarray(turned)):
                bands = part.bands
                if view.reverse_bands:
                    bands = slice(self._num_bands - bands.stop, self._num_bands - bands.start)
                for name in ("coarse", "guide"):
                    member = _turned(view.undo, getattr(part, name))
                    if name not in means:
                        shape = (*member.shape[:1], self._num_bands, *member.shape[2:])
                        means[name] = np.zeros(shape, np.float32)
                        if name == "coarse" and self._spread:
                            squares = np.zeros(shape, np.float32)
                    sums = squares[:, bands] if name == "coarse" and squares is not None else None
                    mean, sums = count_member(means[name][:, bands], sums, member, number)
                    means[name][:, bands] = mean
                    if squares is not None and sums is not None:
                        squares[:, bands] = sums
        for start in range(0, self._num_bands, self._chunk):
            bands = slice(start, min(start + self._chunk, self._num_bands))
            coarse = means["coarse"][:, bands]
            low = np.asarray(self._reduce(coarse, self._ratio))
            spread = None if squares is None else np.sqrt(squares[:, bands] / len(self._views))
            yield Bands(bands, coarse, low, means["guide"][:, bands], spread)

    def __call__(self, cubes: Float[np.ndarray, "D K h w"]) -> Iterator[Bands]:
        """Results of a batch of windows, one a local device, some bands at a time, in order.

        Args:
            cubes: normalised, bands before rows.
        """
        return self._plain(cubes) if len(self._views) == 1 else self._averaged(cubes)


def _turned(turn: Callable[[np.ndarray], np.ndarray], cubes: np.ndarray) -> np.ndarray:
    """Applies `View.apply` or `View.undo` to cubes `[D, K, h, w]`."""
    return np.moveaxis(turn(np.moveaxis(cubes, 1, -1)), -1, 1)
