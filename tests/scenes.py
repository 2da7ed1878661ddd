"""Small scenes and networks for the tests of tiles."""

import jax
import numpy as np

from dualsr_jax.io.metadata import Metadata
from dualsr_jax.models.coarse import CoarSR
from dualsr_jax.upscale import DualSR

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


def small_networks(scale, half=False, **more):
    def made(scale, seed):
        model = CoarSR(scale, **SMALL)
        variables = jax.jit(model.init)(jax.random.key(seed), np.zeros((1, 6, 6, 5), np.float32))
        # Weights of a few times the initial size: every pixel within reach shows in the result.
        return model, jax.tree.map(lambda w: 1.5 * w, variables)

    guide = made(scale // 2, 1) if half else (None, None)
    return DualSR(*made(scale, 0), *guide, **more)
