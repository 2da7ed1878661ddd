"""The variants of a training patch: as is, turned by 90, 180 or 270 degrees, or mirrored.

Source: paper, training details (rotations and one flip; not all eight symmetries).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

NUM_VARIANTS = 5


def augment(
    patches: Float[jax.Array, "B S S L"], variant: Int[jax.Array, "B"]
) -> Float[jax.Array, "B S S L"]:
    """Turns or mirrors each square patch.

    Variant 0 is the patch as is; 1, 2 and 3 are turned counter-clockwise by 90, 180 and 270
    degrees; 4 is mirrored left to right.
    """
    variants = [jnp.rot90(patches, k, axes=(1, 2)) for k in range(4)] + [patches[:, :, ::-1]]
    chosen = patches
    for k, candidate in enumerate(variants[1:], start=1):
        chosen = jnp.where((variant == k)[:, None, None, None], candidate, chosen)
    return chosen
