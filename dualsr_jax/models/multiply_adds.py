"""Multiply-adds of the published layers of a network.

Contract: convolutions, transposed convolutions and linear layers count, each as the size of its
kernel times the number of places at which it is applied; taps on padding count too. The kernels are
those of the parameters, in any width. Merged layers, such as the end of `layers.Tail`, therefore
count as the published ones from which they are merged. Products without parameters (the attention
of ESSAformer, bicubic resizing, weight normalisation) do not count.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from dualsr_jax.models.compared.sspsr import group_starts
from dualsr_jax.models.layers import UPSAMPLING_STEPS
from dualsr_jax.models.network import Model, method_of

_KERNELS = ("v", "kernel")  # names of parameters
_SLICES = 3  # of the volumes of CoarSR (groups) and SFCSR (window)
_AT_HR, _AT_LR = 3, 2  # uses of the shared modules of ESSAformer
# 3D-FCNN: pixels and bands of the results of the first three layers and of the last one, less those
# of the enlarged cube.
_MARGINS = {"symmetric": ((4, 2), (0, 0)), "valid": ((-8, -6), (-12, -8))}


@dataclasses.dataclass(frozen=True)
class _Grid:
    """An LR cube; its sides need not be whole numbers."""

    height: float
    width: float
    bands: int

    @property
    def pixels(self) -> float:
        return self.height * self.width


def _before_step(layer: str, scale: int, *, spacing: int = 1) -> int:
    """Pixels per LR pixel at the sub-pixel step of a layer `up_<spacing * index>`."""
    index = int(layer.rpartition("_")[2]) // spacing
    return math.prod(UPSAMPLING_STEPS[scale][:index]) ** 2


def _in_tail(layer: str, scale: int) -> int:
    """Places per LR pixel of a layer of `layers.Tail`."""
    return scale**2 if layer == "out" else _before_step(layer, scale)


def _coarsr(model: Any, module: str, layer: str, grid: _Grid) -> float:
    places = 1
    if module in ("tail", "half_tail"):
        places = _in_tail(layer, model.scale if module == "tail" else model.scale // 2)
    elif "mixed_unit" in layer:
        places = _SLICES
    return places * grid.pixels * grid.bands


def _fcnn3d(model: Any, module: str, layer: str, grid: _Grid) -> float:
    side, ends = _MARGINS[model.pad][module == "conv3d_4"]
    height, width = (model.scale * length + side for length in (grid.height, grid.width))
    return height * width * (grid.bands + ends)


def _edsr(model: Any, module: str, layer: str, grid: _Grid) -> float:
    places = 1
    if module == "tail_0":
        places = _before_step(layer, model.scale, spacing=2)
    elif module == "tail_1":
        places = model.scale**2
    return places * grid.pixels * (1 if model.channels == "all" else grid.bands)


def _sspsr(model: Any, module: str, layer: str, grid: _Grid) -> float:
    half = model.scale // 2
    if "conv_du" in layer:  # of the means of the image
        return 0
    if module in ("skip_conv", "final"):
        places = model.scale**2
    elif module == "trunk":
        places = half**2
    else:
        places = 1
        if layer == "tail":
            places = half**2
        elif layer.startswith("upsample"):
            places = _before_step(layer, half, spacing=2)
        if model.share_branch:
            places *= len(group_starts(grid.bands, model.group, model.overlap))
    return places * grid.pixels


def _volume(model: Any, module: str, layer: str, grid: _Grid) -> float:
    """MCNet and ERCSR: the transposed convolution, `tail_0`, is applied to each LR pixel."""
    at_hr = module in ("tail_1", "tail_2")
    return (model.scale**2 if at_hr else 1) * grid.pixels * grid.bands


def _sfcsr(model: Any, module: str, layer: str, grid: _Grid) -> float:
    places = 1
    if module == "TwoTail":
        places = _in_tail(layer, model.scale)
    elif module.startswith(("ThreeHead", "threeCNN", "threefusion")) or module == "reduceD_X":
        places = _SLICES
    return places * grid.pixels * grid.bands


def _essaformer(model: Any, module: str, layer: str, grid: _Grid) -> float:
    enlarged = model.scale**2
    if module == "convupsample":
        places = _AT_HR * _before_step(layer, model.scale, spacing=2)
    elif module == "convdownsample":  # from the largest image down
        places = _AT_LR * enlarged // _before_step(layer, model.scale, spacing=2)
    else:
        uses = {"convup": _AT_HR * enlarged, "convdown": _AT_LR, "conv_last": enlarged}
        places = uses.get(module, 1)
    return places * grid.pixels


# How often a kernel is applied to a cube, from the names of its module and of the layer in it.
_PLACES: dict[str, Callable[[Any, str, str, _Grid], float]] = {
    "CoarSR": _coarsr,
    "3D-FCNN": _fcnn3d,
    "EDSR": _edsr,
    "SSPSR": _sspsr,
    "MCNet": _volume,
    "SFCSR": _sfcsr,
    "ERCSR": _volume,
    "ESSAformer": _essaformer,
}


def multiply_adds(
    model: Model, bands: int, *, height: float = 512, width: float = 512, params: Any = None
) -> float:
    """Counts the multiply-adds that a network needs for one cube.

    Args:
        model: the network.
        bands: bands of the cube.
        height: rows of the result; need not be a multiple of the scale, so that networks of
            different scales can be compared at one size.
        width: columns of the result.
        params: parameters of the network; None: those that a new one would have.

    Returns:
        Multiply-adds of all layers, for the whole cube.

    Raises:
        ValueError: if the network does not admit the number of bands.
    """
    if model.num_bands not in (None, bands) or bands < model.min_bands:
        raise ValueError(
            f"a cube of {bands} bands does not fit {method_of(model)} for "
            f"{model.num_bands or f'{model.min_bands} or more'} bands"
        )
    if params is None:
        example = np.zeros((1, 8, 8, bands), np.float32)
        params = jax.eval_shape(model.init, jax.random.key(0), example)["params"]
    grid = _Grid(height / model.scale, width / model.scale, bands)
    places, total = _PLACES[method_of(model)], 0.0
    for path, kernel in traverse_util.flatten_dict(params).items():
        if path[-1] not in _KERNELS:
            continue
        module, *inner = path[:-1]
        layer = "/".join(name for name in inner if name != "wn")
        total += math.prod(kernel.shape) * places(model, module, layer, grid)
    return total
