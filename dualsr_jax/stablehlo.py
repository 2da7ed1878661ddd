"""Trained networks as StableHLO: one function of the LR cube, weights inside.

Contract: the function takes float32 `[H, W, L]` in [0, 1] and gives the fine result
`[s H, s W, L]`, not clipped, for any height, width and number of bands that the networks take: from
5 on with CoarSR, and one number where the weights belong to each band. A file needs only JAX and
flatbuffers (docs/export.md).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import export

from dualsr_jax.choices import DEFAULT_PLATFORMS, PLATFORMS
from dualsr_jax.commands import check_output
from dualsr_jax.disk import replacing
from dualsr_jax.dualsr import DualSR
from dualsr_jax.models.network import CoarseStage


def export_dualsr(dualsr: DualSR, platforms: Sequence[str] = DEFAULT_PLATFORMS) -> export.Exported:
    """Exports both stages as one function of the LR cube, for some of `PLATFORMS`.

    Bands are restored one by one, which bounds the memory. Values are not checked: a NaN spreads,
    so the cube must not hold any. With `iterations=0` the function gives the coarse result. Raises
    ValueError if a platform is unknown, or `dualsr` has a self-ensemble.
    """
    unknown = sorted(set(platforms) - set(PLATFORMS))
    if unknown or not platforms:
        raise ValueError(f"platforms must be some of {PLATFORMS}, got {tuple(platforms)}")
    if dualsr.ensemble != 1:
        raise ValueError("a self-ensemble cannot be exported: set ensemble=1")
    stage = dualsr.coarse_stage

    def upscale(lr: jax.Array) -> jax.Array:
        cubes: list[jax.Array] = []  # the coarse result, and the guide if it is not the LR cube
        for network in stage.networks:
            model = network.model.clone(band_chunk=1)
            found = cast(Any, model.apply(network.variables, lr[None], method="at_scales"))
            cubes += [cube[0] for cube in found]
        coarse, guide = (*cubes, lr)[:2]
        return dualsr.back_project(coarse, guide)[0]

    upscale.__name__ = upscale.__qualname__ = f"dualsr_x{dualsr.scale}"
    lr = jax.ShapeDtypeStruct(_sizes(stage), jnp.float32)
    return export.export(jax.jit(upscale), platforms=tuple(platforms))(lr)


def _sizes(stage: CoarseStage) -> tuple[Any, ...]:
    """Height, width and number of bands of the LR cube, symbols where they are not fixed."""
    models = [network.model for network in stage.networks]
    fixed = [model.num_bands for model in models if model.num_bands is not None]
    side = max(model.min_side for model in models)
    constraints = [f"{name} >= {side}" for name in "hw" if side > 1]
    if fixed:
        stage.check_bands(fixed[0])
        sizes = export.symbolic_shape("h, w", constraints=constraints)
        return (*sizes, fixed[0])
    constraints.append(f"l >= {max(model.min_bands for model in models)}")
    return tuple(export.symbolic_shape("h, w, l", constraints=constraints))


def write_export(
    dualsr: DualSR,
    path: str | Path,
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
    *,
    overwrite: bool = False,
) -> None:
    """Writes the function of `export_dualsr` to a file, whole or not at all.

    Raises what `export_dualsr` and `check_output` raise.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    content = export_dualsr(dualsr, platforms).serialize()
    with replacing(path) as partial:
        partial.write_bytes(content)
