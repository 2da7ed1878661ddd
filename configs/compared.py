"""The compared methods on CAVE: their published training recipes, and small networks.

    python -m dualsr_jax.train --config configs/compared.py:mcnet-4 --workdir runs/mcnet_x4 \
        --config.data.path=FOLDER
    python -m dualsr_jax.train --config configs/compared.py:mcnet-4-small \
        --workdir runs/mcnet_x4_small --config.data.path=FOLDER

FOLDER holds CAVE as it is distributed; split and protocol are those of `configs/cave.py`.
Arguments: a method (3dfcnn, edsr, sspsr, mcnet, sfcsr, ercsr, essaformer or coarsr) and the scale
factor 2, 3, 4 or 8; `-small` is a network of 70 to 85 GMAC per scene at x4, trained in a short run
for a processor, with an update per band where it is published so; `-bicubic`, at the end, lets the
network correct the bicubic image. Without `-small` batch, loss, rate and length are the published
ones; for EDSR and ESSAformer, which were not published for these data, they are our choice.
Expected at x4 (published): 37.626 dB (3D-FCNN), 38.587 (EDSR), 38.366 (SSPSR), 39.026 (MCNet),
39.192 (SFCSR), 39.224 (ERCSR); not measured here.
"""

from ml_collections import ConfigDict

from dualsr_jax import recipe

PUBLISHED = {  # of the training, where it differs from what `get_config` says
    "3D-FCNN": {"epochs": 200.0, "learning_rate": 5e-5, "schedule": "constant"},
    "SSPSR": {"epochs": 40.0, "loss": "sspsr", "schedule": "tenth", "lr_patch": 16},
    "MCNet": {"epochs": 200.0},
    "SFCSR": {"epochs": 70.0, "update_every": "band"},
    "ERCSR": {"batch_size": 12},
}
SMALL = {  # of the network
    "CoarSR": {"features": 14},
    "3D-FCNN": {"features": 16, "hidden": (8, 4)},
    "EDSR": {"features": 96, "res_scale": 0.1},
    "SSPSR": {"features": 56, "num_blocks": 3},
    "MCNet": {"features": 16},
    "SFCSR": {"features": 16, "num_modules": 4},
    "ERCSR": {"features": 16},
    "ESSAformer": {"features": 40, "dropout": 0.0},
}
NAMES = {method.lower().replace("-", ""): method for method in SMALL}  # in arguments


def get_config(variant: str = "mcnet-4") -> ConfigDict:
    """The config for a method and scale factor, such as "mcnet-4" or "mcnet-4-small-bicubic"."""
    name, *rest = variant.split("-")
    scale, options = rest[:1], [option for option in ("small", "bicubic") if option in rest]
    known = name in NAMES and scale in (["2"], ["3"], ["4"], ["8"]) and rest[1:] == options
    if not known or (name == "coarsr" and "bicubic" in options):
        raise ValueError(
            f"unknown {variant!r}: expected configs/compared.py:mcnet-4, with one of "
            f"{', '.join(NAMES)} and scale 2, 3, 4 or 8, and at the end -small, -bicubic or both"
        )
    method = NAMES[name]
    c = recipe.defaults(method)
    c.model.scale = int(scale[0])
    c.data.name, c.data.path, c.data.split = "cave", "data/CAVE", "dualsr"
    if method != "CoarSR":
        c.train.update(batch_size=16, epochs=85.0, halve_every_epochs=35.0, update_every="image")
        c.train.update(PUBLISHED.get(method, {}))
        if c.train.schedule == "tenth":
            c.train.halve_every_epochs = 30.0
    if "bicubic" in options:
        c.model.skip = "bicubic"
    if "small" in options:
        c.model.update(SMALL[method])
        c.train.update(batch_size=4, lr_patch=16, loss="l1")
        c.train.update(learning_rate=1e-3, schedule="cosine", last_rate=0.01)
        c.train.update(epochs=0.5, warmup_epochs=0.025, save_every_epochs=0.1)
    if method == "ESSAformer" and scale == ["3"]:
        c.model.features = 36 if "small" in options else 252  # a multiple of 9
    return c
