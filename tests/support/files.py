"""Where the repository is, and golden files."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def with_prefix(arrays, prefix):
    """The entries `prefix/name`, by name."""
    return {
        k.removeprefix(prefix + "/"): v for k, v in arrays.items() if k.startswith(prefix + "/")
    }
