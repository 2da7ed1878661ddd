"""Cubes by name in a folder, and whole in memory: what training reads.

Contract: a cube is anything that `open_cube` opens, as stored: `[H, W, L]`, not yet scaled.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from dualsr_jax.io.band_images import IMAGE_SUFFIXES, band_images
from dualsr_jax.io.envi import RAW_SUFFIXES
from dualsr_jax.io.readers import READERS, open_cube

FILE_SUFFIXES = tuple(s for s in READERS if s not in RAW_SUFFIXES)  # ENVI is found by its header

Stored = Shaped[np.ndarray, "H W L"]


def list_cubes(folder: Path) -> dict[str, Path]:
    """Finds the cubes in a folder.

    Args:
        folder: holds cube files, or folders of band images (also nested once, `x_ms/x_ms/*.png`).

    Returns:
        Scene names (without suffix and without CAVE's `_ms`) to paths, in order of names.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if there is no cube in it, or two have the same name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {str(folder)!r}: set config.data.path to the folder of cubes"
        )
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.suffix.lower() in FILE_SUFFIXES:
            cubes = [entry]
        elif entry.is_dir():
            inner = [entry, *sorted(path for path in entry.iterdir() if path.is_dir())]
            cubes = [path for path in inner if band_images(path)]
        else:
            cubes = []
        for path in cubes[:1]:
            name = entry.stem.removesuffix("_ms")
            if name in found:
                raise ValueError(f"{found[name]} and {path} are both named {name!r}: rename one")
            found[name] = path
    if not found:
        raise ValueError(
            f"no cubes in {str(folder)!r}: expected files ({', '.join(FILE_SUFFIXES)}) or folders "
            f"of band images ({', '.join(IMAGE_SUFFIXES)})"
        )
    return found


def read_cube(path: Path, key: str | None = None) -> Stored:
    """Reads one cube.

    Args:
        path: a file or folder as in the contract above.
        key: name of the variable in formats that hold several; None: the only three-dimensional
            one.

    Returns:
        `[H, W, L]` in the stored data type.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, or has no such variable or not exactly one candidate.
    """
    with open_cube(path, key) as cube:
        return cube.read(slice(None), slice(None))
