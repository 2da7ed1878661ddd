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

from dualsr_jax.models.network import CoarseStage
from dualsr_jax.ops import resize

MEMORY_GB = 2.5  # of a tile, per device, unless said otherwise
_MOST_BANDS = 16  # at a time


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


def halo(stage: CoarseStage) -> int:
    """How many LR pixels around a tile its coarse result and its fine-stage residual depend on."""
    # `down` needs pixels of the result beyond the one that the guide's pixel covers.
    reduction = math.ceil((resize.REACH - 0.5) * stage.ratio / stage.scale)
    guide = 0 if stage.half is None else stage.half.model.reach
    return max(stage.coarse.model.reach + reduction, guide)


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


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How a scene is computed; the result depends on it in the last bits only.

    Attributes:
        window: height and width of the tiles with their halo, LR pixels.
        band_chunk: bands at a time.
    """

    window: tuple[int, int]
    band_chunk: int


def _bytes_per_pixel(
    stage: CoarseStage, num_bands: int, itemsize: int, band_chunk: int, spread: bool
) -> int:
    """Memory that a tile takes, for each LR pixel of its window: host and device together."""
    scale, floats = stage.scale, 4
    models = [network.model for network in stage.networks]
    guide = scale // stage.ratio
    maps_bytes = math.ceil(max(floats * m.features * m.feature_maps for m in models))
    # As stored; ready for the network, this tile and the next.
    cube = num_bands * (2 * itemsize + 2 * floats)
    state = sum(floats * m.features for m in models)  # between bands
    results = 4 * floats * (scale**2 + 2 * guide**2 + 5)
    ensemble = 0
    if stage.ensemble > 1:
        ensemble = floats * num_bands * (scale**2 * (2 if spread else 1) + guide**2 + 1)
    return cube + state + ensemble + band_chunk * (maps_bytes + results)


def choose_tiling(
    shape: tuple[int, int, int],
    itemsize: int,
    stage: CoarseStage,
    *,
    memory_gb: float = MEMORY_GB,
    window: tuple[int, int] | None = None,
    spread: bool = False,
    devices: int = 1,
) -> Tiling:
    """The tiles with which the least is computed twice, within the memory.

    Args:
        shape: of the scene, `(H, W, L)`.
        itemsize: bytes of a stored value.
        stage: the networks.
        memory_gb: for a tile, of every device.
        window: shape of the tiles, halo included; None: by memory.
        spread: whether the self-ensemble's spread is kept.
        devices: that compute a tile each at a time.

    Raises:
        ValueError: if the memory is too small for a tile, or the window for a halo.
    """
    height, width, num_bands = shape
    margin = halo(stage)
    memory = int(memory_gb * 1e9)
    per_pixel = {
        band_chunk: _bytes_per_pixel(stage, num_bands, itemsize, band_chunk, spread)
        for band_chunk in range(1, min(_MOST_BANDS, num_bands) + 1)
    }
    least = min(per_pixel, key=lambda band_chunk: per_pixel[band_chunk])
    if window is None:
        pixels = memory // per_pixel[least]
        window = choose_window(height, width, margin, pixels, devices)
    window = check_window(window, height, width, margin)
    memory_of_pixel = memory // (window[0] * window[1])
    fitting = [band_chunk for band_chunk, size in per_pixel.items() if size <= memory_of_pixel]
    return Tiling(window, max(fitting, default=least))
