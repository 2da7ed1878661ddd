"""The pages of an evaluation: one HTML file per scene that needs no server and no network.

Contract: `write_pages` reads the cubes of scenes and writes their pages, which `render` makes.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dualsr_jax.choices import MAX_MB
from dualsr_jax.composite import make_composite
from dualsr_jax.disk import make_writable, replacing
from dualsr_jax.evaluation.cubes import REFERENCE, ImageCubes, file_name, read_cubes
from dualsr_jax.evaluation.results import (
    BICUBIC,
    RESULTS,
    Evaluation,
    Scores,
    read_evaluation,
)
from dualsr_jax.messages import say
from dualsr_jax.ops.resize import REACH
from dualsr_jax.pages.embedding import PageCubes
from dualsr_jax.pages.render import Content, render

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
    # Of the first and last band, the others at equal distances; None: those of the evaluation.
    wavelengths_nm: tuple[float, float] | None = None
    max_mb: float = MAX_MB  # largest page, in 1e6 bytes; decides how finely values are kept


def _cells(scores: Scores) -> list[list[dict[str, Any]]]:
    """Scores as text, by metric and method, the best of each metric marked."""
    cells = []
    for metric in scores[BICUBIC]:
        _, digits, more = _METRICS[metric]
        values = [found[metric] for found in scores.values()]
        best = (max if more else min)((v for v in values if not math.isnan(v)), default=math.nan)
        cells.append([{"text": f"{v:.{digits}f}", "best": v == best} for v in values])
    return cells


def _tables(evaluation: Evaluation, scene: str, links: Mapping[str, str]) -> list[dict[str, Any]]:
    """Makes a table of all images for each metric, the mean last."""
    scores = [*evaluation.images.items(), ("mean", evaluation.mean)]
    kinds = ["shown" if name == scene else "" for name in evaluation.images] + ["mean"]
    cells = [_cells(found) for _, found in scores]
    return [
        {
            "metric": _METRICS[metric][0],
            "rows": [
                {"name": name, "kind": kind, "link": links.get(name), "cells": found[k]}
                for (name, _), kind, found in zip(scores, kinds, cells, strict=True)
            ],
        }
        for k, metric in enumerate(evaluation.mean[BICUBIC])
    ]


def _window(side: range, scale: int, length: int) -> slice:
    """The LR pixels from which bicubic makes the pixels `side` of an enlarged cube."""
    first = max(side.start // scale - REACH, 0)
    return slice(first, min(-(-side.stop // scale) + REACH, length))


def _page_cubes(whole: ImageCubes, scale: int, crop: Crop) -> PageCubes:
    """The pixels of a crop, and the LR pixels around them."""
    sides = [range(length)[side] for side, length in zip(crop, whole.reference.shape, strict=False)]
    windows = [_window(*pair) for pair in zip(sides, (scale, scale), whole.lr.shape, strict=False)]
    rows, columns = (side.start - scale * w.start for side, w in zip(sides, windows, strict=True))
    results = {name: cube[crop] for name, cube in whole.results.items()}
    return PageCubes(
        scale=scale,
        lr=whole.lr[windows[0], windows[1]],
        inset=(rows, columns),
        bicubic=results.pop(BICUBIC),
        results=results,
        reference=whole.reference[crop],
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


def _wavelengths(evaluation: Evaluation, scene: str, options: PageOptions, bands: int) -> Any:
    """Wavelengths in nm: those of the options, else of the evaluation, else None."""
    if options.wavelengths_nm is not None:
        return np.linspace(*options.wavelengths_nm, bands)
    found = evaluation.wavelengths_nm[scene]
    if found is not None and len(found) != bands:
        raise ValueError(
            f"{RESULTS} has {len(found)} wavelengths of {scene!r}, but its cubes have {bands} "
            "bands: run dualsr evaluate again"
        )
    return None if found is None else np.array(found)


def _make_page(
    evaluation: Evaluation, scene: str, options: PageOptions, links: Mapping[str, str]
) -> bytes:
    """Makes the page of a scene as HTML, with links to the pages of other scenes."""
    whole = read_cubes(evaluation, scene)
    height, width, bands = whole.reference.shape
    if 0 in whole.reference[options.crop].shape:
        raise ValueError(f"--part holds no pixels of {scene!r}, which has {height}x{width}")
    wavelengths = _wavelengths(evaluation, scene, options, bands)
    cubes = _page_cubes(whole, evaluation.scale, options.crop)
    composite, scores = make_composite(whole.reference, wavelengths), evaluation.images[scene]
    content = Content(
        title=options.title or f"{scene}, super-resolved ×{evaluation.scale}",
        truth=REFERENCE,
        cubes=cubes,
        composite=composite,
        overview=composite(whole.reference[..., composite.bands]),
        whole=(height, width),
        offset=(options.crop[0].start or 0, options.crop[1].start or 0),
        numbers=list(range(1, bands + 1)),
        wavelengths=wavelengths,
        texts={
            "settings": _settings(evaluation, scene, whole.reference.shape, options.crop),
            "stretch": "The 2nd percentile of each colour in the reference is shown black, the "
            "98th in full; all pictures share this stretch.",
            "opening": "The page opens where the reference has the most detail.",
            "error_of": "Error of",
            "error_note": "",
            "metrics": [_METRICS[metric][0] for metric in scores[BICUBIC]],
            "scores_title": "Whole image",
            "scene_scores": list(zip(scores, zip(*_cells(scores), strict=True), strict=True)),
            "scores_notes": [],
            "tables": _tables(evaluation, scene, links),
            "precision": "Scores are those of the evaluation, of whole images in full precision.",
        },
    )
    page, embedding = render(content, options.max_mb)
    _check_size(len(page), len(embedding.text), scene, cubes.bicubic.shape, options.max_mb)
    return page


def _check_size(page: int, cubes: int, scene: str, shape: tuple[int, ...], max_mb: float) -> None:
    """Raises ValueError, which proposes a smaller crop, if a page has too many bytes."""
    if page <= max_mb * 1e6:
        return
    share = max(max_mb * 1e6 - (page - cubes), 0) / cubes  # in the coarsest steps
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
        page = _make_page(evaluation, scene, options, links)
        with replacing(target) as new:
            new.write_bytes(page)
        say(f"{target}: {len(page) / 1e6:.1f} MB")
    return list(targets.values())
