"""How a scene is cut into tiles: windows with a halo that is derived from the networks.

Contract: pure, no I/O; lengths are LR pixels. All windows of a scene have one shape, so that the
network is compiled once, and lie inside the scene: where a window ends at the scene's edge, zero
padding and reflection are those of the whole scene. The cores of the tiles partition the scene, and
a core ends at least `halo` before every other edge of its window, so that what is computed for it
is what is computed for the whole scene. Windows start at LR pixels, where all grids start.
"""

import dataclasses
import itertools
import math

from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.layers import UPSAMPLING_STEPS
from dualsr_jax.ops import resize


@dataclasses.dataclass(frozen=True)
class Tile:
    """A window of a scene and the part of it that is kept.

    Attributes:
        row: where the window begins.
        column: likewise.
        rows: of the core, in the scene.
        columns: likewise.
    """

    row: int
    column: int
    rows: slice
    columns: slice

    def core(self, grid: int) -> tuple[slice, slice]:
        """Rows and columns of the core in the window, on a grid of `grid` pixels an LR pixel."""
        return (
            slice((self.rows.start - self.row) * grid, (self.rows.stop - self.row) * grid),
            slice(
                (self.columns.start - self.column) * grid, (self.columns.stop - self.column) * grid
            ),
        )


def coarse_reach(model: CoarSR) -> int:
    """How many LR pixels on either side a pixel of the coarse result depends on."""
    body = 2 * model.num_blocks  # two convolutions a block
    asfm = 2 * body + 2  # intra- and inter-group bodies, mixed unit
    reach = 1  # of the last convolution, in pixels of the result
    for step in reversed(UPSAMPLING_STEPS[model.scale]):
        reach = math.ceil(reach / step) + 1
    return max(reach + 1 + model.num_asfm * asfm + 1, resize.REACH)


def halo(model: CoarSR, half_model: CoarSR | None = None) -> int:
    """How many LR pixels around a tile decide on its coarse result and its fine stage's residual.

    Args:
        model: the network.
        half_model: of half the scale, which guides the fine stage; None: the LR scene does.
    """
    ratio = model.scale if half_model is None else 2
    reduction = math.ceil((resize.REACH - 0.5) * ratio / model.scale)  # beyond the guide's pixel
    guide = 0 if half_model is None else coarse_reach(half_model)
    return max(coarse_reach(model) + reduction, guide)


def _cut(length: int, window: int, margin: int) -> list[tuple[int, slice]]:
    """Starts of the windows along one axis, and their cores."""
    count = 1 if window >= length else math.ceil((length - 2 * margin) / (window - 2 * margin))
    starts = [round(i * (length - window) / max(count - 1, 1)) for i in range(count)]
    borders = [(a + window + b) // 2 for a, b in itertools.pairwise(starts)]
    cores = itertools.starmap(slice, itertools.pairwise([0, *borders, length]))
    return list(zip(starts, cores, strict=True))


def check_window(window: tuple[int, int], height: int, width: int, margin: int) -> tuple[int, int]:
    """A window shape cut to the scene.

    Raises:
        ValueError: if it is nothing but halo.
    """
    cut = min(window[0], height), min(window[1], width)
    for side, length in zip(cut, (height, width), strict=True):
        if side < length and side <= 2 * margin:
            raise ValueError(
                f"tiles of {window[0]}x{window[1]} pixels are too small: {margin} pixels on either "
                f"side are halo, so more than {2 * margin} are needed"
            )
    return cut


def tiles(height: int, width: int, window: tuple[int, int], margin: int) -> list[Tile]:
    """The tiles of a scene, row by row.

    Args:
        height: of the scene.
        width: likewise.
        window: height and width of the windows, at most the scene's.
        margin: the halo.
    """
    check_window(window, height, width, margin)
    return [
        Tile(row, column, rows, columns)
        for row, rows in _cut(height, window[0], margin)
        for column, columns in _cut(width, window[1], margin)
    ]


def choose_window(
    height: int, width: int, margin: int, max_pixels: int, devices: int = 1
) -> tuple[int, int]:
    """The window shape with which the fewest pixels are computed, halos included.

    Args:
        height: of the scene.
        width: likewise.
        margin: the halo.
        max_pixels: a window may have.
        devices: that compute a tile each at a time.

    Returns:
        Height and width; among equals the widest, which reads whole rows.

    Raises:
        ValueError: if no window that is more than halo has so few pixels.
    """
    best: tuple[int, tuple[int, int]] | None = None
    for across in range(1, max(2, width - 2 * margin + 1)):
        columns = math.ceil((width + 2 * margin * (across - 1)) / across)
        most = max_pixels // columns
        if most < min(height, 2 * margin + 1):
            continue
        down = 1 if most >= height else math.ceil((height - 2 * margin) / (most - 2 * margin))
        if down * across < devices and height > 2 * margin:
            # Smaller windows than memory asks for, so that all devices have work.
            down = min(math.ceil(devices / across), height - 2 * margin)
        rows = math.ceil((height + 2 * margin * (down - 1)) / down)
        cost = math.ceil(down * across / devices) * rows * columns
        if best is None or cost < best[0]:
            best = cost, (rows, columns)
    if best is None:
        least = min(height, 2 * margin + 1) * min(width, 2 * margin + 1)
        raise ValueError(
            f"there is memory for {max_pixels} pixels at a time, but a tile with its halo of "
            f"{margin} pixels has at least {least}: give more memory"
        )
    return best[1]
