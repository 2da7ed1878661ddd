"""What is measured of a network: its scores, and the time and memory that it takes.

Contract: times are wall time on the device that computes. Peak memory is that of this process on
the host, with Python, JAX and the images.
"""

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from dualsr_jax.comparison.entries import Run
from dualsr_jax.evaluation.run import select_bands
from dualsr_jax.messages import bar
from dualsr_jax.models.network import Model, Network
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.protocols import Protocol
from dualsr_jax.training.optimizer import adam, learning_rate_schedule
from dualsr_jax.training.step import Learning, create_state, make_train_step

Cube = Float[np.ndarray, "H W L"]
_RESET = Path("/proc/self/clear_refs")  # Linux
_TIMED_STEPS = 3  # after the first one, which compiles
# Fields of `config.train` that decide what a step computes.
_OF_STEP = (
    *("batch_size", "lr_patch", "window_bands", "update_every", "through_time", "half_weight"),
    *("loss", "clip_norm", "ema_decay"),
)


class PeakMemory:
    """The largest resident memory of this process since the object was made.

    Where the system cannot forget the former peak, it is that since the process began, and
    `since_start` is True.
    """

    def __init__(self) -> None:
        """Begins a measurement."""
        self.since_start = True
        try:
            _RESET.write_text("5")
        except OSError:
            return
        self.since_start = False

    def gb(self) -> float:
        """The peak in 1e9 bytes."""
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


class TimedNetwork(Network):
    """A network that adds up the seconds of its calls in `seconds`."""

    @property
    def seconds(self) -> list[float]:
        """Seconds of each call so far."""
        found: list[float] = self.__dict__.setdefault("_seconds", [])
        return found

    def __call__(self, lr: Float[np.ndarray, "H W L"]) -> tuple[Float[np.ndarray, "_ _ L"], ...]:
        """Enlarges as `Network` does, whose results are on the host when it returns."""
        started = time.perf_counter()
        results = super().__call__(lr)
        self.seconds.append(time.perf_counter() - started)
        return results


@dataclasses.dataclass(frozen=True)
class Scene:
    """A test image: its reference and the LR cube made of it."""

    name: str
    hr: Cube
    lr: Float[np.ndarray, "h w L"]


@dataclasses.dataclass
class Measured:
    """What was measured of a run, by name of the test image."""

    run: Run
    coarse: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)  # scores
    fine: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0  # per scene, of the network alone
    fine_seconds: float = 0.0  # per scene, of both stages with the guide
    memory_gb: float = 0.0
    memory_since_start: bool = False
    step_seconds: float | None = None
    # Bands for figures, without and with the fine stage.
    shown: dict[str, tuple[Cube, Cube]] = dataclasses.field(default_factory=dict)


def measure(
    run: Run, scenes: Sequence[Scene], protocol: Protocol, bands: Sequence[int]
) -> Measured:
    """Scores a network with and without the fine stage, and measures time and memory.

    Args:
        run: the network.
        scenes: test images.
        protocol: clips and scores.
        bands: bands to keep for figures, counted from 1.

    Returns:
        Scores and costs. The seconds are medians over the images of a shape that was seen before;
        if each image has another shape, the first one is restored a second time.
    """
    memory, measured = PeakMemory(), Measured(run)
    network = TimedNetwork(run.model, run.dualsr.coarse.variables)
    dualsr = dataclasses.replace(run.dualsr, coarse=network)
    seen: set[tuple[int, ...]] = set()
    times: list[tuple[float, float]] = []

    def restore(lr: Cube) -> Any:
        network.seconds.clear()
        started = time.perf_counter()
        result = dualsr(lr)
        if lr.shape in seen:
            times.append((sum(network.seconds), time.perf_counter() - started))
        seen.add(lr.shape)
        return result

    for scene in bar(scenes, unit="image", desc=f"{run.label} ({run.weights})"):
        result = restore(scene.lr)
        cubes = protocol.clip(result.coarse), protocol.clip(result.fine)
        for scores, cube in zip((measured.coarse, measured.fine), cubes, strict=True):
            scores[scene.name] = protocol.score_image(cube, scene.hr, scale=dualsr.scale)
        measured.shown[scene.name] = select_bands(cubes[0], bands), select_bands(cubes[1], bands)
    if not times:
        restore(scenes[0].lr)
    measured.seconds, measured.fine_seconds = map(statistics.median, zip(*times, strict=True))
    measured.memory_gb, measured.memory_since_start = memory.gb(), memory.since_start
    return measured


def step_settings(config: ConfigDict, trained_with: Mapping[str, Any]) -> ConfigDict:
    """The fields of `config.train`, where known those with which a network was trained.

    Raises:
        ValueError: if one of those has a wrong type.
    """
    train = config.train.copy_and_resolve_references()
    try:
        train.update({n: trained_with[n] for n in _OF_STEP if n in trained_with and n in train})
    except TypeError as error:
        raise ValueError(f"the settings of a training are damaged: {error}") from error
    return train


def seconds_per_step(
    model: Model, train: ConfigDict, degradation: Degradation, bands: int
) -> float:
    """Times training steps of a network on random patches, on one device, in seconds.

    Args:
        model: the network.
        train: settings of the training, such as those of `step_settings`.
        degradation: that makes the LR patches.
        bands: bands of the images.

    Returns:
        The median of a few steps after the first.

    Raises:
        ValueError: if a setting has a wrong value.
    """
    schedule = learning_rate_schedule(train.learning_rate, train.halve_every_epochs, 1)
    learning = Learning(
        model=model,
        optimizer=adam(schedule, clip_norm=train.clip_norm, ema_decay=train.ema_decay),
        update=train.update_every if hasattr(model, "bands") else "image",
        through_time=train.through_time,
        half_weight=train.half_weight,
        loss=train.loss,
    )
    step = jax.jit(make_train_step(learning, schedule, degradation=degradation))
    side, rng = train.lr_patch * model.scale, np.random.default_rng(0)
    shape = (train.batch_size, side, side, train.window_bands or bands)
    batch = {
        "hr": rng.integers(0, 65536, shape).astype(np.uint16),
        "variant": np.zeros(train.batch_size, np.int32),
        "sample": np.arange(train.batch_size, dtype=np.int32),
    }
    state, seconds = create_state(model, learning.optimizer, jax.random.key(0)), []
    for _ in range(1 + _TIMED_STEPS):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])
