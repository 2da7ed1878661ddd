r"""Writes a trained network as one file of StableHLO that runs without this package.

    python -m dualsr_jax.export --weights runs/cave_x4 --half_weights runs/cave_x2 \
        --output cave_x4.stablehlo

The file holds both stages and their weights, for any height, width and number of bands from 5 on.
JAX and flatbuffers are all that is needed to run it (docs/export.md):

    jax.export.deserialize(bytes).call(lr)  # float32 [H, W, L] in [0, 1] -> [s H, s W, L]
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from absl import flags
from jax import export

from dualsr_jax.commands import run
from dualsr_jax.disk import replacing
from dualsr_jax.dualsr import DualSR
from dualsr_jax.fine_stage import back_project
from dualsr_jax.models.coarsr.nbp import MIN_BANDS
from dualsr_jax.training.restore import restore_dualsr

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")


def export_dualsr(dualsr: DualSR, platforms: Sequence[str] = _DEFAULT_PLATFORMS) -> export.Exported:
    """Both stages as one function of the LR cube, weights inside.

    It takes float32 `[H, W, L]` in [0, 1] and gives the fine result `[s H, s W, L]`, not clipped
    (with `iterations=0` the coarse one). Bands are restored one by one, which bounds the memory.
    Values are not checked: NaN spreads, and so must not be there.

    Args:
        dualsr: both stages; a self-ensemble is not exported.
        platforms: on which it shall run, of `PLATFORMS`.

    Raises:
        ValueError: for an unknown platform or a self-ensemble.
    """
    unknown = sorted(set(platforms) - set(PLATFORMS))
    if unknown or not platforms:
        raise ValueError(f"platforms must be some of {PLATFORMS}, got {tuple(platforms)}")
    if dualsr.ensemble != 1:
        raise ValueError("a self-ensemble cannot be exported: set ensemble=1")

    stage = dualsr.coarse_stage

    def upscale(lr: jax.Array) -> jax.Array:
        results: list[jax.Array] = []
        for network in stage.networks:
            model = network.model.clone(band_chunk=1)
            results += cast(Any, model.apply(network.variables, lr[None], method="at_scales"))
        coarse, guide = results[0][0], results[1][0] if len(results) == 2 else lr
        return back_project(coarse, guide, ratio=stage.ratio, iterations=dualsr.iterations)[0]

    upscale.__name__ = upscale.__qualname__ = f"dualsr_x{dualsr.scale}"
    sizes = export.symbolic_shape("h, w, l", constraints=[f"l >= {MIN_BANDS}"])
    lr = jax.ShapeDtypeStruct(sizes, jnp.float32)
    return export.export(jax.jit(upscale), platforms=tuple(platforms))(lr)


def write_export(
    dualsr: DualSR,
    path: Path,
    platforms: Sequence[str] = _DEFAULT_PLATFORMS,
    *,
    overwrite: bool = False,
) -> None:
    """Writes `export_dualsr` to a file, which is whole or not there.

    Args:
        dualsr: both stages.
        path: to write.
        platforms: on which it shall run.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: as `export_dualsr`, or if the file exists and is not to be replaced.
        FileNotFoundError: if there is no such folder.
    """
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: --output names a file, such as x4.stablehlo")
    if path.exists() and not overwrite:
        raise ValueError(f"{str(path)!r} exists: choose another --output, or add --overwrite")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} for --output: make it")
    content = export_dualsr(dualsr, platforms).serialize()
    with replacing(path) as beside:
        beside.write_bytes(content)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags; not at import, for other commands have some of the same name."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    string(
        "weights",
        None,
        "Trained network: folder of training, *.safetensors file, or shipped name.",
        required=True,
    )
    string("half_weights", None, "The same of half the scale, for the fine stage at x4 and x8.")
    string("output", None, "File to write, *.stablehlo.", required=True)
    flags.DEFINE_list(
        "platforms",
        list(_DEFAULT_PLATFORMS),
        f"Where it shall run, of {', '.join(PLATFORMS)}.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "iterations", 1, "Of the fine stage; 0: the coarse result.", 0, flag_values=values
    )
    flags.DEFINE_enum(
        "checkpoint", "latest", ["latest", "best"], "Which checkpoint.", flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "Replace the output if it exists.", flag_values=values)


def main(given: flags.FlagValues = flags.FLAGS) -> None:
    """Exports the network that the flags name."""
    path = Path(given.output).expanduser()
    dualsr = restore_dualsr(
        given.weights,
        given.half_weights,
        which=given.checkpoint,
        iterations=given.iterations,
    )
    write_export(dualsr, path, given.platforms, overwrite=given.overwrite)
    print(f"x{dualsr.scale}, {path.stat().st_size / 1e6:.1f} MB: {path}")


if __name__ == "__main__":
    define_flags()
    run(main)
