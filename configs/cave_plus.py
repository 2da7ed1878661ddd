"""CAVE with a recipe chosen on held-out training scenes (docs/results.md, ablation).

    python -m dualsr_jax.train --config configs/cave_plus.py:4-small --workdir runs/cave_x4_small \
        --config.data.path=FOLDER
    python -m dualsr_jax.train --config configs/cave_plus.py:4 --workdir runs/cave_plus_x4 \
        --config.data.path=FOLDER

FOLDER holds CAVE as it is distributed; split and protocol are those of `configs/cave.py`.
Arguments: 2, 3, 4, 8, the scale factor; with `-small` a narrower network and a run for a
processor, about an hour and a half on one core; at x8 it begins from the shipped `cave_x4_small`.
With `-joint` (4 and 8) one network also makes the guide of the fine stage, in a somewhat longer run
for a processor; two scenes are held out, for its curve. The shipped `cave_x4_joint` was trained so
twice, first with `--config.train.loss=l1`, then begun from the result. The shipped
`cave_x4_small`, `cave_x2_small` and `cave_x8_small` were trained with `-small`, on 25 scenes
(`--config.data.split=dualsr_25`). Expected (coarse stage): 38.597 dB / 0.9294 / 3.288 degrees at
x4, 44.192 / 0.9728 / 2.276 at x2, 34.844 / 0.8802 / 4.497 at x8. At full width, without `-small`,
the recipe is untried: it has the loss of the joint network, half its learning rate, and the length
of the published recipe.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe


def get_config(variant: str = "4") -> ConfigDict:
    """The config for a scale factor, such as "4", "4-small" or "4-joint"."""
    scale, _, size = variant.partition("-")
    sizes = ("", "small", "joint") if scale in ("4", "8") else ("", "small")
    if scale not in ("2", "3", "4", "8") or size not in sizes:
        raise ValueError(
            f"unknown scale {variant!r}: expected configs/cave_plus.py:2, :3, :4 or :8, or with "
            "-small, such as configs/cave_plus.py:4-small, or :4-joint or :8-joint"
        )
    c = recipe.defaults()
    c.model.scale = int(scale)
    c.data.name, c.data.path, c.data.split = "cave", "data/CAVE", "dualsr"
    c.train.schedule, c.train.loss = "cosine", "psnr"
    c.train.ema_decay = 0.999
    c.train.learning_rate, c.train.warmup_epochs = 5e-4, 0.5
    if size:
        c.train.batch_size, c.train.lr_patch, c.train.learning_rate = 4, 16, 1e-3
    if size == "small":
        c.model.features, c.train.loss = 24, "l1"
        c.train.warmup_epochs, c.train.epochs, c.train.save_every_epochs = 0.01, 1.2, 0.05
    if size == "joint":
        c.model.features, c.model.joint, c.data.validation = 32, True, ("beads", "paints")
        c.train.warmup_epochs, c.train.epochs, c.train.save_every_epochs = 0.046, 2.0, 0.2
    if variant == "8-small":
        c.train.epochs, c.train.warm_start = 0.7, "cave_x4_small"
    return c
