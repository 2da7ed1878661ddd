"""Colour composites: three channels that show a cube in one picture.

Contract: a composite is a weighted sum of bands for each of red, green and blue, stretched from the
2nd to the 98th percentile of the cube that it was made from. Shown with one composite, results
differ in a picture only where their values differ. NaN marks masked values; a pixel with a NaN in a
usable band is left out.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

RGB_NM = (640.0, 550.0, 470.0)  # of red, green and blue
REACH_NM = 40.0  # a band further away is not shown as that colour
STRETCH = (2.0, 98.0)  # percentiles shown as black and as full colour
_LEAST_VARIANCE = 1e-10  # of a component that shows something, as a part of the first's
CHANNELS = ("red", "green", "blue")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composite:
    """How a cube becomes a picture; channels are weighted sums of a few bands, stretched."""

    bands: tuple[int, ...]  # that are summed, counted from 0
    weights: Float[np.ndarray, "3 n"]  # of these bands in red, green and blue
    low: np.ndarray  # [3], sums that become 0
    high: np.ndarray  # [3], sums that become 1
    name: str  # what the colours are, in words

    def __call__(self, cube: Float[np.ndarray, "*n bands"]) -> Float[np.ndarray, "*n 3"]:
        """Makes a picture in [0, 1] of the bands `self.bands` of a cube; NaN stays NaN."""
        sums = cube @ self.weights.T.astype(np.float32)
        return ((sums - self.low) / (self.high - self.low)).clip(0, 1)

    def of_selection(self, bands: Sequence[int]) -> "Composite":
        """The same composite of a cube that has only these bands, counted from 0, in this order."""
        return dataclasses.replace(self, bands=tuple(bands.index(band) for band in self.bands))


def choose_bands(
    wavelengths: Float[np.ndarray, "L"], usable: Sequence[int]
) -> tuple[int, int, int] | None:
    """Chooses the usable bands nearest to 640, 550 and 470 nm, counted from 0.

    Args:
        wavelengths: in nm; NaN where unknown.
        usable: bands that may be chosen.

    Returns:
        The bands of red, green and blue; None if one is further than 40 nm away, or two coincide.
    """
    known = np.array([band for band in usable if np.isfinite(wavelengths[band])], int)
    if not known.size:
        return None
    away = np.abs(wavelengths[known][:, None] - np.array(RGB_NM))
    red, green, blue = (int(band) for band in known[away.argmin(0)])
    if away.min(0).max() > REACH_NM or len({red, green, blue}) < 3:
        return None
    return red, green, blue


def _components(pixels: Float[np.ndarray, "pixels n"]) -> Float[np.ndarray, "_ n"]:
    """Weights of the principal components that vary, at most three, the strongest first.

    A component's sign is chosen so that its weight of the largest magnitude is positive.
    """
    centred = pixels - pixels.mean(0)
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    variances, vectors = variances[::-1][:3], vectors.T[::-1][:3]
    vectors = vectors[variances > _LEAST_VARIANCE * max(variances[0], np.finfo(float).tiny)]
    peaks = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
    return vectors * np.sign(peaks)


def _described(bands: Sequence[int], wavelengths: Float[np.ndarray, "L"]) -> str:
    chosen = zip(CHANNELS, bands, strict=True)
    return ", ".join(f"{c} {wavelengths[band]:.0f} nm (band {band + 1})" for c, band in chosen)


def make_composite(
    cube: Float[np.ndarray, "H W L"],
    wavelengths: Float[np.ndarray, "..."] | None = None,
    bad_bands: Bool[np.ndarray, "..."] | None = None,
) -> Composite:
    """Decides how a scene is shown in colours, from the scene or a thinned copy of it.

    Red, green and blue are the usable bands nearest to 640, 550 and 470 nm. A band is usable if it
    is not bad and not the same everywhere. Where wavelengths are unknown or do not reach these
    colours, red, green and blue are the first three principal components of the usable bands. A
    scene that does not vary in three ways is shown in grey, as its first component. The name says
    which of these it is.

    Args:
        cube: intensity; NaN where masked.
        wavelengths: in nm.
        bad_bands: True where a band is left out.

    Raises:
        ValueError: if the wavelengths or bad bands are not `[L]`, or fewer than three bands are
            not bad.
    """
    num_bands = cube.shape[-1]
    if wavelengths is not None and wavelengths.shape != (num_bands,):
        raise ValueError(f"{wavelengths.size} wavelengths do not belong to {num_bands} bands")
    good = ~np.zeros(num_bands, bool) if bad_bands is None else ~bad_bands
    if good.shape != (num_bands,):
        raise ValueError(f"bad_bands must be [{num_bands}], one of each band, got {good.shape}")
    if good.sum() < len(CHANNELS):
        raise ValueError(
            "a picture in colours needs 3 usable bands, for red, green and blue, but "
            f"{good.sum()} of {num_bands} are usable: give a cube with more bands"
        )
    bands = np.flatnonzero(good)
    pixels = cube[..., bands].reshape(-1, len(bands))
    pixels = pixels[np.isfinite(pixels).all(-1)].astype(np.float64)
    if not len(pixels):
        return Composite(
            bands=(int(bands[0]),),
            weights=np.ones((3, 1)),
            low=np.zeros(3),
            high=np.ones(3),
            name="all pixels are masked",
        )
    varied = np.ptp(pixels, axis=0) > 0
    kept = varied if varied.any() else np.arange(len(bands)) == 0
    bands, pixels = bands[kept], pixels[:, kept]
    chosen = None if wavelengths is None else choose_bands(wavelengths, bands.tolist())
    if chosen is not None and wavelengths is not None:
        pixels = pixels[:, np.searchsorted(bands, chosen)]
        return _stretched(chosen, np.eye(3), pixels, _described(chosen, wavelengths))
    weights = _components(pixels)
    if len(weights) == 3:
        name = "principal components 1, 2 and 3 of the scene as red, green and blue"
    else:
        weights, name = np.repeat(weights[:1], 3, 0), "grey: the first principal component"
        if len(bands) == 1:
            weights, name = np.ones((3, 1)), f"grey: band {bands[0] + 1}"
    return _stretched(bands.tolist(), weights, pixels, name)


def _stretched(
    bands: Sequence[int],
    weights: Float[np.ndarray, "3 n"],
    pixels: Float[np.ndarray, "pixels n"],
    name: str,
) -> Composite:
    low, high = np.percentile(pixels @ weights.T, STRETCH, axis=0)
    high = np.where(high > low, high, low + 1)
    return Composite(bands=tuple(bands), weights=weights, low=low, high=high, name=name)


def busiest_window(
    picture: Float[np.ndarray, "H W 3"], height: int, width: int
) -> tuple[slice, slice]:
    """Finds the window of a picture with the most detail: the steepest edges, in squared steps.

    Masked pixels (NaN) do not count. Windows are tried at every quarter of their sides; among equal
    ones, the first in reading order wins. A window larger than the picture becomes the picture.
    """
    height, width = min(height, picture.shape[0]), min(width, picture.shape[1])
    detail = np.zeros(np.add(picture.shape[:2], 1))
    for axis in (0, 1):
        steps = np.nan_to_num(np.square(np.diff(picture, axis=axis)).sum(-1))
        detail[1 : steps.shape[0] + 1, 1 : steps.shape[1] + 1] += steps
    sums = detail.cumsum(0).cumsum(1)
    tops, lefts = (
        np.unique([*range(0, length - side + 1, max(side // 4, 1)), length - side])
        for length, side in zip(picture.shape, (height, width), strict=False)
    )
    inside = (
        sums[np.ix_(tops + height, lefts + width)]
        - sums[np.ix_(tops, lefts + width)]
        - sums[np.ix_(tops + height, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(inside.round(9).argmax(), inside.shape)
    top, left = int(tops[row]), int(lefts[column])
    return slice(top, top + height), slice(left, left + width)
