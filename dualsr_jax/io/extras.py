"""Packages of the extra `geo`: imported when they are needed, named when they are missing."""

import importlib
from typing import Any


def geo(module: str) -> Any:
    """Imports a module of the extra `geo`.

    Args:
        module: its name, as in an import statement.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f'this needs the package {module.split(".")[0]!r}: pip install "dualsr-jax[geo]"'
        ) from error
