"""Indian Pines: the demo. Real AVIRIS data, 145x145x200, 400-2500 nm, packaged by tensorly.

    python -m dualsr_jax.train --config configs/indian_pines.py --workdir runs/indian_pines
    python -m dualsr_jax.evaluate --config configs/indian_pines.py --weights runs/indian_pines

Trains at x2 on the upper two thirds of the scene, on windows of neighbouring bands, and tests on
the lower third, which shares no pixel with them. Expected: about a minute on two cores;
38.91 dB / 0.9522 / 1.556 degrees (CoarSR) where bicubic gives 38.25 / 0.9426 / 1.648.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe


def get_config() -> ConfigDict:
    """The config."""
    c = recipe.defaults()
    c.model.scale, c.model.features, c.model.num_blocks = 2, 16, 1
    c.data.name = c.data.source = "indian_pines"
    c.data.peak = 10000.0  # the largest stored value is 9604
    c.data.split = "thirds"
    c.train.epochs = 16.0
    c.train.batch_size, c.train.lr_patch = 8, 16
    c.train.resize_scales = (1.0, 0.75)
    c.train.window_bands = 8
    c.train.learning_rate, c.train.halve_every_epochs = 1e-3, 4.0
    c.train.save_every_epochs = 4.0
    c.evaluate.bands = (30, 120)
    return c
