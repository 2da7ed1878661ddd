"""Where the repository is, and how its golden files and configs are read."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def with_prefix(arrays, prefix):
    """The entries `prefix/name`, by name."""
    return {
        k.removeprefix(prefix + "/"): v for k, v in arrays.items() if k.startswith(prefix + "/")
    }


def load(path):
    """The module that a Python file holds."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
