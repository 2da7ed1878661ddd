"""The training loop: puts sampler, step, checkpoints and log together.

Contract: the last place that sees a ConfigDict. Everything that can be wrong with a run is found
before the first step: settings, data, workdir, checkpoint.
"""

import collections
import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict
from tqdm import tqdm

from dualsr_jax.data.images import Images
from dualsr_jax.data.parts import open_parts, peak_of
from dualsr_jax.data.patches import PatchSampler
from dualsr_jax.data.sources import NamedCube, Scenes
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.disk import locked, make_writable, replacing
from dualsr_jax.fine_stage import back_project
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.network import CoarseStage, Model, Network, make_model
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.training import optimizer as optimizers
from dualsr_jax.training import parallel, processes
from dualsr_jax.training.checkpoint import Checkpoints, evaluated_variables
from dualsr_jax.training.log import TrainingLog
from dualsr_jax.training.restore import warm_start
from dualsr_jax.training.signals import StopSignals
from dualsr_jax.training.step import (
    Learning,
    create_state,
    make_train_step,
    state_shapes,
    updates_per_batch,
)

_COUNTS = ("batch_size", "lr_patch", "patches_per_image", "steps_per_dispatch", "log_every_steps")
_AMOUNTS = ("learning_rate", "epochs", "save_every_epochs")
_DARK = 0.25  # below it the peak is not that of the data, as 65535 is not that of 12 bits


def _check_settings(settings: ConfigDict, model: Model) -> None:
    """Raises ValueError for what no data are needed to see: they may take long to read."""
    for name in _COUNTS:
        if settings[name] < 1:
            raise ValueError(f"train.{name}={settings[name]} must be 1 or more")
    for name in _AMOUNTS:
        if not 0 < settings[name] < math.inf:
            raise ValueError(f"train.{name}={settings[name]} must be more than 0")
    state_shapes(model, optax.identity())
    _learning(settings, model, optax.identity())


def _learning(
    settings: ConfigDict,
    model: Model,
    optimizer: optax.GradientTransformation,
    axis_name: str | None = None,
) -> Learning:
    return Learning(
        model=model,
        optimizer=optimizer,
        update=settings.update_every,
        through_time=settings.through_time,
        half_weight=settings.half_weight,
        axis_name=axis_name,
    )


def _training_images(config: ConfigDict, scenes: Scenes, patch_size: int) -> Images:
    """Reads the scenes, and says if their peak can hardly be that of the config."""
    brightest = 0.0

    def read() -> Iterator[NamedCube]:
        nonlocal brightest
        for scene in tqdm(scenes, unit="scene", desc="reading"):
            brightest = max(brightest, float(scene.cube.max()))
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
    return images


def _validation_scores(
    network: Network, scenes: list[NamedCube], degradation: Degradation, seed: int
) -> dict[str, float]:
    """Mean PSNR of held-out scenes; of a joint network, also of the half scale and of DualSR."""
    scores: dict[str, list[float]] = collections.defaultdict(list)
    stage = CoarseStage(network)

    def score(name: str, result: jax.Array | np.ndarray, target: jax.Array | np.ndarray) -> None:
        scores[name].append(float(psnr_db(jnp.asarray(result).clip(0, 1), target)))

    for scene in scenes:
        hr, lr = reference_and_lr(
            scene.cube, network.scale, degradation=degradation, name=scene.name, seed=seed
        )
        coarse, guide, _ = stage(lr)
        score("validation_psnr_db", coarse, hr)
        if network.model.joint:
            score("validation_half_psnr_db", guide, imresize(hr, 0.5))
            fine, _ = back_project(coarse, guide, ratio=stage.ratio)
            score("validation_fine_psnr_db", fine, hr)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _run_settings(config: ConfigDict, sampler: PatchSampler) -> dict[str, Any]:
    """What a run must not change when it goes on; its length and step size may."""
    return {
        **sampler.settings(),
        "peak": peak_of(config),
        "update_every": config.train.update_every,
        "through_time": config.train.through_time,
        **{name: config.train[name] for name in ("clip_norm", "ema_decay")},
        "precision": config.model.precision,
        **({"half_weight": config.train.half_weight} if config.model.joint else {}),
        **{f"degradation.{name}": value for name, value in config.degradation.items()},
    }


def train(config: ConfigDict, workdir: Path) -> int:
    """Trains the coarse network of a config, or goes on with it.

    Args:
        config: as of `configs/`.
        workdir: where checkpoints, metrics and the config lie; resumed if it holds checkpoints.

    Returns:
        The signal, SIGTERM or SIGINT, that stopped it after saving; 0 if it came to its end.

    Raises:
        ValueError: for bad settings, data, workdir or checkpoints, before the first step.
        OSError: if a checkpoint or record cannot be written; the last checkpoint stays.
        FloatingPointError: if the loss is no longer finite; the last checkpoint stays.
    """
    parallel.check_batch_size(config.train.batch_size)
    make_writable(workdir, "workdir")
    with locked(workdir, "workdir") if processes.is_first() else contextlib.nullcontext():
        return _train(config, workdir)


def _train(config: ConfigDict, workdir: Path) -> int:
    settings = config.train
    log_every = settings.log_every_steps
    model = make_model(config.model)
    _check_settings(settings, model)
    degradation = Degradation(**config.degradation)
    parts = open_parts(config)
    validation_scenes = list(parts["validation"])
    patch_size = settings.lr_patch * model.scale
    sampler = PatchSampler(
        _training_images(config, parts["train"], patch_size),
        patch_size=patch_size,
        batch_size=settings.batch_size,
        patches_per_image=settings.patches_per_image,
        fixed_patches=settings.fixed_patches,
        window_bands=settings.window_bands,
        seed=config.seed,
    )
    # The one place where durations become steps.
    last_step = max(1, round(settings.epochs * sampler.steps_per_epoch))
    at_once = settings.steps_per_dispatch
    save_every = max(1, math.ceil(settings.save_every_epochs * sampler.steps_per_epoch / at_once))
    save_every *= at_once
    updates = updates_per_batch(settings.update_every, sampler.num_bands)
    schedule = optimizers.learning_rate_schedule(
        settings.learning_rate,
        settings.halve_every_epochs,
        sampler.steps_per_epoch * updates,
        kind=settings.schedule,
        epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,
    )
    adam = optimizers.adam(schedule, clip_norm=settings.clip_norm, ema_decay=settings.ema_decay)
    step_fn = parallel.data_parallel(
        make_train_step(
            _learning(settings, model, adam, parallel.AXIS),
            schedule,
            degradation=degradation,
            seed=config.seed,
        )
    )
    state = create_state(model, adam, jax.random.key(config.seed))
    run_settings = _run_settings(config, sampler)
    first, stopped_by = processes.is_first(), 0

    with StopSignals() as signals, Checkpoints(workdir) as checkpoints:
        if settings.warm_start and checkpoints.latest_step() is None:
            params = warm_start(state.params, settings.warm_start)
            state = dataclasses.replace(state, params=params, opt_state=adam.init(params))
        state = parallel.replicate(checkpoints.restore(state, model, run_settings))
        first_step = step = int(state.step)
        if first:
            with replacing(workdir / "config.json") as beside:
                beside.write_text(config.to_json_best_effort(indent=2) + "\n")
            print(_summary(model, state.params, sampler, step, last_step, updates), flush=True)
        batches = sampler.batches(first_step, **parallel.share_of_batches())
        asked = parallel.maximum(0)
        with TrainingLog(
            workdir, first_step=first_step, last_step=last_step, silent=not first
        ) as log:
            since_log: list[_Record] = []
            started = time.perf_counter()
            while step < last_step and not stopped_by:
                before, step = step, min(step + at_once - step % at_once, last_step)
                drawn = [next(batches) for _ in range(before, step)]
                state, metrics = step_fn(state, drawn)
                # Processes stop together, a dispatch after the signal, so as never to wait for it.
                stopped_by, asked = int(asked), parallel.maximum(signals.received)
                # One dispatch runs, one waits: the device never idles, the bar is not ahead of it.
                jax.block_until_ready([record.metrics for record in since_log[-1:]])
                since_log.append(_Record(before, metrics, [batch["sample"] for batch in drawn]))
                log.advance(step - before)
                saving = step % save_every == 0 or step == last_step or stopped_by > 0
                if not saving and step // log_every == before // log_every:
                    continue  # metrics stay on the device
                values = _mean(since_log, sampler)
                steps = step - since_log[0].before
                samples = steps * settings.batch_size
                values["samples_per_s"] = samples / (time.perf_counter() - started)
                if saving:
                    psnr = None
                    if validation_scenes and not stopped_by:  # who stops it may not wait for them
                        scores = _validation_scores(
                            Network(
                                model.clone(band_chunk=config.evaluate.band_chunk),
                                evaluated_variables(state),
                            ),
                            validation_scenes,
                            degradation,
                            config.seed,
                        )
                        values |= scores
                        psnr = scores["validation_psnr_db"]
                # First the record: if the run is killed in between, this step is made again.
                log.write(step, values)
                if saving:
                    checkpoints.save(state, model, run_settings, psnr_db=psnr)
                since_log, started = [], time.perf_counter()
    if stopped_by and first:
        name = signal.Signals(stopped_by).name
        print(
            f"stopped by {name} after step {step:,} of {last_step:,}, which is saved: the same "
            "command goes on"
        )
    return stopped_by


class _Record(NamedTuple):
    """What the steps of a dispatch leave behind: metrics, still on the device, and samples."""

    before: int  # steps made before them
    metrics: dict[str, jax.Array]
    samples: list[np.ndarray]


def _mean(records: list[_Record], sampler: PatchSampler) -> dict[str, float]:
    fetched = jax.device_get([record.metrics for record in records])
    for record, metrics in zip(records, fetched, strict=True):
        for number, loss in enumerate(metrics["loss"]):
            if not math.isfinite(loss):
                samples = record.samples[number]
                scenes = sorted({sampler.scene_name(int(sample)) for sample in samples})
                raise FloatingPointError(
                    f"the loss is {loss} at step {record.before + number + 1}, in a batch of "
                    f"{', '.join(scenes)}: lower train.learning_rate. The last checkpoint is kept; "
                    "if it leads here again, move it away: the one before it is kept too"
                )
    return {
        name: float(np.concatenate([metrics[name] for metrics in fetched]).mean())
        for name in fetched[0]
    }


def _summary(
    model: Model, params: Any, sampler: PatchSampler, first: int, last: int, updates: int
) -> str:
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return (
        f"{type(model).__name__} x{model.scale}: {count:,} parameters; {sampler.num_bands} bands, "
        f"{sampler.samples_per_epoch:,} samples an epoch, {updates} updates a batch; "
        f"steps {first:,} to {last:,} on {parallel.describe_devices()}"
    )
