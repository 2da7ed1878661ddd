"""The plan of a training run: settings checked, images read, durations turned into steps.

Contract: the last place, next to `loop`, that sees a ConfigDict. `plan` finds everything that is
wrong with settings and data, before a device computes anything.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import optax
from ml_collections import ConfigDict

from dualsr_jax.data.images import Images
from dualsr_jax.data.parts import open_parts, peak_of
from dualsr_jax.data.patches import PatchSampler
from dualsr_jax.data.sources import NamedCube, Scenes
from dualsr_jax.messages import bar
from dualsr_jax.models.network import Model, fitted, make_model, method_of
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.training import optimizer as optimizers
from dualsr_jax.training import parallel, processes
from dualsr_jax.training.step import Learning, state_shapes, updates_per_batch
from dualsr_jax.weights.band_means import band_mean_of

_COUNTS = ("batch_size", "lr_patch", "patches_per_image", "steps_per_dispatch", "log_every_steps")
_AMOUNTS = ("learning_rate", "epochs", "save_every_epochs")
_DARK = 0.25  # below it the peak is not that of the data, as 65535 is not that of 12 bits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that can begin: its settings are checked, its images are read."""

    config: ConfigDict
    learning: Learning
    schedule: optax.Schedule  # learning rate by the number of updates
    degradation: Degradation
    sampler: PatchSampler
    band_mean: np.ndarray  # of the training scenes, or released; for networks that subtract it
    validation: tuple[NamedCube, ...]  # scenes held out of training
    last_step: int
    save_every: int  # steps between checkpoints, a multiple of those of a dispatch

    @property
    def model(self) -> Model:
        """The network."""
        return self.learning.model

    def fixed_settings(self) -> dict[str, Any]:
        """What must not change when the run is resumed; its length and learning rate may."""
        config = self.config
        names = ("update_every", "through_time", "clip_norm", "ema_decay")
        # Absent where they are what they were in older versions.
        later = {"loss": "l1", "band_mean": "scenes"}
        return {
            **{k: config.train[k] for k, former in later.items() if config.train[k] != former},
            **self.sampler.settings(),
            "peak": peak_of(config),
            **{name: config.train[name] for name in names},
            "precision": config.model.precision,
            **({"half_weight": config.train.half_weight} if self.model.joint else {}),
            **{f"degradation.{name}": value for name, value in config.degradation.items()},
        }


def plan(config: ConfigDict) -> Plan:
    """Checks the settings, reads the data and puts everything together that a run needs.

    Raises ValueError for bad settings or data, and FileNotFoundError if the data are not there.
    """
    settings, model = config.train, make_model(dict(config.model))
    degradation = Degradation(**config.degradation)
    _check_settings(settings, model)
    parts = open_parts(config)
    validation = tuple(parts["validation"])
    patch_size = settings.lr_patch * model.scale
    images, band_mean = _training_images(config, parts["train"], patch_size)
    names = ("batch_size", "patches_per_image", "fixed_patches", "window_bands")
    sampler = PatchSampler(
        images,
        patch_size=patch_size,
        seed=config.seed,
        **{name: settings[name] for name in names},
    )
    model = fitted(model, sampler.num_bands)
    # The one place where durations become steps.
    steps_per_epoch, at_once = sampler.steps_per_epoch, settings.steps_per_dispatch
    updates = updates_per_batch(settings.update_every, sampler.num_bands)
    learning, schedule = _learning(settings, model, steps_per_epoch * updates)
    learning.check_bands(sampler.num_bands)
    dispatches_per_save = math.ceil(settings.save_every_epochs * steps_per_epoch / at_once)
    return Plan(
        config=config,
        learning=learning,
        schedule=schedule,
        degradation=degradation,
        sampler=sampler,
        band_mean=_chosen_mean(settings.band_mean, band_mean),
        validation=validation,
        last_step=max(1, round(settings.epochs * steps_per_epoch)),
        save_every=max(1, dispatches_per_save) * at_once,
    )


def _check_settings(settings: ConfigDict, model: Model) -> None:
    """Raises ValueError for wrong settings that can be found before the data are read."""
    parallel.check_batch_size(settings.batch_size)
    for name in _COUNTS:
        if settings[name] < 1:
            raise ValueError(f"train.{name}={settings[name]} must be 1 or more")
    for name in _AMOUNTS:
        if not 0 < settings[name] < math.inf:
            raise ValueError(f"train.{name}={settings[name]} must be more than 0")
    if getattr(model, "needs_num_bands", False) and settings.window_bands is not None:
        raise ValueError(
            f"train.window_bands={settings.window_bands}: the weights of {method_of(model)} belong "
            "to the bands of whole cubes, so leave it at None"
        )
    if settings.band_mean != "scenes":
        band_mean_of(settings.band_mean)
    state_shapes(fitted(model, model.num_bands or model.min_bands), optax.identity())
    _learning(settings, model, updates_per_epoch=1)


def _learning(
    settings: ConfigDict, model: Model, updates_per_epoch: int
) -> tuple[Learning, optax.Schedule]:
    schedule = optimizers.learning_rate_schedule(
        settings.learning_rate,
        settings.halve_every_epochs,
        updates_per_epoch,
        kind=settings.schedule,
        epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,
        last_rate=settings.last_rate,
    )
    learning = Learning(
        model=model,
        optimizer=optimizers.adam(
            schedule, clip_norm=settings.clip_norm, ema_decay=settings.ema_decay
        ),
        update=settings.update_every,
        loss=settings.loss,
        through_time=settings.through_time,
        half_weight=settings.half_weight,
        axis_name=parallel.AXIS,
    )
    return learning, schedule


def _training_images(
    config: ConfigDict, scenes: Scenes, patch_size: int
) -> tuple[Images, np.ndarray]:
    """Reads the scenes, and takes the mean of each band over all of them if all have the same.

    Warns if the config's peak can hardly be that of the data.
    """
    brightest = 0.0
    sums: list[np.ndarray] = []
    pixels: list[int] = []

    def read() -> Iterator[NamedCube]:
        nonlocal brightest
        for scene in bar(scenes, unit="scene", desc="reading"):
            brightest = max(brightest, float(scene.cube.max()))
            sums.append(scene.cube.sum((0, 1), dtype=np.float64))
            pixels.append(math.prod(scene.cube.shape[:2]))
            yield scene

    images = Images(
        read(),
        resize_scales=config.train.resize_scales,
        least_size=patch_size,
        memory_gb=config.data.memory_gb,
    )
    if brightest < _DARK and processes.is_first():
        print(
            f"warning: the brightest value of all training scenes is {brightest:.3g} of full "
            "intensity: set config.data.peak to the stored value of full intensity"
        )
    same = len({len(of_scene) for of_scene in sums}) == 1
    mean = np.sum(sums, 0) / sum(pixels) if same else np.zeros(0)
    return images, mean.astype(np.float32)


def _chosen_mean(name: str, of_scenes: np.ndarray) -> np.ndarray:
    """The means of the bands by the name of `train.band_mean`."""
    mean = of_scenes if name == "scenes" else band_mean_of(name)
    if len(mean) != len(of_scenes):
        raise ValueError(
            f"train.band_mean={name!r} has {len(mean)} bands, but the training scenes have "
            f'{len(of_scenes)}: take "scenes"'
        )
    return mean
