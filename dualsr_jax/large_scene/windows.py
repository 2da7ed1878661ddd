"""The coarse networks on windows of a scene, some bands at a time, on all local devices.

Contract: the devices hold one window each. Of networks that restore bands one after another they
hold the features of `band_chunk` bands and the state between bands (FCF), never a whole cube; other
networks see the window with all its bands. The result of a band is that of the network on the whole
window.
This is the only file of `large_scene` that knows devices.
"""

import functools
import time
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
from dualsr_jax.ops.conv import conv2d

# The image whose convolution is timed, and the least time that counts.
_IMAGE_SIDE, _IMAGE_CHANNELS, _MEASURED_S = 128, 32, 0.2


class Bands(NamedTuple):
    """Results of k bands of a batch of D windows.

    `coarse` and `spread`, the ensemble's standard deviation if wanted, are `[D, k, s h, s w]`.
    `low`, which is `coarse` reduced, and `guide`, of the fine stage, are smaller by the ratio.
    """

    bands: slice
    coarse: np.ndarray
    low: np.ndarray
    guide: np.ndarray
    spread: np.ndarray | None = None


def device_count() -> int:
    """Number of devices, each of which computes one window at a time."""
    return jax.local_device_count()


@functools.cache
def convolution_speed() -> float:
    """Multiply-adds per second of 3x3 convolutions on all local devices together."""
    devices = device_count()
    image = np.zeros((devices, 1, _IMAGE_SIDE, _IMAGE_SIDE, _IMAGE_CHANNELS), np.float32)
    kernel = np.zeros((3, 3, _IMAGE_CHANNELS, _IMAGE_CHANNELS), np.float32)

    def convolve(image: jax.Array, kernel: jax.Array, times: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, times, lambda _, x: conv2d(x, kernel), image)

    run = jax.pmap(convolve, in_axes=(0, None, None))
    run(image, kernel, np.int32(1)).block_until_ready()  # is compiled
    times, seconds = 1, 0.0
    while seconds < _MEASURED_S:
        times *= 2
        started = time.perf_counter()
        run(image, kernel, np.int32(times)).block_until_ready()
        seconds = time.perf_counter() - started
    return devices * times * _IMAGE_SIDE**2 * kernel.size / seconds


def _restore(
    model: Model, variables: Any, state: jax.Array, images: jax.Array, first: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The new state, and k bands for each scale, of the `[k, n, h, w]` bands with neighbours."""
    partitioned = jnp.moveaxis(images, 1, -1)[:, None]
    found = model.apply(variables, state, partitioned, first, method="bands")
    state, results = cast(tuple[jax.Array, tuple[jax.Array, ...]], found)
    results = tuple(result[:, 0] for result in results)
    if not model.adds_bicubic:
        return state, results
    bicubics = (resize.enlarge(images[:, 0], scale) for scale in model.scales)
    return state, tuple(a + b for a, b in zip(bicubics, results, strict=True))


_compiled: set[tuple[Any, ...]] = set()  # models, ratio and shape of windows of this process


@functools.lru_cache(maxsize=8)  # so that a second scene of the same shape is not compiled again
def _step(models: tuple[Model, ...], ratio: int) -> Callable[..., Any]:
    def step(variables: Any, states: Any, images: Any, first: jax.Array) -> Any:
        found = [
            _restore(*arguments, first)
            for arguments in zip(models, variables, states, images, strict=True)
        ]
        # The guide is the result of the half scale, else the window itself.
        coarse, *half = [cube for _, cubes in found for cube in cubes]
        guide = half[0] if half else images[0][:, 0]
        return [state for state, _ in found], (coarse, resize.reduce(coarse, ratio), guide)

    return jax.pmap(step, in_axes=(None, 0, 0, None), donate_argnums=(1,))


@functools.lru_cache(maxsize=8)
def _whole_step(models: tuple[Model, ...], ratio: int) -> Callable[..., Any]:
    def step(variables: Any, cube: jax.Array) -> tuple[jax.Array, ...]:
        lr = jnp.moveaxis(cube, 0, -1)[None]
        found = [
            cast(Any, model.apply(of_model, lr, method="at_scales"))
            for model, of_model in zip(models, variables, strict=True)
        ]
        coarse, *half = [jnp.moveaxis(sr[0], -1, 0) for cubes in found for sr in cubes]
        return coarse, resize.reduce(coarse, ratio), half[0] if half else cube

    return jax.pmap(step, in_axes=(None, 0))


@functools.lru_cache(maxsize=8)
def _make_zeros(shape: tuple[int, ...]) -> Callable[[np.ndarray], jax.Array]:
    return jax.pmap(lambda _: jnp.zeros(shape, np.float32))


def _zeros(shape: tuple[int, ...]) -> jax.Array:
    """Zeros of a shape on each device, placed as the step's results: else it is compiled twice."""
    return _make_zeros(shape)(np.arange(device_count()))


class CoarseWindows:
    """Runs the networks of a scene; compiled once."""

    def __init__(
        self, stage: CoarseStage, *, num_bands: int, band_chunk: int, spread: bool
    ) -> None:
        """Puts the weights on all devices; the windows will have `num_bands` bands."""
        self._models = tuple(network.model for network in stage.networks)
        # Other devices than the first get the weights once, not at each call.
        mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("device",))
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        variables = [network.variables for network in stage.networks]
        self._variables = jax.device_put(variables, everywhere)
        self._num_bands, self._chunk = num_bands, band_chunk
        self._scale, self._ratio = stage.scale, stage.ratio
        self._views, self._spread = views(stage.ensemble), spread
        self._tables: list[np.ndarray] = []
        if stage.band_by_band:
            self._tables = [
                np.asarray(cast(Any, model).band_table(num_bands)) for model in self._models
            ]
            self._step = _step(self._models, stage.ratio)
        else:
            divided = tuple(model.clone(band_chunk=band_chunk) for model in self._models)
            self._step = _whole_step(divided, stage.ratio)
        self._reduce = jax.jit(resize.reduce, static_argnums=1)

    def _key(self, height: int, width: int) -> tuple[Any, ...]:
        return self._models, self._ratio, self._num_bands, self._chunk, height, width

    def compiled(self, height: int, width: int) -> bool:
        """Whether the networks are compiled for windows of this size."""
        return self._key(height, width) in _compiled

    def _begun(self, height: int, width: int, progress: Callable[[int], object]) -> None:
        """Notes that the networks are compiled, as their first call has returned."""
        _compiled.add(self._key(height, width))
        progress(0)

    def __call__(
        self,
        cubes: Float[np.ndarray, "D K h w"],
        progress: Callable[[int], object] = lambda _: None,
    ) -> Iterator[Bands]:
        """Yields the results of a batch of normalised windows, one per local device, in order.

        `progress` is called with 0 when the networks are compiled and begin, and then with the
        numbers of bands that are computed, of each member of a self-ensemble.
        """
        plain = len(self._views) == 1
        return self._plain(cubes, progress) if plain else self._averaged(cubes, progress)

    def _plain(self, cubes: np.ndarray, progress: Callable[[int], object]) -> Iterator[Bands]:
        """Results of the windows as they are, without self-ensemble."""
        *_, height, width = cubes.shape
        if not self._tables:
            results = self._step(self._variables, cubes)
            self._begun(height, width, progress)
            yield self._fetch(slice(0, self._num_bands), results)
            progress(self._num_bands)
            return
        states: Any = [_zeros((1, height, width, model.features)) for model in self._models]
        waiting: tuple[slice, Any] | None = None
        for index in np.asarray(nbp.chunks(self._num_bands, self._chunk)):
            images = [cubes[:, table[index]] for table in self._tables]
            states, results = self._step(self._variables, states, images, index == 0)
            if waiting is None:
                self._begun(height, width, progress)
            else:
                yield self._fetch(*waiting)
                progress(waiting[0].stop - waiting[0].start)
            # The chunk before is fetched and stored while the devices compute this one.
            waiting = slice(int(index[0]), int(index[-1]) + 1), results
        if waiting is not None:
            yield self._fetch(*waiting)
            progress(waiting[0].stop - waiting[0].start)

    def _fetch(self, bands: slice, results: Any) -> Bands:
        count = bands.stop - bands.start
        coarse, low, guide = (np.asarray(result)[:, :count] for result in results)
        return Bands(bands=bands, coarse=coarse, low=low, guide=guide)

    def _averaged(self, cubes: np.ndarray, progress: Callable[[int], object]) -> Iterator[Bands]:
        """Means over the views of the self-ensemble, and their spread if it is wanted."""
        devices, _, height, width = cubes.shape

        def zeros(grid: int) -> np.ndarray:
            return np.zeros((devices, self._num_bands, grid * height, grid * width), np.float32)

        coarse, guide = zeros(self._scale), zeros(self._scale // self._ratio)
        squares = zeros(self._scale) if self._spread else None
        for number, view in enumerate(self._views, start=1):
            turned = np.ascontiguousarray(_turned(view.apply, cubes))
            for found in self._plain(turned, progress):
                bands = found.bands
                if view.reverse_bands:
                    bands = slice(self._num_bands - bands.stop, self._num_bands - bands.start)
                member = _turned(view.undo, found.guide)
                guide[:, bands], _ = count_member(guide[:, bands], None, member, number)
                member = _turned(view.undo, found.coarse)
                sums = None if squares is None else squares[:, bands]
                coarse[:, bands], sums = count_member(coarse[:, bands], sums, member, number)
                if squares is not None:
                    squares[:, bands] = sums
        for start in range(0, self._num_bands, self._chunk):
            bands = slice(start, min(start + self._chunk, self._num_bands))
            spread = None if squares is None else np.sqrt(squares[:, bands] / len(self._views))
            yield Bands(
                bands=bands,
                coarse=coarse[:, bands],
                low=np.asarray(self._reduce(coarse[:, bands], self._ratio)),
                guide=guide[:, bands],
                spread=spread,
            )


def _turned(turn: Callable[[np.ndarray], np.ndarray], cubes: np.ndarray) -> np.ndarray:
    """Applies `View.apply` or `View.undo` to cubes `[D, K, h, w]`."""
    return np.moveaxis(turn(np.moveaxis(cubes, 1, -1)), -1, 1)
