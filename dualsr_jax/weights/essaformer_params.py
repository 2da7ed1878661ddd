"""Weights of ESSAformer in the names of the published PyTorch code (`published_names`).

The published checkpoints hold the module itself instead of its weights. Such files are programs and
are not read; only a plain `state_dict` is.
"""

import re
from collections.abc import Mapping
from typing import Any

from dualsr_jax.models.compared.essaformer import ESSAformer
from dualsr_jax.models.network import Network
from dualsr_jax.weights.published_names import (
    Arrays,
    Path,
    cleaned,
    read,
    require,
    scale_of_steps,
    torch_name,
    write,
)

SIGNATURE = ("conv_first.weight", "blockup.convupsample.0.bias", "conv_last.bias")


def _name_of(path: Path) -> str:
    *_, module, leaf = path
    if leaf.startswith("norm_"):
        return f"blockup.{module}.norm." + {"norm_scale": "weight", "norm_bias": "bias"}[leaf]

    def module_name(name: str) -> str:
        name = re.sub(r"\.(up|down)\.(\d)", r".\2", name)
        return re.sub(r"^(convup|convdown)", r"blockup.\1", name)

    return torch_name(path, module_name)


def from_torch(mapping: Mapping[str, Any]) -> Network:
    """Reads weights in the published names.

    Args:
        mapping: `state_dict` names to arrays.

    Raises:
        ValueError: naming missing, unexpected or misshapen entries.
    """
    arrays = cleaned(mapping)
    require(arrays, "ESSAformer", *SIGNATURE)
    features, bands = arrays["conv_first.weight"].shape[:2]
    scale = scale_of_steps(arrays, r"blockup\.convupsample\.\d\.bias", features)
    return read(arrays, ESSAformer(scale, num_bands=bands, features=features), _name_of)


def to_torch(network: Network) -> Arrays:
    """Writes weights in the published names and layout."""
    return write(network, _name_of)
