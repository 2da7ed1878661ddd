"""Smoke test: every part of the demo on very little of it, to see that an installation works.

    python -m dualsr_jax.train --config configs/smoke.py --workdir runs/smoke
    python -m dualsr_jax.evaluate --config configs/smoke.py --weights runs/smoke

Expected: half a minute on two cores, and figures that mean nothing.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe


def get_config() -> ConfigDict:
    """The config."""
    c = recipe.defaults()
    c.model.scale, c.model.features = 2, 4
    c.model.num_asfm = c.model.num_blocks = 1
    c.data.name = c.data.source = "indian_pines"
    c.data.peak = 10000.0  # the largest stored value is 9604
    c.data.split = "thirds"
    c.train.epochs = 1.0
    c.train.batch_size, c.train.lr_patch, c.train.patches_per_image = 4, 8, 4
    c.train.resize_scales = (1.0,)
    c.train.window_bands = 5
    c.train.log_every_steps = 2
    c.evaluate.bands = (30, 120)
    return c
