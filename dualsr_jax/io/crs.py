"""Coordinate reference systems, by GDAL (rasterio)."""

from typing import Any

from dualsr_jax.extras import geo


def parse_crs(text: str) -> Any:
    """Reads WKT, a code such as EPSG:32633, PROJJSON or a PROJ string to a `rasterio.crs.CRS`.

    Raises ValueError if the text is not a valid CRS.
    """
    rasterio = geo("rasterio")
    try:
        with rasterio.Env():  # else GDAL also prints what is raised here
            return rasterio.crs.CRS.from_user_input(text)
    except ValueError as error:
        raise ValueError(
            "the metadata's crs is not a coordinate reference system: expected WKT, or a code such "
            f"as EPSG:32633, got {text[:80]!r} ({error})"
        ) from error
