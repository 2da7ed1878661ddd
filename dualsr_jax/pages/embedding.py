"""Cubes as text small enough for a web page.

Contract: values become integers in steps of 1/4095. Differences are stored, which pack well: each
cube less the one before it in `order_of`, each band less the one before, and in the first cube,
which is smooth, also each row and column less the one before. They are 16-bit, modulo 2^16, folded
to non-negative numbers (0, -1, 1, -2 ... become 0, 1, 2, 3 ...), and stored as all low bytes, then
all high bytes, packed by zlib, as base64. `viewer.js` undoes these steps in reverse.
"""

import base64
import dataclasses
import zlib
from collections.abc import Iterable, Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualsr_jax.evaluation.cubes import REFERENCE, Cube
from dualsr_jax.ops.spectral_angle import spectral_angle_rad

LEVELS = 4095  # steps from 0 to 1
ANGLE_LEVELS = 100  # steps per degree

AngleImages = Float[np.ndarray, "methods H W"]


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Cubes and angles as text."""

    text: str
    largest_error: float  # that rounding makes in a value of a cube


def order_of(names: Iterable[str]) -> list[str]:
    """The order in which cubes are stored: methods first; the reference, the noisiest, last."""
    return [*(name for name in names if name != REFERENCE), REFERENCE]


def angles_deg(cubes: Mapping[str, Cube]) -> AngleImages:
    """The spectral angle to the reference at each pixel, in degrees, for each method."""
    reference = jnp.asarray(cubes[REFERENCE])
    angles = [spectral_angle_rad(jnp.asarray(cubes[m]), reference) for m in order_of(cubes)[:-1]]
    return np.rad2deg(np.stack(angles))


def embed(cubes: Mapping[str, Cube], angles: AngleImages) -> Embedding:
    """Packs the cubes of a scene.

    Args:
        cubes: the reference and the methods, by name.
        angles: result of `angles_deg`. They follow the cubes in steps of 0.01 degrees, each image
            less the one before; angles between integers would be too coarse in dark pixels.

    Raises:
        ValueError: if values are too large for 16 bits.
    """
    stack = np.stack([np.moveaxis(cubes[name], 2, 0) for name in order_of(cubes)])  # [n, L, H, W]
    largest = float(np.abs(stack).max())
    if largest * LEVELS >= 2**15:
        raise ValueError(
            f"the cubes hold values of up to {largest:g}, expected about [0, 1]: this network's "
            "results cannot be shown"
        )
    rounded = np.rint(stack * np.float32(LEVELS))
    error = float(np.abs(rounded / np.float32(LEVELS) - stack).max())
    values = rounded.astype(np.int16)
    values[1:] -= values[:-1].copy()
    values[:, 1:] -= values[:, :-1].copy()
    values[0, :, 1:] -= values[0, :, :-1].copy()
    values[0, :, :, 1:] -= values[0, :, :, :-1].copy()
    degrees = np.rint(angles * ANGLE_LEVELS).astype(np.int16)
    degrees[1:] -= degrees[:-1].copy()
    return Embedding(_pack(np.concatenate([values.ravel(), degrees.ravel()])), error)


def _pack(differences: np.ndarray) -> str:
    folded = ((differences << 1) ^ (differences >> 15)).view(np.uint16)
    planes = np.concatenate([(folded & 255).astype(np.uint8), (folded >> 8).astype(np.uint8)])
    # Z_RLE gives the smallest text of all strategies here, and is the fastest.
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return base64.b64encode(packer.compress(planes.tobytes()) + packer.flush()).decode("ascii")
