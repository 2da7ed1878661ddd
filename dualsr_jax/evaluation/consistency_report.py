"""The report of a result without ground truth: numbers, quick looks and spectra.

Contract: `write_consistency` writes `report.json` and `report.png` to a folder, from arrays or from
readers of files that are too large for memory; `consistency.py` says what the numbers mean.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.consistency import (
    VALUES_AT_ONCE,
    ArrayOrReader,
    BadBands,
    Intensity,
    good_bands,
    lr_consistency,
    scaled,
)
from dualsr_jax.evaluation.results import BICUBIC
from dualsr_jax.figures import Look, Spectra, report_figure

_RGB_NM = (640.0, 550.0, 470.0)
_RGB_PLACES = (3 / 4, 1 / 2, 1 / 4)  # in the sequence of bands, if wavelengths are unknown
_LOOK_PIXELS = 512  # longest side of the quick look
_DETAIL_PIXELS = 96  # side of the middle of the input, which is shown in full
_INPUT = "Input"
_PLACES = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # of the spectra


def rgb_bands(
    num_bands: int,
    wavelengths: Float[np.ndarray, "L"] | None = None,
    bad_bands: BadBands | None = None,
) -> tuple[int, int, int]:
    """Chooses good bands to show as red, green and blue, counted from 0.

    They are nearest to 640, 550 and 470 nm; without wavelengths, to 3/4, 1/2 and 1/4 of all bands.

    Raises:
        ValueError: if the number of wavelengths is not L, or `bad_bands` is not valid.
    """
    if wavelengths is not None and wavelengths.shape != (num_bands,):
        raise ValueError(f"{wavelengths.size} wavelengths do not belong to {num_bands} bands")
    good = np.array(good_bands(num_bands, bad_bands))
    at, wanted = np.arange(num_bands, dtype=float), np.multiply(_RGB_PLACES, num_bands - 1)
    if wavelengths is not None:
        at, wanted = wavelengths, np.array(_RGB_NM)
    red, green, blue = (int(good[np.argmin(np.abs(at[good] - place))]) for place in wanted)
    return red, green, blue


def _thin(cube: Intensity, bands: Sequence[int], step: int) -> Float[np.ndarray, "h w l"]:
    """Every `step`-th row and column of a few bands, read in windows of whole rows."""
    height, width, _ = cube.cube.shape
    rows = max(VALUES_AT_ONCE // (width * len(bands)) // step, 1) * step
    windows = [
        cube.read(slice(row, min(row + rows, height)), slice(0, width), bands)[::step, ::step]
        for row in range(0, height, rows)
    ]
    return np.concatenate(windows)


def _looks(cubes: Mapping[str, Intensity], scale: int, rgb: Sequence[int]) -> dict[str, Look]:
    """Makes quick looks of the input, the first cube, and of the results.

    The 2nd percentile of each shown band of the input becomes black, the 98th becomes full colour.
    """
    lr = cubes[_INPUT]
    height, width, _ = lr.cube.shape
    middle = []
    for length in (height, width):
        side = min(_DETAIL_PIXELS, max(length // 2, 1))
        middle.append(slice((length - side) // 2, (length - side) // 2 + side))
    images: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, cube in cubes.items():
        times = 1 if cube is lr else scale
        step = -(-times * max(height, width) // _LOOK_PIXELS)
        rows, columns = (scaled(side, times) for side in middle)
        images[name] = _thin(cube, rgb, step), cube.read(rows, columns, rgb)
    whole, _ = images[_INPUT]
    seen = whole[np.isfinite(whole).all(-1)]
    low, high = np.percentile(seen, (2, 98), axis=0) if len(seen) else np.array([[0.0], [1.0]])
    span = np.where(high > low, high - low, 1)

    def stretched(image: np.ndarray) -> np.ndarray:
        return np.nan_to_num(((image - low) / span).clip(0, 1), nan=1.0)  # masked: white

    return {name: Look(*map(stretched, pair)) for name, pair in images.items()}


def _default_pixels(lr: Intensity, bands: Sequence[int]) -> list[tuple[int, int]]:
    """Chooses the pixels nearest to the centres of the four quarters that are not masked."""
    height, width, _ = lr.cube.shape
    step = -(-max(height, width) // _LOOK_PIXELS)
    seen = step * np.argwhere(np.isfinite(_thin(lr, bands, step)).all(-1))
    if not len(seen):
        return []
    chosen = []
    for place in _PLACES:
        wanted = np.array(place) * (height, width)
        row, column = seen[np.argmin(np.square(seen - wanted).sum(-1))]
        chosen.append((int(row), int(column)))
    return list(dict.fromkeys(chosen))


def _spectra(
    cubes: Mapping[str, Intensity], scale: int, row: int, column: int, bands: Sequence[int]
) -> Spectra:
    """The spectrum of a pixel of the input, and each result's mean over its s x s pixels there."""
    spectra = {}
    for name, cube in cubes.items():
        times = 1 if name == _INPUT else scale
        rows, columns = (scaled(slice(at, at + 1), times) for at in (row, column))
        spectra[name] = cube.read(rows, columns, bands).mean((0, 1))
    return Spectra(row, column, spectra)


def describe_consistency(scores: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Says, one line per method, how consistent it is and whether more so than bicubic.

    The scores are those of `lr_consistency` or of `report.json`, where None stands for an infinite
    PSNR and for NaN.
    """
    lines = []
    numbers = {name: _numbers(**found) for name, found in scores.items()}
    for name, (psnr_db, sam_deg) in numbers.items():
        if math.isnan(sam_deg):
            lines.append(f"{name}: not compared, all pixels are masked")
            continue
        line = (
            f"{name}: reduced to the scene's size it agrees with the scene to {psnr_db:.2f} dB "
            f"PSNR and {sam_deg:.3f} degrees"
        )
        if name != BICUBIC:
            bicubic_db, bicubic_deg = numbers[BICUBIC]
            better = {"PSNR": psnr_db >= bicubic_db, "angle": sam_deg <= bicubic_deg}
            won = [measure for measure, is_better in better.items() if is_better]
            verdict = "worse" if not won else "better"
            only = f" in {won[0]} only" if len(won) == 1 else ""
            line += f" ({verdict} than {BICUBIC}{only})"
        lines.append(line)
    return lines


def _numbers(psnr_db: float | None, sam_deg: float | None) -> tuple[float, float]:
    return math.inf if psnr_db is None else psnr_db, math.nan if sam_deg is None else sam_deg


def _content(
    scale: int,
    consistency: Mapping[str, Any],
    rgb: Sequence[int],
    bands: Sequence[int],
    wavelengths: Float[np.ndarray, "L"] | None,
    spectra: Sequence[Spectra],
) -> dict[str, Any]:
    """The content of `report.json`."""
    content = {
        "scale": scale,
        "pixels": consistency["pixels"],
        "lr_consistency": consistency["methods"],
        "rgb_bands": [band + 1 for band in rgb],
        "bands": [band + 1 for band in bands],
        "wavelengths_nm": None if wavelengths is None else [float(wavelengths[b]) for b in bands],
        "spectra": [
            {"row": s.row, "column": s.column} | {n: v.tolist() for n, v in s.by_method.items()}
            for s in spectra
        ],
    }
    # JSON does not have infinity and NaN: they become null.
    report: dict[str, Any] = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return report


def write_consistency(
    lr: ArrayOrReader,
    results: Mapping[str, ArrayOrReader],
    scale: int,
    folder: Path,
    *,
    wavelengths: Float[np.ndarray, "L"] | None = None,
    peak: float = 1.0,
    nodata: float | None = None,
    bad_bands: BadBands | None = None,
    pixels: Sequence[tuple[int, int]] | None = None,
    title: str = "",
) -> dict[str, Any]:
    """Writes `report.json` and `report.png`.

    Args:
        lr: input `[H, W, L]`, stored values.
        results: cubes `[s H, s W, L]` by method, stored values in the same units.
        scale: scale factor s.
        folder: created if it is missing.
        wavelengths: nm.
        peak: stored value of intensity 1.
        nodata: stored value of masked pixels, besides NaN.
        bad_bands: True where a band is left out.
        pixels: (row, column) of the input whose spectra are shown; None: one in each quarter.
        title: title of the figure.

    Returns:
        The content of `report.json`: `scale`, the number of `pixels` that count, `lr_consistency`
        (`psnr_db` and `sam_deg` by method, Bicubic first), `rgb_bands` counted from 1, `spectra`
        and their `bands` and `wavelengths_nm`. Null stands for an infinite PSNR and for NaN.

    Raises:
        ValueError: if `lr_consistency` raises it, the number of wavelengths is not L, or a pixel
            does not exist.
    """
    height, width, num_bands = lr.shape
    wrong = [(r, c) for r, c in pixels or () if not (0 <= r < height and 0 <= c < width)]
    if wrong:
        raise ValueError(f"the pixels {wrong} are not in an input of {height}x{width} pixels")
    rgb = rgb_bands(num_bands, wavelengths, bad_bands)
    how: dict[str, Any] = {"peak": peak, "nodata": nodata}
    consistency = lr_consistency(lr, results, scale, bad_bands=bad_bands, **how)
    cubes = {name: Intensity(cube, **how) for name, cube in {_INPUT: lr, **results}.items()}
    bands = good_bands(num_bands, bad_bands)
    shown = _default_pixels(cubes[_INPUT], rgb) if pixels is None else pixels
    spectra = [_spectra(cubes, scale, row, column, bands) for row, column in shown]
    report = _content(scale, consistency, rgb, bands, wavelengths, spectra)
    label, key = ("band", "bands") if wavelengths is None else ("wavelength (nm)", "wavelengths_nm")
    heading = "\n".join([*filter(None, [title]), *describe_consistency(consistency["methods"])])
    folder.mkdir(parents=True, exist_ok=True)
    looks, places = _looks(cubes, scale, rgb), np.array(report[key], float)
    report_figure(folder / "report.png", looks, spectra, places, label, heading)
    with replacing(folder / "report.json") as new:
        new.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    return report
