"""Cubes as text small enough for a web page.

Contract: values become integers of a step of 1/4095. Of what follows from its neighbours only the
difference is kept, so that noise, which is what costs, is kept once: each cube less the one before
it in `ORDER`, from the smoothest to the noisiest; each band less the one before it; the first cube,
which is smooth, also each row and column less the one before. Differences are 16-bit, modulo 2^16,
folded to non-negative numbers (0, -1, 1, -2 ... become 0, 1, 2, 3 ...), low bytes first, then high
bytes, zlib, base64. `viewer.js` undoes it, step by step in the opposite order.
"""

import base64
import dataclasses
import zlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualsr_jax.ops.spectral_angle import spectral_angle_rad

ORDER = ("Bicubic", "CoarSR", "DualSR", "Reference")
LEVELS = 4095  # steps from 0 to 1
ANGLE_LEVELS = 100  # steps a degree

Cube = Float[np.ndarray, "H W L"]
AngleImages = Float[np.ndarray, "methods H W"]


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Cubes and angles as text, and the largest error that this makes in a value of a cube."""

    text: str
    largest_error: float


def angles_deg(cubes: Mapping[str, Cube]) -> AngleImages:
    """The spectral angle to the reference at each pixel, in degrees, of `ORDER` but the last."""
    reference = jnp.asarray(cubes["Reference"])
    angles = [spectral_angle_rad(jnp.asarray(cubes[name]), reference) for name in ORDER[:-1]]
    return np.rad2deg(np.stack(angles))


def embed(cubes: Mapping[str, Cube], angles: AngleImages) -> Embedding:
    """Packs the cubes of a scene.

    Args:
        cubes: by name, those of `ORDER`.
        angles: see `angles_deg`; in steps of 0.01 degrees they follow the cubes, each less the one
            before. They are kept because integers give too coarse an angle in the dark.

    Raises:
        ValueError: if values are too large for 16 bits.
    """
    stack = np.stack([np.moveaxis(cubes[name], 2, 0) for name in ORDER])  # [4, L, H, W]
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
    # Of all strategies, runs alone give the smallest text here, and the fastest.
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return base64.b64encode(packer.compress(planes.tobytes()) + packer.flush()).decode("ascii")
