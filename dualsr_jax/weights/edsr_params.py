"""Weights of EDSR in the names of the published PyTorch code (`published_names`).

The released code keeps its mean as two frozen 1x1 convolutions, `sub_mean` and `add_mean`, whose
weight is the unit matrix; here it is one vector, `band_mean`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualsr_jax.models.compared.edsr import EDSR
from dualsr_jax.models.network import Network
from dualsr_jax.weights.published_names import (
    BAND_MEAN,
    Arrays,
    cleaned,
    count,
    name_with_steps,
    read,
    require,
    scale_of_steps,
    write,
)

SIGNATURE = ("head.0.weight", "body.0.body.0.weight", "tail.0.0.bias", "tail.1.bias")


def _mean_of(arrays: Arrays) -> np.ndarray | None:
    """Takes the two layers of the mean out of the arrays."""
    if "sub_mean.bias" not in arrays:
        return None
    require(arrays, "EDSR", "sub_mean.weight", "add_mean.weight", "add_mean.bias")
    names = [f"{layer}_mean.{part}" for layer in ("sub", "add") for part in ("weight", "bias")]
    subtract, minus, add, mean = (arrays.pop(name) for name in names)
    unit = np.eye(len(mean), dtype=np.float32)[:, :, None, None]
    same = all(np.array_equal(a, b) for a, b in ((subtract, unit), (add, unit), (minus, -mean)))
    if not same:
        raise ValueError(
            "sub_mean and add_mean of these weights do not subtract and add one mean: expected "
            "unit matrices and opposite biases"
        )
    return mean


def from_torch(mapping: Mapping[str, Any], *, res_scale: float = 1.0) -> Network:
    """Reads weights in the published names.

    Args:
        mapping: `state_dict` names to arrays.
        res_scale: factor on the corrections of the blocks, which the weights do not tell: 1 for the
            published network of 64 channels, 0.1 for that of 256.

    Raises:
        ValueError: naming missing, unexpected or misshapen entries.
    """
    arrays = cleaned(mapping)
    require(arrays, "EDSR", *SIGNATURE)
    mean = _mean_of(arrays)
    features, channels = arrays["head.0.weight"].shape[:2]
    model = EDSR(
        scale_of_steps(arrays, r"tail\.0\.\d\.bias", features),
        num_bands=None if channels == 1 else channels,
        features=features,
        num_blocks=count(arrays, r"body\.(\d+)\.body\."),
        res_scale=res_scale,
        channels="single" if channels == 1 else "all",
        subtract_mean=mean is not None,
    )
    return read(arrays, model, name_with_steps, band_mean=mean)


def to_torch(network: Network) -> Arrays:
    """Writes weights in the published names and layout, with the layers of the mean."""
    arrays = write(network, name_with_steps)
    mean = network.variables[BAND_MEAN[0]].get(BAND_MEAN[1])
    if mean is not None:
        mean = np.asarray(mean, np.float32)
        for layer, bias in (("sub", -mean), ("add", mean)):
            unit = np.eye(len(mean), dtype=np.float32)
            arrays[f"{layer}_mean.weight"] = unit[:, :, None, None]
            arrays[f"{layer}_mean.bias"] = bias
    return arrays
