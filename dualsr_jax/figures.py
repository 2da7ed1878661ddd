"""Figures of bands with their error maps, of spectra, of a report, and of quality against cost.

Contract: titles and labels are drawn as they are; a `$` in a scene's name does not begin a formula.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import matplotlib.figure
import matplotlib.ticker
import numpy as np
from jaxtyping import Float

from dualsr_jax.disk import replacing

Cube = Float[np.ndarray, "H W L"]
_WIDEST = 26  # inches of a figure with many methods
_verbatim = matplotlib.rc_context({"text.parse_math": False})


def _save(figure: matplotlib.figure.Figure, path: Path) -> None:
    with replacing(path) as new:
        # 110 dpi are enough for a screen; PDF and SVG are for print, and only images have pixels.
        figure.savefig(new, format=path.suffix[1:], dpi=110 if path.suffix == ".png" else 300)


@_verbatim
def band_figure(
    path: Path,
    hr: Cube,
    results: Mapping[str, Cube],
    bands: Sequence[int],
    title: str,
    *,
    pictures: Mapping[str, Float[np.ndarray, "H W 3"]] | None = None,
) -> None:
    """Draws bands of the reference and of each method, above their absolute errors.

    Args:
        path: file to write; its suffix is the format.
        hr: the bands of the reference, `[H, W, N]`.
        results: the same bands of the results, by method.
        bands: the numbers of the N bands, counted from 1.
        title: of the figure.
        pictures: of the reference and the results in colours, in [0, 1]; drawn above the bands.
    """
    columns, above = 1 + len(results), 1 if pictures else 0
    side = min(2.8, _WIDEST / columns)
    panel = side * hr.shape[0] / hr.shape[1] + 0.3
    figure = matplotlib.figure.Figure(
        figsize=(side * columns, (above + 2 * len(bands)) * panel + 0.5), layout="constrained"
    )
    axes = figure.subplots(above + 2 * len(bands), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    names = "Reference", *results
    for axis, name, picture in zip(axes[0], names, (pictures or {}).values(), strict=False):
        axis.imshow(picture)
        axis.set_title(name, fontsize=9)
    for pair, band in enumerate(bands):
        reference = hr[..., pair]
        errors = {name: np.abs(cube[..., pair] - reference) for name, cube in results.items()}
        worst = max(float(np.percentile(error, 99.5)) for error in errors.values())
        low, high = np.percentile(reference, (0.2, 99.8))
        both = axes[above + 2 * pair : above + 2 * pair + 2]
        upper, lower = both
        upper[0].imshow(reference, cmap="gray", vmin=low, vmax=high)
        upper[0].set_title(f"Reference, band {band}", fontsize=9)
        for column, (name, error) in enumerate(errors.items(), start=1):
            upper[column].imshow(results[name][..., pair], cmap="gray", vmin=low, vmax=high)
            upper[column].set_title(name, fontsize=9)
            image = lower[column].imshow(error, cmap="viridis", vmin=0, vmax=worst)
            lower[column].set_title(f"absolute error, mean {error.mean():.4f}", fontsize=8)
        bar = figure.colorbar(image, ax=both, shrink=0.6, label="absolute error")
        bar.formatter = matplotlib.ticker.FormatStrFormatter("%g")
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


@_verbatim
def spectra_figure(
    path: Path,
    hr: Cube,
    results: Mapping[str, Cube],
    pixels: Sequence[tuple[int, int]],
    title: str,
) -> None:
    """Draws the spectra of pixels (row, column) in the reference and in each method's result."""
    figure = matplotlib.figure.Figure(figsize=(4.5 * len(pixels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(pixels), squeeze=False)[0]
    band = np.arange(1, hr.shape[-1] + 1)
    for axis, (row, column) in zip(axes, pixels, strict=True):
        axis.plot(band, hr[row, column], color="black", linewidth=1.8, label="Reference")
        for name, cube in results.items():
            axis.plot(band, cube[row, column], linewidth=1.1, label=name)
        axis.set(xlabel="band", ylabel="intensity", title=f"row {row}, column {column}")
    axes[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


@dataclasses.dataclass(frozen=True)
class Look:
    """A cube in colours, in [0, 1]: some rows and columns of the whole, and all of its middle."""

    whole: Float[np.ndarray, "_ _ 3"]
    detail: Float[np.ndarray, "_ _ 3"]


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Spectra `[L]` of one pixel of the input, by method."""

    row: int
    column: int
    by_method: Mapping[str, Float[np.ndarray, "L"]]


@_verbatim
def report_figure(
    path: Path,
    looks: Mapping[str, Look],
    spectra: Sequence[Spectra],
    places: Float[np.ndarray, "L"],
    label: str,
    title: str,
) -> None:
    """Draws quick looks by method, the whole above a detail, and spectra below.

    Each pixel has a panel of spectra; `places` are those of the bands on their axis `label`.
    """
    first = next(iter(looks.values())).whole
    size = 3.2 * first.shape[0] / first.shape[1] + 0.3
    heights = [size, size, 2.8] if spectra else [size, size]
    figure = matplotlib.figure.Figure(
        figsize=(3.2 * max(len(looks), 3), sum(heights) + 0.3 * (title.count("\n") + 1)),
        layout="constrained",
    )
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, extent in zip(rows, ("whole", "detail"), strict=False):
        axes = row.subplots(1, len(looks), squeeze=False)[0]
        for axis, (name, look) in zip(axes, looks.items(), strict=True):
            axis.imshow(getattr(look, extent), interpolation="nearest")
            axis.set_axis_off()
            axis.set_title(name if extent == "whole" else f"{name}, detail", fontsize=9)
    if spectra:
        order = np.argsort(places, kind="stable")  # detectors may overlap
        axes = rows[-1].subplots(1, len(spectra), squeeze=False, sharey=True)[0]
        for axis, pixel in zip(axes, spectra, strict=True):
            for name, spectrum in pixel.by_method.items():
                axis.plot(places[order], spectrum[order], linewidth=1.1, label=name)
            axis.set_xlabel(label, fontsize=8)
            axis.set_title(f"row {pixel.row}, column {pixel.column}", fontsize=8)
        axes[0].set_ylabel("intensity", fontsize=8)
        axes[0].legend(fontsize=7)
    figure.suptitle(title, fontsize=9)
    _save(figure, path)


@dataclasses.dataclass(frozen=True)
class Dot:
    """A method in the figure of quality against cost."""

    label: str
    gmac: float  # 10^9 multiply-adds per scene
    psnr_db: float
    parameters: int


@_verbatim
def cost_figure(path: Path, dots: Sequence[Dot], bicubic_db: float, title: str) -> None:
    """Draws PSNR against multiply-adds; the area of a dot grows with the number of parameters.

    Args:
        path: file to write; its suffix is the format.
        dots: the methods.
        bicubic_db: PSNR of bicubic interpolation, drawn as a line.
        title: of the figure.
    """
    figure = matplotlib.figure.Figure(figsize=(7.5, 5), layout="constrained")
    axis = figure.subplots()
    most = max(dot.parameters for dot in dots)
    for dot in dots:
        area = 30 + 570 * dot.parameters / most
        axis.scatter(dot.gmac, dot.psnr_db, s=area, alpha=0.6, linewidth=0)
        axis.annotate(
            f"{dot.label} ({dot.parameters:,})",
            (dot.gmac, dot.psnr_db),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
        )
    axis.axhline(bicubic_db, color="gray", linewidth=1, linestyle="--", label="Bicubic")
    axis.set(
        xscale="log",
        xlabel="10^9 multiply-adds per scene",
        ylabel="PSNR (dB)",
        title=title,
    )
    axis.xaxis.set_major_formatter("{x:g}")  # others are formulas, which are not drawn as such
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.tick_params(which="minor", labelsize=6)
    axis.margins(0.15)
    axis.legend(fontsize=8)
    _save(figure, path)
