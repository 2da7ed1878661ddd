"""Blocks of a large scene: rows that are read at once, and the pixels around a window."""


def blocks_of_rows(height: int, row_bytes: int, max_bytes: int) -> list[slice]:
    """Cuts the rows of a cube into blocks of at most `max_bytes`, and of at least one row."""
    rows = max(1, max_bytes // max(row_bytes, 1))
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def grown(window: slice, margin: int, length: int) -> slice:
    """Rows or columns with `margin` more on either side, as far as the scene has them."""
    return slice(max(window.start - margin, 0), min(window.stop + margin, length))
