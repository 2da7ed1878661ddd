"""Remote-sensing scenes under the protocol of SSPSR: Chikusei and Pavia Centre.

    python -m dualsr_jax.prepare --dataset chikusei --source FOLDER
    python -m dualsr_jax.train --config configs/remote_sensing.py:chikusei-4 \
        --workdir runs/chikusei_x4

Arguments: chikusei or pavia_centre, and the scale factor 2, 4 or 8, as in chikusei-4. Parts of the
one scene train and test (docs/data.md). Not measured here: the scenes were not at hand.
"""

from ml_collections import ConfigDict, config_dict


def get_config(scene_and_scale: str = "chikusei-4") -> ConfigDict:
    """The config for a scene and scale factor."""
    scene, _, scale = scene_and_scale.partition("-")
    if scene not in ("chikusei", "pavia_centre") or scale not in ("2", "4", "8"):
        raise ValueError(
            f"unknown {scene_and_scale!r}: expected configs/remote_sensing.py:chikusei-4, "
            "pavia_centre-4, or scale 2 or 8"
        )
    c = ConfigDict()
    c.seed = 0
    c.protocol = "sspsr"  # normalisation, crop, clipping and metrics; or "dualsr"

    c.model = ConfigDict()
    c.model.scale = int(scale)
    c.model.features = 64  # channels
    c.model.num_asfm = 2  # fusion modules in sequence
    c.model.num_blocks = 2  # residual blocks a body
    c.model.norm = config_dict.placeholder(str)  # none, or "batch" as released
    c.model.neighbours = "paper"  # or "released"
    c.model.joint = False  # True: a second tail restores half the scale (4 and 8 only)
    c.model.band_chunk = config_dict.placeholder(int)  # bands at once; none: all
    c.model.precision = "float32"  # or "bfloat16", of convolutions and products

    c.data = ConfigDict()
    c.data.name = scene  # of published splits and figures
    c.data.source = "tfds"  # a prepared data set
    c.data.path = f"data/tfds/{scene}"
    c.data.key = config_dict.placeholder(str)  # variable in .mat files; none: the only one
    c.data.peak = config_dict.placeholder(object)  # stored value of 1; none: by the protocol
    c.data.split = "sspsr"  # or a text file
    c.data.test_share = 0.2  # of the scenes, for data.split = "random"
    c.data.split_seed = 0  # of the order of "random" and "fold"
    c.data.validation = ()  # held out, to choose the best checkpoint; empty: none is
    c.data.memory_gb = 8.0  # training images beyond that wait in a temporary file

    c.degradation = ConfigDict()
    c.degradation.kernel = "bicubic"  # or "isotropic", "anisotropic": a Gaussian blur, decimation
    c.degradation.sigma = (1.0, 1.0)  # HR pixels, drawn from this range
    c.degradation.noise = (0.0, 0.0)  # standard deviation, fraction of the peak, likewise

    c.train = ConfigDict()
    c.train.update_every = "band"  # one optimiser step a band, as published; or "image"
    c.train.through_time = False  # gradients through the FCF state; needs update_every = "image"
    c.train.half_weight = 1.0  # of the half-scale term in the loss of a joint network
    c.train.epochs = 200.0
    c.train.batch_size = 64  # samples, over all devices
    c.train.lr_patch = 32  # pixels a side of an LR patch
    c.train.patches_per_image = 600  # an epoch, at each resize scale
    c.train.fixed_patches = False  # True: the same patches in every epoch, as released
    c.train.resize_scales = (1.0, 0.75)
    c.train.window_bands = 32  # bands of a sample
    c.train.learning_rate = 1e-4
    c.train.schedule = "halve"  # or "cosine", down to 0 at the end
    c.train.halve_every_epochs = 30.0
    c.train.warmup_epochs = 0.0  # in which the learning rate rises from 0
    c.train.clip_norm = config_dict.placeholder(float)  # longest gradient; none: any
    c.train.ema_decay = config_dict.placeholder(float)  # an update; evaluates the moving average
    c.train.warm_start = config_dict.placeholder(str)  # weights to begin from
    c.train.save_every_epochs = 1.0
    c.train.steps_per_dispatch = 1  # sent to the devices at once; more: for very short steps
    c.train.log_every_steps = 10

    c.evaluate = ConfigDict()
    c.evaluate.crop = config_dict.placeholder(int)  # top-left pixels tested; none: by the protocol
    c.evaluate.iterations = 1  # of the fine stage
    c.evaluate.ensemble = 1  # 8: mean over flips and rotations; 16: also over reversed bands
    c.evaluate.band_chunk = 8  # bands at once, bounds the memory
    c.evaluate.bands = (30, 60)  # shown in figures, counted from 1
    c.evaluate.pixels = ((0.3, 0.3), (0.6, 0.6))  # shown as spectra: (row, column), 0 to 1
    return c.lock()
