"""What a result says of how it was made."""

import importlib.metadata

from dualsr_jax.io.weights import weights_hash
from dualsr_jax.models.coarse import network_settings
from dualsr_jax.upscale import DualSR


def version() -> str:
    """Of this package."""
    try:
        return importlib.metadata.version("dualsr-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown, not installed"


def tags(networks: DualSR) -> dict[str, str]:
    """Model, weights, version and scale, for the metadata of a result.

    Weights are named by the first 16 digits of the SHA-256 that `DualSR.save_pretrained` writes.
    """
    model = networks.model
    settings = {**network_settings(model), "precision": model.precision}
    described = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    found = {
        "dualsr_model": f"CoarSR({described})",
        "dualsr_weights": weights_hash(networks.arrays())[:16],
        "dualsr_version": version(),
        "dualsr_scale": str(model.scale),
    }
    if networks.ensemble > 1:
        found["dualsr_ensemble"] = str(networks.ensemble)
    return found
