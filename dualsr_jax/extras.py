"""Packages of extras: imported when they are needed, named when they are missing."""

import importlib
from typing import Any


def optional(module: str, extra: str) -> Any:
    """Imports a module that only an extra installs; raises ValueError if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f'this needs the package {module.split(".")[0]!r}: pip install -e ".[{extra}]", in the '
            "folder of dualsr_jax"
        ) from error


def geo(module: str) -> Any:
    """Imports a module of a package of the extra `geo`."""
    return optional(module, "geo")
