"""The version of the package."""

import importlib.metadata


def version() -> str:
    """Returns the version of this package."""
    try:
        return importlib.metadata.version("dualsr-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown, not installed"
