"""ENVI headers: the text, and what of it is metadata.

Contract: keys are case-insensitive and keep their spaces (`map info`); values are text, with their
braces. GDAL reads and writes the keys that name a coordinate system, in memory. It does not read
the header itself, because it would unpack the raw file whole, without a limit, and leave a file of
its own next to it; Spectral Python refuses headers without `byte order`.
"""

import math
import re
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dualsr_jax.extras import geo
from dualsr_jax.io.damage import reported_as_gdal_damage
from dualsr_jax.io.metadata import Metadata, from_band_names, in_unit, parse_crs, spectral

# How the pixels lie in the file: not metadata.
_LAYOUT = ("samples", "lines", "bands", "header offset", "file compression", "file type",
           "data type", "interleave", "byte order")  # fmt: skip
_FIELDS = {  # of Metadata, by key
    "map info": "transform",
    "projection info": "crs",
    "coordinate system string": "crs",
    "wavelength": "wavelengths",
    "wavelength units": "wavelength_unit",
    "fwhm": "fwhm",
    "band names": "band_names",
    "bbl": "bad_bands",
    "data gain values": "scale",
    "data offset values": "offset",
    "data ignore value": "nodata",
    "reflectance scale factor": "reflectance_scale",
}
_NUMBERS = ("wavelength", "fwhm", "bbl", "data gain values", "data offset values",
            "data ignore value", "reflectance scale factor")  # fmt: skip
_CRS_KEYS = ("map info", "projection info", "coordinate system string")
# key = value, or key = {value, over several lines}; matched in linear time
_ENTRY = re.compile(r"^([^={}\n]*)=[ \t]*(?:\n[ \t]*(?=\{))?(\{[^}]*\}?|[^\n]*)", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """Reads the entries of a header, without comments; known keys are made lower case."""
    text = re.sub(r"^[ \t]*;[^\n]*", "", text.replace("\r\n", "\n").replace("\r", "\n"), flags=re.M)
    entries = {}
    for key, value in _ENTRY.findall(text):
        entries[_folded(key)] = value.strip()
    return entries


def _items(text: str | None) -> list[str]:
    """The items of a list in braces; a value without braces is a list of one."""
    if text is None:
        return []
    items = [item.strip() for item in text.strip().removeprefix("{").removesuffix("}").split(",")]
    return items if any(items) else []


def _numbers(text: str | None) -> np.ndarray | None:
    """The numbers of a brace list, or None if any item is not a number."""
    try:
        return np.array([float(item) for item in _items(text) if item]) if text else None
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    numbers = _numbers(text)
    return float(numbers[0]) if numbers is not None and numbers.size == 1 else None


def to_metadata(path: Path, entries: Mapping[str, str], num_bands: int) -> Metadata:
    """Reads the metadata of a cube from the entries of its header; errors name `path`.

    Lists of another length than `num_bands`, and wavelengths in units that are not lengths (such as
    `Index`), stay in the tags, verbatim.
    """
    rest = {key: value for key, value in entries.items() if key not in _LAYOUT}

    def per_band(key: str) -> np.ndarray | None:
        numbers = _numbers(rest.get(key))
        return None if numbers is None or numbers.size != num_bands else numbers

    unit = rest.get("wavelength units")
    names = _items(rest.get("band names"))
    bbl = per_band("bbl")
    wavelengths = per_band("wavelength")
    if "wavelength" not in rest and len(names) == num_bands:
        wavelengths, unit = from_band_names(names, unit) or (None, unit)
    fields = {
        **spectral(wavelengths, per_band("fwhm"), unit, num_bands),
        "crs": _crs(path, rest),
        "transform": _map_transform(_items(rest.get("map info"))),
        "band_names": tuple(names) if len(names) == num_bands else None,
        "bad_bands": None if bbl is None else bbl == 0,
        "nodata": _number(rest.get("data ignore value")),
        "scale": per_band("data gain values"),
        "offset": per_band("data offset values"),
        "reflectance_scale": _number(rest.get("reflectance scale factor")),
    }
    tags = {k: v for k, v in rest.items() if fields.get(_FIELDS.get(k, "")) is None}
    return Metadata(**fields, tags=tags)


def _map_transform(info: Sequence[str]) -> tuple[float, ...] | None:
    """The transform of a map info, as in `Metadata`; None if its items are not numbers.

    A map info is the name of the projection, column and row (from 1) of the tie point, its easting
    and northing, the two pixel sizes, and perhaps more, with `rotation=` in degrees.
    """
    try:
        column, row, east, north, width, height = (float(item) for item in info[1:7])
        rotation = next((i.partition("=")[2] for i in info if i.startswith("rotation")), "0")
        angle = math.radians(float(rotation))
        cos, sin = math.cos(angle), math.sin(angle)
    except ValueError:
        return None
    a, b, d, e = cos * width, sin * width, sin * height, -cos * height
    east -= (column - 1) * a + (row - 1) * b
    north -= (column - 1) * d + (row - 1) * e
    return (a, b, east, d, e, north)


def _crs(path: Path, entries: Mapping[str, str]) -> str | None:
    """The coordinate system as WKT; GDAL reads it from a file of one pixel with these entries."""
    named = _items(entries.get("map info"))[:1]
    if "coordinate system string" not in entries and named in ([], ["Arbitrary"]):
        return None
    rasterio, memory = geo("rasterio"), geo("rasterio.io").MemoryFile
    lines = [f"{key} = {' '.join(entries[key].split())}" for key in _CRS_KEYS if key in entries]
    one = "ENVI\nsamples = 1\nlines = 1\nbands = 1\ndata type = 1\ninterleave = bsq\nbyte order = 0"
    header = "\n".join([one, *lines, ""]).encode(errors="replace")
    folder = uuid.uuid4().hex
    with (
        reported_as_gdal_damage(path),
        warnings.catch_warnings(),
        memory(header, dirname=folder, filename="one.hdr"),
        memory(bytes(64), dirname=folder, filename="one.img") as pixels,
    ):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with pixels.open(driver="ENVI") as dataset:
            return dataset.crs.to_wkt() if dataset.crs else None


def from_metadata(path: Path, metadata: Metadata, num_bands: int) -> dict[str, str]:
    """Makes the entries of a header from metadata; errors name `path`.

    Tags that would be read back as pixel layout are left out; those that would be read back as
    other metadata get another name, with `_`. Raises ValueError if `metadata.crs` cannot be parsed,
    or the transform is sheared.
    """
    entries, tags = _own_entries(metadata), {}
    for key, value in metadata.tags.items():
        key = _folded(re.sub("[={}]", "_", _one_line(key)).strip(" ;"))
        if key not in (*_LAYOUT, *entries):
            tags[key] = _one_line(value)
    kept = to_metadata(path, {**tags, **entries}, num_bands).tags
    return {key if key in kept else f"{key}_": value for key, value in tags.items()} | entries


def _folded(key: str) -> str:
    """A key as it is looked up: known ones in lower case, with single spaces."""
    lower = " ".join(key.lower().split())
    return lower if lower in (*_LAYOUT, *_FIELDS) else key.strip()


def _own_entries(m: Metadata) -> dict[str, str]:
    """The entries of everything but the tags."""
    entries: dict[str, str] = {}
    if m.transform is not None:
        entries |= _map_info(m.crs, m.transform)
    if m.wavelengths is not None or m.fwhm is not None:
        entries["wavelength units"] = _one_line(m.wavelength_unit or "Nanometers")
    if m.band_names is not None:
        entries["band names"] = _braced(
            [_one_line(n.replace(",", ";"), braces="()") for n in m.band_names]
        )
    for key in _NUMBERS:
        value = getattr(m, _FIELDS[key])
        if value is None:
            continue
        if key in ("wavelength", "fwhm"):
            value = in_unit(value, m.wavelength_unit)
        numbers = [_text(number) for number in np.ravel(~value if key == "bbl" else value).tolist()]
        entries[key] = _braced(numbers) if np.ndim(value) else numbers[0]
    return entries


def _text(number: float) -> str:
    return repr(int(number)) if float(number).is_integer() else repr(number)


def _one_line(text: str, braces: str = "{}") -> str:
    """Text that a header can hold: one line, with braces only around all of it."""
    text = " ".join(text.splitlines()).strip()
    if text.startswith("{") and text.endswith("}") and "}" not in text[:-1]:
        return braces[0] + text[1:-1] + braces[1]
    return text.replace("{", "(").replace("}", ")")


def _braced(items: Sequence[str]) -> str:
    lines = [", ".join(items[k : k + 8]) for k in range(0, len(items), 8)]
    return "{\n" + ",\n".join(lines) + "}"


def _map_info(crs: str | None, transform: Sequence[float]) -> dict[str, str]:
    a, b, east, d, e, north = transform
    angle, width = math.atan2(b, a), math.hypot(a, b)
    height = d * math.sin(angle) - e * math.cos(angle)
    shear = max(abs(d - math.sin(angle) * height), abs(e + math.cos(angle) * height))
    if shear > 1e-9 * abs(height):
        raise ValueError(
            f"an ENVI header cannot hold the sheared transform {tuple(transform)}: write another "
            "format, such as GeoTIFF"
        )
    entries, name, rest = {}, "Arbitrary", ["0", "North"]
    if crs:
        entries = _named(crs)
        name, *_ = _items(entries["map info"])
        rest = _items(entries["map info"])[7:]
    place = [repr(float(n)) for n in (1, 1, east, north, width, height)]
    rotation = [f"rotation={math.degrees(angle)!r}"] if angle else []
    entries["map info"] = "{" + ", ".join([name, *place, *rest, *rotation]) + "}"
    return entries


def _named(crs: str) -> dict[str, str]:
    """The entries for a coordinate system, which GDAL writes next to a file of one pixel."""
    rasterio, memory = geo("rasterio"), geo("rasterio.io").MemoryFile
    north_up = rasterio.Affine(1, 0, 0, 0, -1, 1)
    with memory(ext=".img") as pixels:
        shape = {"width": 1, "height": 1, "count": 1, "dtype": "uint8"}
        with pixels.open(driver="ENVI", crs=parse_crs(crs), transform=north_up, **shape):
            pass
        with pixels.open(driver="ENVI") as dataset:
            tags = dataset.tags(ns="ENVI")
    names = {key: key.replace(" ", "_") for key in _CRS_KEYS}
    return {key: _one_line(tags[name]) for key, name in names.items() if name in tags}
