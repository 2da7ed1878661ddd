"""Compares the fine stage with other forms of it.

    python scripts/fine_stage_study.py --config configs/cave_plus.py:4-small \
        --weights cave_x4_small --config.data.path=FOLDER

Prints a table of scores on the test scenes of the config, or with `--part train` on those that it
trains on or holds out: the coarse result, the published fine stage, smaller limits of its gain,
more iterations, a gain per pixel instead of one per image, the measured LR cube as a second
constraint, and a perfect guide (the true cube at half the scale). The published form stays the
default.
"""

import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from dualsr_jax.commands import run
from dualsr_jax.data.parts import open_parts
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.fine_stage import back_project
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.ops.spectral_angle import spectral_angle_rad
from dualsr_jax.protocols import get_protocol
from dualsr_jax.training.restore import restore_dualsr

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, file.py:argument.")
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Folder of training, file, or name of shipped weights.", required=True
)
_PART = flags.DEFINE_enum("part", "test", ["train", "test"], "Part of the split.")
_HALF = flags.DEFINE_string("half_weights", None, "Weights of the network of half the scale.")


def gain_per_pixel(u, v, ratio):
    """Makes one correction whose gain is each pixel's own angle in degrees, at most 1."""
    low = imresize(u, 1 / ratio)
    gain = jnp.minimum(jnp.rad2deg(spectral_angle_rad(low, v)), 1.0)
    return u + imresize(gain[..., None] * (v - low), ratio)


def towards(u, lr, scale, times):
    """Makes plain back-projections, so that the reduction comes closer to the measured cube."""
    for _ in range(times):
        u = u + imresize(lr - imresize(u, 1 / scale), scale)
    return u


def forms(u, v, lr, hr, ratio, scale) -> dict[str, jnp.ndarray]:
    """Returns the compared cubes, by name."""
    fine = back_project(u, v, ratio=ratio)[0]
    limited = {
        f"a gain of at most {limit}": back_project(u, v, ratio=ratio, max_gain=limit)[0]
        for limit in (0.25, 0.5, 0.75)
    }
    return {
        "CoarSR": u,
        "DualSR, as published": fine,
        **limited,
        "3 iterations": back_project(u, v, ratio=ratio, iterations=3)[0],
        "10 iterations": back_project(u, v, ratio=ratio, iterations=10)[0],
        "a gain per pixel": gain_per_pixel(u, v, ratio),
        "CoarSR, then towards LR": towards(u, lr, scale, 1),
        "CoarSR, then 3 times towards LR": towards(u, lr, scale, 3),
        "DualSR, then towards LR": towards(fine, lr, scale, 1),
        "DualSR, then 3 times towards LR": towards(fine, lr, scale, 3),
        "perfect guide": back_project(u, imresize(hr, 1 / ratio), ratio=ratio)[0],
    }


def main() -> None:
    """Prints the table."""
    config = _CONFIG.value
    protocol = get_protocol(config.protocol)
    dualsr = restore_dualsr(_WEIGHTS.value, _HALF.value)
    scale, rows = dualsr.scale, {}
    for scene in tqdm(list(open_parts(config)[_PART.value]), unit="image"):
        hr, lr = reference_and_lr(
            scene.cube,
            scale,
            degradation=Degradation(**config.degradation),
            name=scene.name,
            seed=config.seed,
        )
        u, v = map(jnp.asarray, dualsr.coarse_stage.coarse_and_guide(lr))
        for name, form in forms(u, v, lr, hr, dualsr.coarse_stage.ratio, scale).items():
            cube = protocol.clip(np.asarray(form))
            rows.setdefault(name, []).append(protocol.score_image(cube, hr, scale=scale))
    metrics = list(protocol.metrics)
    print("| | " + " | ".join(metrics) + " |\n" + "| --- " * (len(metrics) + 1) + "|")
    for name, scores in rows.items():
        means = (np.mean([s[metric] for s in scores]) for metric in metrics)
        print(f"| {name} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
