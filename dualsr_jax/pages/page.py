"""The pages of an evaluation: one HTML file per scene that needs no server and no network.

Contract: `write_pages` reads the cubes of scenes and writes their pages. A page holds Bokeh's own
scripts, the cubes as text (`embedding`) and all else it needs; `viewer.js` runs in the browser.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dualsr_jax.choices import MAX_MB
from dualsr_jax.disk import make_writable, replacing
from dualsr_jax.evaluation.cubes import REFERENCE, Cube, file_name, read_cubes
from dualsr_jax.evaluation.results import BICUBIC, Evaluation, Scores, read_evaluation
from dualsr_jax.extras import optional
from dualsr_jax.messages import say
from dualsr_jax.pages.bokeh_views import Facts, build, colours
from dualsr_jax.pages.embedding import ANGLE_LEVELS, LEVELS, angles_deg, embed

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
WHOLE: Crop = (slice(None), slice(None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageOptions:
    """How pages are made."""

    title: str | None = None  # None: the scene and the scale
    crop: Crop = WHOLE  # rows and columns that are shown
    wavelengths_nm: tuple[float, float] | None = None  # of the first and last band, if known
    max_mb: float = MAX_MB  # largest page, in 1e6 bytes


def _cells(scores: Scores) -> list[list[dict[str, Any]]]:
    """Scores as text, by metric and method, the best of each metric marked."""
    cells = []
    for metric in scores[BICUBIC]:
        _, digits, more = _METRICS[metric]
        values = [found[metric] for found in scores.values()]
        best = (max if more else min)((v for v in values if not math.isnan(v)), default=math.nan)
        cells.append([{"text": f"{v:.{digits}f}", "best": v == best} for v in values])
    return cells


def _rows(evaluation: Evaluation, scene: str, links: Mapping[str, str]) -> list[dict[str, Any]]:
    """Makes the rows of the table of all images, the mean last."""

    def row(name: str, scores: Scores, kind: str) -> dict[str, Any]:
        return {"name": name, "cells": _cells(scores), "kind": kind, "link": links.get(name)}

    rows = [row(n, s, "shown" if n == scene else "") for n, s in evaluation.images.items()]
    return [*rows, row("mean", evaluation.mean, "mean")]


def _limit(values: np.ndarray) -> float:
    """The end of a colour scale: the 99th percentile, rounded to two digits."""
    return float(f"{max(float(np.percentile(values, 99)), 1e-3):.2g}")


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _facts(cubes: Mapping[str, Cube], angles: np.ndarray, options: PageOptions) -> Facts:
    reference = cubes[REFERENCE]
    height, width, bands = reference.shape
    low, high = np.percentile(reference, (0.2, 99.8), axis=(0, 1))  # [L] each
    high = np.maximum(high, low + 1 / LEVELS)  # also in a flat band
    ends = options.wavelengths_nm
    return Facts(
        methods=[name for name in cubes if name != REFERENCE],
        shape=(height, width, bands),
        levels=LEVELS,
        angle_levels=ANGLE_LEVELS,
        contrast=list(zip(low.tolist(), high.tolist(), strict=True)),
        places=(np.arange(1, bands + 1) if ends is None else np.linspace(*ends, bands)).tolist(),
        unit=None if ends is None else "nm",
        offset=(options.crop[0].start or 0, options.crop[1].start or 0),
        band=bands // 2,
        pixel=(height // 2, width // 2),
        error_limit=_limit(np.abs(cubes[BICUBIC] - reference)),
        angle_limit=_limit(angles[0]),
    )


def _settings(evaluation: Evaluation, scene: str, whole: tuple[int, ...], crop: Crop) -> list[str]:
    """The facts next to the title."""
    size = " × ".join(map(str, whole))
    if crop != WHOLE:
        shown = [range(length)[side] for side, length in zip(crop, whole, strict=False)]
        rows, columns = (f"{side[0]} to {side[-1]}" for side in shown)
        size = f"rows {rows}, columns {columns} of {size}"
    gains = ", ".join(f"{gain:.3f}" for gain in evaluation.gains[scene])
    found = [f"scale ×{evaluation.scale}", f"protocol {evaluation.protocol}", size]
    return [*found, f"gain of the fine stage: {gains}"] if gains else found


def _make_page(
    evaluation: Evaluation, scene: str, options: PageOptions, links: Mapping[str, str]
) -> str:
    """Makes the page of a scene as HTML, with links to the pages of other scenes."""
    file_html = optional("bokeh.embed", "report").file_html
    jinja2 = optional("jinja2", "report")
    whole = read_cubes(evaluation, scene)
    cubes = {name: cube[options.crop] for name, cube in whole.items()}
    if 0 in cubes[REFERENCE].shape:
        rows, columns, _ = whole[REFERENCE].shape
        raise ValueError(f"--part holds no pixels of {scene!r}, which has {rows}x{columns}")
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
            "settings": _settings(evaluation, scene, whole[REFERENCE].shape, options.crop),
            "methods": facts.methods,
            "colours": colours(facts.methods),
            "metrics": [_METRICS[metric][0] for metric in scores[BICUBIC]],
            "scene_scores": zip(facts.methods, zip(*_cells(scores), strict=True), strict=True),
            "rows": _rows(evaluation, scene, links),
            "largest_error": f"{embedding.largest_error:.2g}",
        },
    )
    size, shape = len(page.encode()), cubes[REFERENCE].shape
    _check_size(size, len(embedding.text), scene, shape, options.max_mb)
    return page


def _check_size(page: int, cubes: int, scene: str, shape: tuple[int, ...], max_mb: float) -> None:
    """Raises ValueError, which proposes a smaller crop, if a page has too many bytes."""
    if page <= max_mb * 1e6:
        return
    share = max(max_mb * 1e6 - (page - cubes), 0) / cubes
    side = max(int(0.95 * math.sqrt(share * shape[0] * shape[1])), 1)
    raise ValueError(
        f"the page of {scene!r}, {shape[0]}x{shape[1]}x{shape[2]}, would have {page / 1e6:.1f} MB, "
        f"more than {max_mb:g}: show a crop of it, such as --part=0:{min(side, shape[0])},"
        f"0:{min(side, shape[1])}, or raise --max_mb"
    )


def _chosen(names: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Finds the scenes to show by their names or the names of their files."""
    if not wanted:
        return list(names)
    by_name = {file_name(name): name for name in names} | {name: name for name in names}
    if unknown := [name for name in wanted if name not in by_name]:
        raise ValueError(
            f"--scenes: the evaluation has no {', '.join(map(repr, unknown))}, but "
            f"{', '.join(names)}"
        )
    return list(dict.fromkeys(by_name[name] for name in wanted))


def _targets(scenes: Sequence[str], folder: Path, output: Path | None) -> dict[str, Path]:
    """Chooses the file of each page, and makes its folder if it is missing."""
    if output is not None and output.suffix == ".html" and not output.is_dir():
        if len(scenes) > 1:
            raise ValueError(
                f"--output={output} is one page, the evaluation has {len(scenes)} scenes: name a "
                "folder, or one scene with --scenes"
            )
        make_writable(output.parent, "output")
        return {scenes[0]: output}
    folder = folder / "report" if output is None else output
    make_writable(folder, "output")
    return {scene: folder / f"{file_name(scene)}.html" for scene in scenes}


def write_pages(
    path: str | Path,
    *,
    scenes: Sequence[str] | None = None,
    output: str | Path | None = None,
    options: PageOptions = PageOptions(),
) -> list[Path]:
    """Writes the pages of an evaluation and prints their sizes.

    Args:
        path: folder of the evaluation, or the folder of weights that holds it.
        scenes: names of the scenes to show; None: all.
        output: `*.html` for one scene, else a folder; None: `report` in the evaluation's folder.
        options: how pages are made.

    Returns:
        The files.

    Raises:
        ValueError: for a damaged evaluation, cubes that do not give its scores, a scene that is not
            in it, a crop without pixels, an output that cannot be written, a page that would be too
            large, or if Bokeh is not installed.
        FileNotFoundError: if there is no evaluation, or it left no cubes.
    """
    evaluation = read_evaluation(Path(path))
    chosen = _chosen(list(evaluation.images), scenes)
    targets = _targets(chosen, evaluation.folder, None if output is None else Path(output))
    for scene, target in targets.items():
        links = {other: quote(file.name) for other, file in targets.items() if other != scene}
        page = _make_page(evaluation, scene, options, links).encode()
        with replacing(target) as new:
            new.write_bytes(page)
        say(f"{target}: {len(page) / 1e6:.1f} MB")
    return list(targets.values())
