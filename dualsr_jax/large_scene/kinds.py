"""The kinds of cubes in memory that are super-resolved: of NumPy, JAX, Dask and xarray.

Contract: a result is of the kind of its input. Neither Dask nor xarray is imported.
"""

import logging
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dualsr_jax.io.axes import as_cube, is_doubtful
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.in_memory import upscale_array, upscale_later
from dualsr_jax.large_scene.labelled import upscale_labelled
from dualsr_jax.models.network import CoarseStage
from dualsr_jax.ops.sharpening import check_mtf

_LOG = logging.getLogger(__name__)


def check_unmasked(cube: Any) -> None:
    """Raises ValueError if a cube is a masked array."""
    if isinstance(cube, np.ma.MaskedArray):
        raise ValueError(
            "a plain NumPy array is expected, got a masked one: call "
            "upscale(cube.filled(x), nodata=x), with a value x that no valid pixel has"
        )


def _check_kind(cube: Any) -> None:
    check_unmasked(cube)
    if isinstance(cube, jax.core.Tracer):
        raise ValueError("upscale reads the values of a cube: call it outside of jax.jit")
    if hasattr(cube, "data_vars"):
        cubes = [repr(name) for name, variable in cube.data_vars.items() if variable.ndim == 3]
        raise ValueError(
            "a Dataset may hold several cubes: give one of its variables, such as dataset[name], "
            f"with name {' or '.join(cubes) or 'of a variable with three dimensions'}"
        )


def upscale(
    stage: CoarseStage,
    cube: Any,
    *,
    nodata: float | None = None,
    axes: str | Sequence[str] | None = None,
    **settings: Any,
) -> Any:
    """Super-resolves a cube of any of these kinds; `axes` are those of an array without names.

    The settings are those of `upscale_array`. Raises ValueError if the cube is of another kind, the
    axes do not fit, the MTF cannot be compensated, or what `upscale_array` raises.
    """
    _check_kind(cube)
    if settings.get("mtf") is not None:
        check_mtf(settings["mtf"])
    if hasattr(cube, "dims"):
        if axes is not None:
            raise ValueError(
                f"axes are for NumPy arrays: leave out {axes!r}, those of a DataArray have names"
            )
        return upscale_labelled(stage, cube, nodata=nodata, **settings)
    if isinstance(cube, jax.Array):
        found = upscale(stage, np.asarray(cube), nodata=nodata, axes=axes, **settings)
        devices = cube.devices()
        return jax.device_put(found, devices.pop() if len(devices) == 1 else None)
    later = hasattr(cube, "map_blocks")
    if not later and not isinstance(cube, np.ndarray):
        raise ValueError(
            f"a NumPy array or an xarray.DataArray is expected, got {type(cube).__name__}"
        )
    stored, order = as_cube(cube, axes)
    if axes is None and len(stored.shape) == 3 and is_doubtful(stored.shape):
        _LOG.info(
            f"the axes {stored.shape} count as rows, columns, bands: if that is wrong, name "
            "them, such as axes='band,y,x'"
        )
    compute = upscale_later if later else upscale_array
    found = compute(stage, stored, Metadata(nodata=nodata), **settings)
    return found.transpose(np.argsort(order).tolist())
