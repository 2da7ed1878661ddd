"""Harvard: 50 scenes in daylight, 1040x1392x31, 420-720 nm; the published training recipe.

    python -m dualsr_jax.train --config configs/harvard.py:4 --workdir runs/harvard_x4 \
        --config.data.path=FOLDER

FOLDER holds the `.mat` files, whose variable `ref` is the cube. Arguments: 2, 3, 4, 8, the scale
factor. The published split is not known: a fifth of the scenes, drawn by `data.split_seed`, tests.
Expected: 40.312 dB / 0.9405 / 2.384 degrees at x4 (published, coarse stage); not measured here.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe


def get_config(scale: str = "4") -> ConfigDict:
    """The config for a scale factor."""
    if scale not in ("2", "3", "4", "8"):
        raise ValueError(f"unknown scale {scale!r}: expected configs/harvard.py:2, :3, :4 or :8")
    c = recipe.defaults()
    c.model.scale = int(scale)
    c.data.name = "harvard"
    c.data.path = "data/Harvard"
    c.data.key = "ref"
    c.data.peak = "max"
    c.data.split = "random"
    return c
