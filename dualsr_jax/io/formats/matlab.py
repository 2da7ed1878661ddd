"""MATLAB files: version 5 (scipy, read whole) and 7.3 (HDF5, by window); 7.3 is written.

Contract: beside our own names for the metadata, an ENVI header that was read into a struct, or into
variables such as `map_info`, is recognised.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from dualsr_jax.disk import replacing
from dualsr_jax.io.base import CubeReader, CubeWriter, check_size, choose, damage_told
from dualsr_jax.io.formats.envi_header import to_metadata
from dualsr_jax.io.formats.hdf5 import checked, datasets, small
from dualsr_jax.io.guards.hdf5_references import MOST_SMALL, check_texts
from dualsr_jax.io.guards.matlab5 import check_mat5
from dualsr_jax.io.metadata import Metadata, from_variables, to_variables, variable_name

_CLASSES = {"float64": "double", "float32": "single"} | {
    name: name
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
}
_TYPES = {name: np.dtype(dtype) for dtype, name in _CLASSES.items()} | {"logical": np.dtype("u1")}
_ENVI_VARIABLES = ("map_info", "projection_info", "coordinate_system_string")
_ENVI_FIELDS = {"wavelength", "map_info"}  # a struct with one of them is a header
_USER_BLOCK = 512  # bytes before the HDF5 content, as MATLAB has them
_STORED_AXES = (2, 1, 0)  # MATLAB's first axis is the fastest

Content = dict[str, Any]


def open_mat(path: Path, key: str | None = None) -> CubeReader:
    """Opens a variable.

    Args:
        path: the file.
        key: name of the cube; None: the only three-dimensional variable.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, or has no such cube or not exactly one candidate.
    """
    with damage_told(path):
        if not h5py.is_hdf5(path):
            return _open_5(path, key)
        file = h5py.File(path, "r")
        try:
            check_texts(file)
            found = datasets(file)
            shapes = {name: dataset.shape[::-1] for name, dataset in found.items()}
            chosen = choose(path, shapes, key)
            cube = checked(path, found[chosen])
            metadata = _metadata(_structs(found, chosen), shapes[chosen][2])
        except BaseException:
            file.close()
            raise
    return CubeReader(path, cube, _STORED_AXES, metadata, file.close)


def _open_5(path: Path, key: str | None) -> CubeReader:
    check_mat5(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's remarks about what it does not read
        listed = scipy.io.whosmat(path)
        shapes = {name: tuple(shape) for name, shape, kind in listed if kind in _TYPES}
        chosen = choose(path, shapes, key)
        for name, shape, kind in listed:
            if name == chosen:
                check_size(path, shape, _TYPES[kind], path.stat().st_size)
        beside = [
            name
            for name, shape, kind in listed
            if np.prod(shape, dtype=float) <= MOST_SMALL
            and (kind == "struct" or variable_name(name) or name in _ENVI_VARIABLES)
        ]
        content = scipy.io.loadmat(path, variable_names=[chosen, *beside], simplify_cells=True)
    cube = content.pop(chosen)
    # Simplified, a last axis of length 1 is still there, but one pixel of one band is a number.
    cube = np.asarray(cube).reshape(shapes[chosen])
    return CubeReader(path, cube, (0, 1, 2), _metadata(content, shapes[chosen][2]))


def _structs(found: Mapping[str, h5py.Dataset], chosen: str) -> Content:
    """Variables of version 7.3, those in groups as structs."""
    content: Content = {}
    for name, dataset in found.items():
        group, _, field = name.rpartition("/")
        value = None if name == chosen or group.startswith("#") else small(dataset)
        if value is None:
            continue
        if group:
            content.setdefault(group, {})[field] = value
        else:
            content[name] = value
    return content


def _metadata(content: Content, num_bands: int) -> Metadata:
    """Of the variables, and of headers among them; these count more, as they tell units."""
    plain = {k: v for k, v in content.items() if not isinstance(v, dict)}
    beside = from_variables(plain, num_bands)
    entries = {k: v for k, v in content.items() if k in _ENVI_VARIABLES}
    for value in content.values():
        if isinstance(value, dict) and _ENVI_FIELDS & value.keys():
            entries |= value
    texts = {str(k).replace("_", " "): _text(v) for k, v in entries.items()}
    header = to_metadata({k: v for k, v in texts.items() if v is not None}, num_bands)
    fields = {
        name: getattr(beside, name) if value is None else value
        for name, value in vars(header).items()
    }
    return Metadata(**{**fields, "tags": {**beside.tags, **header.tags}})


def _text(value: Any) -> str | None:
    """A variable as it stands in a header; None for what does not stand in one."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size > MOST_SMALL:
        return None
    numbers = [repr(number) for number in array.ravel().tolist()]
    return numbers[0] if len(numbers) == 1 else "{" + ", ".join(numbers) + "}"


@contextlib.contextmanager
def create_mat(
    path: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes a file of version 7.3 with the variable `cube`, straight to its place.

    Raises:
        ValueError: if MATLAB has no such data type.
    """
    if dtype.name not in _CLASSES:
        raise ValueError(f"MATLAB has no class for {dtype}, only for {', '.join(_CLASSES)}")
    with replacing(path) as beside:
        with h5py.File(beside, "w", userblock_size=_USER_BLOCK) as file:
            for name, value in to_variables(metadata).items():
                _write_variable(file, name, value)
            stored = tuple(int(n) for n in shape[::-1])
            cube = file.create_dataset("cube", shape=stored, dtype=dtype)
            cube.attrs["MATLAB_class"] = np.bytes_(_CLASSES[dtype.name])
            yield CubeWriter(cube, _STORED_AXES, shape, dtype)
        with beside.open("r+b") as raw:
            text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."
            raw.write(text.ljust(116) + bytes(8) + b"\x00\x02IM")


def _write_variable(file: h5py.File, name: str, value: np.ndarray | str) -> None:
    if isinstance(value, str):
        codes = np.frombuffer(value.encode("utf-16-le"), "<u2")
        dataset = file.create_dataset(name, data=codes[:, None])
        dataset.attrs["MATLAB_class"] = np.bytes_("char")
        dataset.attrs["MATLAB_int_decode"] = np.int32(2)
    else:
        dataset = file.create_dataset(name, data=value[:, None])
        dataset.attrs["MATLAB_class"] = np.bytes_(_CLASSES[value.dtype.name])
