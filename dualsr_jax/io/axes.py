"""The order of the axes of an array, as a user names it.

Contract: an order names three axes, first to last, as NumPy shows an array and MATLAB a variable of
a `.mat` file: `y,band,x`. Lengths are for arrays in which rows and columns are one axis of pixels:
`band,y=95,x=80` splits it as NumPy's `reshape` does, for `.mat` as MATLAB's `reshape` does.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from dualsr_jax.io.variables import rows_columns_bands

Axes = tuple[int, int, int]  # of rows, columns and bands
ROWS_FIRST: Axes = (0, 1, 2)
BANDS_FIRST: Axes = (1, 2, 0)
Shape = tuple[int, ...]

_BANDS = ("band", "bands", "wavelength", "wavelengths", "channel", "channels", "z")
_EXPECTED = "expected three names in the order of the axes, such as y,x,band or band,y,x"


@dataclasses.dataclass(frozen=True)
class AxisOrder:
    """Where rows, columns and bands lie; `lengths` of the axes in their order, None: as found."""

    text: str
    axes: Axes
    lengths: tuple[int | None, int | None, int | None]

    def fitted(self, shape: Shape) -> Shape | None:
        """The three lengths of an array of a shape, split if it is flattened; None: no fit."""
        if len(shape) == 2 and self.lengths.count(None) == 1 and self.lengths[1] is not None:
            split = 1 if self.lengths[0] is None else 0
            a, b = (n or 0 for n in self.lengths[split : split + 2])
            if shape[split] == a * b:
                return (*shape[:split], a, b, *shape[split + 1 :])
        fits = len(shape) == 3 and all(
            said in (None, n) for said, n in zip(self.lengths, shape, strict=True)
        )
        return tuple(shape) if fits else None


def parse_axes(axes: str | Sequence[str] | None) -> AxisOrder | None:
    """Reads the order that a user names, as text or as a sequence; None stays None.

    Raises ValueError unless these are a name of rows (such as `y`), one of columns (`x`) and one of
    bands (`band`), with positive lengths if any (`y=95`).
    """
    if axes is None:
        return None
    items = axes.split(",") if isinstance(axes, str) else [str(item) for item in axes]
    parts = [item.strip().lower().partition("=") for item in items]
    names = [name.strip() for name, _, _ in parts]
    text = ",".join("".join(part) for part in parts)
    found = rows_columns_bands(names)
    if found is None or names[found[2]] not in _BANDS:
        raise ValueError(f"the axes {text[:80]!r} are not those of a cube: {_EXPECTED}")
    lengths: list[int | None] = []
    for name, equals, length in parts:
        good = length.strip().isdecimal() and len(length) < 12 and int(length) > 0
        if equals and not good:
            raise ValueError(
                f"the axes {text[:80]!r} give {name} the length {length[:20]!r}: expected a "
                "positive number, such as band,y=95,x=80"
            )
        lengths.append(int(length) if equals else None)
    return AxisOrder(text, found, (lengths[0], lengths[1], lengths[2]))


def is_doubtful(shape: Shape) -> bool:
    """Whether it is doubtful that the axes are rows, columns, bands: bands are not the fewest."""
    rows, columns, bands = shape
    return bands > min(rows, columns)


def reversed_axes(axes: Axes) -> Axes:
    """Where the axes lie if an array is stored with its first axis the fastest."""
    rows, columns, bands = (2 - axis for axis in axes)
    return rows, columns, bands


def as_cube(array: Any, axes: str | Sequence[str] | None) -> tuple[Any, Axes]:
    """An array in memory as a cube `[H, W, L]`, and where its axes lay, by `parse_axes`.

    Raises ValueError if the axes do not fit.
    """
    order = parse_axes(axes)
    if order is None:
        return array, ROWS_FIRST
    shape = order.fitted(array.shape)
    if shape is None:
        raise ValueError(
            f"the axes {order.text!r} do not fit an array of shape {array.shape}: {_EXPECTED}, "
            "with the lengths of rows and columns if pixels are one axis (band,y=95,x=80)"
        )
    return array.reshape(shape).transpose(order.axes), order.axes
