"""Five training steps with one update a step, on this process's share of the batches.

Run by `test_processes.py` in processes of their own, which JAX finds by the environment; less than
a whole training, which would take twice as long.
"""

import sys

import jax
import numpy as np
from flax import traverse_util

from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.training import parallel, processes
from dualsr_jax.training.optimizer import adam, learning_rate_schedule
from dualsr_jax.training.step import Learning, TrainState, make_train_step, state_shapes

BATCH = 4


def trained():
    """Parameters by name, after the five steps."""
    model = CoarSR(2, features=4, num_asfm=1, num_blocks=1)
    schedule = learning_rate_schedule(1e-4, 1, 100)
    optimizer = adam(schedule)
    learning = Learning(model=model, optimizer=optimizer, update="image", axis_name=parallel.AXIS)
    step = parallel.data_parallel(make_train_step(learning, schedule))
    rng = np.random.default_rng(0)
    shapes = state_shapes(model, optimizer).params
    # Compiling a network's own beginning takes as long as its training step.
    params = jax.tree.map(lambda x: 0.1 * rng.standard_normal(x.shape, np.float32), shapes)
    state = parallel.replicate(TrainState(np.int32(0), params, {}, optimizer.init(params)))
    share = BATCH // jax.process_count()
    mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    for number in range(5):
        batch = {
            "hr": rng.random((BATCH, 8, 8, 6)).astype(np.float32),
            "variant": np.arange(BATCH, dtype=np.int32),
            "sample": BATCH * number + np.arange(BATCH),
        }
        state, _ = step(state, [{name: values[mine] for name, values in batch.items()}])
    params = traverse_util.flatten_dict(state.params, sep="/")
    return {name: np.asarray(value) for name, value in params.items()}


if __name__ == "__main__":
    with processes.joined(None, None, None, detect=True, timeout_s=120):
        params = trained()
        if processes.is_first():
            np.savez(sys.argv[1], devices=jax.device_count(), **params)
