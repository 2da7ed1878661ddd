"""Checkpoints: the only file that imports orbax.

Contract: `<workdir>/checkpoints/<step>` holds the network's variables, the optimiser's state and
the network's settings as separate items, so that a network can be read without its optimiser and
without its config. The latest three and the best (by the PSNR given when saving) are kept. Orbax
writes beside and renames, in the background; `close` waits for it.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import optax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dualsr_jax.models.coarse import CoarSR
from dualsr_jax.training.step import TrainState, create_state
from dualsr_jax.upscale import DualSR

_METRIC = "psnr_db"
# What may differ between the run that wrote a checkpoint and the one that reads it.
_FREE_SETTINGS = ("band_chunk", "parent", "name")


def model_settings(model: CoarSR) -> dict[str, Any]:
    """The attributes of a network that its weights depend on."""
    return {
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(model)
        if field.name not in _FREE_SETTINGS
    }


def check_model(stored: CoarSR, wanted: CoarSR, place: str) -> None:
    """Raises ValueError if a stored network is not the one that a config describes.

    Args:
        stored: of the checkpoint.
        wanted: of the config.
        place: of the checkpoint, for the error.
    """
    has, wants = model_settings(stored), model_settings(wanted)
    differing = ", ".join(
        f"{name}={has[name]!r}, not {wants[name]!r}" for name in wants if has[name] != wants[name]
    )
    if differing:
        raise ValueError(
            f"the checkpoint in {place!r} is of another network: it has {differing}. "
            "Use the config it was trained with, or another workdir"
        )


def _abstract(tree: Any) -> Any:
    """Shapes, types and, as the target of restoring, this process's first device."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _rank(metrics: Mapping[str, float]) -> float:
    return metrics[_METRIC]


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: Path, *, read_only: bool = False) -> None:
        """Opens them; creates the folder unless `read_only`.

        Raises:
            FileNotFoundError: if `read_only` and there is no checkpoint.
        """
        self._folder = workdir.absolute() / "checkpoints"
        if read_only and not self._folder.is_dir():
            raise FileNotFoundError(
                f"there are no checkpoints in {str(workdir)!r}: train first, with "
                f"python -m dualsr_jax.train --config ... --workdir {workdir}"
            )
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                read_only=read_only,
                create=not read_only,
                save_interval_steps=0 if read_only else 1,
                cleanup_tmp_directories=not read_only,
                best_fn=_rank,
                preservation_policy=policies.AnyPreservationPolicy(
                    [policies.LatestN(3), policies.BestN(get_metric_fn=_rank, n=1)]
                ),
            ),
        )
        if read_only and self._manager.latest_step() is None:
            raise FileNotFoundError(f"{str(self._folder)!r} holds no finished checkpoint")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, model: CoarSR, *, psnr_db: float) -> None:
        """Saves in the background; `psnr_db` ranks the checkpoint."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(state.variables),
                optimizer=ocp.args.StandardSave(state.opt_state),
                model=ocp.args.JsonSave(model_settings(model)),
            ),
            metrics={_METRIC: psnr_db},
        )

    def _read_settings(self, step: int) -> dict[str, Any]:
        return self._manager.restore(step, args=ocp.args.Composite(model=ocp.args.JsonRestore()))[
            "model"
        ]

    def restore(self, state: TrainState, model: CoarSR) -> TrainState:
        """The newest checkpoint in place of a new state, or that state if there is none.

        Raises:
            ValueError: if the checkpoint is of another network, naming what differs.
        """
        step = self.latest_step()
        if step is None:
            return state
        check_model(CoarSR(**self._read_settings(step)), model, str(self._folder))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                variables=ocp.args.StandardRestore(_abstract(state.variables)),
                optimizer=ocp.args.StandardRestore(_abstract(state.opt_state)),
            ),
        )
        return dataclasses.replace(
            state,
            step=jax.numpy.asarray(step, state.step.dtype),
            params=restored["variables"]["params"],
            batch_stats=restored["variables"].get("batch_stats", {}),
            opt_state=restored["optimizer"],
        )

    def restore_network(self, which: str = "latest") -> tuple[CoarSR, dict[str, Any], int]:
        """A trained network, without its optimiser.

        Args:
            which: "latest", or "best" by the PSNR given when saving.

        Returns:
            The network, its variables and the step.

        Raises:
            ValueError: if `which` is neither.
        """
        if which not in ("best", "latest"):
            raise ValueError(f"unknown checkpoint {which!r}: expected 'best' or 'latest'")
        manager = self._manager
        step = manager.best_step() if which == "best" else manager.latest_step()
        model = CoarSR(**self._read_settings(step))
        abstract = jax.eval_shape(lambda: create_state(model, optax.identity(), jax.random.key(0)))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                variables=ocp.args.StandardRestore(_abstract(abstract.variables))
            ),
        )
        return model, restored["variables"], step


def restore_dualsr(
    workdir: str | os.PathLike[str],
    half_scale_workdir: str | os.PathLike[str] | None = None,
    *,
    which: str = "latest",
    iterations: int = 1,
    band_chunk: int | None = 8,
) -> DualSR:
    """Both stages from the workdirs of training.

    Args:
        workdir: of the network.
        half_scale_workdir: of the network of half the scale, or None.
        which: "latest" or "best" checkpoint.
        iterations: of the fine stage.
        band_chunk: bands at once, bounds the memory; None: all.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the second network is not of half the scale.
    """
    with Checkpoints(Path(workdir), read_only=True) as checkpoints:
        model, variables, _ = checkpoints.restore_network(which)
    half_model, half_variables = None, None
    if half_scale_workdir is not None:
        with Checkpoints(Path(half_scale_workdir), read_only=True) as checkpoints:
            half_model, half_variables, _ = checkpoints.restore_network(which)
        half_model = half_model.clone(band_chunk=band_chunk)
    return DualSR(
        model.clone(band_chunk=band_chunk), variables, half_model, half_variables, iterations
    )
