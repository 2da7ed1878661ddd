"""What a cube file says besides its pixels.

Contract: every reader gives a `Metadata`, every writer takes one. Wavelengths are held in nm and
written back in the unit of the file; everything else is held as stored.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualsr_jax.extras import geo
from dualsr_jax.io.swath import LATITUDE, LONGITUDE, finer_angles

_PER_BAND = ("wavelengths", "fwhm", "bad_bands", "scale", "offset")
# Tags about the pixel grid, no longer true of an enlarged one: names as ENVI and GDAL have them.
_OF_THE_GRID = ("x start", "y start", "pixel size", "geo points", "rpc info", "geotransform")
_UNSAID = ("", "unknown", "none")  # units
_NAMED_WAVELENGTH = re.compile(r"\((\d{1,9}(?:\.\d{0,20})?) ?([A-Za-zµμ]{1,20})\)$")
_MICROMETRES = ("um", "µm", "μm", "micron", "micrometer", "micrometre")  # micro sign, Greek letter
_NANOMETRES = {
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1.0),
    **dict.fromkeys(_MICROMETRES, 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
    "angstrom": 0.1,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """Metadata of a cube of L bands; None, or empty, where the file says nothing.

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
        scale: float64 `[L]`, as offset; physical value = stored value * scale + offset.
        reflectance_scale: stored value of reflectance 1.
        latitude: float64 `[H, W]`, degrees north of the centre of each pixel, NaN where unknown.
        longitude: float64 `[H, W]`, degrees east.
        variable: name of the cube in a file of several variables.
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
    latitude: np.ndarray | None = None
    longitude: np.ndarray | None = None
    variable: str | None = None
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def enlarged(self, factor: int) -> "Metadata":
        """The metadata with pixels `factor` times smaller; tags about the old grid are left out.

        Latitude and longitude are interpolated (`swath.finer_angles`).
        """
        transform = self.transform
        if transform is not None:
            a, b, c, d, e, f = transform
            transform = (a / factor, b / factor, c, d / factor, e / factor, f)
        tags = {k: v for k, v in self.tags.items() if k.lower() not in _OF_THE_GRID}
        angles: dict[str, Any] = {
            name: None if values is None else finer_angles(values, factor)
            for name, values in self.angles().items()
        }
        return dataclasses.replace(self, transform=transform, tags=tags, **angles)

    def angles(self) -> dict[str, np.ndarray | None]:
        """Latitude and longitude by name."""
        return {LATITUDE: self.latitude, LONGITUDE: self.longitude}

    def select(self, bands: Sequence[int] | slice) -> "Metadata":
        """The metadata of a subset of the bands."""
        index = bands if isinstance(bands, slice) else np.asarray(bands, int)
        changes: dict[str, Any] = {}
        for name in _PER_BAND:
            values = getattr(self, name)
            changes[name] = None if values is None else values[index]
        if self.band_names is not None:
            changes["band_names"] = tuple(np.array(self.band_names, object)[index])
        return dataclasses.replace(self, **changes)


def parse_crs(text: str) -> Any:
    """Reads WKT, a code, PROJJSON or a PROJ string to a rasterio CRS, or raises ValueError."""
    rasterio = geo("rasterio")
    try:
        with rasterio.Env():  # else GDAL also prints what is raised here
            return rasterio.crs.CRS.from_user_input(text)
    except ValueError as error:
        raise ValueError(
            "the metadata's crs is not a coordinate reference system: expected WKT, or a code such "
            f"as EPSG:32633, got {text[:80]!r} ({error})"
        ) from error


def check_shape(metadata: Metadata, shape: tuple[int, int, int]) -> None:
    """Raises ValueError unless what is per band or pixel has an entry for each of (H, W, L)."""
    *sides, num_bands = shape
    for name, angles in metadata.angles().items():
        if angles is not None and list(angles.shape) != sides:
            raise ValueError(
                f"the metadata's {name} is of shape {angles.shape}, the cube has {sides[0]} rows "
                f"of {sides[1]} pixels"
            )
    for name in (*_PER_BAND, "band_names"):
        values = getattr(metadata, name)
        if values is not None and len(values) != num_bands:
            raise ValueError(
                f"the metadata's {name} has {len(values)} entries, the cube {num_bands} bands"
            )


def storable(nodata: float | None, dtype: np.dtype) -> float | None:
    """The nodata value if pixels of this type can have it, else None: every pixel has data."""
    if nodata is None or (dtype.kind == "f" and not np.isfinite(nodata)):
        return nodata
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return nodata if limits.min <= nodata <= limits.max else None


def _nanometres(unit: str | None, values: np.ndarray | None = None) -> float | None:
    """How many nm the unit of a file is; None if it is not a length.

    If the file does not say (None or "Unknown"), values below 100 are micrometres.
    """
    name = (unit or "").strip().lower()
    if name in _UNSAID:
        return 1e3 if values is not None and values.size and np.nanmax(values) < 100 else 1.0
    return _NANOMETRES.get(name) or _NANOMETRES.get(name.removesuffix("s"))


def in_unit(values: np.ndarray, unit: str | None) -> np.ndarray:
    """Converts wavelengths from nm to the unit; None: they stay in nm."""
    return values / ((_nanometres(unit) or 1.0) if unit else 1.0)


def from_band_names(names: Sequence[str], unit: str | None = None) -> tuple[Any, str] | None:
    """Wavelengths in names such as `band 1 (0.455400 Micrometers)`, and their unit.

    They are in the file's `unit` if it is a length, else in that of the names. None unless all
    names have a number and the same unit, which is a length.
    """
    found = [match for match in map(_NAMED_WAVELENGTH.search, names) if match]
    units = {match[2] for match in found}
    if len(found) < len(names) or len(units) != 1:
        return None
    named = units.pop()
    factor = _nanometres(named)
    if factor is None or named.lower() in _UNSAID:
        return None
    said = unit or named
    if said.strip().lower() in _UNSAID or _nanometres(said) is None:
        said = named
    return in_unit(np.array([float(match[1]) for match in found]) * factor, said), said


def spectral(
    wavelengths: np.ndarray | None, fwhm: np.ndarray | None, unit: str | None, num_bands: int
) -> dict[str, Any]:
    """Makes the fields of `Metadata` for wavelengths and FWHM in a file's unit.

    Arrays of another length than `num_bands`, and all of a unit that is not a length, are left out.
    """
    factor = _nanometres(unit, wavelengths)
    if factor is None:
        return {}
    if factor == 1e3 and _nanometres(unit) == 1.0:  # guessed from the values
        unit = "Micrometers"
    found = {"wavelengths": wavelengths, "fwhm": fwhm}
    fields: dict[str, Any] = {
        name: values * factor
        for name, values in found.items()
        if values is not None and values.size == num_bands
    }
    return {**fields, "wavelength_unit": unit} if fields else {}
