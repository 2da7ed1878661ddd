"""Published weights of every method: the importer that a mapping of names or a file needs.

Contract: a file is read as data and nothing in it is ever run. The method is found by the names.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import Network, method_of
from dualsr_jax.weights import (
    edsr_params,
    ercsr_params,
    essaformer_params,
    fcnn3d_params,
    mcnet_params,
    sfcsr_params,
    sspsr_params,
    torch_params,
)
from dualsr_jax.weights.published_names import Arrays

KERAS_SUFFIXES = (".h5", ".hdf5")
TORCH_SUFFIXES = (".pth", ".pt")
_IMPORTERS: dict[str, ModuleType] = {
    "3D-FCNN": fcnn3d_params,
    "EDSR": edsr_params,
    "SSPSR": sspsr_params,
    "MCNet": mcnet_params,
    "SFCSR": sfcsr_params,
    "ERCSR": ercsr_params,
    "ESSAformer": essaformer_params,
}


def method_of_names(mapping: Mapping[str, Any]) -> str:
    """The method whose published weights have these names; "CoarSR" if no other method has them."""
    names = {name.removeprefix("module.") for name in mapping}
    last = {"/".join(name.removesuffix(":0").split("/")[-2:]) for name in names}
    for method, importer in _IMPORTERS.items():
        if set(importer.SIGNATURE) <= (last if importer is fcnn3d_params else names):
            return method
    return "CoarSR"


def from_published(mapping: Mapping[str, Any], **how: Any) -> Network:
    """Reads weights of any method in its published names.

    Args:
        mapping: names to arrays.
        **how: arguments of the method's importer, for what weights do not tell: `neighbours`
            (CoarSR), `band_mean` (MCNet, ERCSR), `res_scale` (EDSR, SSPSR), `overlap` (SSPSR),
            `scale` (3D-FCNN).

    Raises:
        ValueError: naming missing, unexpected or misshapen entries.
    """
    method = method_of_names(mapping)
    if method == "CoarSR":
        return torch_params.from_torch(mapping, **how)
    network: Network = _IMPORTERS[method].from_torch(mapping, **how)
    return network


def to_published(network: Network) -> Arrays:
    """Writes weights of any method in its published names and layout."""
    if isinstance(network.model, CoarSR):
        return torch_params.to_torch(network.model, network.variables)
    arrays: Arrays = _IMPORTERS[method_of(network.model)].to_torch(network)
    return arrays


def load_published(path: str | os.PathLike[str], **how: Any) -> Network:
    """Reads a file of published weights; `.pth` files need PyTorch.

    Args:
        path: a `.pth` file with a `state_dict`, or a Keras file, `.h5`.
        **how: the settings that `from_published` takes. Files of CoarSR count as trained with the
            released neighbours unless `neighbours` says otherwise.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no weights of a known method, or cannot be read.
    """
    if Path(path).suffix in KERAS_SUFFIXES:
        return from_published(fcnn3d_params.read_h5(path), **how)
    mapping = torch_params.read_pth(path)
    if method_of_names(mapping) == "CoarSR":
        how = {"neighbours": "released", **how}
    return from_published(mapping, **how)
