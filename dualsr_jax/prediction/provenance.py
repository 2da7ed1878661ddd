"""What a result says of how it was made."""

import dataclasses
import hashlib
import importlib.metadata
from typing import Any

import numpy as np
from flax import traverse_util

from dualsr_jax.scene.windows import Networks


def version() -> str:
    """Of this package."""
    try:
        return importlib.metadata.version("dualsr-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown, not installed"


def weights_hash(variables: dict[str, Any]) -> str:
    """16 hexadecimal digits that tell a network's variables from all others."""
    digest = hashlib.sha256()
    for path, array in sorted(traverse_util.flatten_dict(variables).items()):
        values = np.ascontiguousarray(array)
        digest.update(f"{'.'.join(path)} {values.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def tags(networks: Networks) -> dict[str, str]:
    """Model, weights, version and scale, for the metadata of a result."""
    model = networks.model
    settings = {
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(model)
        if field.name not in ("parent", "name", "band_chunk")
    }
    described = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    found = {
        "dualsr_model": f"CoarSR({described})",
        "dualsr_weights": weights_hash(networks.variables),
        "dualsr_version": version(),
        "dualsr_scale": str(model.scale),
    }
    if networks.half_variables is not None:
        found["dualsr_half_weights"] = weights_hash(networks.half_variables)
    if networks.ensemble > 1:
        found["dualsr_ensemble"] = str(networks.ensemble)
    return found
