"""How scenes are super-resolved: `PredictOptions`, and how the flags of `predict` become them."""

import dataclasses
from pathlib import Path

import numpy as np
from absl import flags

from dualsr_jax.large_scene.tiling import MEMORY_GB


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How scenes are super-resolved: the flags of `dualsr_jax.predict` of the same names."""

    key: str | None = None
    axes: str | None = None
    peak: float | None = None
    dtype: np.dtype | None = None
    overwrite: bool = False
    scheduler: str | None = None
    memory_gb: float = MEMORY_GB
    tile: tuple[int, int] | None = None
    uncertainty: Path | None = None
    report: Path | None = None


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


def check_flags(given: flags.FlagValues) -> None:
    """Raises ValueError if flags of `predict` do not go together."""
    if given.uncertainty and int(given.ensemble) == 1:
        raise ValueError("--uncertainty is the spread of an ensemble: add --ensemble 8, or 16")
    if given.weights is None or given.output is None:
        raise ValueError("--weights and --output are needed")
    if given.skip_existing and given.overwrite:
        raise ValueError("--skip_existing keeps outputs, --overwrite replaces them: give only one")


def check_one_scene(given: flags.FlagValues, scenes: int) -> None:
    """Raises ValueError if several scenes have flags that are for one."""
    if (scenes > 1 or given.skip_existing) and (given.uncertainty or given.report):
        raise ValueError(
            "--uncertainty and --report are for one scene at a time, without --skip_existing"
        )


def options_of(given: flags.FlagValues) -> PredictOptions:
    """The options that the flags of `predict` describe; raises ValueError if one is not valid."""
    return PredictOptions(
        key=given.key,
        axes=given.axes,
        peak=given.peak,
        dtype=_dtype(given.dtype),
        overwrite=given.overwrite,
        scheduler=given.scheduler,
        memory_gb=given.memory_gb,
        tile=_tile(given.tile),
        uncertainty=_path(given.uncertainty),
        report=_path(given.report),
    )
