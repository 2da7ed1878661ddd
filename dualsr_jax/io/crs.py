"""Coordinate reference systems, by GDAL (rasterio)."""

from typing import Any

from dualsr_jax.extras import geo


def parse_crs(text: str) -> Any:
    """The coordinate reference system, as rasterio has it, that a text names.

    Args:
        text: WKT, a code such as EPSG:32633, PROJJSON or a PROJ string.

    Raises:
        ValueError: if it names none.
    """
    rasterio = geo("rasterio")
    try:
        with rasterio.Env():  # else GDAL prints what comes here as an error too
            return rasterio.crs.CRS.from_user_input(text)
    except ValueError as error:
        raise ValueError(
            f"the metadata's crs is no coordinate reference system: expected WKT, or a code such "
            f"as EPSG:32633, got {text[:80]!r} ({error})"
        ) from error
