"""The band means that the published code of MCNet and ERCSR has as constants.

Contract: one number for each of 31 bands, in [0, 1], the means of the training scenes. In the list
for CAVE, band 15, counted from 0, is wrong: it is that of Harvard; the scenes have 0.0911.
Weights of the authors need the list as it is.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

RELEASED = {
    "released": (
        *(0.0939, 0.0950, 0.0869, 0.0839, 0.0850, 0.0809, 0.0769, 0.0762, 0.0788, 0.0790, 0.0834),
        *(0.0894, 0.0944, 0.0956, 0.0939, 0.1187, 0.0903, 0.0928, 0.0985, 0.1046, 0.1121, 0.1194),
        *(0.1240, 0.1256, 0.1259, 0.1272, 0.1291, 0.1300, 0.1352, 0.1428, 0.1541),
    ),
    "released_harvard": (
        *(0.0100, 0.0137, 0.0219, 0.0285, 0.0376, 0.0424, 0.0512, 0.0651, 0.0694, 0.0723, 0.0816),
        *(0.0950, 0.1338, 0.1525, 0.1217, 0.1187, 0.1337, 0.1481, 0.1601, 0.1817, 0.1752, 0.1445),
        *(0.1450, 0.1378, 0.1343, 0.1328, 0.1303, 0.1299, 0.1456, 0.1433, 0.1303),
    ),
}


def band_mean_of(given: "str | Float[np.ndarray, 'L']") -> Float[np.ndarray, "L"]:
    """The means that are meant.

    Args:
        given: an array, the name of a list of the published code, or the path of a text file with
            one number per band.

    Raises:
        ValueError: for an unknown name, or a file that holds something else.
    """
    if not isinstance(given, str):
        return np.asarray(given, np.float32)
    if given in RELEASED:
        return np.asarray(RELEASED[given], np.float32)
    if not Path(given).is_file():
        raise ValueError(
            f"unknown band_mean {given!r}: expected {tuple(RELEASED)}, or a text file of numbers"
        )
    try:
        mean = np.loadtxt(given, np.float32, ndmin=1)
    except ValueError as error:
        raise ValueError(f"{given!r} does not hold numbers alone: {error}") from error
    if mean.ndim != 1 or not np.isfinite(mean).all():
        raise ValueError(f"{given!r} must hold one finite number per line, the mean of a band")
    return mean
