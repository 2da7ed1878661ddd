"""Scenes from the air: continues the training of a CAVE network on a mixture of both.

    python scripts/usable_cubes.py --output data/airborne SCENE ...
    ln -s "$PWD"/data/CAVE/*_ms data/airborne
    python -m dualsr_jax.train --config configs/airborne.py:4 --workdir runs/airborne_x4

SCENE are the airborne scenes of `scripts/airborne_split.txt`, in any format; two of them are held
out of training. Arguments: 2 or 4, the scale factor. Half of the images are blurred as an imaging
spectrometer blurs them, by a Gaussian whose modulation transfer at the Nyquist frequency of the LR
pixels is 0.2 to 0.35; the others are reduced by MATLAB bicubic. The shipped `airborne_x4` was
trained so, in 27 minutes on one core, but begun from an earlier `cave_x4_joint` (docs/results.md);
x2 is untried.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe
from dualsr_jax.ops.degrade import sigma_of_mtf

MTF = (0.35, 0.2)  # at the Nyquist frequency of the LR pixels
WARM_START = {"2": "cave_x2_medium", "4": "cave_x4_joint"}


def get_config(scale: str = "4") -> ConfigDict:
    """The config for a scale factor."""
    if scale not in WARM_START:
        raise ValueError(f"unknown scale {scale!r}: expected configs/airborne.py:2 or :4")
    c = recipe.defaults()
    c.model.scale, c.train.warm_start = int(scale), WARM_START[scale]
    c.model.features, c.model.joint = 32, scale == "4"
    c.data.path, c.data.split = "data/airborne", "scripts/airborne_split.txt"
    c.degradation.kernel, c.degradation.share = "isotropic", 0.5
    c.degradation.sigma = tuple(sigma_of_mtf(mtf, int(scale)) for mtf in MTF)
    # The smallest scene has 80 rows, and 60 at the second size: 15 LR pixels at x4.
    c.train.batch_size, c.train.lr_patch, c.train.window_bands = 4, 15, 31
    c.train.resize_scales = (1.0, 0.75)
    c.train.schedule, c.train.ema_decay = "cosine", 0.999
    c.train.learning_rate, c.train.warmup_epochs = 5e-4, 0.02
    c.train.epochs, c.train.save_every_epochs = 0.8, 0.1
    return c
