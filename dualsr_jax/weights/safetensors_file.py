"""Weights of trained networks as one safetensors file.

Contract: a file holds arrays by name, and text by name that describes them. Reading it executes
nothing. It contains a SHA-256 of names, types, shapes and values, which is checked, so that a
damaged file is refused. Source of the format: https://github.com/huggingface/safetensors.

Files that ship with the package lie in `dualsr_jax/pretrained`, each next to its model card, and
are found by their names.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.numpy import save

from dualsr_jax.disk import replacing

SUFFIX = ".safetensors"
_HASH = "sha256"
_SHIPPED = Path(__file__).parents[1] / "pretrained"


def shipped() -> dict[str, Path]:
    """Returns the files that ship with the package, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob(f"*{SUFFIX}"))}


def find_weights(weights: str | os.PathLike[str]) -> Path | None:
    """Finds a weights file; returns None if a folder of training is meant.

    A name that is not that of a folder means a file that ships with the package. Raises
    FileNotFoundError if it is a name and neither a folder nor a shipped file has it.
    """
    path, files = Path(weights).expanduser(), shipped()
    if path.suffix == SUFFIX or path.is_file():
        return path
    if path.is_dir() or len(path.parts) > 1:
        return None
    if str(weights) in files:
        return files[str(weights)]
    near = difflib.get_close_matches(str(weights), files, n=1)
    raise FileNotFoundError(
        f"there is no folder of training {str(path)!r}, and no weights of this name ship with the "
        f"package (shipped: {', '.join(files)})" + (f"; did you mean {near[0]!r}?" if near else "")
    )


def weights_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """Computes the SHA-256 of arrays with their names, types and shapes, in the order of the names.

    Values in bfloat16 count as the float32 that they become when they are used.
    """
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        if array.dtype == jnp.bfloat16:
            array = array.astype(np.float32)
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def write_weights(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], about: Mapping[str, str]
) -> None:
    """Writes arrays and text by name to `*.safetensors`, whole or not at all; replaces the file."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(Path(path)) as partial:
        # save_file would make a file that only its owner may read.
        partial.write_bytes(save(whole, metadata={**about, _HASH: weights_hash(whole)}))


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads the arrays of a file of `write_weights`, and its text, with the hash as `sha256`.

    Raises FileNotFoundError if there is no such file, and ValueError if it is not a file of
    `write_weights`, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {str(path)!r}")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            about = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, AttributeError) as error:  # of a type unknown to NumPy
        raise ValueError(
            f"{str(path)!r} is not a safetensors file, or damaged ({error}): download or copy it "
            "again"
        ) from error
    if about.get(_HASH) != weights_hash(arrays):
        raise ValueError(
            f"{str(path)!r} is damaged, or was not written by dualsr_jax: the SHA-256 of its "
            "content differs from the stored one. Download or copy it again"
        )
    return arrays, about
