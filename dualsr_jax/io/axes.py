"""Which axes of an array are rows, columns and bands, by the names of its dimensions."""

from collections.abc import Hashable, Sequence

_ROWS = ("y", "lat", "latitude", "row", "rows", "line", "lines", "downtrack", "northing",
         "scan", "scans")  # fmt: skip
_COLUMNS = ("x", "lon", "longitude", "column", "columns", "col", "cols", "sample", "samples",
            "crosstrack", "easting", "pixel", "pixels")  # fmt: skip


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
