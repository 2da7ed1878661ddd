"""Checkpoints: the only file that imports orbax.

Contract: `<workdir>/checkpoints/<step>` holds the network's variables, the optimiser's state, the
network's settings and those of the run as separate items, so that a network can be read without its
optimiser and its config. If the run keeps a moving average of the parameters, the variables hold
the average. The latest three checkpoints and the best, by the PSNR of held-out scenes, are kept.
Orbax writes under another name and renames; `save` waits for it, so that a killed run loses no more
than one interval, and a full disk is reported immediately. A run resumes from the newest checkpoint
that can be read, and sets aside newer ones that cannot, as after a power failure. Several processes
call the same methods together; process 0 writes.
"""

import dataclasses
import json
import math
import operator
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dualsr_jax.disk import replacing
from dualsr_jax.models.network import Model, Network, make_model, method_of, settings_of
from dualsr_jax.training import processes
from dualsr_jax.training.optimizer import averaged_params
from dualsr_jax.training.step import TrainState, state_shapes

_METRIC = "psnr_db"
# Settings that runs of older versions could have, with the value at which they did nothing.
_FORMER_SETTINGS = {"sam_weight": 0.0}


class UnreadableError(ValueError):
    """A part of a checkpoint is missing or cut off."""


def check_model(stored: Model, wanted: Model, place: str) -> None:
    """Raises ValueError if the network stored at a place is not the one that a config describes."""
    has, wants = ({"method": method_of(m), **settings_of(m)} for m in (stored, wanted))
    if has["method"] != wants["method"]:  # other methods have other settings
        wants = {"method": wants["method"]}
    differing = ", ".join(
        f"{name}={has[name]!r}, not {wants[name]!r}" for name in wants if has[name] != wants[name]
    )
    if differing:
        raise ValueError(
            f"the checkpoint in {place!r} is of another network: it has {differing}. "
            "Use the config it was trained with, or another workdir"
        )


def check_run(stored: Mapping[str, Any], wanted: Mapping[str, Any], place: str) -> None:
    """Raises ValueError if the run stored at a place had other settings than the new one."""
    former = _FORMER_SETTINGS.items()
    stored = {name: value for name, value in stored.items() if (name, value) not in former}
    names = [name for name in {**stored, **wanted} if stored.get(name) != wanted.get(name)]
    if names:
        shown = [f"{name} was {stored.get(name)!r}, is {wanted.get(name)!r}" for name in names[:3]]
        rest = [f"and {len(names) - 3} more"] if len(names) > 3 else []
        raise ValueError(
            f"the checkpoint in {place!r} was trained on other data or settings: "
            f"{'; '.join(shown + rest)}. Set them back to resume, or choose another workdir"
        )


def evaluated_variables(state: TrainState) -> dict[str, Any]:
    """The variables to evaluate: with the moving average of the parameters, if one is kept."""
    average = averaged_params(state.opt_state)
    return state.variables if average is None else {**state.variables, "params": average}


def _blank(tree: Any) -> Any:
    """Arrays on the host to restore into: every process has them, whatever its devices."""
    return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)


def _metrics_file(folder: Path, step: int) -> Path:
    return folder / str(step) / "metrics" / "metrics"


def _steps_without_metrics(folder: Path) -> list[int]:
    """The checkpoints whose metrics cannot be read, the newest first."""
    broken, steps = [], [int(p.name) for p in folder.glob("*") if p.name.isdecimal()]
    for step in steps:
        try:
            json.loads(_metrics_file(folder, step).read_text())
        except (OSError, ValueError):
            broken.append(step)
    if broken and len(broken) == len(steps):
        raise ValueError(
            f"none of the checkpoints in {str(folder)!r} can be read: move the folder away to "
            "start anew, or choose another workdir"
        )
    return sorted(broken, reverse=True)


def _reason(error: Exception) -> str:
    """The last part of orbax's report, which is a page long."""
    return str(error).strip().splitlines()[-1].rsplit(": ", 1)[-1].partition(" [")[0]


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: str | Path, *, read_only: bool = False) -> None:
        """Opens the checkpoints; creates their folder unless `read_only`.

        Raises FileNotFoundError if `read_only` and there is no checkpoint, and ValueError if no
        checkpoint can be read or, with `read_only`, one is damaged.
        """
        self._folder = Path(workdir).absolute() / "checkpoints"
        if read_only and not self._folder.is_dir():
            raise FileNotFoundError(
                f"there are no checkpoints in {str(workdir)!r}: train first, with "
                f"python -m dualsr_jax.train --config ... --workdir {workdir}"
            )
        broken = _steps_without_metrics(self._folder)
        self._unranked = broken if read_only else []
        for step in self._unranked:
            # Orbax opens a folder in which metrics are missing, as while a running training deletes
            # an old checkpoint, but not one in which they are damaged.
            if _metrics_file(self._folder, step).exists():
                raise ValueError(
                    f"checkpoint {step} in {str(self._folder)!r} cannot be read: resume the "
                    "training, which sets it aside, or move it away"
                )
        if not read_only:
            self._set_aside(broken)
        policies, rank = checkpoint_managers, operator.itemgetter(_METRIC)
        self._manager = ocp.CheckpointManager(
            self._folder,
            # Orbax's own read_only only refuses to save, and warns at each reading.
            options=ocp.CheckpointManagerOptions(
                create=not read_only,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=not read_only,
                best_fn=rank,
                preservation_policy=policies.AnyPreservationPolicy(
                    [policies.LatestN(3), policies.BestN(get_metric_fn=rank, n=1)]
                ),
            ),
        )
        if read_only and self._manager.latest_step() is None:
            raise FileNotFoundError(f"{str(self._folder)!r} holds no finished checkpoint")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None if there is no checkpoint."""
        return self._manager.latest_step()

    def save(
        self,
        state: TrainState,
        model: Model,
        run: Mapping[str, Any],
        *,
        psnr_db: float | None = None,
    ) -> None:
        """Saves the state, which is the same on all processes, and waits until it is on disk.

        `run` is what must not change when the run is resumed, values of JSON. `psnr_db`, that of
        held-out scenes, ranks the checkpoint; without it, the checkpoint is never the best. Raises
        OSError if the checkpoint could not be saved, and FloatingPointError if a parameter is not
        finite.
        """
        host = jax.tree.map(np.array, state)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host.params)):
            raise FloatingPointError(
                f"parameters are no longer finite after step {int(state.step)}: lower "
                "train.learning_rate; the last checkpoint is kept"
            )
        items = ocp.args.Composite(
            variables=ocp.args.StandardSave(evaluated_variables(host)),
            optimizer=ocp.args.StandardSave({"params": host.params, "state": host.opt_state}),
            model=ocp.args.JsonSave(settings_of(model)),
            run=ocp.args.JsonSave(run),
        )
        try:
            metrics = {_METRIC: -math.inf if psnr_db is None else psnr_db}
            self._manager.save(int(state.step), args=items, metrics=metrics)
        except (ValueError, OSError) as error:
            raise OSError(
                f"a checkpoint could not be saved in {str(self._folder)!r} ({_reason(error)}): "
                "make room there; the same command resumes from the last one that was saved"
            ) from error

    def is_scored(self, step: int) -> bool:
        """Whether the checkpoint of a step has the PSNR of held-out scenes."""
        return math.isfinite(self._manager.metrics(step)[_METRIC])

    def score(self, step: int, psnr_db: float) -> None:
        """Adds the PSNR of held-out scenes to a checkpoint that was saved without it."""
        with replacing(_metrics_file(self._folder, step)) as new:
            new.write_text(json.dumps({_METRIC: psnr_db}))

    def _read(self, step: int, **items: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, OSError, LookupError) as error:
            raise UnreadableError(
                f"checkpoint {step} in {str(self._folder)!r} cannot be read ({_reason(error)})"
            ) from error

    def _set_aside(self, steps: Sequence[int]) -> None:
        """Renames checkpoints that cannot be read, so that they are neither read nor in the way."""
        processes.wait_for_all("checkpoints read")
        for step in steps if processes.is_first() else ():
            aside = tempfile.mkdtemp(prefix=f"unreadable-{step}-", dir=self._folder)
            os.rename(self._folder / str(step), aside)
            print(f"warning: checkpoint {step} cannot be read and was set aside: {aside}")
        processes.wait_for_all("checkpoints set aside")

    def restore(self, state: TrainState, model: Model, run: Mapping[str, Any]) -> TrainState:
        """Restores the newest checkpoint that can be read, as arrays on the host.

        `state` is a new one, which gives the shapes and is returned if there are no checkpoints;
        `run` is what was given to `save`. Raises ValueError if the checkpoint is of another network
        or run, naming what differs, or if there are checkpoints, but not one of them can be read.
        """
        unreadable: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore(step, state, model, run)
            except UnreadableError as error:
                unreadable[step] = str(error)
                continue
            self._set_aside(list(unreadable))
            self._manager.reload()
            return restored
        if unreadable:
            raise ValueError(
                f"none of the checkpoints can be read: {'; '.join(unreadable.values())}. Move "
                f"{str(self._folder)!r} away to start anew, or choose another workdir"
            )
        return state

    def _restore(
        self, step: int, state: TrainState, model: Model, run: Mapping[str, Any]
    ) -> TrainState:
        settings = self._read(step, model=ocp.args.JsonRestore(), run=ocp.args.JsonRestore())
        check_model(make_model(settings["model"]), model, str(self._folder))
        check_run(settings["run"], json.loads(json.dumps(run)), str(self._folder))
        optimizer = {"params": state.params, "state": state.opt_state}
        restored = self._read(
            step,
            variables=ocp.args.StandardRestore(_blank(state.variables)),
            optimizer=ocp.args.StandardRestore(_blank(optimizer)),
        )
        return dataclasses.replace(
            state,
            step=np.asarray(step, state.step.dtype),
            params=restored["optimizer"]["params"],
            batch_stats=restored["variables"].get("batch_stats", {}),
            opt_state=restored["optimizer"]["state"],
        )

    def restore_network(self, which: str = "latest") -> tuple[Network, int]:
        """The network of the "latest" or "best" (by PSNR of held-out scenes) step, and the step.

        Raises ValueError if `which` is unknown, or "best" and no checkpoint was scored.
        """
        if which not in ("best", "latest"):
            raise ValueError(f"unknown checkpoint {which!r}: expected 'best' or 'latest'")
        if which == "best" and self._unranked:
            steps = ", ".join(map(str, self._unranked))
            print(f"warning: checkpoint {steps} has no PSNR: the best is one of the others")
        manager = self._manager
        step = manager.best_step() if which == "best" else manager.latest_step()
        if which == "best" and not math.isfinite(manager.metrics(step)[_METRIC]):
            raise ValueError(
                f"no checkpoint in {str(self._folder)!r} was scored on scenes held out: take the "
                "latest, or train with data.validation"
            )
        model = make_model(self._read(step, model=ocp.args.JsonRestore())["model"])
        blank = _blank(state_shapes(model, optax.identity()).variables)
        restored = self._read(step, variables=ocp.args.StandardRestore(blank))
        return Network(model, jax.device_put(restored["variables"])), step
