"""Published weights of every method: the importer that a mapping of names or a file needs.

Contract: a file is read as data and nothing in it is ever run. The method is found by the names.
"""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import BAND_MEAN, Network, method_of
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
PUBLISHED_SUFFIXES = (*TORCH_SUFFIXES, *KERAS_SUFFIXES)
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
    read = torch_params.from_torch if method == "CoarSR" else _IMPORTERS[method].from_torch
    known = list(inspect.signature(read).parameters)[1:]
    for name in how:
        if name not in known:
            raise ValueError(
                f"{name} is not a setting of {method}, whose weights these are: "
                f"{'expected ' + ', '.join(known) if known else 'expected no setting'}"
            )
    network: Network = read(mapping, **how)
    return network


def to_published(network: Network) -> Arrays:
    """Writes weights of any method in its published names and layout.

    Raises ValueError if the published code does not have such a network.
    """
    if getattr(network.model, "skip", "published") != "published":
        raise ValueError(
            f"{method_of(network.model)} with skip='bicubic' cannot be written for the published "
            "code, which does not have this skip"
        )
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


def write_published(path: Path, network: Network) -> None:
    """Writes a network for the published code of its method, whole or not at all.

    Means of the bands have no place in such a file, and are written to a text file next to it.

    Args:
        path: a `.pth` file, which needs PyTorch; for 3D-FCNN a Keras file, `.h5`.
        network: the network.

    Raises:
        ValueError: if the method has another form, or PyTorch is not installed.
    """
    method, arrays = method_of(network.model), to_published(network)
    expected = KERAS_SUFFIXES if method == "3D-FCNN" else TORCH_SUFFIXES
    if path.suffix not in expected:
        raise ValueError(
            f"{str(path)!r}: the published form of {method} is a {expected[0]} file, so the name "
            f"must end in {expected[0]}"
        )
    mean = network.variables["params"].get(BAND_MEAN)
    if mean is not None and method != "EDSR":  # EDSR has layers for it
        with replacing(path.with_name(f"{path.stem}_band_mean.txt")) as partial:
            np.savetxt(partial, np.asarray(mean), fmt="%.9g")
    (fcnn3d_params.write_h5 if method == "3D-FCNN" else torch_params.write_pth)(path, arrays)
