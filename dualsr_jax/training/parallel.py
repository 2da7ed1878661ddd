"""Data-parallel training with `jax.pmap`: the only file of training that knows devices.

Contract: the state has no device axis and is the same on all devices; a batch is divided evenly
among the devices of all processes. Gradients, statistics and metrics are averaged over `AXIS`.
"""

import collections
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dualsr_jax.training import processes
from dualsr_jax.training.step import Metrics, TrainState

AXIS = "batch"


def describe_devices() -> str:
    """The devices that training runs on, in words."""
    devices, count = jax.devices(), jax.process_count()
    text = f"{len(devices)} {devices[0].device_kind} device(s)"
    return text if count == 1 else f"{text} of {count} processes"


def check_batch_size(batch_size: int) -> None:
    """Raises ValueError if a batch cannot be divided evenly among all devices.

    Each process divides its share by its own devices, so all must have the same number of them.
    """
    of_process = collections.Counter(device.process_index for device in jax.devices())
    if len(set(of_process.values())) > 1:
        counts = ", ".join(f"process {k} has {n}" for k, n in sorted(of_process.items()))
        raise ValueError(
            f"all processes must have the same number of devices, but {counts}: give each of them "
            "as many, by the resources of the job or with CUDA_VISIBLE_DEVICES"
        )
    num_devices = jax.device_count()
    if batch_size % num_devices:
        raise ValueError(
            f"train.batch_size={batch_size} is not divisible by the {num_devices} devices: choose "
            f"a multiple, such as {-(-batch_size // num_devices) * num_devices}"
        )


def share_of_batches() -> dict[str, int]:
    """Which share of every batch this process draws, for `PatchSampler.batches`."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


@functools.cache
def _maximum() -> Callable[[np.ndarray], jax.Array]:
    return jax.pmap(lambda x: jax.lax.pmax(x, AXIS), axis_name=AXIS, out_axes=None)


def maximum(value: int) -> int | jax.Array:
    """The largest value of all processes, which must call this together; `int` of it waits."""
    if processes.is_alone():
        return value
    return _maximum()(np.full(jax.local_device_count(), value, np.int32))


def replicate(state: TrainState) -> TrainState:
    """Puts a state on all local devices, where `data_parallel` needs it."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def data_parallel(
    step: Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Metrics]],
) -> Callable[[TrainState, Sequence[Mapping[str, np.ndarray]]], tuple[TrainState, Metrics]]:
    """Runs a step of `make_train_step` that averages over `AXIS` on all devices.

    Returns a function of a state and of this process's shares of consecutive batches, which are
    sent to the devices together. It is compiled once per number of batches. The state can be used
    afterwards, as by a run that is interrupted while the devices make these steps. The metrics are
    arrays with one value per batch.
    """
    devices = jax.local_device_count()

    def steps(state, batches):
        stacked = jax.tree.map(lambda *of_batches: jnp.stack(of_batches), *batches)
        return jax.lax.scan(step, state, stacked)

    mapped = jax.pmap(steps, AXIS, in_axes=(None, 0), out_axes=None)

    def run(
        state: TrainState, batches: Sequence[Mapping[str, np.ndarray]]
    ) -> tuple[TrainState, Metrics]:
        shards = [
            {name: a.reshape(devices, -1, *a.shape[1:]) for name, a in batch.items()}
            for batch in batches
        ]
        return mapped(state, shards)

    return run
