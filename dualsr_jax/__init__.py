"""Hyperspectral image super-resolution with DualSR, on JAX.

From a file to an enlarged file:

    from dualsr_jax import DualSR, create_cube, open_cube

    dualsr = DualSR.from_pretrained("cave_x4_small")  # or restore_dualsr("runs/cave_x4")
    with open_cube("scene.tif") as scene:
        cube, metadata = scene.read(slice(None), slice(None)), scene.metadata
    sharper = dualsr.upscale(cube, nodata=metadata.nodata)  # [H, W, L] -> [4 H, 4 W, L]
    with create_cube("sharper.tif", sharper.shape, sharper.dtype, metadata.enlarged(4)) as file:
        file.write(sharper, 0, 0)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dualsr_jax.dualsr import DualSR
    from dualsr_jax.fine_stage import back_project
    from dualsr_jax.io.cubes import create_cube, open_cube, read_cube
    from dualsr_jax.io.metadata import Metadata
    from dualsr_jax.models.coarsr.coarse import CoarSR
    from dualsr_jax.models.network import Network
    from dualsr_jax.ops.resize import imresize
    from dualsr_jax.training.restore import restore_dualsr

__all__ = [
    "CoarSR",
    "DualSR",
    "Metadata",
    "Network",
    "back_project",
    "create_cube",
    "imresize",
    "open_cube",
    "read_cube",
    "restore_dualsr",
]

_PLACES = {
    "CoarSR": "models.coarsr.coarse",
    "DualSR": "dualsr",
    "Metadata": "io.metadata",
    "Network": "models.network",
    "back_project": "fine_stage",
    "create_cube": "io.cubes",
    "imresize": "ops.resize",
    "open_cube": "io.cubes",
    "read_cube": "io.cubes",
    "restore_dualsr": "training.restore",
}


def __getattr__(name: str) -> Any:
    """Imports a name at its first use, so that the package itself does not import JAX."""
    if name == "__version__":
        return importlib.import_module("dualsr_jax.version").version()
    if name in _PLACES:
        return getattr(importlib.import_module(f"dualsr_jax.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
