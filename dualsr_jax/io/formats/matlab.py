"""Reads MATLAB files: version 5 (scipy, read whole) and 7.3 (HDF5, by window).

Contract: besides our own names for the metadata, an ENVI header that was read into a struct, or
into variables such as `map_info`, is recognised.
"""

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from dualsr_jax.io.axes import AxisOrder
from dualsr_jax.io.base import CubeReader
from dualsr_jax.io.choice import Sides, choose_cube, is_side, sides_among
from dualsr_jax.io.damage import OWN_ERRORS, check_size, reported_as_damage
from dualsr_jax.io.formats.envi_header import to_metadata
from dualsr_jax.io.formats.hdf5 import Datasets, open_dataset, small
from dualsr_jax.io.guards.hdf5_references import MOST_SMALL
from dualsr_jax.io.guards.matlab5 import check_mat5
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.variables import from_variables, numbers, variable_name

_CLASSES = {"float64": "double", "float32": "single"} | {
    name: name
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
}
_TYPES = {name: np.dtype(dtype) for dtype, name in _CLASSES.items()} | {"logical": np.dtype("u1")}
_ENVI_VARIABLES = ("map_info", "projection_info", "coordinate_system_string")
_ENVI_FIELDS = {"wavelength", "map_info"}  # a struct with one of them is a header

_Content = dict[str, Any]


def open_mat(path: Path, key: str | None = None, order: AxisOrder | None = None) -> CubeReader:
    """Opens a variable; `key` names it."""
    with reported_as_damage(path):
        is_hdf5 = h5py.is_hdf5(path)
    if not is_hdf5:
        return _open_5(path, key, order)
    return open_dataset(path, key, order, _metadata_7, columns_first=True)


def _open_5(path: Path, key: str | None, order: AxisOrder | None) -> CubeReader:
    with reported_as_damage(path, OWN_ERRORS):
        check_mat5(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's remarks about what it does not read
        with reported_as_damage(path):
            listed = scipy.io.whosmat(path)
        shapes = {name: tuple(shape) for name, shape, kind in listed if kind in _TYPES}

        def sides() -> Sides | None:
            names = [name for name, shape in shapes.items() if is_side(name) and shape == (1, 1)]
            with reported_as_damage(path):
                return sides_among(scipy.io.loadmat(path, variable_names=names))

        chosen = choose_cube(path, shapes, key, order, sides=sides, columns_first=True)
        for name, shape, kind in listed:
            if name == chosen.name and kind in _TYPES:
                check_size(path, shape, _TYPES[kind], path.stat().st_size)
        others = [
            name
            for name, shape, kind in listed
            if np.prod(shape, dtype=float) <= MOST_SMALL
            and (kind == "struct" or variable_name(name) or name in _ENVI_VARIABLES)
        ]
        with reported_as_damage(path):
            content = scipy.io.loadmat(
                path, variable_names=[chosen.name, *others], simplify_cells=True
            )
            cube = content.pop(chosen.name)
            if not isinstance(cube, np.ndarray):  # one pixel of one band, simplified to a number
                kind = next(kind for name, _, kind in listed if name == chosen.name)
                cube = np.asarray(cube, _TYPES[kind])
            cube = cube.reshape(shapes[chosen.name])  # simplified, an axis of length 1 may be gone
    if chosen.flattened:
        cube = chosen.unfolded(cube, columns_first=True)
    metadata = _metadata(path, content, chosen.num_bands)
    return CubeReader(path, cube, axes=chosen.axes, metadata=metadata, assumed=chosen.assumed)


def _metadata_7(path: Path, found: Datasets, chosen: str, num_bands: int) -> Metadata:
    """The metadata in the variables of version 7.3; those in groups are structs."""
    content: _Content = {}
    for name, dataset in found.items():
        group, _, field = name.rpartition("/")
        value = None if name == chosen or group.startswith("#") else small(path, dataset)
        if value is not None:
            place = content.setdefault(group, {}) if group else content
            place[field] = value
    return _metadata(path, content, num_bands)


def _metadata(path: Path, content: _Content, num_bands: int) -> Metadata:
    """Reads variables and ENVI headers among them, which take precedence: they name units."""
    plain = {k: v for k, v in content.items() if not isinstance(v, dict)}
    ours = from_variables(plain, num_bands)
    entries = {k: v for k, v in content.items() if k in _ENVI_VARIABLES}
    for value in content.values():
        if isinstance(value, dict) and _ENVI_FIELDS & value.keys():
            entries |= value
    texts = {str(k).replace("_", " "): _text(v) for k, v in entries.items()}
    header = to_metadata(path, {k: v for k, v in texts.items() if v is not None}, num_bands)
    fields = {
        name: getattr(ours, name) if value is None else value
        for name, value in vars(header).items()
    }
    return Metadata(**{**fields, "tags": {**ours.tags, **header.tags}})


def _text(value: Any) -> str | None:
    """A variable as it stands in a header; None if it cannot stand in one."""
    if isinstance(value, str):
        return value
    array = numbers(value)
    if array is None or array.size > MOST_SMALL:
        return None
    items = [repr(number) for number in array.ravel().tolist()]
    return items[0] if len(items) == 1 else "{" + ", ".join(items) + "}"
