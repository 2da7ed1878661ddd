"""Wavelengths of the published data sets, whose files do not hold them.

Contract: a data set is described by the wavelengths of its first and last band, as its authors
publish them, and its number of bands, which are at equal distances.
"""

import numpy as np
from jaxtyping import Float

_BANDS_NM = {  # first, last, number of bands
    "cave": (400.0, 700.0, 31),
    "chikusei": (363.0, 1018.0, 128),
    "harvard": (420.0, 720.0, 31),
    "pavia_centre": (430.0, 860.0, 102),
}


def known_wavelengths(data_set: str, num_bands: int) -> Float[np.ndarray, "L"] | None:
    """The wavelengths in nm of a data set's bands; None if they, or this selection, are unknown."""
    first, last, count = _BANDS_NM.get(data_set, (0.0, 0.0, 0))
    return np.linspace(first, last, count) if count == num_bands else None
