"""What a cube file says beside its pixels.

Contract: every reader gives a `Metadata`, every writer takes one. Wavelengths are held in nm and
written back in the unit of the file; everything else is held as stored. Formats without names of
their own for these things (HDF5, MATLAB, NumPy, JSON) hold `to_variables`.
"""

import dataclasses
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

Variables = dict[str, np.ndarray | str]

_ROWS = ("y", "lat", "latitude", "row", "rows", "line", "lines", "downtrack", "northing",
         "scan", "scans")  # fmt: skip
_COLUMNS = ("x", "lon", "longitude", "column", "columns", "col", "cols", "sample", "samples",
            "crosstrack", "easting", "pixel", "pixels")  # fmt: skip
PER_BAND = ("wavelengths", "fwhm", "bad_bands", "scale", "offset")
# Tags about the pixel grid, no longer true of an enlarged one: names as ENVI and GDAL have them.
_OF_THE_GRID = ("x start", "y start", "pixel size", "geo points", "rpc info")

_NANOMETRES = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "µm": 1e3,  # the micro sign
    "μm": 1e3,  # the Greek letter
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
    "angstrom": 0.1,
}


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Of a cube of L bands; None, or empty, where the file says nothing.

    Attributes:
        crs: coordinate reference system, as WKT; writers take codes (EPSG:32633) too.
        transform: `(a, b, c, d, e, f)`: `x = a column + b row + c`, `y = d column + e row + f`;
            column and row count from the outer corner of the first pixel.
        wavelengths: float64 `[L]`, nm.
        wavelength_unit: the file's own name of the unit; None: nm.
        fwhm: float64 `[L]`, nm.
        band_names: L names.
        bad_bands: bool `[L]`, True: bad.
        nodata: stored value of pixels without data.
        scale: float64 `[L]`; physical value = stored value * scale + offset.
        offset: float64 `[L]`.
        reflectance_scale: stored value of reflectance 1.
        tags: everything else, verbatim.
    """

    crs: str | None = None
    transform: tuple[float, ...] | None = None
    wavelengths: np.ndarray | None = None
    wavelength_unit: str | None = None
    fwhm: np.ndarray | None = None
    band_names: tuple[str, ...] | None = None
    bad_bands: np.ndarray | None = None
    nodata: float | None = None
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None
    reflectance_scale: float | None = None
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def enlarged(self, factor: int) -> "Metadata":
        """Of the cube with `factor` times as many pixels a side: the corner stays where it is.

        Tags that describe the old pixel grid (`x start`, `pixel size`, `rpc info` and the like) are
        left out.
        """
        transform = self.transform
        if transform is not None:
            a, b, c, d, e, f = transform
            transform = (a / factor, b / factor, c, d / factor, e / factor, f)
        tags = {k: v for k, v in self.tags.items() if k.lower() not in _OF_THE_GRID}
        return dataclasses.replace(self, transform=transform, tags=tags)

    def select(self, bands: Sequence[int] | slice) -> "Metadata":
        """Of the cube with these bands only."""
        index = bands if isinstance(bands, slice) else np.asarray(bands, int)
        changes: dict[str, Any] = {}
        for name in PER_BAND:
            values = getattr(self, name)
            changes[name] = None if values is None else values[index]
        if self.band_names is not None:
            changes["band_names"] = tuple(np.array(self.band_names, object)[index])
        return dataclasses.replace(self, **changes)


def nanometres(unit: str | None, values: np.ndarray | None = None) -> float | None:
    """How many nm the unit is; None for one that is no length.

    Args:
        unit: as in a file, any case, singular or plural; None or "Unknown" if it does not say:
            then values below 100 are micrometres.
        values: the wavelengths in that unit.
    """
    name = (unit or "").strip().lower()
    if name in ("", "unknown", "none"):
        return 1e3 if values is not None and values.size and np.nanmax(values) < 100 else 1.0
    return _NANOMETRES.get(name) or _NANOMETRES.get(name.removesuffix("s"))


def in_unit(values: np.ndarray, unit: str | None) -> np.ndarray:
    """Wavelengths in nm, in the unit; `unit` None: nm."""
    return values / ((nanometres(unit) or 1.0) if unit else 1.0)


def spectral(
    wavelengths: np.ndarray | None, fwhm: np.ndarray | None, unit: str | None, num_bands: int
) -> dict[str, Any]:
    """The fields of `Metadata` for wavelengths in a file's unit.

    Args:
        wavelengths: one a band, in `unit`; None or another number of them: left out.
        fwhm: in the same way.
        unit: as in the file.
        num_bands: L.
    """
    factor = nanometres(unit, wavelengths)
    if factor is None:
        return {}
    if factor == 1e3 and nanometres(unit) == 1.0:  # guessed from the values
        unit = "Micrometers"
    found = {"wavelengths": wavelengths, "fwhm": fwhm}
    fields: dict[str, Any] = {
        name: values * factor
        for name, values in found.items()
        if values is not None and values.size == num_bands
    }
    return {**fields, "wavelength_unit": unit} if fields else {}


def representable(nodata: float | None, dtype: np.dtype) -> bool:
    """Whether pixels of this type can have the value; where not, no pixel is without data."""
    if nodata is None:
        return False
    if dtype.kind == "f":
        return bool(not np.isfinite(nodata) or abs(nodata) <= np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return bool(np.isfinite(nodata)) and limits.min <= nodata <= limits.max


def check_bands(metadata: Metadata, num_bands: int) -> None:
    """Raises ValueError unless everything that is per band is there for every band."""
    for name in (*PER_BAND, "band_names"):
        values = getattr(metadata, name)
        if values is not None and len(values) != num_bands:
            raise ValueError(
                f"the metadata's {name} has {len(values)} entries, the cube {num_bands} bands"
            )


def to_variables(metadata: Metadata) -> Variables:
    """As named arrays and strings; `from_variables` reads them back exactly."""
    m = metadata
    found: dict[str, Any] = {
        "crs": m.crs,
        "transform": m.transform,
        "wavelength": m.wavelengths,
        "wavelength_units": m.wavelength_unit,
        "fwhm": m.fwhm,
        "bbl": None if m.bad_bands is None else (~m.bad_bands).astype(np.uint8),
        "band_names": None if m.band_names is None else _lines(m.band_names),
        "nodata": m.nodata,
        "scale": m.scale,
        "offset": m.offset,
        "reflectance_scale": m.reflectance_scale,
        "tags": json.dumps(dict(m.tags)) if m.tags else None,
    }
    for name in ("wavelength", "fwhm"):
        if found[name] is not None:
            found[name] = in_unit(found[name], m.wavelength_unit)
    return {
        name: value if isinstance(value, str) else np.atleast_1d(value)
        for name, value in found.items()
        if value is not None
    }


def _lines(names: tuple[str, ...]) -> str:
    return "\n".join(" ".join(name.splitlines()) for name in names)


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
VARIABLE_NAMES = ("wavelength", "wavelength_units", "fwhm", "bbl", "band_names", "crs", "transform",
                  "nodata", "scale", "offset", "reflectance_scale", "tags")  # fmt: skip


def variable_name(name: str) -> str | None:
    """Which of the variables of `to_variables` a variable of this name is; None: none of them."""
    name = name.lower().replace(" ", "_")
    name = _ALIASES.get(name, name)
    return name if name in VARIABLE_NAMES else None


_NODATA_ATTRIBUTES = ("_FillValue", "missing_value", "nodata", "Data_Ignore_Value")
_ATTRIBUTES = {
    "scale": "scale_factor",
    "offset": "add_offset",
    "reflectance_scale": "reflectance_scale_factor",
}


def from_attributes(attributes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads the attributes of a cube, by their names in CF, rioxarray and NEON's files.

    Of several values without data a finite one counts, as NaN never is data. CF's `scale_factor`
    multiplies; NEON's `Scale_Factor`, known by the `Data_Ignore_Value` beside it, divides.

    Returns:
        Variables for `from_variables`; attributes that are no numbers are left out.
    """
    names = (*_NODATA_ATTRIBUTES, *_ATTRIBUTES.values(), "Scale_Factor")
    values = {name: np.asarray(attributes[name]) for name in names if name in attributes}
    values = {name: value for name, value in values.items() if value.dtype.kind in "iuf"}
    found = {name: values[said] for name, said in _ATTRIBUTES.items() if said in values}
    if "Scale_Factor" in values and "Data_Ignore_Value" in values:
        found["reflectance_scale"] = values["Scale_Factor"]
    nodata = [values[name] for name in _NODATA_ATTRIBUTES if name in values]
    nodata = [value for value in nodata if value.size == 1]
    if nodata:
        found["nodata"] = next((v for v in nodata if np.isfinite(v).all()), nodata[0])
    return found


def from_variables(variables: Mapping[str, Any], num_bands: int) -> Metadata:
    """Reads the variables beside a cube: ours, and what others commonly call the same things.

    Variables that are of another kind or length than a cube of `num_bands` bands needs are
    somebody else's, and left out.
    """
    known = {variable_name(name): value for name, value in variables.items()}
    text = {k: str(v) for k, v in known.items() if isinstance(v, str)}
    arrays = {
        k: np.asarray(v, np.float64).ravel()
        for k, v in known.items()
        if not isinstance(v, str) and np.asarray(v).dtype.kind in "biuf"
    }
    for name in ("scale", "offset"):
        if name in arrays and arrays[name].size == 1:
            arrays[name] = np.full(num_bands, arrays[name][0])
    per_band = {k: v for k, v in arrays.items() if v.size == num_bands}
    single = {k: float(v[0]) for k, v in arrays.items() if v.size == 1}
    names = tuple(text["band_names"].split("\n")) if "band_names" in text else ()
    transform = arrays.get("transform", np.zeros(0))
    return Metadata(
        crs=text.get("crs"),
        transform=tuple(transform.tolist()) if transform.size == 6 else None,
        **spectral(
            per_band.get("wavelength"),
            per_band.get("fwhm"),
            text.get("wavelength_units"),
            num_bands,
        ),
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
    except (ValueError, RecursionError):
        return {}
    return {str(k): str(v) for k, v in tags.items()} if isinstance(tags, dict) else {}


def rows_columns_bands(dims: Sequence[Hashable]) -> tuple[int, int, int] | None:
    """Finds the axes of a cube.

    Args:
        dims: names of its three dimensions.

    Returns:
        The axes of rows, columns and bands; None if the names do not tell exactly one of rows and
        one of columns.
    """
    names = [str(name).lower() for name in dims]
    rows = [axis for axis, name in enumerate(names) if name in _ROWS]
    columns = [axis for axis, name in enumerate(names) if name in _COLUMNS]
    if len(names) != 3 or len(rows) != 1 or len(columns) != 1:
        return None
    return rows[0], columns[0], 3 - rows[0] - columns[0]
