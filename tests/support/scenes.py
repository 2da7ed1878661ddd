"""Small scenes and networks for the tests of tiles."""

import jax
import jax.numpy as jnp
import numpy as np

from dualsr_jax.dualsr import DualSR
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import Network

SMALL = {"features": 4, "num_asfm": 1, "num_blocks": 1}


class Memory:
    """A source in memory that counts what is read."""

    def __init__(self, cube, **metadata):
        self.cube, self.shape, self.dtype = cube, cube.shape, cube.dtype
        self.metadata = Metadata(**metadata)
        self.largest = 0

    def read(self, rows, columns, bands=None):
        block = self.cube[rows, columns]
        block = block if bands is None else block[..., bands]
        self.largest = max(self.largest, block[..., 0].size)
        return block


def smooth(rng, height, width, bands, dtype=np.float32, peak=1.0):
    """A cube in (0, peak), with neighbouring pixels and bands alike."""
    x = rng.random((height + 4, width + 4, bands + 2))
    for axis, taps in ((0, 5), (1, 5), (2, 3)):
        length = x.shape[axis] - taps + 1
        x = sum(np.take(x, range(k, k + length), axis) for k in range(taps)) / taps
    return (x * peak).astype(dtype)


def random_variables(module, seed, *inputs):
    """Weights of about the initial size; compiling `init` takes as long as the network itself."""
    inputs = inputs or (np.zeros((1, 6, 6, 5), np.float32),)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        names = [key.key for key in path]
        low, high = {"g": (0.4, 0.8), "gamma": (0.9, 1.1)}.get(names[-1], (-0.2, 0.2))
        if names[-4:-2] in (
            ["tail", "out"],
            ["half_tail", "out"],
        ):  # residuals so small that the gain is below 1
            low, high = 0.1 * low, 0.1 * high
        return jnp.asarray(rng.uniform(low, high, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def small_networks(scale, guide=None, **more):
    """DualSR; the guide of its fine stage comes from "half" a network, a "joint" one, or None."""

    def made(scale, seed, **settings):
        model = CoarSR(scale, **SMALL, **settings)
        return Network(model, random_variables(model, seed))

    half = made(scale // 2, 1) if guide == "half" else None
    return DualSR(made(scale, 0, joint=guide == "joint"), half, **more)
