"""How long the networks will take for a scene, estimated before they are compiled.

Contract: the estimate is the number of multiply-adds over the speed at which this machine computes
convolutions now, which is measured in less than a second, once per process. docs/scenes.md compares
estimates with what was needed.
"""

import math

from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.windows import convolution_speed, device_count
from dualsr_jax.models.multiply_adds import multiply_adds

_SHARE = 0.5  # of the speed of bare convolutions that networks reach


def estimated_s(scene: FirstPass, tiles: int) -> float:
    """Seconds that the networks will take for a number of tiles of a scene, without compiling."""
    (height, width), bands = scene.tiling.window, scene.layout.num_bands
    per_tile = sum(
        multiply_adds(
            network.model,
            bands,
            height=network.model.scale * height,
            width=network.model.scale * width,
            params=network.variables["params"],
        )
        for network in scene.stage.networks
    )
    at_once = device_count()  # which repeat a tile if fewer are left
    computed = math.ceil(tiles / at_once) * at_once * scene.stage.ensemble
    return computed * per_tile / (_SHARE * convolution_speed())


def in_words(seconds: float) -> str:
    """A duration as one would say it, such as "about 3 minutes"."""
    if seconds < 10:
        return "less than 10 s"
    if seconds < 95:
        return f"about {10 * round(seconds / 10)} s"
    if seconds < 95 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
