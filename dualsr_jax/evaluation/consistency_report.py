"""The report of a result without ground truth: numbers, quick looks and spectra.

Contract: `write_consistency` writes `report.json` and `report.png` to a folder, from arrays or from
readers of files that are too large for memory; `consistency.py` says what the numbers mean.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dualsr_jax.composite import Composite, make_composite
from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.consistency import (
    ArrayOrReader,
    BadBands,
    BicubicIntensity,
    Intensity,
    good_bands,
    lr_consistency,
    scaled,
    thinned,
)
from dualsr_jax.evaluation.results import BICUBIC
from dualsr_jax.figures import Look, Spectra, report_figure
from dualsr_jax.radiometry import Effect

_LOOK_PIXELS = 512  # longest side of the quick look
_DETAIL_PIXELS = 96  # side of the middle of the input, which is shown in full
COMPOSITE_PIXELS = 256  # longest side of the thinned scene that decides the colours
_INPUT = "Input"
Readable = Intensity | BicubicIntensity
_PLACES = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # of the spectra


def scene_composite(
    scene: Intensity, wavelengths: Float[np.ndarray, "..."] | None, bad_bands: BadBands | None
) -> Composite:
    """Decides, from a thinned copy of a scene, how it and its results are shown in colours."""
    thin, _ = thinned(scene, range(scene.shape[2]), COMPOSITE_PIXELS)
    return make_composite(thin, wavelengths, bad_bands)


def _looks(cubes: Mapping[str, Readable], scale: int, composite: Composite) -> dict[str, Look]:
    """Makes quick looks of the input, the first cube, and of the results; masked is white."""
    lr, rgb = cubes[_INPUT], composite.bands
    middle = []
    for length in lr.shape[:2]:
        side = min(_DETAIL_PIXELS, max(length // 2, 1))
        middle.append(slice((length - side) // 2, (length - side) // 2 + side))
    looks = {}
    for name, cube in cubes.items():
        rows, columns = (scaled(side, 1 if cube is lr else scale) for side in middle)
        whole, _ = thinned(cube, rgb, _LOOK_PIXELS)
        images = (composite(image) for image in (whole, cube.read(rows, columns, rgb)))
        looks[name] = Look(*(np.nan_to_num(image, nan=1.0) for image in images))
    return looks


def _default_pixels(lr: Intensity, bands: Sequence[int]) -> list[tuple[int, int]]:
    """Chooses the pixels nearest to the centres of the four quarters that are not masked."""
    height, width, _ = lr.shape
    thin, step = thinned(lr, bands, _LOOK_PIXELS)
    seen = step * np.argwhere(np.isfinite(thin).all(-1))
    if not len(seen):
        return []
    chosen = []
    for place in _PLACES:
        wanted = np.array(place) * (height, width)
        row, column = seen[np.argmin(np.square(seen - wanted).sum(-1))]
        chosen.append((int(row), int(column)))
    return list(dict.fromkeys(chosen))


def _spectra(
    cubes: Mapping[str, Readable], scale: int, row: int, column: int, bands: Sequence[int]
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
            f"PSNR and {sam_deg:.3f} degrees of spectral angle"
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
    composite: Composite,
    bands: Sequence[int],
    wavelengths: Float[np.ndarray, "L"] | None,
    spectra: Sequence[Spectra],
    effect: Effect | None,
) -> dict[str, Any]:
    """The content of `report.json`."""
    content = {
        "scale": scale,
        "pixels": consistency["pixels"],
        "lr_consistency": consistency["methods"],
        "composite": composite.name,
        "radiometry": None if effect is None else dataclasses.asdict(effect),
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
    effect: Effect | None = None,
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
        effect: what the radiometry did to the result, if that is known.

    Returns:
        The content of `report.json`: `scale`, the number of `pixels` that count, `lr_consistency`
        (`psnr_db` and `sam_deg` by method), the fields of `Effect` as `radiometry`, `composite`,
        `spectra` and their `bands` and `wavelengths_nm`. Null is an infinite PSNR, or NaN.

    Raises:
        ValueError: if `lr_consistency` raises it, wavelengths are not L, or a pixel is missing.
    """
    height, width, num_bands = lr.shape
    wrong = [(r, c) for r, c in pixels or () if not (0 <= r < height and 0 <= c < width)]
    if wrong:
        raise ValueError(f"the pixels {wrong} are not in an input of {height}x{width} pixels")
    how: dict[str, Any] = {"peak": peak, "nodata": nodata}
    bands = good_bands(num_bands, bad_bands)
    scene = Intensity(lr, **how)
    composite = scene_composite(scene, wavelengths, bad_bands)
    consistency = lr_consistency(lr, results, scale, bad_bands=bad_bands, **how)
    cubes: dict[str, Readable] = {_INPUT: scene, BICUBIC: BicubicIntensity(scene, scale)}
    cubes |= {name: Intensity(cube, **how) for name, cube in results.items()}
    shown = _default_pixels(scene, composite.bands) if pixels is None else pixels
    spectra = [_spectra(cubes, scale, row, column, bands) for row, column in shown]
    report = _content(scale, consistency, composite, bands, wavelengths, spectra, effect)
    label, key = ("band", "bands") if wavelengths is None else ("wavelength (nm)", "wavelengths_nm")
    lines = [*filter(None, [title]), *describe_consistency(consistency["methods"])]
    lines += [*([] if effect is None else effect.describe()), f"colours: {composite.name}"]
    folder.mkdir(parents=True, exist_ok=True)
    looks, places = _looks(cubes, scale, composite), np.array(report[key], float)
    report_figure(folder / "report.png", looks, spectra, places, label, "\n".join(lines))
    with replacing(folder / "report.json") as new:
        new.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    return report
