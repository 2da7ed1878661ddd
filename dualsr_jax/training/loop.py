"""The training loop: puts sampler, step, checkpoints and log together.

Contract: `plan` finds everything that is wrong with settings and data; `run` finds what is wrong
with the workdir and its checkpoints before its first step.
"""

import collections
import contextlib
import dataclasses
import functools
import signal
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.disk import locked, make_writable, replacing
from dualsr_jax.fine_stage import back_project
from dualsr_jax.messages import say, show
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.network import (
    BAND_MEAN,
    CoarseStage,
    Network,
    method_of,
    num_parameters,
)
from dualsr_jax.ops.resize import imresize
from dualsr_jax.training import parallel, processes
from dualsr_jax.training.checkpoint import Checkpoints, evaluated_variables
from dualsr_jax.training.log import StepMetrics, TrainingLog
from dualsr_jax.training.plan import Plan, plan
from dualsr_jax.training.restore import warm_start
from dualsr_jax.training.signals import StopSignals
from dualsr_jax.training.step import (
    TrainState,
    create_state,
    make_train_step,
    updates_per_batch,
)

_COMPILING = "compiling the training step: usually 10 to 60 s, on TPUs 2 to 3 minutes"


def train(config: ConfigDict, workdir: str | Path) -> int:
    """Trains the coarse network of a config, or resumes the run of the workdir's checkpoints.

    Returns the signal, SIGTERM or SIGINT, that stopped the run after saving; 0 if it was finished.
    After SIGINT the devices may still be at work on steps that are lost.

    Raises:
        ValueError: for bad settings, data, workdir or checkpoints, before the first step.
        OSError: if a checkpoint or record cannot be written; the last checkpoint stays.
        FloatingPointError: if the loss is no longer finite; the last checkpoint stays.
    """
    workdir = Path(workdir)
    make_writable(workdir, "workdir")
    with locked(workdir, "workdir") if processes.is_first() else contextlib.nullcontext():
        return run(plan(config), workdir)


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
            signals = StopSignals(alone=processes.is_alone())
            steps = _Steps(plan, state, checkpoints, log, signals)
            del state  # of which the devices would keep a copy
            step, stopped_by = _make_steps(plan, steps, signals, stack)
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


class _Steps:
    """The steps of a run: made on the devices, recorded, saved.

    Two dispatches are on their way, one runs and one waits. The states before and after the one
    that runs are kept: if the run is interrupted, the newest that is finished is saved.
    """

    def __init__(
        self,
        plan: Plan,
        state: TrainState,
        checkpoints: Checkpoints,
        log: TrainingLog,
        signals: StopSignals,
    ) -> None:
        self._plan, self._checkpoints, self._log, self._signals = plan, checkpoints, log, signals
        step, settings = int(state.step), plan.config.train
        self._step_fn = parallel.data_parallel(
            make_train_step(
                plan.learning, plan.schedule, degradation=plan.degradation, seed=plan.config.seed
            )
        )
        self._batches = plan.sampler.batches(step, **parallel.share_of_batches())
        self._since_log = StepMetrics(settings.batch_size, plan.sampler.scene_name)
        self._made = collections.deque([(step, state)], maxlen=2)

    @property
    def newest(self) -> tuple[int, TrainState]:
        """The last step that was sent to the devices, and the state after it."""
        return self._made[-1]

    def dispatch(self, count: int) -> None:
        """Makes some steps on the devices; waits for those of the dispatch before."""
        before, state = self.newest
        drawn = [next(self._batches) for _ in range(count)]

        def work() -> TrainState:
            after, metrics = self._step_fn(state, drawn)
            self._since_log.add(before, metrics, [batch["sample"] for batch in drawn])
            return after

        after = self._signals.finished(work)
        if after is not None:
            self._made.append((before + count, after))
            self._log.advance(count)

    def record(self, *, score: bool, save: bool) -> None:
        """Records the steps since the last record; also the scores of scenes held out of training.

        If this is abandoned, nothing is recorded and saved: `save_finished` will do it.
        """
        step, state = self.newest
        values = self._signals.finished(self._since_log.mean)
        if values is not None and score:
            scores = functools.partial(_validation_scores, self._plan, state)
            found = self._signals.finished(scores, patient=False)
            values = None if found is None else values | found
        if values is None:
            return
        # First the record: if the run is killed in between, this step is made again.
        self._log.write(step, values)
        if save:
            self._save(state, values.get("validation_psnr_db"))
        self._since_log.clear()

    def score_last(self) -> None:
        """Scores a run whose steps are made, if it was stopped before that."""
        step, state = self.newest
        if not self._plan.validation or self._checkpoints.is_scored(step):
            return
        scores = _validation_scores(self._plan, state)
        self._log.write(step, scores)
        if processes.is_first():
            self._checkpoints.score(step, scores["validation_psnr_db"])

    def save_finished(self) -> int:
        """Records and saves the newest steps that are finished, and returns the last of them."""
        step, state = self.newest
        while not _is_ready(state) and self._signals.grace_s():
            time.sleep(0.02)
        if not _is_ready(state):
            step, state = self._made[0]
        if step > (self._checkpoints.latest_step() or 0):
            if values := self._since_log.mean(until=step):
                self._log.write(step, values)
            self._save(state, None)
        return step

    def _save(self, state: TrainState, psnr_db: float | None) -> None:
        fixed = self._plan.fixed_settings()
        self._checkpoints.save(state, self._plan.model, fixed, psnr_db=psnr_db)


def _is_ready(state: TrainState) -> bool:
    """Whether the devices have computed a state."""
    leaves: list[Any] = jax.tree.leaves(state)
    return all(leaf.is_ready() for leaf in leaves)


def _make_steps(
    plan: Plan, steps: _Steps, signals: StopSignals, stack: contextlib.ExitStack
) -> tuple[int, int]:
    """Makes the steps; returns the last one, and the signal that stopped them or 0.

    From the first steps on, until the stack is closed, signals are noted for the run to be saved.
    """
    at_once, log_every = (
        plan.config.train[name] for name in ("steps_per_dispatch", "log_every_steps")
    )
    first_step = step = steps.newest[0]
    stopped_by, asked = 0, parallel.maximum(0)
    if step == plan.last_step:
        steps.score_last()
    elif step < plan.last_step and processes.is_first():
        show(_COMPILING)
    while step < plan.last_step and not stopped_by and not signals.abandons:
        before, step = step, min(step + at_once - step % at_once, plan.last_step)
        steps.dispatch(step - before)
        if before == first_step:  # until then there is nothing to save, and much to wait for
            jax.block_until_ready(steps.newest[1])
            stack.enter_context(signals)
        # Processes stop together, a dispatch after the signal, so as never to wait for it.
        stopped_by, asked = int(asked), parallel.maximum(signals.received)
        saving = step % plan.save_every == 0 or step == plan.last_step or stopped_by > 0
        if (saving or step // log_every > before // log_every) and not signals.abandons:
            # The user who stops a run need not wait for scores.
            steps.record(score=saving and not stopped_by, save=saving)
    if signals.abandons:
        return steps.save_finished(), int(signal.SIGINT)
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
