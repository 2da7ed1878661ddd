"""The page of a scene: one HTML file that needs no server and no network.

Contract: `write_page` reads a scene's cubes and writes the page, with Bokeh's own scripts, the
cubes as text (`embedding`) and everything else inside; `viewer.js` is what runs in the browser.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.results import METHODS, Evaluation, Scores, read_cubes
from dualsr_jax.extras import optional
from dualsr_jax.pages.bokeh_views import COLOURS, Facts, build
from dualsr_jax.pages.embedding import ANGLE_LEVELS, LEVELS, angles_deg, embed

MAX_MB = 30.0
_HERE = Path(__file__).parent
_METRICS = {  # title, digits, whether more is better
    "psnr_db": ("PSNR (dB)", 3, True),
    "mpsnr_db": ("MPSNR (dB)", 3, True),
    "ssim": ("SSIM", 4, True),
    "sam_deg": ("SAM (°)", 3, False),
    "cc": ("CC", 4, True),
    "rmse": ("RMSE", 4, False),
    "ergas": ("ERGAS", 3, False),
}
Crop = tuple[slice, slice]
Shape = tuple[int, ...]
WHOLE: Crop = (slice(None), slice(None))
Cube = Float[np.ndarray, "H W L"]
CutCube = Float[np.ndarray, "_ _ L"]


@dataclasses.dataclass(frozen=True)
class PageOptions:
    """How pages are made.

    Attributes:
        title: of the page; None: the scene and the scale.
        part: rows and columns that are shown.
        wavelengths_nm: of the first and the last band, the others at equal distances.
        max_mb: largest page, in units of 1e6 bytes.
    """

    title: str | None = None
    part: Crop = WHOLE
    wavelengths_nm: tuple[float, float] | None = None
    max_mb: float = MAX_MB


def _cells(scores: Scores, by_metric: bool) -> list[list[dict[str, Any]]]:
    """Scores as text, the best of each metric marked; one list a metric, or one a method."""
    metrics = list(scores[METHODS[0]])
    table = []
    for metric in metrics:
        _, digits, more = _METRICS[metric]
        values = [scores[method][metric] for method in METHODS]
        best = (max if more else min)((v for v in values if not math.isnan(v)), default=math.nan)
        table.append([{"text": f"{v:.{digits}f}", "best": v == best} for v in values])
    return table if by_metric else [list(row) for row in zip(*table, strict=True)]


def _rows(evaluation: Evaluation, scene: str, links: Mapping[str, str]) -> list[dict[str, Any]]:
    """The table of all images, the mean last."""

    def row(name: str, scores: Scores, kind: str) -> dict[str, Any]:
        cells = _cells(scores, by_metric=True)
        return {"name": name, "cells": cells, "kind": kind, "link": links.get(name)}

    rows = [
        row(name, scores, "shown" if name == scene else "")
        for name, scores in evaluation.images.items()
    ]
    return [*rows, row("mean", evaluation.mean, "mean")]


def _limit(values: np.ndarray) -> float:
    """What the colours of a map reach to: of two digits, more than most of the values."""
    return float(f"{max(float(np.percentile(values, 99)), 1e-3):.2g}")


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _facts(cubes: Mapping[str, Cube], angles: np.ndarray, options: PageOptions) -> Facts:
    """What the figures and viewer.js know of a scene beside its cubes."""
    reference = cubes["Reference"]
    height, width, bands = reference.shape
    low, high = np.percentile(reference, (0.2, 99.8), axis=(0, 1))  # [L] each
    high = np.maximum(high, low + 1 / LEVELS)  # of a flat band
    ends = options.wavelengths_nm
    return Facts(
        shape=(height, width, bands),
        levels=LEVELS,
        angle_levels=ANGLE_LEVELS,
        contrast=list(zip(low.tolist(), high.tolist(), strict=True)),
        places=(np.arange(1, bands + 1) if ends is None else np.linspace(*ends, bands)).tolist(),
        unit=None if ends is None else "nm",
        offset=(options.part[0].start or 0, options.part[1].start or 0),
        band=bands // 2,
        pixel=(height // 2, width // 2),
        error_limit=_limit(np.abs(cubes["Bicubic"] - reference)),
        angle_limit=_limit(angles[0]),
    )


def _settings(evaluation: Evaluation, scene: str, whole: Shape, part: Crop) -> list[str]:
    """What is said beside the title."""
    size = " × ".join(map(str, whole))
    if part != WHOLE:
        rows, columns = (
            f"{side.indices(length)[0]} to {side.indices(length)[1] - 1}"
            for side, length in zip(part, whole, strict=False)
        )
        size = f"rows {rows}, columns {columns} of {size}"
    gains = ", ".join(f"{gain:.3f}" for gain in evaluation.gains[scene])
    found = [f"scale ×{evaluation.scale}", f"protocol {evaluation.protocol}", size]
    return [*found, f"gain of the fine stage {gains}"] if gains else found


def _note(largest_error: float) -> str:
    return (
        "Scores are those of the evaluation, of whole images and full precision. The cubes in this "
        f"page are kept in steps of 1/{LEVELS} of full intensity; the largest difference to the "
        f"evaluated float32 cubes is {largest_error:.2g} (measured). Spectral angles were computed "
        f"before that, and are kept in steps of {1 / ANGLE_LEVELS:g} degrees."
    )


def _cut(cubes: Mapping[str, Cube], part: Crop, scene: str) -> dict[str, CutCube]:
    """A part of all cubes; ValueError if there is nothing in it."""
    rows, columns, _ = cubes["Reference"].shape
    if 0 in cubes["Reference"][part].shape:
        raise ValueError(f"--part holds no pixels of {scene!r}, which has {rows}x{columns}")
    return {name: cube[part] for name, cube in cubes.items()}


def make_page(
    evaluation: Evaluation, scene: str, options: PageOptions, links: Mapping[str, str]
) -> str:
    """The page of a scene as HTML.

    Args:
        evaluation: that it is of.
        scene: its name.
        options: how it is made.
        links: to pages of other scenes, by name.

    Raises:
        ValueError: if the cubes are damaged or of another evaluation, the part holds no pixels, the
            page would be too large, or Bokeh is not installed.
        FileNotFoundError: if there are no cubes.
    """
    file_html = optional("bokeh.embed", "report").file_html
    jinja2 = optional("jinja2", "report")
    whole = read_cubes(evaluation, scene)
    cubes = _cut(whole, options.part, scene)
    angles = angles_deg(cubes)
    embedding = embed(cubes, angles)
    facts, scores = _facts(cubes, angles, options), evaluation.images[scene]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page: str = file_html(
        build(facts),
        "inline",
        title=options.title or f"{scene}, super-resolved ×{evaluation.scale}",
        template=template.from_string(_text("page.html")),
        template_variables={
            "css": _text("page.css"),
            "viewer": _text("viewer.js"),
            "facts": dataclasses.asdict(facts),
            "cubes": embedding.text,
            "settings": _settings(evaluation, scene, whole["Reference"].shape, options.part),
            "methods": METHODS,
            "colours": COLOURS,
            "metrics": [_METRICS[metric][0] for metric in scores[METHODS[0]]],
            "scene_scores": zip(METHODS, _cells(scores, by_metric=False), strict=True),
            "rows": _rows(evaluation, scene, links),
            "note": _note(embedding.largest_error),
        },
    )
    size, shape = len(page.encode()), cubes["Reference"].shape
    _check_size(size, len(embedding.text), scene, shape, options.max_mb)
    return page


def _check_size(page: int, cubes: int, scene: str, shape: Shape, max_mb: float) -> None:
    """Raises ValueError if a page is too large, with a part that is not.

    Args:
        page: bytes of it.
        cubes: those of them that are the cubes.
        scene: for the error.
        shape: of the cubes.
        max_mb: the limit.
    """
    if page <= max_mb * 1e6:
        return
    share = max(max_mb * 1e6 - (page - cubes), 0) / cubes
    side = max(int(0.95 * math.sqrt(share * shape[0] * shape[1])), 1)
    raise ValueError(
        f"the page of {scene!r}, {shape[0]}x{shape[1]}x{shape[2]}, would have {page / 1e6:.1f} MB, "
        f"more than {max_mb:g}: show a part of it, such as --part=0:{min(side, shape[0])},"
        f"0:{min(side, shape[1])}, or raise --max_mb"
    )


def write_page(
    path: Path, evaluation: Evaluation, scene: str, options: PageOptions, links: Mapping[str, str]
) -> int:
    """Writes the page of a scene, as `make_page`, to a file; its size in bytes."""
    page = make_page(evaluation, scene, options, links).encode()
    with replacing(path) as beside:
        beside.write_bytes(page)
    return len(page)
