"""Weights of ERCSR in the names of the published PyTorch code (`published_names`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualsr_jax.models.compared.ercsr import ERCSR
from dualsr_jax.models.network import Network
from dualsr_jax.weights.band_means import band_mean_of
from dualsr_jax.weights.published_names import Arrays, cleaned, count, read, require, write

SIGNATURE = ("gamma", "head.0.bias", "body.0.conv3.bias", "tail.0.weight_v")


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
    require(arrays, "ERCSR", *SIGNATURE)
    model = ERCSR(
        arrays["tail.0.weight_v"].shape[-1] - 2,
        num_bands=len(mean),
        features=len(arrays["head.0.bias"]),
        num_modules=count(arrays, r"body\.(\d+)\."),
        num_units=count(arrays, r"body\.0\.twoD_body\.(\d+)\."),
    )
    return read(arrays, model, band_mean=mean)


def to_torch(network: Network) -> Arrays:
    """Writes weights in the published names and layout; band means have no place there."""
    return write(network)
