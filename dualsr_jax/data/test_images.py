"""Test images: references of the right size, and the LR cubes that networks are tested with.

Contract: cubes are `[H, W, L]`, float32. What is drawn for random degradation depends on the seed
and the name of the image only, so that every test of an image uses the same LR cube.
"""

import zlib

import numpy as np
from jaxtyping import Float

from dualsr_jax.ops.degrade import Degradation, degrade, image_keys

Cube = Float[np.ndarray, "H W L"]
Resized = Float[np.ndarray, "_ _ L"]


def low_resolution(
    hr: Cube,
    scale: int,
    *,
    degradation: Degradation = Degradation(),  # noqa: B008, immutable
    name: str = "",
    seed: int = 0,
) -> Resized:
    """The LR cube that a reference is tested with; by default MATLAB bicubic, as in the protocols.

    The name of the image and the seed decide what a random degradation draws. Raises ValueError if
    a side of `hr` is not a multiple of the scale.
    """
    if hr.shape[0] % scale or hr.shape[1] % scale:
        raise ValueError(
            f"a reference of {hr.shape[0]}x{hr.shape[1]} pixels is not a multiple of scale "
            f"{scale}: crop it first"
        )
    keys = image_keys(seed, np.array([zlib.crc32(name.encode())], np.uint32))
    return np.asarray(degrade(hr[None], keys, scale=scale, degradation=degradation)[0])


def reference_and_lr(
    cube: Cube, scale: int, *, degradation: Degradation, name: str, seed: int
) -> tuple[Resized, Resized]:
    """The reference, cut at the end to multiples of the scale, and its `low_resolution`."""
    height, width = (length // scale * scale for length in cube.shape[:2])
    hr = cube[:height, :width]
    return hr, low_resolution(hr, scale, degradation=degradation, name=name, seed=seed)
