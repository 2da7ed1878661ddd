"""Reads hyperspectral cubes from files, as stored: `[H, W, L]`, not yet scaled.

Contract: a cube is a `.mat` (v5 and v7.3), `.h5`, `.npy` or `.npz` file with one three-dimensional
array (or a named one), or a folder of grey images, one a band, in the order of their names (the
layout of CAVE; RGB or RGBA images whose channels are equal count as grey). Nothing is unpickled.
"""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from jaxtyping import Shaped
from PIL import Image

ARRAY_SUFFIXES = (".mat", ".h5", ".hdf5", ".npy", ".npz")
IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")

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
        if entry.is_dir():
            inner = [entry, *sorted(path for path in entry.iterdir() if path.is_dir())]
            cubes = [path for path in inner if _band_images(path)]
        else:
            cubes = [entry] if entry.suffix.lower() in ARRAY_SUFFIXES else []
        for path in cubes[:1]:
            name = entry.stem.removesuffix("_ms")
            if name in found:
                raise ValueError(f"{found[name]} and {path} are both named {name!r}: rename one")
            found[name] = path
    if not found:
        raise ValueError(
            f"no cubes in {str(folder)!r}: expected files ({', '.join(ARRAY_SUFFIXES)}) or folders "
            f"of band images ({', '.join(IMAGE_SUFFIXES)})"
        )
    return found


def read_cube(path: Path, key: str | None = None) -> Stored:
    """Reads one cube.

    Args:
        path: a file or folder as in the contract above.
        key: name of the variable in `.mat`, `.h5` and `.npz`; None: the only three-dimensional one.

    Returns:
        `[H, W, L]` in the stored data type.

    Raises:
        ValueError: if the file is damaged, or has no such variable or not exactly one candidate.
    """
    if path.is_dir():
        return _read_bands(path)
    try:
        arrays = _read_arrays(path, key)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} cannot be read, it may be damaged: {error}") from error
    cubes = {name: array for name, array in arrays.items() if array.ndim == 3}
    if key is not None and key not in cubes:
        raise ValueError(f"{path} has no cube {key!r}, only {_describe(arrays)}")
    if key is None and len(cubes) != 1:
        raise ValueError(
            f"{path} should hold one three-dimensional array, it holds {_describe(arrays)}: "
            "name the right one with config.data.key"
        )
    return cubes[key] if key is not None else next(iter(cubes.values()))


def _describe(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "no array"


def _read_arrays(path: Path, key: str | None) -> dict[str, np.ndarray]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {path.stem if key is None else key: np.load(path, allow_pickle=False)}
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    if suffix == ".mat" and not h5py.is_hdf5(path):
        content = scipy.io.loadmat(path)
        return {
            name: value
            for name, value in content.items()
            if isinstance(value, np.ndarray) and value.dtype.kind in "iuf"
        }
    with h5py.File(path) as file:
        arrays = {name: item[()] for name, item in file.items() if isinstance(item, h5py.Dataset)}
    if suffix == ".mat":  # MATLAB stores columns first
        arrays = {name: array.T for name, array in arrays.items()}
    return arrays


def _band_images(folder: Path) -> list[Path]:
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    # CAVE has an RGB preview beside the bands, as .bmp
    bands = [path for path in images if path.suffix.lower() != ".bmp"]
    return bands or images


def _read_bands(folder: Path) -> np.ndarray:
    bands: list[np.ndarray] = []
    for path in _band_images(folder):
        try:
            with Image.open(path) as image:
                band = np.asarray(image)
        except OSError as error:
            raise ValueError(f"{path} cannot be read, it may be damaged: {error}") from error
        if band.ndim == 3:  # watercolors_ms of CAVE: RGBA with equal channels
            colours = band[..., : min(3, band.shape[-1])]
            if not (colours == colours[..., :1]).all():
                raise ValueError(f"{path} is a colour image: one grey image a band is expected")
            band = colours[..., 0]
        if band.dtype == np.int32:  # how Pillow shows some 16-bit files
            band = band.astype(np.uint16)
        if bands and (band.shape, band.dtype) != (bands[0].shape, bands[0].dtype):
            raise ValueError(
                f"{path} is {band.shape} {band.dtype}, the band before it {bands[0].shape} "
                f"{bands[0].dtype}: all bands of a cube must agree"
            )
        bands.append(band)
    return np.stack(bands, axis=-1)
