"""The page of a super-resolved scene that has no ground truth.

Contract: `write_scene_page` writes the same kind of page as that of an evaluation. It shows the
window of the scene with the most detail, as large as a page can hold, and compares each result,
reduced to the size of the scene, with the scene. Cubes may be readers of any size.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dualsr_jax.choices import MAX_MB
from dualsr_jax.composite import Composite, busiest_window
from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.consistency import (
    ArrayOrReader,
    BadBands,
    Intensity,
    compare,
    good_bands,
    scaled,
    surroundings,
    thinned,
)
from dualsr_jax.evaluation.consistency_report import COMPOSITE_PIXELS, scene_composite
from dualsr_jax.evaluation.results import BICUBIC
from dualsr_jax.pages.embedding import LEVELS, PageCubes
from dualsr_jax.pages.render import Content, render

INPUT = "Input"
_VALUES = 8_000_000  # of one result in the page, to begin with
_LEAST_SIDE = 16  # of the window, in pixels of the input
# Steps of a value; a smaller window is shown before they become fewer.
_LEVELS = [levels for levels in LEVELS if levels >= 1023]
_TEXTS: dict[str, Any] = {
    "stretch": "The 2nd percentile of each colour in the input is shown black, the 98th in full; "
    "all pictures share this stretch.",
    "opening": "The page opens where the input has the most detail.",
    "error_of": "Reduced:",
    "error_note": "The lower maps show how far each result, reduced to the size of the input, is "
    "from the input, on the pixels of the input. They say nothing about detail finer than these "
    "pixels.",
    "metrics": ["PSNR (dB)", "angle (°)"],
    "scores_title": "Consistency with the input",
    "scores_notes": [
        "Consistency: each result is reduced to the size of the input, by bicubic interpolation, "
        "and compared with the input, all pixels and bands of the scene. PSNR is the agreement of "
        "the values (higher is closer), angle the mean spectral angle between the spectra of a "
        "pixel (lower is closer).",
        "A good result is consistent, but a consistent result need not be good: without ground "
        "truth nobody can measure whether the added detail is true.",
    ],
    "tables": [],
    "precision": "",
}


def _choose_window(
    picture: Float[np.ndarray, "_ _ 3"], step: int, shape: tuple[int, int], side: int
) -> tuple[slice, slice]:
    """The rows and columns of the input with the most detail, `side` long where it is so large."""
    found = busiest_window(picture, *(max(min(side, length) // step, 1) for length in shape))
    window = []
    for part, length in zip(found, shape, strict=True):
        within = min(side, length)
        start = min(part.start * step, length - within)
        window.append(slice(start, start + within))
    return window[0], window[1]


def _page_cubes(
    source: Intensity,
    made: Mapping[str, Intensity],
    scale: int,
    window: tuple[slice, slice],
    bands: list[int],
) -> PageCubes:
    """Reads a window of the input and of the results, and compares them."""
    (rows, inner_rows), (columns, inner_columns) = (
        surroundings(side, length) for side, length in zip(window, source.shape[:2], strict=True)
    )
    found = compare(source, made, scale, (rows, columns), bands)
    inner = inner_rows, inner_columns
    large = scaled(inner_rows, scale), scaled(inner_columns, scale)
    results = {name: cube[large] for name, (cube, _) in found.enlarged.items()}
    return PageCubes(
        scale=scale,
        lr=found.reference,
        inset=(large[0].start, large[1].start),
        bicubic=results.pop(BICUBIC),
        results=results,
        reduced={name: cube[inner] for name, cube in found.reduced.items()},
        masked=np.any([mask[large] for _, mask in found.enlarged.values()], axis=0),
        truth_masked=~found.counted[inner],
    )


def _scores(scores: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, Any]]:
    """The rows of the table of consistency; None stands for an infinite PSNR and for NaN."""

    def text(value: float | None, digits: int) -> dict[str, Any]:
        shown = "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
        return {"text": shown, "best": False}

    return [
        (name, [text(found["psnr_db"], 2), text(found["sam_deg"], 3)])
        for name, found in scores.items()
    ]


def _settings(shape: tuple[int, ...], scale: int, window: tuple[slice, slice]) -> list[str]:
    """The facts next to the title."""
    height, width, bands = shape
    rows, columns = (f"{side.start} to {side.stop - 1}" for side in window)
    facts = [f"scale ×{scale}", f"input {height} × {width} × {bands}", "no ground truth"]
    if any(side != slice(0, n) for side, n in zip(window, (height, width), strict=True)):
        facts.append(f"shown: rows {rows}, columns {columns} of the input")
    return facts


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scene:
    """A scene with its results, of which windows become pages."""

    source: Intensity
    made: Mapping[str, Intensity]
    scale: int
    bands: list[int]  # that are not bad
    wavelengths: Float[np.ndarray, "..."] | None
    composite: Composite
    overview: Float[np.ndarray, "_ _ 3"]
    title: str
    scores: Mapping[str, Mapping[str, float | None]]
    notes: Sequence[str]

    def content(self, window: tuple[slice, slice]) -> Content:
        """What the page of a window shows."""
        scale, (height, width, _) = self.scale, self.source.shape
        return Content(
            title=self.title,
            truth=INPUT,
            cubes=_page_cubes(self.source, self.made, scale, window, self.bands),
            composite=self.composite.of_selection(self.bands),
            overview=self.overview,
            whole=(scale * height, scale * width),
            offset=(scale * window[0].start, scale * window[1].start),
            numbers=[band + 1 for band in self.bands],
            wavelengths=None if self.wavelengths is None else self.wavelengths[self.bands],
            texts={
                **_TEXTS,
                "settings": _settings(self.source.shape, scale, window),
                "scene_scores": _scores(self.scores),
                "scores_notes": [*_TEXTS["scores_notes"], *self.notes],
            },
        )


def write_scene_page(
    lr: ArrayOrReader,
    results: Mapping[str, ArrayOrReader],
    scale: int,
    path: Path,
    *,
    scores: Mapping[str, Mapping[str, float | None]],
    wavelengths: Float[np.ndarray, "..."] | None = None,
    peak: float = 1.0,
    nodata: float | None = None,
    bad_bands: BadBands | None = None,
    title: str = "",
    notes: Sequence[str] = (),
    max_mb: float = MAX_MB,
) -> None:
    """Writes the page of a scene.

    Args:
        lr: input `[H, W, L]`, stored values.
        results: cubes `[s H, s W, L]` by method, stored values in the same units.
        scale: scale factor s.
        path: the file to write.
        scores: consistency by method, as in `report.json`, Bicubic first.
        wavelengths: nm.
        peak: stored value of intensity 1.
        nodata: stored value of masked pixels, besides NaN.
        bad_bands: True where a band is left out.
        title: title of the page.
        notes: what was done to the result, in sentences that follow its consistency.
        max_mb: size that the page has at most, in 1e6 bytes; decides how much it shows.

    Raises:
        ValueError: for wavelengths or bad bands that do not fit, or if Bokeh is not installed.
    """
    source = Intensity(lr, peak, nodata)
    composite = scene_composite(source, wavelengths, bad_bands)
    thin, step = thinned(source, composite.bands, COMPOSITE_PIXELS)
    scene = _Scene(
        source=source,
        made={name: Intensity(cube, peak, nodata) for name, cube in results.items()},
        scale=scale,
        bands=good_bands(source.shape[2], bad_bands),
        wavelengths=wavelengths,
        composite=composite,
        overview=composite(thin),
        title=title,
        scores=scores,
        notes=notes,
    )
    side = max(int(math.sqrt(_VALUES / len(scene.bands)) / scale), _LEAST_SIDE)
    while True:
        window = _choose_window(scene.overview, step, source.shape[:2], side)
        page, embedding = render(scene.content(window), max_mb, _LEVELS)
        room = max_mb * 1e6 - (len(page) - len(embedding.text))
        if len(embedding.text) <= room or side <= _LEAST_SIDE:
            break
        side = min(side, max(source.shape[:2]))
        side = max(int(0.95 * side * math.sqrt(max(room, 0) / len(embedding.text))), _LEAST_SIDE)
    with replacing(path) as new:
        new.write_bytes(page)
