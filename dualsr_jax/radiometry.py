"""Radiometry: what may be done to a result after the fine stage, and what it did.

Contract: settings and figures alone; `back_projection` has the methods.
"""

import dataclasses
import math

import numpy as np

from dualsr_jax.choices import CLIPS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Radiometry:
    """What is done to a result after the fine stage; by default nothing.

    Attributes:
        clip: "input" limits each value to the range of its band's 5x5 neighbourhood in the measured
            scene, "unit" to [0, 1] of full intensity; None does not clip.
        consistent: number of back-projections towards the measured scene. One suffices if nothing
            is clipped.

    Raises:
        ValueError: if `clip` is unknown, or `consistent` is not a whole number of at least 0.
    """

    clip: str | None = None
    consistent: int = 0

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.clip is not None and self.clip not in CLIPS:
            raise ValueError(f"clip must be one of {CLIPS} or None, got {self.clip!r}")
        whole = isinstance(self.consistent, int | np.integer)
        if not whole or isinstance(self.consistent, bool) or self.consistent < 0:
            raise ValueError(
                "consistent is the number of back-projections, a whole number of at least 0, got "
                f"{self.consistent!r}"
            )

    def tags(self) -> dict[str, str]:
        """Returns what was set, for the metadata of a result."""
        clip = {} if self.clip is None else {"dualsr_clip": self.clip}
        return {**clip, "dualsr_consistent": str(self.consistent)} if self.consistent else clip


@dataclasses.dataclass
class Effect:
    """What the radiometry did to a result.

    Attributes:
        how: the settings.
        clipped: number of values that were clipped, of `values` with data.
        before_db: PSNR, against the measured scene and with peak 1, of the result reduced to the
            scene's size, before; NaN if it was not measured. `after_db` is that after clipping and
            rounding to the data type.
    """

    how: Radiometry = dataclasses.field(default_factory=Radiometry)
    clipped: int = 0
    values: int = 0
    before_db: float = math.nan
    after_db: float = math.nan

    def describe(self) -> list[str]:
        """Says, in one line each, how many values were clipped and how consistent the result is."""
        lines, how = [], self.how
        if how.consistent:
            lines.append(
                f"{how.consistent} back-projection{'s' * (how.consistent > 1)}: reduced to the "
                f"scene's size, the result agrees with the scene to {self.after_db:.2f} dB PSNR "
                f"({self.before_db:.2f} dB before)"
            )
        if how.clip is not None:
            to = {"input": "the range of the 5x5 pixels around", "unit": "[0, 1]"}[how.clip]
            share = 100 * self.clipped / max(self.values, 1)
            lines.append(
                f"{self.clipped:,} of {self.values:,} values ({share:.3g} %) were clipped to {to}"
            )
        return lines


def psnr_db(squared_error: float, count: int) -> float:
    """PSNR for a peak of 1 from a sum of squared errors; inf without error, NaN without values."""
    if not count:
        return math.nan
    return math.inf if squared_error == 0 else -10 * math.log10(squared_error / count)
