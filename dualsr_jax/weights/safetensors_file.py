"""Weights of trained networks as one safetensors file.

Contract: arrays by name, and text by name that says what they are. Nothing in the file is run when
it is read. A SHA-256 of names, types, shapes and values stands in the file and is checked, so that
a damaged file is refused. Source of the format: https://github.com/huggingface/safetensors.

Files that ship with the package lie in `dualsr_jax/pretrained`, each with a model card beside it,
and are found by their names.
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
    """The files that ship with the package, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob(f"*{SUFFIX}"))}


def find_weights(weights: str | os.PathLike[str]) -> Path | None:
    """The file of weights that is meant, None if a folder of training is.

    Args:
        weights: path of a file, `*.safetensors`, or of a folder; or the name of a file that ships
            with the package, where there is no folder of that name.

    Raises:
        FileNotFoundError: if it is a name, of neither.
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
        f"there is no folder of training {str(path)!r}, nor do weights of this name "
        f"ship with the package: {', '.join(files) or 'none'} do"
        + (f"; {near[0]!r} was meant?" if near else "")
    )


def weights_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays with their names, types and shapes, whatever their order.

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


def write_weights(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Writes a file, which is whole or not there.

    Args:
        path: to write, `*.safetensors`; replaced if it exists.
        arrays: by name.
        about: text by name.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path) as beside:
        # Not by save_file, which makes files that nobody else may read.
        beside.write_bytes(save(whole, metadata={**about, _HASH: weights_hash(whole)}))


def read_weights(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a file of `write_weights`.

    Args:
        path: of the file.

    Returns:
        The arrays and the text, which has the hash as `sha256`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file, or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {str(path)!r}")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            about = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} is not a safetensors file, or damaged ({error}): fetch it again"
        ) from error
    if about.get(_HASH) != weights_hash(arrays):
        raise ValueError(
            f"{str(path)!r} is damaged, or was not written by dualsr_jax: its SHA-256 is not the "
            "one that it names. Fetch it again"
        )
    return arrays, about
