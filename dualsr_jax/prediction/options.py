"""How scenes are super-resolved: `PredictOptions`, and how the flags of `predict` become them."""

import dataclasses
import re
from pathlib import Path

import numpy as np
from absl import flags

from dualsr_jax.choices import MEMORY_GB, SHIPPED
from dualsr_jax.messages import say
from dualsr_jax.radiometry import Radiometry


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How scenes are super-resolved: the flags of `dualsr_jax.predict` of the same names."""

    key: str | None = None
    axes: str | None = None
    peak: float | None = None
    mtf: float | None = None
    dtype: np.dtype | None = None
    overwrite: bool = False
    scheduler: str | None = None
    memory_gb: float = MEMORY_GB
    tile: tuple[int, int] | None = None
    radiometry: Radiometry = dataclasses.field(default_factory=Radiometry)
    uncertainty: str | Path | None = None
    report: str | Path | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if the MTF cannot be compensated."""
        if self.mtf is not None:
            from dualsr_jax.ops.sharpening import check_mtf

            check_mtf(self.mtf)


def _tile(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"--tile={text}: expected ROWSxCOLUMNS, such as 512x512")
    return int(sides[0]), int(sides[1])


def _dtype(text: str | None) -> np.dtype | None:
    try:
        return None if text is None else np.dtype(text)
    except TypeError as error:
        raise ValueError(f"--dtype={text}: expected a data type, such as int16") from error


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def check_flags(given: flags.FlagValues, scenes: int = 1) -> None:
    """Raises ValueError if flags of `predict` do not go together, or not with several scenes."""
    if given.uncertainty and int(given.ensemble) == 1:
        raise ValueError("--uncertainty is the spread of an ensemble: add --ensemble 8, or 16")
    if given.skip_existing and given.overwrite:
        raise ValueError("--skip_existing keeps outputs, --overwrite replaces them: give only one")
    if (scenes > 1 or given.skip_existing) and (given.uncertainty or given.report):
        raise ValueError(
            "--uncertainty and --report are for one scene at a time, without --skip_existing"
        )


def scenes_of(given: flags.FlagValues, paths: list[str]) -> tuple[list[str], str]:
    """The scenes and the output, which is --output, or the second of two paths.

    Raises ValueError if one of them is missing, or if the second path exists and --overwrite is
    given: it may be a scene.
    """
    if not paths:
        raise ValueError("no scene is given: dualsr predict SCENE OUTPUT")
    if given.output is not None:
        return paths, given.output
    if len(paths) != 2:
        raise ValueError(
            f"the output is missing: dualsr predict {paths[0]} OUTPUT, or --output FILE, or "
            "--output FOLDER/ for several scenes"
        )
    if given.overwrite and Path(paths[1]).expanduser().exists():
        raise ValueError(
            f"{paths[1]!r} exists: is it a scene, or is it to be replaced? Name the output with "
            "--output"
        )
    return paths[:1], paths[1]


def weights_of(given: flags.FlagValues, output: str) -> str:
    """The weights of --weights; without it, the name of the shipped ones of the scale.

    The scale is that of --scale or, without it, the number at the end of the output's name, as in
    scene_x4.tif. Raises ValueError if there is neither, or if networks of this scale do not ship.
    """
    if given.weights is not None:
        return str(given.weights)
    if given.half_weights is not None:
        raise ValueError("--half_weights goes with --weights: give both, or neither")
    named = re.search(r"_x(\d+)$", Path(output).stem)
    scale = given.scale or (int(named[1]) if named else None)
    known = ", ".join(f"{factor} ({name})" for factor, name in SHIPPED.items())
    if scale is None:
        raise ValueError(
            f"which scale? Give --scale, of {known}, or an output such as scene_x4.tif, or "
            "--weights"
        )
    if scale not in SHIPPED:
        raise ValueError(f"no network of scale {scale} ships, only of {known}: give --weights")
    name = SHIPPED[scale]
    say(f"weights: {name}, the shipped network of scale {scale} (--weights names others)")
    return name


def options_of(given: flags.FlagValues) -> PredictOptions:
    """The options that the flags of `predict` describe; raises ValueError if one is not valid."""
    return PredictOptions(
        key=given.key,
        axes=given.axes,
        peak=given.peak,
        mtf=given.mtf,
        dtype=_dtype(given.dtype),
        overwrite=given.overwrite,
        scheduler=given.scheduler,
        memory_gb=given.memory_gb,
        tile=_tile(given.tile),
        radiometry=Radiometry(
            clip=None if given.clip == "off" else given.clip, consistent=given.consistent
        ),
        uncertainty=_path(given.uncertainty),
        report=_path(given.report),
    )
