"""Weights of 3D-FCNN in the names and layout of the published Keras code."""

import os
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import h5py
import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.models.compared.fcnn3d import FCNN3D
from dualsr_jax.models.network import Network
from dualsr_jax.weights.published_names import Arrays, Path, cleaned, read, require, write

SIGNATURE = ("conv3d_1/kernel", "conv3d_4/kernel")


def _name_of(path: Path) -> str:
    return "/".join(path[1:])


def from_keras(mapping: Mapping[str, Any], *, scale: int = 2) -> Network:
    """Reads weights in the published names.

    Args:
        mapping: names such as `conv3d_1/kernel` to arrays; a `:0` at the end is ignored, and so is
            what stands before the layer's name.
        scale: scale factor that they were trained for, which they do not tell.

    Raises:
        ValueError: naming missing, unexpected or misshapen entries.
    """
    arrays = cleaned(
        {"/".join(n.removesuffix(":0").split("/")[-2:]): array for n, array in mapping.items()}
    )
    require(arrays, "3D-FCNN", *SIGNATURE)
    first, second, third = (
        arrays[name].shape[-1] if name in arrays else 1
        for name in (f"conv3d_{n}/kernel" for n in (1, 2, 3))
    )
    model = FCNN3D(scale, features=first, hidden=(second, third))
    return read(arrays, model, _name_of, transpose=False)


def to_keras(network: Network) -> Arrays:
    """Writes weights in the published names and layout."""
    return write(network, _name_of, transpose=False)


from_torch, to_torch = from_keras, to_keras  # the names that all importers have


def read_h5(path: str | os.PathLike[str]) -> Arrays:
    """Reads the arrays of a Keras file of weights, by their names.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an HDF5 file.
    """
    if not FilePath(path).is_file():
        raise FileNotFoundError(f"there is no file of weights {os.fspath(path)!r}")
    found: Arrays = {}

    def keep(name: str, item: Any) -> None:
        # The optimiser's state stands next to the weights of a saved model.
        if isinstance(item, h5py.Dataset) and "conv3d_" in name and "optimizer" not in name:
            found[name] = np.asarray(item)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except OSError as error:
        raise ValueError(f"{os.fspath(path)!r} is not an HDF5 file, or damaged: {error}") from error
    return found


def write_h5(path: FilePath, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays in the published names as a Keras file of weights, whole or not at all."""
    layers = sorted({name.partition("/")[0] for name in arrays})
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            names = [f"{layer}/{part}:0" for part in ("kernel", "bias")]
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                group[name] = arrays[name.removesuffix(":0")]
