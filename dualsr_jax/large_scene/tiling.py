"""How a scene is cut into tiles: windows with a halo that is derived from the networks.

Contract: pure, no I/O; lengths are LR pixels. All windows of a scene have one shape, so that the
network is compiled once, and lie inside the scene: where a window ends at the scene's edge, zero
padding and reflection are those of the whole scene. The cores of the tiles partition the scene, and
a core ends at least `halo` before every other edge of its window, so that what is computed for it
is what is computed for the whole scene. Windows start at the edge of an LR pixel, where a pixel of
every finer grid starts too.
"""

import dataclasses
import functools
import itertools
import math

from dualsr_jax.choices import MEMORY_GB
from dualsr_jax.models.network import CoarseStage
from dualsr_jax.ops import resize

_MAX_BAND_CHUNK = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """A window of a scene, from `row` and `column` on, and its core, whose result is kept.

    `rows` and `columns` are those of the core, in the scene.
    """

    row: int
    column: int
    rows: slice
    columns: slice

    def core(self, grid: int) -> tuple[slice, slice]:
        """Rows and columns of the core in the window, on a grid of `grid` pixels per LR pixel."""
        return _on_grid(self.rows, grid, self.row), _on_grid(self.columns, grid, self.column)

    def place(self, grid: int) -> tuple[slice, slice]:
        """Rows and columns of the core in the scene, on a grid of `grid` pixels per LR pixel."""
        return _on_grid(self.rows, grid), _on_grid(self.columns, grid)


def _on_grid(part: slice, grid: int, start: int = 0) -> slice:
    return slice((part.start - start) * grid, (part.stop - start) * grid)


def halo(stage: CoarseStage) -> int:
    """How many LR pixels around a core its coarse result and its fine-stage residual depend on.

    0 if they depend on the whole scene, which then has a single tile.
    """
    if stage.untiled:
        return 0
    # Reducing the result needs pixels beyond those that the guide's pixel covers.
    reduction = math.ceil((resize.REACH - 0.5) * stage.ratio / stage.scale)
    guide = 0 if stage.half is None else int(stage.half.model.reach)
    return max(int(stage.coarse.model.reach) + reduction, guide)


def _cut(length: int, window: int, margin: int) -> list[tuple[int, slice]]:
    """Starts of the windows along one axis, and their cores."""
    count = 1 if window >= length else math.ceil((length - 2 * margin) / (window - 2 * margin))
    starts = [round(i * (length - window) / max(count - 1, 1)) for i in range(count)]
    borders = [(a + window + b) // 2 for a, b in itertools.pairwise(starts)]
    cores = itertools.starmap(slice, itertools.pairwise([0, *borders, length]))
    return list(zip(starts, cores, strict=True))


def check_window(window: tuple[int, int], height: int, width: int, margin: int) -> tuple[int, int]:
    """Cuts a window shape to the scene; raises ValueError if it has no room for a core."""
    cut = min(window[0], height), min(window[1], width)
    for side, length in zip(cut, (height, width), strict=True):
        if side < length and side <= 2 * margin:
            raise ValueError(
                f"tiles of {window[0]}x{window[1]} pixels are too small: {margin} pixels on either "
                f"side are halo, so more than {2 * margin} are needed"
            )
    return cut


def tiles(height: int, width: int, window: tuple[int, int], margin: int) -> list[Tile]:
    """The tiles of a scene of a height and width, row by row; `margin` is the halo."""
    check_window(window, height, width, margin)
    return [
        Tile(row=row, column=column, rows=rows, columns=columns)
        for row, rows in _cut(height, window[0], margin)
        for column, columns in _cut(width, window[1], margin)
    ]


def choose_window(
    height: int, width: int, margin: int, max_pixels: int, devices: int = 1
) -> tuple[int, int]:
    """Chooses the shape of windows that computes a scene with the least work.

    A window has at most `max_pixels`, halos of `margin` pixels included, and each device computes
    one tile at a time. Among equally good shapes the widest is chosen, so that whole rows are read.
    Raises ValueError if a window of `max_pixels` has no room for a core.
    """
    best: tuple[int, tuple[int, int]] | None = None
    for across in range(1, max(2, width - 2 * margin + 1)):
        columns = math.ceil((width + 2 * margin * (across - 1)) / across)
        most = max_pixels // columns
        if most < min(height, 2 * margin + 1):
            continue
        down = 1 if most >= height else math.ceil((height - 2 * margin) / (most - 2 * margin))
        if down * across < devices and height > 2 * margin:
            # Windows smaller than the memory allows, so that all devices have work.
            down = min(math.ceil(devices / across), height - 2 * margin)
        rows = math.ceil((height + 2 * margin * (down - 1)) / down)
        cost = math.ceil(down * across / devices) * rows * columns
        if best is None or cost < best[0]:
            best = cost, (rows, columns)
    if best is None:
        least = min(height, 2 * margin + 1) * min(width, 2 * margin + 1)
        raise ValueError(
            f"there is memory for tiles of {max_pixels} pixels, but a tile with its halo of "
            f"{margin} pixels has at least {least}: give more memory"
        )
    return best[1]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How the work on a scene is divided; only the last bits of the result depend on it.

    `window` is height and width of the tiles with their halo; `band_chunk` bands run at a time.
    """

    window: tuple[int, int]
    band_chunk: int


def _bytes_per_pixel(
    stage: CoarseStage, num_bands: int, itemsize: int, band_chunk: int, *, spread: bool
) -> int:
    """Memory of a tile per LR pixel of its window, on the host and the device together."""
    scale, floats = stage.scale, 4
    models = [network.model for network in stage.networks]
    guide = scale // stage.ratio
    maps = math.ceil(max(m.features * m.held_maps(num_bands, band_chunk) for m in models))
    # Stored values, and normalised ones, of this tile and of the next, which is read ahead.
    cube = num_bands * (2 * itemsize + 2 * floats)
    state = sum(floats * m.features for m in models)
    results = 4 * floats * (scale**2 + 2 * guide**2 + 5)
    ensemble = 0
    if stage.ensemble > 1:
        ensemble = floats * num_bands * (scale**2 * (2 if spread else 1) + guide**2 + 1)
    at_once = band_chunk if stage.band_by_band else num_bands
    return cube + state + ensemble + floats * maps + at_once * results


def _check_untiled(
    method: str,
    size: tuple[int, int],
    window: tuple[int, int] | None,
    per_pixel: int,
    memory: int,
) -> None:
    """Raises ValueError if a scene cannot be computed as one tile."""
    height, width = size
    if window is not None and (window[0] < height or window[1] < width):
        raise ValueError(
            f"tiles of {window[0]}x{window[1]} pixels are not possible: each pixel that {method} "
            f"restores depends on the whole scene of {height}x{width}; leave out the size of tiles"
        )
    needed = per_pixel * height * width
    if needed > memory:
        raise ValueError(
            f"{method} cannot be computed in tiles, because each pixel depends on the whole image: "
            f"a scene of {height}x{width} pixels needs about {needed / 1e9:.2g} GB of memory, but "
            f"the budget is {memory / 1e9:g} GB. Give more memory (--memory_gb) or a smaller scene"
        )


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
    """The tiling that computes the fewest pixels twice within a memory budget per device.

    `shape` is `(H, W, K)` of the scene with its usable bands, `itemsize` the bytes per stored
    value. `window` fixes height and width of the tiles with their halo. A network whose every pixel
    depends on the whole image gets one tile. Raises ValueError if the memory is too small for a
    tile, the window for its halo, or a network does not take K bands.
    """
    height, width, num_bands = shape
    stage.check_bands(num_bands)
    margin = halo(stage)
    memory = int(memory_gb * 1e9)
    per_pixel = functools.partial(_bytes_per_pixel, stage, num_bands, itemsize, spread=spread)
    if stage.untiled:
        _check_untiled(stage.untiled, (height, width), window, per_pixel(1), memory)
        window = height, width
    elif window is None:
        window = choose_window(height, width, margin, memory // per_pixel(1), devices)
    window = check_window(window, height, width, margin)
    budget = memory // (window[0] * window[1])
    chunks = range(2, min(_MAX_BAND_CHUNK, num_bands) + 1)
    fitting = [band_chunk for band_chunk in chunks if per_pixel(band_chunk) <= budget]
    return Tiling(window, max(fitting, default=1))
