"""The training loop: puts sampler, step, checkpoints and log together.

Contract: the last place that sees a ConfigDict. Everything that can be wrong with a run is found
before the first step: settings, data, workdir, checkpoint.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dualsr_jax.data.patches import PatchSampler
from dualsr_jax.data.scenes import Scene, load_scenes, open_source, split
from dualsr_jax.io.atomic import replacing
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.coarse import CoarSR
from dualsr_jax.training import optimizer as optimizers
from dualsr_jax.training import parallel
from dualsr_jax.training.checkpoint import Checkpoints
from dualsr_jax.training.logging import TrainingLog
from dualsr_jax.training.step import create_state, make_train_step, updates_per_batch
from dualsr_jax.upscale import crop_to_multiple, low_resolution, super_resolve


def load_parts(data: ConfigDict, *parts: str) -> list[list[Scene]]:
    """Scenes of the named parts ("train", "validation", "test") of a config's data."""
    source = open_source(data.source, data.path, data.key)
    selections = split(
        source.names,
        train=data.train,
        test=data.test,
        validation=data.validation,
        test_share=data.test_share,
        seed=data.split_seed,
    )
    return [load_scenes(source, selections[p], peak=data.peak, crop=data.crop) for p in parts]


def make_writable(folder: Path, flag: str) -> None:
    """Creates a folder and proves that it can be written.

    Args:
        folder: to create, if it does not exist.
        flag: of the command line that names it, for the error.

    Raises:
        ValueError: if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"the {flag} {str(folder)!r} cannot be written ({error.strerror}): choose another "
            f"with --{flag}"
        ) from error


def _validation_psnr(model: CoarSR, variables: dict[str, Any], scenes: list[Scene]) -> float:
    scores = []
    for scene in scenes:
        hr = crop_to_multiple(scene.cube, model.scale)
        sr = super_resolve(model, variables, low_resolution(hr, model.scale))
        scores.append(float(psnr_db(sr.clip(0, 1), hr)))
    return float(np.mean(scores))


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains the coarse network of a config, or goes on with it.

    Args:
        config: as of `configs/`.
        workdir: where checkpoints, metrics and the config lie; resumed if it holds checkpoints.

    Raises:
        ValueError: for bad settings, data, workdir or checkpoints, before the first step.
        FloatingPointError: if the loss is no longer finite; the last checkpoint stays.
    """
    settings = config.train
    model = CoarSR(**config.model)
    parallel.check_batch_size(settings.batch_size)
    make_writable(workdir, "workdir")
    train_scenes, validation_scenes = load_parts(config.data, "train", "validation")
    sampler = PatchSampler(
        train_scenes,
        patch_size=settings.lr_patch * model.scale,
        batch_size=settings.batch_size,
        patches_per_image=settings.patches_per_image,
        resize_scales=settings.resize_scales,
        window_bands=settings.window_bands,
        seed=config.seed,
    )
    # The one place where durations become steps.
    last_step = max(1, round(settings.epochs * sampler.steps_per_epoch))
    save_every = max(1, math.ceil(settings.save_every_epochs * sampler.steps_per_epoch))
    updates = updates_per_batch(settings.update_every, sampler.num_bands)
    schedule = optimizers.learning_rate_schedule(
        settings.learning_rate, settings.halve_every_epochs, sampler.steps_per_epoch * updates
    )
    adam = optimizers.adam(schedule)
    step_fn = parallel.data_parallel(
        make_train_step(
            model,
            adam,
            schedule,
            update=settings.update_every,
            through_time=settings.through_time,
            axis_name=parallel.AXIS,
        )
    )
    state = create_state(model, adam, jax.random.key(config.seed))

    with Checkpoints(workdir) as checkpoints:
        state = parallel.replicate(checkpoints.restore(state, model))
        first_step = int(state.step)
        with replacing(workdir / "config.json") as beside:
            beside.write_text(config.to_json_best_effort(indent=2) + "\n")
        print(_summary(model, state.params, sampler, first_step, last_step, updates), flush=True)
        with TrainingLog(workdir, first_step=first_step, last_step=last_step) as log:
            since_save: list[float] = []
            since_log: list[dict[str, jax.Array]] = []
            started = time.perf_counter()
            for step in range(first_step + 1, last_step + 1):
                state, metrics = step_fn(state, sampler.batch(step - 1))
                # One step runs and one waits: the device never idles, the bar is not ahead of it.
                jax.block_until_ready(since_log[-1:])
                since_log.append(metrics)
                log.advance()
                saving = step % save_every == 0 or step == last_step
                if not (saving or step % settings.log_every_steps == 0):
                    continue  # metrics stay on the device
                values = _mean(since_log, step)
                samples = len(since_log) * settings.batch_size
                since_save += [values["psnr_db"]] * len(since_log)
                values["samples_per_s"] = samples / (time.perf_counter() - started)
                if saving:
                    psnr = float(np.mean(since_save))
                    if validation_scenes:
                        psnr = _validation_psnr(model, state.variables, validation_scenes)
                        values["validation_psnr_db"] = psnr
                    checkpoints.save(state, model, psnr_db=psnr)
                    since_save = []
                log.write(step, values)
                since_log, started = [], time.perf_counter()


def _mean(records: list[dict[str, jax.Array]], step: int) -> dict[str, float]:
    fetched = jax.device_get(records)
    values = {name: float(np.mean([r[name] for r in fetched])) for name in fetched[0]}
    if not math.isfinite(values["loss"]):
        raise FloatingPointError(
            f"the loss is {values['loss']} at step {step} or up to {len(records) - 1} before it: "
            "lower train.learning_rate; the last checkpoint is kept"
        )
    return values


def _summary(
    model: CoarSR, params: Any, sampler: PatchSampler, first: int, last: int, updates: int
) -> str:
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return (
        f"CoarSR x{model.scale}: {count:,} parameters; {sampler.num_bands} bands, "
        f"{sampler.samples_per_epoch:,} samples an epoch, {updates} updates a batch; "
        f"steps {first:,} to {last:,} on {parallel.describe_devices()}"
    )
