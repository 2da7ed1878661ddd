"""Evaluation protocols: normalisation, crop, clipping and metrics in one named choice.

Two protocols exist in the literature and their tables do not mix:

- `dualsr` (DualSR and the works it compares with): integers are divided by the largest value of
  their type; the top-left 512x512 pixels of an image are scored; results of networks are clipped to
  [0, 1], bicubic is not; PSNR over the whole cube, SSIM with a Gaussian 11x11 window, SAM over all
  pixels.
- `sspsr` (Jiang et al., "Learning Spatial-Spectral Prior for Super-Resolution of Hyperspectral
  Imagery", IEEE TCI 2020): a scene is divided by its maximum; whole test images are scored; nothing
  is clipped; mean over bands of each band's PSNR, SSIM with a uniform 7x7 window and sample
  covariance, SAM without all-zero pixels, and CC, RMSE, ERGAS.

In both, the reference is first cut to a multiple of the scale at its right and lower end.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Float

from dualsr_jax import metrics as m

Cubes = Float[jax.Array | np.ndarray, "..."]  # [..., H, W, L], sizes are checked by value


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How results are compared.

    Attributes:
        metrics: by the name they have in tables.
        peak: the stored value that becomes 1: None, the largest of an integer type; "max", the
            scene's maximum.
        crop: only the top-left `crop` x `crop` pixels of a test image count; None: all.
        clips: whether results of networks are clipped to [0, 1].
    """

    metrics: Mapping[str, Callable[..., jax.Array]]
    peak: str | None
    crop: int | None
    clips: bool

    def clip(self, cube: Float[np.ndarray, "H W L"]) -> Float[np.ndarray, "H W L"]:
        """A network's result as it is scored."""
        return cube.clip(0, 1) if self.clips else cube


PROTOCOLS = {
    "dualsr": Protocol(
        metrics={"psnr_db": m.psnr_db, "ssim": m.ssim, "sam_deg": m.sam_deg},
        peak=None,
        crop=512,
        clips=True,
    ),
    "sspsr": Protocol(
        metrics={
            "mpsnr_db": m.mpsnr_db,
            "ssim": m.ssim_uniform,
            "sam_deg": m.sam_deg_nonzero,
            "cc": m.cc,
            "rmse": m.rmse,
            "ergas": m.ergas,
        },
        peak="max",
        crop=None,
        clips=False,
    ),
}


def get_protocol(name: str) -> Protocol:
    """The protocol of a name; ValueError if there is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}: expected one of {sorted(PROTOCOLS)}")
    return PROTOCOLS[name]


@functools.partial(jax.jit, static_argnames=("scale", "protocol"))
def score(
    sr: Cubes, hr: Cubes, *, scale: int, protocol: str = "dualsr"
) -> dict[str, Float[jax.Array, "..."]]:
    """All metrics of a protocol.

    Args:
        sr: result `[..., H, W, L]`, clipped by the caller where the protocol wants it.
        hr: reference of the same shape.
        scale: scale factor, used by ERGAS.
        protocol: a key of `PROTOCOLS`.

    Returns:
        One array `[...]` a metric.

    Raises:
        ValueError: if the protocol is unknown or the shapes differ.
    """
    return {
        name: metric(sr, hr, scale) if metric is m.ergas else metric(sr, hr)
        for name, metric in get_protocol(protocol).metrics.items()
    }
