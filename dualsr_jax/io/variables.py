"""Metadata as named variables, in formats without names of their own for it, and axes by name.

Contract: HDF5, MATLAB, NumPy and JSON files hold `to_variables`. Common other names are recognised;
what is of another kind or length than the cube needs is left out.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from dualsr_jax.io.metadata import Metadata, in_unit, spectral

_VARIABLES = ("wavelength", "wavelength_units", "fwhm", "bbl", "band_names", "crs", "transform",
              "nodata", "scale", "offset", "reflectance_scale", "tags")  # fmt: skip
_ALIASES = {
    "wavelengths": "wavelength",
    "wl": "wavelength",
    "lambda": "wavelength",
    "wavelength_unit": "wavelength_units",
    "bad_bands_list": "bbl",
    "good_wavelengths": "bbl",  # as in EMIT's files
    "band_name": "band_names",
    "reflectance_scale_factor": "reflectance_scale",
    "crs_wkt": "crs",
}
_NODATA_ATTRIBUTES = ("_FillValue", "missing_value", "nodata", "Data_Ignore_Value")
_ATTRIBUTES = {
    "scale": "scale_factor",
    "offset": "add_offset",
    "reflectance_scale": "reflectance_scale_factor",
}
ATTRIBUTES = (*_NODATA_ATTRIBUTES, *_ATTRIBUTES.values(), "Scale_Factor")
_ROWS = ("y", "lat", "latitude", "row", "rows", "line", "lines", "downtrack", "northing",
         "scan", "scans")  # fmt: skip
_COLUMNS = ("x", "lon", "longitude", "column", "columns", "col", "cols", "sample", "samples",
            "crosstrack", "easting", "pixel", "pixels")  # fmt: skip


def to_variables(metadata: Metadata) -> dict[str, np.ndarray | str]:
    """Turns metadata into arrays and strings by name; `from_variables` reads them back exactly."""
    m = metadata
    found: dict[str, Any] = {
        "crs": m.crs,
        "transform": m.transform,
        "wavelength": m.wavelengths,
        "wavelength_units": m.wavelength_unit,
        "fwhm": m.fwhm,
        "bbl": None if m.bad_bands is None else (~m.bad_bands).astype(np.uint8),
        "band_names": m.band_names,
        "nodata": m.nodata,
        "scale": m.scale,
        "offset": m.offset,
        "reflectance_scale": m.reflectance_scale,
        "tags": json.dumps(dict(m.tags)) if m.tags else None,
    }
    if m.band_names is not None:
        found["band_names"] = "\n".join(" ".join(name.splitlines()) for name in m.band_names)
    for name in ("wavelength", "fwhm"):
        if found[name] is not None:
            found[name] = in_unit(found[name], m.wavelength_unit)
    return {
        name: value if isinstance(value, str) else np.atleast_1d(value)
        for name, value in found.items()
        if value is not None
    }


def variable_name(name: str) -> str | None:
    """The name that `to_variables` has for a variable, or None if it has no such variable."""
    name = name.lower().replace(" ", "_")
    name = _ALIASES.get(name, name)
    return name if name in _VARIABLES else None


def numbers(value: Any) -> np.ndarray | None:
    """A stored value as an array of real numbers or truth values; None if it is anything else."""
    try:
        found = np.asarray(value)
    except ValueError:  # a list of lists of several lengths
        return None
    return found if found.dtype.kind in "biuf" else None


def from_attributes(attributes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads the attributes of a cube, by their names in CF, rioxarray and NEON's files.

    Of several values without data a finite one counts, as NaN never is data. CF's `scale_factor`
    multiplies; NEON's `Scale_Factor`, known by the `Data_Ignore_Value` next to it, divides. Only
    `ATTRIBUTES` are looked at; the result is for `from_variables`.
    """
    read = {name: numbers(attributes[name]) for name in ATTRIBUTES if name in attributes}
    values = {k: v for k, v in read.items() if v is not None and v.dtype.kind != "b"}
    found = {name: values[said] for name, said in _ATTRIBUTES.items() if said in values}
    if "Scale_Factor" in values and "Data_Ignore_Value" in values:
        found["reflectance_scale"] = values["Scale_Factor"]
    nodata = [values[name] for name in _NODATA_ATTRIBUTES if name in values]
    nodata = [value for value in nodata if value.size == 1]
    if nodata:
        found["nodata"] = next((v for v in nodata if np.isfinite(v).all()), nodata[0])
    return found


def from_variables(variables: Mapping[str, Any], num_bands: int) -> Metadata:
    """Reads the variables that accompany a cube of `num_bands` bands."""
    known = {variable_name(name): value for name, value in variables.items()}
    text = {k: str(v) for k, v in known.items() if isinstance(v, str)}
    read = {k: numbers(v) for k, v in known.items() if not isinstance(v, str)}
    arrays = {k: v.astype(np.float64).ravel() for k, v in read.items() if v is not None}
    for name in ("scale", "offset"):
        if name in arrays and arrays[name].size == 1:
            arrays[name] = np.full(num_bands, arrays[name][0])
    per_band = {k: v for k, v in arrays.items() if v.size == num_bands}
    single = {k: float(v[0]) for k, v in arrays.items() if v.size == 1}
    names = tuple(text["band_names"].split("\n")) if "band_names" in text else ()
    transform = arrays.get("transform", np.zeros(0))
    unit = text.get("wavelength_units")
    return Metadata(
        crs=text.get("crs"),
        transform=tuple(transform.tolist()) if transform.size == 6 else None,
        **spectral(per_band.get("wavelength"), per_band.get("fwhm"), unit, num_bands),
        band_names=names if len(names) == num_bands else None,
        bad_bands=per_band["bbl"] == 0 if "bbl" in per_band else None,
        nodata=single.get("nodata"),
        scale=per_band.get("scale"),
        offset=per_band.get("offset"),
        reflectance_scale=single.get("reflectance_scale"),
        tags=_tags(text.get("tags", "{}")),
    )


def _tags(text: str) -> dict[str, str]:
    try:
        tags = json.loads(text)
        return {str(k): str(v) for k, v in tags.items()} if isinstance(tags, dict) else {}
    except (ValueError, RecursionError):
        return {}


def rows_columns_bands(dims: Sequence[Hashable]) -> tuple[int, int, int] | None:
    """Axes of rows, columns and bands of three named dimensions; None if their names differ."""
    names = [str(name).lower() for name in dims]
    rows = [axis for axis, name in enumerate(names) if name in _ROWS]
    columns = [axis for axis, name in enumerate(names) if name in _COLUMNS]
    if len(names) != 3 or len(rows) != 1 or len(columns) != 1:
        return None
    return rows[0], columns[0], 3 - rows[0] - columns[0]
