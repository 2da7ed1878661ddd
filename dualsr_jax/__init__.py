"""Hyperspectral image super-resolution with DualSR, on JAX.

from dualsr_jax import restore_dualsr

dualsr = restore_dualsr("runs/cave_x4", "runs/cave_x2")
sharper = dualsr.upscale(cube)  # [H, W, L] of any type and size -> [4 H, 4 W, L]
"""

from typing import Any

from dualsr_jax.dualsr import DualSR
from dualsr_jax.fine_stage import back_project
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.ops.resize import imresize

__all__ = ["CoarSR", "DualSR", "back_project", "imresize", "restore_dualsr"]


def __getattr__(name: str) -> Any:
    """Imports orbax only when a trained network is restored."""
    if name == "restore_dualsr":
        from dualsr_jax.training.restore import restore_dualsr

        return restore_dualsr
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
