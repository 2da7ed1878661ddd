"""Evaluation protocols: normalisation, crop, clipping and metrics under one name.

Two protocols exist in the literature, whose figures cannot be compared with each other:

- `dualsr` (DualSR and the works it compares with): integers are divided by the largest value of
  their type; the top-left 512x512 pixels of an image are scored; results of networks are clipped to
  [0, 1], bicubic is not; PSNR is that of the whole cube, SSIM has a Gaussian 11x11 window, SAM is
  the mean over all pixels.
- `sspsr` (Jiang et al., "Learning Spatial-Spectral Prior for Super-Resolution of Hyperspectral
  Imagery", IEEE TCI 2020): a scene is divided by its maximum; whole test images are scored; nothing
  is clipped; PSNR is the mean over the bands, SSIM has a uniform 7x7 window and sample covariance,
  SAM leaves out all-zero pixels, and CC, RMSE and ERGAS are added.

In both, the reference is first cut to a multiple of the scale at its right and lower end.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Float

from dualsr_jax import metrics as m
from dualsr_jax.metrics import Cubes, PerImage


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)  # by identity: jax.jit hashes it
class Protocol:
    """How results are compared."""

    metrics: Mapping[str, Callable[..., PerImage]]  # `(sr, hr, *, scale)`, by name in tables
    peak: str | None  # the value that becomes 1: "max" of the scene, or None: of the integer type
    crop: int | None  # side of the top-left square of an image that is scored; None: all of it
    clips: bool  # whether results of networks are clipped to [0, 1]

    def clip(self, cube: Float[np.ndarray, "H W L"]) -> Float[np.ndarray, "H W L"]:
        """Clips a network's result to [0, 1] where the protocol asks for it."""
        return cube.clip(0, 1) if self.clips else cube

    @functools.partial(jax.jit, static_argnames=("self", "scale"))
    def score(self, sr: Cubes, hr: Cubes, *, scale: int) -> dict[str, PerImage]:
        """Computes all metrics of a clipped result, each an array `[...]`.

        Raises:
            ValueError: if the shapes differ, or the images are smaller than the window of SSIM.
        """
        return {name: metric(sr, hr, scale=scale) for name, metric in self.metrics.items()}

    def score_image(self, sr: Cubes, hr: Cubes, *, scale: int) -> dict[str, float]:
        """Computes all metrics of one image as numbers, in the order of `metrics`."""
        scores = self.score(sr, hr, scale=scale)
        return {name: float(scores[name]) for name in self.metrics}


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
    """Finds a protocol by name; raises ValueError if the name is unknown."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}: expected one of {sorted(PROTOCOLS)}")
    return PROTOCOLS[name]
