"""Weights of SFCSR in the names of the published PyTorch code (`published_names`)."""

import re
from collections.abc import Mapping
from typing import Any

from dualsr_jax.models.compared.sfcsr import SFCSR
from dualsr_jax.models.layers import UPSAMPLING_STEPS
from dualsr_jax.models.network import Network
from dualsr_jax.weights.published_names import (
    Arrays,
    NameOf,
    Path,
    cleaned,
    count,
    read,
    require,
    scale_of_steps,
    torch_name,
    write,
)

SIGNATURE = ("gamma_DFF", "TwoHead.0.bias", "TwoTail.0.bias", "TwoTail.2.bias")


def _name_of(scale: int) -> NameOf:
    last = 2 * len(UPSAMPLING_STEPS[scale])

    def module_name(name: str) -> str:
        name = re.sub(r"^TwoTail\.up\.(\d)", lambda step: f"TwoTail.{2 * int(step[1])}", name)
        return re.sub(r"^TwoTail\.out", f"TwoTail.{last}", name)

    def name_of(path: Path) -> str:
        return torch_name(path, module_name)

    return name_of


def from_torch(mapping: Mapping[str, Any]) -> Network:
    """Reads weights in the published names.

    Args:
        mapping: `state_dict` names to arrays.

    Raises:
        ValueError: naming missing, unexpected or misshapen entries.
    """
    arrays = cleaned(mapping)
    require(arrays, "SFCSR", *SIGNATURE)
    features = len(arrays["TwoHead.0.bias"])
    steps = {
        name: array
        for name, array in arrays.items()
        if re.fullmatch(r"TwoTail\.\d\.bias", name) and len(array) > 1  # without the last layer
    }
    scale = scale_of_steps(steps, ".*", features)
    modules = count(arrays, r"threeCNN\.(\d+)\.")
    model = SFCSR(scale, features=features, num_modules=modules)
    return read(arrays, model, _name_of(scale))


def to_torch(network: Network) -> Arrays:
    """Writes weights in the published names and layout."""
    return write(network, _name_of(network.scale))
