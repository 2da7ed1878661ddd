"""Which array of a file is the cube, and how its axes lie: named, known, assumed, or flattened.

Contract: shapes are as NumPy shows an array, and MATLAB a variable of a `.mat` file.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dualsr_jax.io.axes import ROWS_FIRST, Axes, AxisOrder, Shape, is_doubtful
from dualsr_jax.io.base import choose
from dualsr_jax.io.damage import BadFileError
from dualsr_jax.io.notes import note
from dualsr_jax.io.variables import numbers

_ROWS, _COLUMNS = ("nrow", "nrows"), ("ncol", "ncols")  # variables of the unmixing data sets
Sides = tuple[int, int]  # rows and columns


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The cube among the arrays of a file.

    `shape` are the lengths of its three axes, `axes` where rows, columns and bands lie among them.
    `flattened` says that the array itself has two axes, `assumed` that nothing said their order.
    """

    name: str
    shape: Shape
    axes: Axes
    flattened: bool
    assumed: bool

    @property
    def num_bands(self) -> int:
        """The number of bands."""
        return self.shape[self.axes[2]]

    def unfolded(self, array: np.ndarray, *, columns_first: bool = False) -> np.ndarray:
        """The flattened array with three axes; MATLAB counts pixels by columns."""
        return array.reshape(self.shape, order="F" if columns_first else "C")


def choose_cube(
    path: Path,
    shapes: Mapping[str, Shape],
    key: str | None,
    order: AxisOrder | None,
    *,
    known: Mapping[str, Axes] | None = None,
    sides: Callable[[], Sides | None] = lambda: None,
    columns_first: bool = False,
) -> Chosen:
    """Chooses the cube among the arrays of a file, as `choose` does, and the order of its axes.

    `known` are orders that the file says itself. `sides` reads the rows and columns of flattened
    pixels in the file, which are counted by columns, as MATLAB does. Raises ValueError if there is
    no such cube, the order does not fit, or an array is flattened and its sides are not known.
    """
    if order is not None:
        return _as_ordered(path, shapes, key, order)
    three = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    flat = {name: shape for name, shape in shapes.items() if len(shape) == 2 and min(shape) > 1}
    if (three and key not in flat) or not flat or key not in (None, *shapes):
        axes = {name: (known or {}).get(name, ROWS_FIRST) for name in three}
        last = {name: tuple(three[name][a] for a in axes[name]) for name in three}
        name = choose(path, {**shapes, **last}, key)
        assumed = known is None or name not in known
        return Chosen(name, three[name], axes[name], flattened=False, assumed=assumed)
    found = sides()
    split = {} if found is None else _split_by(flat, found, columns_first=columns_first)
    if found is None or not split:
        raise BadFileError(_how(path, shapes, flat if key not in flat else {key: flat[key]}))
    last = {name: tuple(shape[a] for a in axes) for name, (shape, axes) in split.items()}
    name = choose(path, last, key)
    note(
        f"{path}: {name} {shapes[name]} is read as {found[0]} rows of {found[1]} pixels, counted "
        "by columns as in MATLAB; if that is wrong, say how, such as axes=band,y=95,x=80"
    )
    return Chosen(name, *split[name], flattened=True, assumed=False)


def _as_ordered(
    path: Path, shapes: Mapping[str, Shape], key: str | None, order: AxisOrder
) -> Chosen:
    found = {name: order.fitted(shape) for name, shape in shapes.items()}
    fitting = {name: shape for name, shape in found.items() if shape is not None}
    flat = key is not None and len(shapes.get(key, ())) == 2 and key not in fitting
    if shapes and (flat or not fitting):
        held = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise BadFileError(
            f"{path}: the axes {order.text!r} do not fit what it holds, {held}: expected three "
            "axes, or the lengths of rows and columns if pixels are one axis (band,y=95,x=80)"
        )
    last = {name: tuple(shape[a] for a in order.axes) for name, shape in fitting.items()}
    others = {name: shape for name, shape in shapes.items() if name not in last}
    name = choose(path, {**{n: s for n, s in others.items() if len(s) != 3}, **last}, key)
    return Chosen(name, fitting[name], order.axes, len(shapes[name]) == 2, assumed=False)


def _split_by(
    shapes: Mapping[str, Shape], sides: Sides, *, columns_first: bool
) -> dict[str, tuple[Shape, Axes]]:
    """Shape and order of the arrays in which one of two axes is the pixels of an image."""
    rows, columns = sides
    split = sides if columns_first else (columns, rows)
    found: dict[str, tuple[Shape, Axes]] = {}
    for name, shape in shapes.items():
        if rows * columns in shape:
            last = shape[1] == rows * columns
            row = (1 if last else 0) + (not columns_first)
            column = (1 if last else 0) + columns_first
            lengths = (shape[0], *split) if last else (*split, shape[1])
            found[name] = lengths, (row, column, 0 if last else 2)
    return found


def _how(path: Path, shapes: Mapping[str, Shape], flat: Mapping[str, Shape]) -> str:
    """Says how a flattened cube is read."""
    held = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    name, shape = max(flat.items(), key=lambda item: item[1])
    order = "band,y=ROWS,x=COLUMNS" if shape[0] <= shape[1] else "y=ROWS,x=COLUMNS,band"
    return (
        f"{path} should hold one three-dimensional array, it holds {held}: if {name} is a "
        f"flattened cube, say the sides of its image: --axes={order}, in Python axes='{order}', "
        "with numbers"
    )


def is_side(name: str) -> bool:
    """Whether a variable is the number of rows or columns of flattened pixels."""
    return name.lower() in (*_ROWS, *_COLUMNS)


def sides_among(variables: Mapping[str, Any]) -> Sides | None:
    """The rows and columns of flattened pixels, from small variables; None if they are not said."""
    found: dict[bool, int] = {}
    for name, value in variables.items():
        number = numbers(value)
        if is_side(name) and number is not None and number.size == 1:
            length = float(number.ravel()[0])
            if length.is_integer() and 0 < length < 2**40:
                found[name.lower() in _ROWS] = int(length)
    return (found[True], found[False]) if len(found) == 2 else None


def say_what_was_assumed(path: Path, shape: Shape, num_wavelengths: int | None) -> None:
    """Notes that rows, columns, bands was assumed, if the shape of a cube leaves a doubt."""
    rows, columns, bands = shape
    confirmed = num_wavelengths == bands and bands not in (rows, columns)
    if confirmed or not is_doubtful(shape):
        return
    note(
        f"{path} does not say the order of its axes {tuple(shape)}; rows, columns, bands is "
        "assumed. If that is wrong, name it, such as --axes=band,y,x (in Python axes='band,y,x')",
        (path.parent, path.suffix, tuple(shape)),
    )
