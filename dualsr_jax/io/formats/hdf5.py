"""HDF5: a dataset `[H, W, L]`, its metadata in datasets of known names anywhere in the file.

Contract: the cube's own attributes count more, in the names of CF and of NEON's files.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.io.base import BadFileError, CubeReader, CubeWriter, check_size, choose, damage_told
from dualsr_jax.io.guards.hdf5_references import MOST_SMALL, check_texts
from dualsr_jax.io.metadata import (
    Metadata,
    from_attributes,
    from_variables,
    to_variables,
    variable_name,
)

_ROWS_COLUMNS_BANDS = (0, 1, 2)


def open_hdf5(path: Path, key: str | None = None) -> CubeReader:
    """Opens a dataset; `key` names it, with its group (`group/name`).

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if it is damaged, or has no such cube or not exactly one candidate.
    """
    with damage_told(path):
        file = h5py.File(path, "r")
        try:
            check_texts(file)
            found = datasets(file)
            chosen = choose(path, {name: d.shape for name, d in found.items()}, key)
            cube = checked(path, found[chosen])
            metadata = _metadata(found, chosen)
        except BaseException:
            file.close()
            raise
    return CubeReader(path, cube, _ROWS_COLUMNS_BANDS, metadata, file.close)


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All datasets with a shape, by name."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found[name] = item

    file.visititems(visit)
    return found


def checked(path: Path, cube: h5py.Dataset) -> h5py.Dataset:
    """The dataset, if it lies in this file and the file can hold what it declares."""
    if cube.external or cube.is_virtual:
        raise BadFileError(f"{path}: {cube.name} only points to other files: read those")
    for shape in (cube.shape, cube.chunks or ()):
        check_size(path, shape, cube.dtype, path.stat().st_size)
    return cube


def small(dataset: h5py.Dataset) -> np.ndarray | str | None:
    """A dataset beside the cube as numbers or text; None if it is neither, or large."""
    if dataset.size is None or dataset.size > MOST_SMALL or dataset.external or dataset.is_virtual:
        return None
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return "\n".join(str(text) for text in np.ravel(dataset.asstr()[()]))
    if dataset.dtype.kind not in "biuf":
        return None
    if dataset.attrs.get("MATLAB_class") == b"char":
        codes = np.ravel(dataset[()]).astype("<u2")
        return codes.tobytes().decode("utf-16-le", errors="replace")
    return np.asarray(dataset[()])


def _metadata(found: dict[str, h5py.Dataset], chosen: str) -> Metadata:
    group = chosen.rpartition("/")[0]
    variables: dict[str, Any] = {}
    # What stands in the cube's own group counts more than what stands elsewhere.
    for name in sorted(found, key=lambda name: name.rpartition("/")[0] == group):
        known = variable_name(name.rpartition("/")[2])
        content = None if known is None or name == chosen else small(found[name])
        if known is None or content is None:
            continue
        variables[known] = content
        units = found[name].attrs.get("units", found[name].attrs.get("Units"))
        if known == "wavelength" and isinstance(units, str):
            variables.setdefault("wavelength_units", units)
    said = from_attributes(found[chosen].attrs)
    if (said.get("scale", np.ones(1)) > 1).any():  # outside CF such a number often is a divisor
        said = {name: value for name, value in said.items() if name not in ("scale", "offset")}
    return from_variables({**variables, **said}, found[chosen].shape[2])


@contextlib.contextmanager
def create_hdf5(
    path: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes the dataset `cube`, not packed, straight to its place, and the metadata beside it."""
    with replacing(path) as beside, h5py.File(beside, "w") as file:
        for name, value in to_variables(metadata).items():
            file[name] = value
        cube = file.create_dataset("cube", shape=tuple(shape), dtype=dtype)
        yield CubeWriter(cube, _ROWS_COLUMNS_BANDS, shape, dtype)
