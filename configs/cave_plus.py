"""CAVE with a recipe chosen on held-out training scenes (docs/results.md, ablation).

    python -m dualsr_jax.train --config configs/cave_plus.py:4-small --workdir runs/cave_x4_small \
        --config.data.path=FOLDER
    python -m dualsr_jax.train --config configs/cave_plus.py:4 --workdir runs/cave_plus_x4 \
        --config.data.path=FOLDER

FOLDER holds CAVE as it is distributed; split and protocol are those of `configs/cave.py`.
Arguments: 2, 3, 4, 8, the scale factor, and after it the size of a run for one processor core:
- `2-small`, `3-small`, `4-small`, `8-small`: 24 features instead of 64, about an hour and a half;
  the last begins from the shipped `cave_x4_small`. `cave_x2_small`, `cave_x4_small` and
  `cave_x8_small` were trained so, on 25 scenes (`--config.data.split=dualsr_25`).
- `4-joint`, `8-joint`: 32 features, and one network also makes the guide of the fine stage.
- `2-medium`: 32 features; at x2 the LR image itself is the guide.
The networks of 32 features leave two scenes out of training, for a curve of their PSNR; `8-joint`
and `2-medium` begin from the shipped `cave_x4_joint`. How each shipped network was trained, and
what it reaches, is in docs/results.md and in its card. At full width, without a size, the recipe is
untried: it has the loss of the joint network, half its learning rate, and the length of the
published recipe.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe

SIZES = {
    "2": ("small", "medium"),
    "3": ("small",),
    "4": ("small", "joint"),
    "8": ("small", "joint"),
}
EPOCHS = {"2-medium": 1.7, "4-joint": 2.0, "8-joint": 1.75}


def get_config(variant: str = "4") -> ConfigDict:
    """The config for a scale factor, such as "4", "4-small" or "4-joint"."""
    scale, _, size = variant.partition("-")
    if scale not in SIZES or size not in ("", *SIZES[scale]):
        sized = (f":{s}-{name}" for s, names in SIZES.items() for name in names)
        raise ValueError(
            f"unknown scale {variant!r}: expected configs/cave_plus.py:2, :3, :4 or :8, or for a "
            f"processor {', '.join(sized)}"
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
        if scale == "8":
            c.train.epochs, c.train.warm_start = 0.7, "cave_x4_small"
    elif size:
        c.model.features, c.model.joint = 32, size == "joint"
        c.data.validation = "beads", "paints"
        c.train.warmup_epochs, c.train.save_every_epochs = 0.046, 0.2
        c.train.epochs = EPOCHS[variant]
        c.train.warm_start = None if scale == "4" else "cave_x4_joint"
    return c
