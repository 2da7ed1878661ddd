"""Figures as in the paper: bands beside their error maps, and spectra of pixels."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import matplotlib.figure
import numpy as np
from jaxtyping import Float

Cube = Float[np.ndarray, "H W L"]


def _save(figure: matplotlib.figure.Figure, path: Path) -> None:
    beside = path.with_name("." + path.name)
    figure.savefig(beside, format=path.suffix[1:], dpi=110, bbox_inches="tight")
    os.replace(beside, path)


def band_figure(
    path: Path, hr: Cube, results: Mapping[str, Cube], bands: Sequence[int], title: str
) -> None:
    """Draws bands of the reference and of each result, with absolute-error maps below.

    Args:
        path: image file to write.
        hr: reference.
        results: cubes by method.
        bands: numbers counted from 1, each drawn as a pair of rows.
        title: of the figure.
    """
    rows, columns = 2 * len(bands), 1 + len(results)
    aspect = hr.shape[0] / hr.shape[1]
    figure = matplotlib.figure.Figure(figsize=(2.6 * columns, 2.6 * aspect * rows + 0.6))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for pair, band in enumerate(bands):
        reference = hr[..., band - 1]
        errors = {name: np.abs(cube[..., band - 1] - reference) for name, cube in results.items()}
        worst = max(float(np.percentile(error, 99.5)) for error in errors.values())
        high = float(np.percentile(reference, 99.8))
        upper, lower = axes[2 * pair], axes[2 * pair + 1]
        upper[0].imshow(reference, cmap="gray", vmin=0, vmax=high)
        upper[0].set_title(f"Reference, band {band}", fontsize=9)
        for column, (name, error) in enumerate(errors.items(), start=1):
            upper[column].imshow(results[name][..., band - 1], cmap="gray", vmin=0, vmax=high)
            upper[column].set_title(name, fontsize=9)
            image = lower[column].imshow(error, cmap="viridis", vmin=0, vmax=worst)
            lower[column].set_title(f"error, mean {error.mean():.4f}", fontsize=8)
        figure.colorbar(image, ax=lower[0], location="right", fraction=0.5, label="absolute error")
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def spectra_figure(
    path: Path,
    hr: Cube,
    results: Mapping[str, Cube],
    pixels: Sequence[tuple[int, int]],
    title: str,
) -> None:
    """Draws the spectra of pixels in the reference and in each result.

    Args:
        path: image file to write.
        hr: reference.
        results: cubes by method.
        pixels: (row, column) of each panel.
        title: of the figure.
    """
    figure = matplotlib.figure.Figure(figsize=(4.5 * len(pixels), 3.4))
    axes = figure.subplots(1, len(pixels), squeeze=False)[0]
    band = np.arange(1, hr.shape[-1] + 1)
    for axis, (row, column) in zip(axes, pixels, strict=True):
        axis.plot(band, hr[row, column], color="black", linewidth=1.8, label="Reference")
        for name, cube in results.items():
            axis.plot(band, cube[row, column], linewidth=1.1, label=name)
        axis.set(xlabel="band", ylabel="intensity", title=f"row {row}, column {column}")
    axes[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    _save(figure, path)
