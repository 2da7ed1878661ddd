"""The training loop: puts sampler, step, checkpoints and log together.

Contract: the last place that sees a ConfigDict. `plan` finds everything that is wrong with settings
and data; `run` finds what is wrong with the workdir and its checkpoints before its first step.
"""

import collections
import contextlib
import dataclasses
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from dualsr_jax.data.images import Images
from dualsr_jax.data.parts import open_parts, peak_of
from dualsr_jax.data.patches import PatchSampler
from dualsr_jax.data.sources import NamedCube, Scenes
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.disk import locked, make_writable, replacing
from dualsr_jax.fine_stage import back_project
from dualsr_jax.messages import bar, say
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.network import (
    BAND_MEAN,
    CoarseStage,
    Model,
    Network,
    fitted,
    make_model,
    method_of,
    num_parameters,
)
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.training import optimizer as optimizers
from dualsr_jax.training import parallel, processes
from dualsr_jax.training.checkpoint import Checkpoints, evaluated_variables
from dualsr_jax.training.log import StepMetrics, TrainingLog
from dualsr_jax.training.restore import warm_start
from dualsr_jax.training.signals import StopSignals
from dualsr_jax.training.step import (
    Learning,
    TrainState,
    create_state,
    make_train_step,
    state_shapes,
    updates_per_batch,
)
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


def train(config: ConfigDict, workdir: Path) -> int:
    """Trains the coarse network of a config, or resumes the run of the workdir's checkpoints.

    Returns the signal, SIGTERM or SIGINT, that stopped the run after saving; 0 if it was finished.

    Raises:
        ValueError: for bad settings, data, workdir or checkpoints, before the first step.
        OSError: if a checkpoint or record cannot be written; the last checkpoint stays.
        FloatingPointError: if the loss is no longer finite; the last checkpoint stays.
    """
    make_writable(workdir, "workdir")
    with locked(workdir, "workdir") if processes.is_first() else contextlib.nullcontext():
        return run(plan(config), workdir)


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


def run(plan: Plan, workdir: Path) -> int:
    """Trains as planned, from the workdir's newest checkpoint on; returns what `train` returns."""
    first = processes.is_first()
    with contextlib.ExitStack() as stack, Checkpoints(workdir) as checkpoints:
        state = _first_state(plan, checkpoints)
        first_step = int(state.step)
        if first:
            with replacing(workdir / "config.json") as partial:
                partial.write_text(plan.config.to_json_best_effort(indent=2) + "\n")
            say(_summary(plan, state))
        with TrainingLog(
            workdir, first_step=first_step, last_step=plan.last_step, silent=not first
        ) as log:
            step, stopped_by = _make_steps(plan, state, checkpoints, log, stack)
    if stopped_by and first:
        say(
            f"stopped by {signal.Signals(stopped_by).name} after step {step:,} of "
            f"{plan.last_step:,}, which is saved: the same command resumes"
        )
    return stopped_by


def _first_state(plan: Plan, checkpoints: Checkpoints) -> TrainState:
    """The state that the run begins with, on the devices."""
    optimizer, start = plan.learning.optimizer, plan.config.train.warm_start
    state = create_state(plan.model, optimizer, jax.random.key(plan.config.seed))
    params = state.params
    if BAND_MEAN in params:
        params = {**params, BAND_MEAN: jnp.asarray(plan.band_mean)}
    if start and checkpoints.latest_step() is None:
        params = warm_start(params, plan.model, start)
    if params is not state.params:
        state = dataclasses.replace(state, params=params, opt_state=optimizer.init(params))
    return parallel.replicate(checkpoints.restore(state, plan.model, plan.fixed_settings()))


def _make_steps(
    plan: Plan,
    state: TrainState,
    checkpoints: Checkpoints,
    log: TrainingLog,
    stack: contextlib.ExitStack,
) -> tuple[int, int]:
    """Makes the steps; returns the last one, and the signal that stopped them or 0.

    From the first steps on, until the stack is closed, signals are noted for the run to be saved.
    """
    settings, fixed_settings = plan.config.train, plan.fixed_settings()
    at_once, log_every = settings.steps_per_dispatch, settings.log_every_steps
    step_fn = parallel.data_parallel(
        make_train_step(
            plan.learning, plan.schedule, degradation=plan.degradation, seed=plan.config.seed
        )
    )
    first_step = step = int(state.step)
    stopped_by, asked, signals = 0, parallel.maximum(0), StopSignals()
    batches = plan.sampler.batches(step, **parallel.share_of_batches())
    since_log = StepMetrics(settings.batch_size, plan.sampler.scene_name)
    while step < plan.last_step and not stopped_by:
        before, step = step, min(step + at_once - step % at_once, plan.last_step)
        drawn = [next(batches) for _ in range(before, step)]
        state, metrics = step_fn(state, drawn)
        if before == first_step:  # until then there is nothing to save, and much to wait for
            jax.block_until_ready(metrics)
            stack.enter_context(signals)
        # Processes stop together, a dispatch after the signal, so as never to wait for it.
        stopped_by, asked = int(asked), parallel.maximum(signals.received)
        since_log.add(before, metrics, [batch["sample"] for batch in drawn])
        log.advance(step - before)
        saving = step % plan.save_every == 0 or step == plan.last_step or stopped_by > 0
        if not saving and step // log_every == before // log_every:
            continue
        values = since_log.mean()
        if saving and not stopped_by:  # the user who stops a run need not wait for scores
            values |= _validation_scores(plan, state)
        # First the record: if the run is killed in between, this step is made again.
        log.write(step, values)
        if saving:
            psnr = values.get("validation_psnr_db")
            checkpoints.save(state, plan.model, fixed_settings, psnr_db=psnr)
        since_log.clear()
    return step, stopped_by


def _validation_scores(plan: Plan, state: TrainState) -> dict[str, float]:
    """Mean PSNR of held-out scenes; of a joint network, also of the half scale and of DualSR."""
    scores: dict[str, list[float]] = collections.defaultdict(list)
    model = plan.model.clone(band_chunk=plan.config.evaluate.band_chunk)
    stage = CoarseStage(Network(model, evaluated_variables(state)))

    def score(name: str, result: jax.Array | np.ndarray, target: jax.Array | np.ndarray) -> None:
        scores[name].append(float(psnr_db(jnp.asarray(result).clip(0, 1), target)))

    for scene in plan.validation:
        how = {"degradation": plan.degradation, "name": scene.name, "seed": plan.config.seed}
        hr, lr = reference_and_lr(scene.cube, model.scale, **how)
        coarse, guide, _ = stage(lr)
        score("validation_psnr_db", coarse, hr)
        if model.joint:
            score("validation_half_psnr_db", guide, imresize(hr, 0.5))
            fine, _ = back_project(coarse, guide, ratio=stage.ratio)
            score("validation_fine_psnr_db", fine, hr)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _summary(plan: Plan, state: TrainState) -> str:
    count, bands = num_parameters(state.params), plan.sampler.num_bands
    samples = plan.sampler.samples_per_epoch
    updates = updates_per_batch(plan.learning.update, bands)
    return (
        f"{method_of(plan.model)} x{plan.model.scale}: {count:,} parameters; {bands} bands, "
        f"{samples:,} samples per epoch, {updates} updates per batch; "
        f"steps {int(state.step):,} to {plan.last_step:,} on {parallel.describe_devices()}"
    )
