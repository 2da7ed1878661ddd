"""Weights of MCNet in the names of the published PyTorch code (`published_names`)."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualsr_jax.models.compared.mcnet import MCNet
from dualsr_jax.models.network import Network
from dualsr_jax.weights.band_means import band_mean_of
from dualsr_jax.weights.published_names import (
    Arrays,
    Path,
    cleaned,
    count,
    read,
    require,
    torch_name,
    write,
)

SIGNATURE = ("SSRM1.gamma", "head.bias", "tail.0.weight_v")


def _name_of(path: Path) -> str:
    def module_name(name: str) -> str:
        name = re.sub(r"\.spatial$", ".conv.0.conv", name)
        name = re.sub(r"\.spectral$", ".conv.1.conv", name)
        return re.sub(r"reduceF$", "reduceF.conv", name)

    return torch_name(path, module_name)


def from_torch(mapping: Mapping[str, Any], *, band_mean: str | np.ndarray = "released") -> Network:
    """Reads weights in the published names.

    Args:
        mapping: `state_dict` names to arrays.
        band_mean: the means that the weights were trained with, `[L]`, or a name of
            `band_means.RELEASED`; the weights do not hold them.

    Raises:
        ValueError: naming missing, unexpected or misshapen entries.
    """
    arrays, mean = cleaned(mapping), band_mean_of(band_mean)
    require(arrays, "MCNet", *SIGNATURE)
    model = MCNet(
        arrays["tail.0.weight_v"].shape[-1] - 2,
        num_bands=len(mean),
        features=len(arrays["head.bias"]),
        num_convs=count(arrays, r"SSRM1\.Block1\.(\d+)\."),
    )
    return read(arrays, model, _name_of, band_mean=mean)


def to_torch(network: Network) -> Arrays:
    """Writes weights in the published names and layout; band means have no place there."""
    return write(network, _name_of)
