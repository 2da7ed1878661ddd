"""PRISMA: the cubes of VNIR and SWIR in HDF-EOS 5 (`.he5`), of levels 1, 2B, 2C and 2D.

Contract: a cube lies rows x bands x columns in `HDFEOS/SWATHS/PRS_<level>_HCO/Data Fields`, bands
by descending wavelength, described by attributes of the root. Here both are one cube by ascending
wavelength; where the detectors overlap their bands alternate, and `band_names` say whose they are.
Bands without a flag or a wavelength were not measured and are left out. A stored value v is
min + v (max - min) / 65535 at level 2, v / factor - offset at level 1. Pixels that are 0 in all
bands of a detector have no data; any other 0 is read as 1. Level 2D has a map projection, other
levels latitude and longitude. Layout: "PRISMA Products Specification Document", issue 2.3, ASI.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dualsr_jax.io.axes import AxisOrder
from dualsr_jax.io.base import CubeReader
from dualsr_jax.io.damage import BadFileError, LibraryArray, reported_as_damage
from dualsr_jax.io.formats.hdf5 import Datasets, array_of, datasets_of, read_angles
from dualsr_jax.io.formats.hdf5 import open_hdf5 as open_other
from dualsr_jax.io.guards.hdf5_references import check_texts
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.variables import numbers

_SWATH = re.compile(r"HDFEOS/SWATHS/PRS_(L1|L2B|L2C|L2D)_HCO/")
_ANY_SWATH = re.compile(r"HDFEOS/SWATHS/PRS_\w+/")
_DETECTORS = ("VNIR", "SWIR")
_LARGEST = 65535  # stored value of the largest reflectance
_PIXEL_M = 30.0
_BLOCK_ROWS = 32
_NOT_TAGS = re.compile("corner|center|^List_|^L2Scale|^ScaleFactor|^Offset|^Epsg")
_MOST_TEXT = 200
_Attributes = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Detector:
    """The usable bands of a cube: their places in the file and what describes each, `[K]`."""

    name: str
    source: LibraryArray
    bands: np.ndarray
    wavelengths: np.ndarray
    fwhm: np.ndarray
    scale: float
    offset: float


class _Cube:
    """Detectors as a source `[H, L, W]`; `order` are detector and band of the file, `[L, 2]`."""

    def __init__(self, detectors: list[_Detector], order: np.ndarray) -> None:
        rows, _, columns = detectors[0].source.shape
        self.shape, self.dtype = (rows, len(order), columns), detectors[0].source.dtype
        self._detectors, self._order = detectors, order
        self._empty = [_empty_pixels(detector) for detector in detectors]

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        rows, bands, columns = index
        wanted = self._order[bands]
        lines, samples = (
            len(range(n)[s]) for n, s in zip(self.shape[::2], index[::2], strict=True)
        )
        block = np.empty((lines, len(wanted), samples), self.dtype)
        for number, detector in enumerate(self._detectors):
            here = np.flatnonzero(wanted[:, 0] == number)
            if here.size:
                stored = wanted[here, 1]
                low, high = int(stored.min()), int(stored.max()) + 1
                values = detector.source[rows, low:high, columns][:, stored - low]
                values[(values == 0) & ~self._empty[number][rows, None, columns]] = 1
                block[:, here] = values
        return block


def open_hdf5(path: Path, key: str | None = None, order: AxisOrder | None = None) -> CubeReader:
    """Opens a PRISMA product, or any other HDF5 file; `key` may be one detector, VNIR or SWIR."""
    with contextlib.ExitStack() as opened:
        with reported_as_damage(path):
            file = opened.enter_context(h5py.File(path, "r"))
            found = datasets_of(file)
        if any(_ANY_SWATH.match(name) for name in found):
            reader = _open(path, file, found, key, order)
            reader.on_close(opened.pop_all().close)
            return reader
    return open_other(path, key, order)


def _open(
    path: Path, file: h5py.File, found: Datasets, key: str | None, order: AxisOrder | None
) -> CubeReader:
    if order is not None:
        raise ValueError(
            f"{path} is of PRISMA, where the order of axes is known: leave out the axes "
            f"{order.text!r}"
        )
    check_texts(path, file)
    with reported_as_damage(path):
        attributes = {str(name): file.attrs[name] for name in file.attrs}
    swath = next((match[0] for match in map(_SWATH.match, found) if match), None)
    if swath is None:
        held = ", ".join(sorted({m[0] for m in map(_ANY_SWATH.match, found) if m}))
        raise BadFileError(
            f"{path} has no swath HDFEOS/SWATHS/PRS_..._HCO, the registered cubes of a PRISMA "
            f"product, only {held}"
        )
    cubes = [_detector(path, name, swath, found, attributes) for name in _wanted(path, swath, key)]
    sides = {(cube.source.shape[0], cube.source.shape[2]) for cube in cubes}
    if len(sides) > 1:
        raise BadFileError(f"{path}: VNIR_Cube and SWIR_Cube differ in rows or columns")
    places = np.array([(n, band) for n, cube in enumerate(cubes) for band in cube.bands])
    rising = np.argsort(np.concatenate([cube.wavelengths for cube in cubes]), kind="stable")
    metadata = _metadata(path, cubes, places[rising], rising, attributes)
    (rows, columns), level = sides.pop(), swath.split("_")[1]
    placed = _map(attributes, rows, columns) if level == "L2D" else {}
    if not placed:
        placed = _angles(path, found, swath, cubes[0].name, (rows, columns))
    metadata = dataclasses.replace(metadata, **placed)
    return CubeReader(path, _Cube(cubes, places[rising]), axes=(0, 2, 1), metadata=metadata)


def _wanted(path: Path, swath: str, key: str | None) -> tuple[str, ...]:
    if key is None:
        return _DETECTORS
    name = key.rpartition("/")[2].upper().removesuffix("_CUBE")
    if name not in _DETECTORS:
        raise BadFileError(f"{path} has no cube {key!r} in {swath}, only VNIR and SWIR")
    return (name,)


def _detector(
    path: Path, name: str, swath: str, found: Datasets, attributes: _Attributes
) -> _Detector:
    place, said = f"{swath}Data Fields/{name}_Cube", name.capitalize()
    if place not in found:
        other = next(other for other in _DETECTORS if other != name)
        raise BadFileError(
            f"{path} has no {place}: it is not a whole PRISMA product. To read the other cube "
            f"alone, name it: --key={other}, in Python key='{other}'"
        )
    source = array_of(path, found[place])
    if len(source.shape) != 3 or source.dtype != np.uint16:
        raise BadFileError(
            f"{path}: {place} is {source.dtype} {source.shape}, expected uint16, rows x bands x "
            "columns"
        )
    count = source.shape[1]
    wavelengths = _numbers(path, attributes, f"List_Cw_{said}", count)
    usable = wavelengths > 0
    if f"List_Cw_{said}_Flags" in attributes:
        usable &= _numbers(path, attributes, f"List_Cw_{said}_Flags", count) != 0
    if not usable.any():
        raise BadFileError(f"{path}: no band of {place} is flagged as measured")
    fwhm = _numbers(path, attributes, f"List_Fwhm_{said}", count)
    if swath.split("_")[1] == "L1":
        factor, minus = (
            _number(path, attributes, f"{n}_{said}") for n in ("ScaleFactor", "Offset")
        )
        scale, offset = (1 / factor if factor else np.nan), -minus
    else:
        low, high = (_number(path, attributes, f"L2Scale{said}{end}") for end in ("Min", "Max"))
        scale, offset = (high - low) / _LARGEST, low
    bands = np.flatnonzero(usable)
    return _Detector(name, source, bands, wavelengths[bands], fwhm[bands], scale, offset)


def _numbers(path: Path, attributes: _Attributes, name: str, count: int) -> np.ndarray:
    values = numbers(attributes.get(name))
    if values is None or values.size != count:
        held = "nothing" if name not in attributes else f"{np.size(attributes[name])} values"
        raise BadFileError(
            f"{path}: the attribute {name} should hold {count} numbers, it holds {held}"
        )
    return values.astype(np.float64).ravel()


def _number(path: Path, attributes: _Attributes, name: str) -> float:
    return float(_numbers(path, attributes, name, 1)[0])


def _empty_pixels(detector: _Detector) -> np.ndarray:
    """Marks the pixels `[H, W]` that are 0 in all usable bands."""
    rows, _, columns = detector.source.shape
    empty = np.empty((rows, columns), bool)
    low, high = int(detector.bands.min()), int(detector.bands.max()) + 1
    for row in range(0, rows, _BLOCK_ROWS):
        block = detector.source[slice(row, row + _BLOCK_ROWS), slice(low, high), slice(None)]
        empty[row : row + _BLOCK_ROWS] = ~block[:, detector.bands - low].any(1)
    return empty


def _metadata(
    path: Path,
    cubes: list[_Detector],
    places: np.ndarray,
    rising: np.ndarray,
    attributes: _Attributes,
) -> Metadata:
    def of_bands(name: str) -> np.ndarray:
        whole = [np.broadcast_to(getattr(cube, name), len(cube.bands)) for cube in cubes]
        return np.concatenate(whole).astype(np.float64)[rising]

    return Metadata(
        wavelengths=of_bands("wavelengths"),
        wavelength_unit="nm",
        fwhm=of_bands("fwhm"),
        band_names=tuple(f"{cubes[n].name} {band + 1}" for n, band in places),
        nodata=0.0,
        scale=of_bands("scale"),
        offset=of_bands("offset"),
        tags=_tags(attributes),
    )


def _tags(attributes: _Attributes) -> dict[str, str]:
    found = {}
    for name, value in attributes.items():
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        if np.ndim(text) == 0 and not _NOT_TAGS.search(name) and len(str(text)) <= _MOST_TEXT:
            found[name] = str(text)
    return found


def _map(attributes: _Attributes, rows: int, columns: int) -> dict[str, Any]:
    """Coordinate system and transform from the corners; nothing if they are not there.

    They are the centres of the corner pixels, or their outer corners, if that is nearer to 30 m.
    """
    names = ("ULcorner_easting", "LRcorner_easting", "ULcorner_northing", "LRcorner_northing")
    values = [numbers(attributes.get(n)) for n in ("Epsg_Code", *(f"Product_{n}" for n in names))]
    single = [float(v.ravel()[0]) for v in values if v is not None and v.size == 1]
    if len(single) < len(values) or not np.isfinite(single).all() or min(rows, columns) < 2:
        return {}
    epsg, left, right, top, bottom = single
    between = (right - left) / (columns - 1)
    centres = abs(between - _PIXEL_M) <= abs((right - left) / columns - _PIXEL_M)
    less = 1 if centres else 0
    a, e = (right - left) / (columns - less), (bottom - top) / (rows - less)
    if not a or not e:
        return {}
    half = 0.5 * less
    return {
        "crs": f"EPSG:{int(epsg)}",
        "transform": (a, 0.0, left - half * a, 0.0, e, top - half * e),
    }


def _angles(
    path: Path, found: Datasets, swath: str, detector: str, sides: tuple[int, int]
) -> dict[str, Any]:
    """Latitude and longitude of the swath; at level 1 each detector has its own."""
    fields = f"{swath}Geolocation Fields/"
    inside = {name.removeprefix(fields): d for name, d in found.items() if name.startswith(fields)}
    named = {name.removesuffix(f"_{detector}"): dataset for name, dataset in inside.items()}
    return read_angles(path, named, sides)
