"""Scenes of optics that blur: read as if MATLAB bicubic had made them.

Contract: all that follows, the networks, the corrections and the bicubic enlargement of unusable
bands, sees the sharpened scene. Pixels without data are filled before, so that they do not spread,
and have no data afterwards.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from dualsr_jax.large_scene.blocks import grown
from dualsr_jax.large_scene.nodata import to_stored
from dualsr_jax.large_scene.normalisation import Normalisation, SceneReader, read_filled
from dualsr_jax.ops.sharpening import REACH, sharpen


class Sharpened:
    """A `SceneReader` of a sharpened scene; values are float32."""

    def __init__(
        self, source: SceneReader, normalisation: Normalisation, mtf: float, scale: int
    ) -> None:
        """`scale` is that of the networks."""
        self._source, self._normalisation = source, normalisation
        self._mtf, self._scale = mtf, scale
        self.shape, self.metadata = source.shape, source.metadata
        self.dtype = np.dtype(np.float32)

    def read(
        self, rows: slice, columns: slice, bands: Sequence[int] | slice | None = None
    ) -> Shaped[np.ndarray, "h w l"]:
        """Reads a window in stored values; `bands` None: all."""
        height, width, count = self.shape
        index = bands if isinstance(bands, slice) else slice(None) if bands is None else list(bands)
        chosen = np.arange(count)[index]
        as_stored = dataclasses.replace(
            self._normalisation,
            bands=chosen,
            gain=np.ones(len(chosen)),
            bias=np.zeros(len(chosen)),
        )
        tall, wide = grown(rows, REACH, height), grown(columns, REACH, width)
        cube, invalid = read_filled(self._source, tall, wide, as_stored)
        down, right = rows.start - tall.start, columns.start - wide.start
        here = (
            slice(down, down + rows.stop - rows.start),
            slice(right, right + columns.stop - columns.start),
        )
        found = np.stack([sharpen(image, self._mtf, self._scale)[here] for image in cube], -1)
        found = to_stored(found, None, self.dtype, self.metadata.nodata)
        if invalid is not None:
            found[np.moveaxis(invalid[:, *here], 0, -1)] = np.nan
        return found


def sharpened(
    source: SceneReader, normalisation: Normalisation, mtf: float | None, scale: int
) -> SceneReader:
    """The scene itself if no MTF is given, else the scene sharpened for networks of a scale."""
    return source if mtf is None else Sharpened(source, normalisation, mtf, scale)
