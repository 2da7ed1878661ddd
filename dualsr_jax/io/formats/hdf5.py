"""HDF5: a dataset `[H, W, L]`, its metadata in datasets of known names anywhere in the file.

Contract: attributes of the cube itself, in the names of CF and of NEON's files, take precedence.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.io.axes import ROWS_FIRST, AxisOrder, reversed_axes
from dualsr_jax.io.base import CubeReader, CubeWriter, NewCube
from dualsr_jax.io.choice import Sides, choose_cube, is_side, sides_among
from dualsr_jax.io.damage import BadFileError, LibraryArray, reported_as_damage
from dualsr_jax.io.guards.hdf5_references import (
    MOST_SMALL,
    MOST_SMALL_BYTES,
    as_text,
    check_texts,
)
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.swath import angle_name, valid_angles
from dualsr_jax.io.valid_range import NAMES, bounded
from dualsr_jax.io.variables import (
    ATTRIBUTES,
    from_attributes,
    from_variables,
    to_variables,
    variable_name,
)

Datasets = dict[str, h5py.Dataset]


def open_hdf5(path: Path, key: str | None = None, order: AxisOrder | None = None) -> CubeReader:
    """Opens a dataset; `key` names it, with its group (`group/name`)."""
    return open_dataset(path, key, order, _metadata, columns_first=False)


def open_dataset(
    path: Path,
    key: str | None,
    order: AxisOrder | None,
    metadata: Callable[[Path, Datasets, str, int], Metadata],
    *,
    columns_first: bool,
) -> CubeReader:
    """Opens the cube of any HDF5 file; `key` names it, None: the only three-dimensional dataset.

    The function `metadata` is given the path, all datasets, the cube's name and its number of
    bands. `columns_first` says that all axes are stored in reverse order, as MATLAB does.
    """
    with contextlib.ExitStack() as opened:
        with reported_as_damage(path):
            file = opened.enter_context(h5py.File(path, "r"))
        check_texts(path, file)
        with reported_as_damage(path):
            found = datasets_of(file)
            step = -1 if columns_first else 1
            shapes = {name: tuple(dataset.shape)[::step] for name, dataset in found.items()}
        chosen = choose_cube(
            path, shapes, key, order, sides=lambda: _sides(path, found), columns_first=columns_first
        )
        with reported_as_damage(path):
            dataset = found[chosen.name]
        cube = array_of(path, dataset)
        said = metadata(path, found, chosen.name, chosen.num_bands)
        with reported_as_damage(path):
            limits = {name: dataset.attrs[name] for name in NAMES if name in dataset.attrs}
        source, said = bounded(cube, limits, said)
        if not columns_first:
            sides = (chosen.shape[chosen.axes[0]], chosen.shape[chosen.axes[1]])
            said = dataclasses.replace(said, **read_angles(path, found, sides))
        if chosen.flattened:
            whole = source[(slice(None), slice(None))]
            whole = chosen.unfolded(
                whole.T if columns_first else whole, columns_first=columns_first
            )
            return CubeReader(path, whole, axes=chosen.axes, metadata=said)
        close = opened.pop_all().close
    axes = reversed_axes(chosen.axes) if columns_first else chosen.axes
    return CubeReader(path, source, axes=axes, metadata=said, close=close, assumed=chosen.assumed)


def read_angles(path: Path, found: Datasets, sides: tuple[int, int]) -> dict[str, Any]:
    """Latitude and longitude of pixels, of datasets of these names and sides; both or neither."""
    angles: dict[str, Any] = {}
    for name, dataset in found.items():
        angle = angle_name(name.rpartition("/")[2])
        if angle and dataset.shape == sides and dataset.dtype.kind in "iuf":
            stored = array_of(path, dataset)
            angles[angle] = valid_angles(angle, stored[(slice(None), slice(None))])
    return angles if len(angles) == 2 else {}


def array_of(path: Path, dataset: h5py.Dataset) -> LibraryArray:
    """A dataset as a source; raises ValueError if it lies elsewhere, or is larger than the file."""
    with reported_as_damage(path):
        elsewhere, chunk = dataset.external or dataset.is_virtual, dataset.chunks or ()
        name = dataset.name
    if elsewhere:
        raise BadFileError(f"{path}: {name} only points to other files: read those")
    return LibraryArray(path, dataset, chunk, path.stat().st_size)


def _sides(path: Path, found: Datasets) -> Sides | None:
    named = {name.rpartition("/")[2]: dataset for name, dataset in found.items()}
    return sides_among({name: small(path, d) for name, d in named.items() if is_side(name)})


def datasets_of(file: h5py.File) -> Datasets:
    """All datasets with a shape, by name."""
    found: Datasets = {}

    def visit(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found[as_text(name)] = item

    file.visititems(visit)
    return found


def small(path: Path, dataset: h5py.Dataset) -> np.ndarray | str | None:
    """Reads a dataset that is not the cube: numbers, text, or None if it is neither or large."""
    with reported_as_damage(path):
        elsewhere = dataset.external or dataset.is_virtual
        if dataset.size is None or dataset.size > MOST_SMALL or elsewhere:
            return None
        most = max(dataset.size, math.prod(dataset.chunks or ())) * dataset.dtype.itemsize
        if most > MOST_SMALL_BYTES:
            return None
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        if not is_text and dataset.dtype.kind not in "biuf":
            return None
        values = np.asarray(dataset.asstr()[()] if is_text else dataset[()])
        is_codes = dataset.attrs.get("MATLAB_class") == b"char"
    if is_text:
        return "\n".join(str(text) for text in values.ravel())
    if is_codes:
        return values.ravel().astype("<u2").tobytes().decode("utf-16-le", errors="replace")
    return values


def _metadata(path: Path, found: Datasets, chosen: str, num_bands: int) -> Metadata:
    group = chosen.rpartition("/")[0]
    variables: dict[str, Any] = {}
    # What stands in the cube's own group counts more than what stands elsewhere.
    for name in sorted(found, key=lambda name: name.rpartition("/")[0] == group):
        known = variable_name(name.rpartition("/")[2])
        content = None if known is None or name == chosen else small(path, found[name])
        if known is None or content is None:
            continue
        variables[known] = content
        with reported_as_damage(path):
            units = found[name].attrs.get("units", found[name].attrs.get("Units"))
        if known == "wavelength" and isinstance(units, str):
            variables.setdefault("wavelength_units", units)
    with reported_as_damage(path):
        attributes = found[chosen].attrs
        attributes = {name: attributes[name] for name in ATTRIBUTES if name in attributes}
    said = from_attributes(attributes)
    if (said.get("scale", np.ones(1)) > 1).any():  # outside CF such a number often is a divisor
        said = {name: value for name, value in said.items() if name not in ("scale", "offset")}
    return from_variables({**variables, **said}, num_bands)


@contextlib.contextmanager
def create_hdf5(new: NewCube) -> Iterator[CubeWriter]:
    """Writes the dataset `cube`, not packed, straight to its place, and the metadata next to it."""
    if new.path.suffix.lower() == ".he5":
        raise ValueError(f"{new.path}: .he5 is of HDF-EOS products, which are only read: write .h5")
    with replacing(new.path) as partial, h5py.File(partial, "w") as file:
        for name, value in to_variables(new.metadata).items():
            file[name] = value
        for name, angles in new.metadata.angles().items():
            if angles is not None:
                file[name] = angles
        yield CubeWriter(file.create_dataset("cube", new.shape, new.dtype), ROWS_FIRST)
