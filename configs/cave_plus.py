"""CAVE with a recipe chosen on held-out training scenes (docs/results.md, ablation).

    python -m dualsr_jax.train --config configs/cave_plus.py:4-small --workdir runs/cave_x4_small \
        --config.data.path=FOLDER
    python -m dualsr_jax.train --config configs/cave_plus.py:4 --workdir runs/cave_plus_x4 \
        --config.data.path=FOLDER

FOLDER holds CAVE as it is distributed; split and protocol are those of `configs/cave.py`.
Arguments: 2, 3, 4, 8, the scale factor; with `-small` a narrower network and a run for a
processor, about an hour and a half on one core; at x8 it begins from the shipped `cave_x4_small`.
The shipped `cave_x4_small`, `cave_x2_small` and `cave_x8_small` were trained so, on 25 scenes
(`--config.data.split=dualsr_25`). Expected (coarse stage): 38.597 dB / 0.9294 / 3.288 degrees at
x4, 44.192 / 0.9728 / 2.276 at x2, 34.844 / 0.8802 / 4.497 at x8. At full width, without `-small`,
the recipe is untried: it is that of the small network with half its learning rate, at the length of
the published one.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe


def get_config(variant: str = "4") -> ConfigDict:
    """The config for a scale factor, such as "4", or "4-small"."""
    scale, _, size = variant.partition("-")
    if scale not in ("2", "3", "4", "8") or size not in ("", "small"):
        raise ValueError(
            f"unknown scale {variant!r}: expected configs/cave_plus.py:2, :3, :4 or :8, or with "
            "-small, such as configs/cave_plus.py:4-small"
        )
    c = recipe.defaults()
    c.model.scale = int(scale)
    c.data.name, c.data.path, c.data.split = "cave", "data/CAVE", "dualsr"
    c.train.schedule = "cosine"
    c.train.ema_decay = 0.999
    c.train.learning_rate, c.train.warmup_epochs = 5e-4, 0.5
    if size == "small":
        c.model.features = 24
        c.train.batch_size, c.train.lr_patch = 4, 16
        c.train.learning_rate, c.train.warmup_epochs = 1e-3, 0.01
        c.train.epochs, c.train.save_every_epochs = 1.2, 0.05
    if variant == "8-small":
        c.train.epochs, c.train.warm_start = 0.7, "cave_x4_small"
    return c
