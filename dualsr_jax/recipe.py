"""The default of every config field, with its unit and meaning.

Contract: a config in `configs/` calls `defaults` and sets the fields that its recipe decides. The
defaults are the published training recipe of CoarSR at x4. The fields of `model` are those of the
network's method, the others are the same for all methods. A field whose default is None is a
placeholder: it has a type, so that flags can set it.
"""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict, config_dict


def defaults(method: str = "CoarSR", **settings: Any) -> ConfigDict:
    """All fields, locked: their values can be set, and a field that does not exist raises.

    Args:
        method: a key of `models.network.METHODS`, whose settings `model` holds.
        settings: further fields of `model`, for a method that this package does not have.
    """
    c = ConfigDict()
    c.seed = 0  # of initial weights, patches, and random blur and noise
    c.protocol = "dualsr"  # normalisation, crop, clipping and metrics of tests; or "sspsr"
    c.model = _model() if method == "CoarSR" else _compared(method)
    c.model.update(settings)
    c.data = _data()
    c.degradation = _degradation()
    c.train = _train()
    c.evaluate = _evaluate()
    return c.lock()


def _model() -> ConfigDict:
    c = ConfigDict()
    c.method = "CoarSR"  # fixed: another method has other fields (configs/compared.py)
    c.scale = 4  # scale factor: 2, 3, 4 or 8
    c.features = 64  # channels of the hidden layers
    c.num_asfm = 2  # fusion modules in sequence
    c.num_blocks = 2  # residual blocks per body
    c.norm = config_dict.placeholder(str)  # None: without normalisation; "batch", as released
    c.neighbours = "paper"  # which bands a band sees; or "released"
    c.joint = False  # True: a second tail restores half the scale (x4 and x8 only)
    c.band_chunk = config_dict.placeholder(int)  # bands computed at once; None: all
    c.precision = "float32"  # of convolutions and products; or "bfloat16"
    return c


def _compared(method: str) -> ConfigDict:
    c = ConfigDict()
    c.method = method  # fixed, as for CoarSR
    c.scale = 4  # scale factor: 2, 3, 4 or 8; SSPSR has no 3
    c.num_bands = config_dict.placeholder(int)  # bands of a cube; None: those of the data
    c.skip = "published"  # or "bicubic": the network corrects the bicubic image
    c.band_chunk = config_dict.placeholder(int)  # bands computed at once (SFCSR); None: all
    c.precision = "float32"  # of convolutions and products; or "bfloat16"
    if method in _COMPARED:
        _COMPARED[method](c)
    return c


def _fcnn3d(c: ConfigDict) -> None:
    c.features = 64  # channels after the first convolution
    c.hidden = (32, 9)  # channels after the second and third one
    c.pad = "symmetric"  # mirrors the image outwards; "valid", as released, makes it smaller


def _edsr(c: ConfigDict) -> None:
    c.features = 64  # channels of the hidden layers
    c.num_blocks = 16  # residual blocks
    c.res_scale = 1.0  # factor on the correction of a block
    c.channels = "all"  # bands are channels of one image; "single": each is an image
    c.subtract_mean = False  # True: the means of the training bands are subtracted


def _sspsr(c: ConfigDict) -> None:
    c.features = 256  # channels of the hidden layers, 16 or more
    c.num_blocks = 8  # blocks of the branch, and of the trunk
    c.group = 4  # bands per group
    c.overlap = 1  # bands that neighbouring groups share
    c.res_scale = 0.1  # factor on the corrections of the blocks
    c.share_branch = True  # False: a branch per group, at scale 4 only


def _mcnet(c: ConfigDict) -> None:
    c.features = 64  # channels of the hidden layers
    c.num_convs = 1  # separable convolutions per block


def _sfcsr(c: ConfigDict) -> None:
    c.features = 64  # channels of the hidden layers
    c.num_modules = 5  # modules in sequence


def _ercsr(c: ConfigDict) -> None:
    c.features = 64  # channels of the hidden layers
    c.num_modules = 4  # modules in sequence
    c.num_units = 2  # 2-D units per module


def _essaformer(c: ConfigDict) -> None:
    c.features = 256  # channels of the hidden layers, a multiple of 4, or of 9 at scale 3
    c.dropout = 0.2  # probability with which a channel is dropped in training


_COMPARED: dict[str, Callable[[ConfigDict], None]] = {
    "3D-FCNN": _fcnn3d,
    "EDSR": _edsr,
    "SSPSR": _sspsr,
    "MCNet": _mcnet,
    "SFCSR": _sfcsr,
    "ERCSR": _ercsr,
    "ESSAformer": _essaformer,
}


def _data() -> ConfigDict:
    c = ConfigDict()
    c.name = ""  # data set whose published splits and figures are used
    c.source = "folder"  # or "tfds", a prepared data set, or "indian_pines", packaged
    c.path = ""  # folder of the source
    c.key = config_dict.placeholder(str)  # variable in .mat files; None: the only one
    # Stored value that becomes 1; "max": the largest of each cube; None: as the protocol says.
    c.peak = config_dict.placeholder(object)
    c.split = "random"  # a published split, "random", "fold 1/5", or the path of a text file
    c.test_share = 0.2  # fraction of the scenes that data.split = "random" tests on
    c.split_seed = 0  # of the order of scenes in "random" and "fold"
    c.validation = ()  # scenes held out of training, which choose the best checkpoint
    c.memory_gb = 8.0  # GB of training images in memory; the rest waits in a temporary file
    return c


def _degradation() -> ConfigDict:
    c = ConfigDict()
    # MATLAB's bicubic; or "isotropic" or "anisotropic", a Gaussian blur and decimation.
    c.kernel = "bicubic"
    c.sigma = (1.0, 1.0)  # HR pixels, range of the blur's standard deviation
    c.share = 1.0  # fraction of the images that are blurred; the others are MATLAB's bicubic
    c.noise = (0.0, 0.0)  # fraction of the peak, range of the noise's standard deviation
    return c


def _train() -> ConfigDict:
    c = ConfigDict()
    c.update_every = "band"  # one optimiser update per band, as published; or per "image"
    # Mean absolute error; or "mse"; "psnr": minus the mean PSNR; "sspsr": L1 and smoothness.
    c.loss = "l1"
    # Means that MCNet and ERCSR subtract: of the training "scenes", or "released", for CAVE.
    c.band_mean = "scenes"
    c.through_time = False  # gradients through the FCF state; needs update_every = "image"
    c.half_weight = 1.0  # weight of the half-scale term in the loss of a joint network
    c.epochs = 200.0  # length of the run
    c.batch_size = 64  # patches per step, over all devices
    c.lr_patch = 32  # LR pixels along a side of a patch
    c.patches_per_image = 24  # patches per epoch of each scene at each resize scale
    c.fixed_patches = False  # True: the same patches in every epoch, as released
    c.resize_scales = (1.0, 0.75, 0.5)  # sizes at which each scene is trained on
    c.window_bands = config_dict.placeholder(int)  # neighbouring bands of a patch; None: all
    c.learning_rate = 1e-4  # step size of Adam, at the start or after the warm-up
    c.schedule = "halve"  # or "cosine", down to the end; "tenth", as SSPSR; "constant"
    c.halve_every_epochs = 30.0  # epochs between the steps of "halve" and "tenth"
    c.last_rate = 0.0  # fraction of learning_rate at which "cosine" ends
    c.warmup_epochs = 0.0  # epochs in which the learning rate rises from 0
    c.clip_norm = config_dict.placeholder(float)  # longest gradient; None: any length
    # Decay per update of a moving average of the parameters, which is evaluated; None: without.
    c.ema_decay = config_dict.placeholder(float)
    c.warm_start = config_dict.placeholder(str)  # weights to begin from: a folder, file or name
    c.save_every_epochs = 1.0  # epochs between checkpoints
    c.steps_per_dispatch = 1  # steps sent to the devices at once; more help if steps are short
    c.log_every_steps = 10  # steps between records
    return c


def _evaluate() -> ConfigDict:
    c = ConfigDict()
    c.crop = config_dict.placeholder(int)  # top-left pixels tested; None: as the protocol says
    c.iterations = 1  # of the fine stage
    c.consistent = 0  # back-projections that make DualSR's result, reduced, the LR image
    c.ensemble = 1  # 8: mean over flips and rotations; 16: also over reversed bands
    c.band_chunk = 8  # bands computed at once, bounds the memory
    c.bands = (10, 20)  # shown in figures, counted from 1
    c.pixels = ((0.3, 0.3), (0.6, 0.6))  # shown as spectra: (row, column), fractions of the sides
    return c
