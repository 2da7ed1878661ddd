"""Cubes as text small enough for a web page.

Contract: values become integers in steps of `Embedding.step`, the finest of a few for which the
text is short enough. The text holds layers, `[bands, H, W]`, one after the other: the LR cube, in
steps eight times finer, and the others less the one before; bicubic is computed from the LR cube,
here and in the browser, in the same operations of the same order, which give the same integers. Of
each layer, each band is stored less the one before, and in smooth layers also each row and column
less the one before. These differences, modulo 2^16, are folded to non-negative numbers (0, -1, 1,
-2 ... become 0, 1, 2, 3 ...) and stored as all low bytes, then all high bytes (`packing`).
`viewer.js` undoes these steps in reverse.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from dualsr_jax.evaluation.results import BICUBIC
from dualsr_jax.ops.resize import enlarge
from dualsr_jax.ops.spectral_angle import spectral_angle_rad
from dualsr_jax.pages.packing import pack

# Steps from 0 to the largest value, finest first.
LEVELS = (4095, 2895, 2047, 1447, 1023, 723, 511, 361, 255, 180, 127)
FINER = 8  # steps of the LR cube in one of the others
ANGLE_STEP = 0.1  # degrees
LR, ANGLES = "LR", "angles"
MASK, TRUTH_MASK = "mask", "mask of the truth"

Cube = Float[np.ndarray, "_ _ L"]
AngleImages = Float[np.ndarray, "methods H W"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageCubes:
    """The cubes of a page, float32 without NaN; H and W are the pixels of a result in the page.

    The truth is what results are compared with: the reference of an evaluation, or the input of a
    scene, with which the results are compared after they were reduced to its size.
    """

    scale: int
    lr: Cube  # what was enlarged, with at least 3 pixels around those of the page, if it has them
    inset: tuple[int, int]  # rows and columns, in pixels of a result, before those of the page
    bicubic: Cube  # [H, W, L]
    results: Mapping[str, Cube]  # of the networks, [H, W, L]
    reference: Cube | None = None  # [H, W, L]; None: the truth is the input
    reduced: Mapping[str, Cube] = dataclasses.field(default_factory=dict)  # by method, if it is
    masked: Bool[np.ndarray, "H W"] | None = None  # True where a result has no value
    truth_masked: Bool[np.ndarray, "_ _"] | None = None  # True where nothing is compared

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods."""
        return BICUBIC, *self.results

    @property
    def truth(self) -> Cube:
        """The reference, or the pixels of the input that are in the page."""
        if self.reference is not None:
            return self.reference
        (top, left), (height, width, _) = self.inset, self.bicubic.shape
        rows, columns = (
            slice(first // self.scale, (first + length) // self.scale)
            for first, length in ((top, height), (left, width))
        )
        return self.lr[rows, columns]

    @property
    def compared(self) -> dict[str, Cube]:
        """What is compared with the truth, by method, on the pixels of the truth."""
        return dict(self.reduced) or {BICUBIC: self.bicubic, **self.results}


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Cubes and angles as text; `layers` say what the text holds, in its order."""

    text: str
    layers: list[dict[str, object]]
    step: float  # of a value of a cube
    largest_error: float  # that rounding makes in a value


def angles_deg(cubes: PageCubes) -> AngleImages:
    """The spectral angle to the truth at each pixel, in degrees, for each method."""
    truth = jnp.asarray(cubes.truth)
    angles = [spectral_angle_rad(jnp.asarray(cube), truth) for cube in cubes.compared.values()]
    return np.rad2deg(np.stack(angles))


class _Layers:
    """Collects layers, and remembers by how much values were rounded."""

    def __init__(self) -> None:
        self.described: list[dict[str, object]] = []
        self.differences: list[np.ndarray] = []
        self.largest_error = 0.0

    def rounded(self, cube: Cube, step: float) -> np.ndarray:
        values = np.rint(np.moveaxis(cube, 2, 0) / np.float32(step)).astype(np.int16)
        self.check(values, cube, step)
        return values

    def check(self, values: np.ndarray, cube: Cube, step: float) -> None:
        error = np.abs(np.moveaxis(values, 0, 2) * np.float32(step) - cube).max()
        self.largest_error = max(self.largest_error, float(error))

    def add(
        self,
        name: str,
        values: np.ndarray,
        step: float,
        *,
        base: tuple[str, np.ndarray] | None = None,
        smooth: bool = False,
    ) -> None:
        left = values.astype(np.int16) - (0 if base is None else base[1])
        left[1:] -= left[:-1].copy()
        if smooth:
            left[:, 1:] -= left[:, :-1].copy()
            left[:, :, 1:] -= left[:, :, :-1].copy()
        self.differences.append(left.ravel())
        self.described.append(
            {
                "name": name,
                "shape": values.shape,
                "step": step,
                "base": None if base is None else base[0],
                "smooth": smooth,
            }
        )


def _embed(cubes: PageCubes, angles: AngleImages, step: float) -> Embedding:
    layers = _Layers()
    height, width, _ = cubes.bicubic.shape
    lr = layers.rounded(cubes.lr, step / FINER)
    layers.add(LR, lr, step / FINER, smooth=True)
    top, left = cubes.inset
    enlarged = enlarge(lr.astype(np.float64), cubes.scale) / FINER
    values = np.floor(enlarged[:, top : top + height, left : left + width] + 0.5)
    base = BICUBIC, values.astype(np.int16)
    layers.check(base[1], cubes.bicubic, step)
    others = dict(cubes.results)
    if cubes.reference is not None:
        others["Reference"] = cubes.reference
    for name, cube in others.items():
        values = layers.rounded(cube, step)
        layers.add(name, values, step, base=base)
        base = name, values
    before: tuple[str, np.ndarray] | None = None
    for method, cube in cubes.reduced.items():
        name, values = f"reduced {method}", layers.rounded(cube, step)
        layers.add(name, values, step, base=before, smooth=before is None)
        before = name, values
    layers.add(ANGLES, np.rint(angles / ANGLE_STEP), ANGLE_STEP)
    for name, mask in ((MASK, cubes.masked), (TRUTH_MASK, cubes.truth_masked)):
        if mask is not None and mask.any():
            layers.add(name, mask[None], 1.0, smooth=True)
    text = _pack(np.concatenate(layers.differences))
    return Embedding(text, layers.described, step, layers.largest_error)


def embed(
    cubes: PageCubes, angles: AngleImages, max_bytes: float, levels: Sequence[int] = LEVELS
) -> Embedding:
    """Packs the cubes of a page in the finest steps whose text has at most `max_bytes`.

    If none has, the text of the coarsest is returned: the caller decides.

    Args:
        cubes: what the page shows.
        angles: result of `angles_deg`. They were computed from unrounded cubes, because in dark
            pixels rounding alone would change an angle.
        max_bytes: length of the text.
        levels: numbers of steps to choose from, finest first.
    """
    shown = (cubes.lr, cubes.bicubic, *cubes.results.values(), *cubes.reduced.values())
    if cubes.reference is not None:
        shown = (*shown, cubes.reference)
    largest = max(float(np.abs(cube).max()) for cube in shown) or 1.0
    finest, coarsest = 0, len(levels) - 1  # of those that are left to choose from
    found = _embed(cubes, angles, largest / levels[finest])
    if len(found.text) <= max_bytes:
        return found
    found = _embed(cubes, angles, largest / levels[coarsest])
    while len(found.text) <= max_bytes and coarsest - finest > 1:
        middle = (finest + coarsest) // 2
        tried = _embed(cubes, angles, largest / levels[middle])
        if len(tried.text) <= max_bytes:
            coarsest, found = middle, tried
        else:
            finest = middle
    return found


def _pack(differences: np.ndarray) -> str:
    folded = ((differences << 1) ^ (differences >> 15)).view(np.uint16)
    planes = np.concatenate([(folded & 255).astype(np.uint8), (folded >> 8).astype(np.uint8)])
    # Z_RLE gives the smallest text of all strategies here, and is the fastest.
    return pack(planes.tobytes(), zlib.Z_RLE)
