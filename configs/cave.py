"""CAVE: 32 indoor scenes, 512x512x31, 400-700 nm; the published training recipe.

    python -m dualsr_jax.train --config configs/cave.py:4 --workdir runs/cave_x4 \
        --config.data.path=FOLDER

FOLDER holds `<scene>_ms/<scene>_ms/<scene>_ms_NN.png`, as CAVE is distributed. Arguments: 2, 3, 4,
8, the scale factor. 24 scenes train, 7 test, as published (docs/data.md).
Expected: 39.665 dB / 0.9328 / 3.152 degrees at x4 (published, coarse stage). docs/results.md has
what was measured with this code, and how long it took.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe


def get_config(scale: str = "4") -> ConfigDict:
    """The config for a scale factor."""
    if scale not in ("2", "3", "4", "8"):
        raise ValueError(f"unknown scale {scale!r}: expected configs/cave.py:2, :3, :4 or :8")
    c = recipe.defaults()
    c.model.scale = int(scale)
    c.data.name = "cave"
    c.data.path = "data/CAVE"
    c.data.split = "dualsr"  # or "dualsr_25", with watercolors in training; or "20_12"
    return c
