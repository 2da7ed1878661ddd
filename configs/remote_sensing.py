"""Remote-sensing scenes under the protocol of SSPSR: Chikusei and Pavia Centre.

    python -m dualsr_jax.prepare --dataset chikusei --source FOLDER
    python -m dualsr_jax.train --config configs/remote_sensing.py:chikusei-4 \
        --workdir runs/chikusei_x4

Arguments: chikusei or pavia_centre, and the scale factor 2, 4 or 8, as in chikusei-4. Parts of the
one scene train and test (docs/data.md). Not measured here: the scenes were not at hand.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe


def get_config(scene_and_scale: str = "chikusei-4") -> ConfigDict:
    """The config for a scene and scale factor."""
    scene, _, scale = scene_and_scale.partition("-")
    if scene not in ("chikusei", "pavia_centre") or scale not in ("2", "4", "8"):
        raise ValueError(
            f"unknown {scene_and_scale!r}: expected configs/remote_sensing.py:chikusei-4, "
            "pavia_centre-4, or scale 2 or 8"
        )
    c = recipe.defaults()
    c.protocol = "sspsr"
    c.model.scale = int(scale)
    c.data.name = scene
    c.data.source, c.data.path = "tfds", f"data/tfds/{scene}"
    c.data.split = "sspsr"
    c.train.patches_per_image = 600
    c.train.resize_scales = (1.0, 0.75)
    c.train.window_bands = 32
    c.evaluate.bands = (30, 60)
    return c
