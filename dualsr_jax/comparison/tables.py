"""The tables of a comparison: text, CSV, JSON, Markdown and LaTeX.

Contract: labels and names of images are written as they are: no character of them becomes markup.
"""

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.results import RESULTS
from dualsr_jax.evaluation.self_check import DIGITS
from dualsr_jax.protocols import get_protocol

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}
_TITLES = {"psnr_db": "PSNR (dB)", "mpsnr_db": "MPSNR (dB)", "ssim": "SSIM"}
_TITLES |= {"sam_deg": "SAM (degrees)", "cc": "CC", "rmse": "RMSE", "ergas": "ERGAS"}
_COSTS = ("parameters", "gmac", "seconds_per_scene", "peak_memory_gb", "seconds_per_step")


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|$~])", r"\\\1", text)


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table of texts with a heading for each column; the first column names the rows."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def without_empty_columns(self) -> "Grid":
        """Drops the columns in which no row has a text."""
        kept = [k for k in range(len(self.headings)) if k == 0 or any(row[k] for row in self.rows)]
        return Grid([self.headings[k] for k in kept], [[row[k] for k in kept] for row in self.rows])

    def text(self) -> str:
        """Columns at even distances."""
        lines = [self.headings, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.headings))]
        padded = (
            [cell.rjust(width) if k else cell.ljust(width) for k, (cell, width) in enumerate(pairs)]
            for line in lines
            for pairs in [zip(line, widths, strict=True)]
        )
        return "\n".join("  ".join(cells).rstrip() for cells in padded)

    def markdown(self) -> str:
        """A table of GitHub's Markdown."""

        def line(cells: Sequence[str]) -> str:
            return f"| {' | '.join(cells)} |"

        rule = line(["---"] * len(self.headings))
        rows = [line([_markdown(cell) for cell in row]) for row in (self.headings, *self.rows)]
        return "\n".join([rows[0], rule, *rows[1:]])

    def latex(self) -> str:
        """A tabular environment, which needs no package."""

        def line(cells: Sequence[str]) -> str:
            return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"

        columns = "l" + "r" * (len(self.headings) - 1)
        body = [line(self.headings), r"\hline", *map(line, self.rows)]
        return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"])


def _score(metric: str, value: float, spread: float | None = None) -> str:
    digits = DIGITS.get(metric, 4)
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def _scores(scores: Mapping[str, float] | None) -> str:
    return " / ".join(_score(*item) for item in scores.items()) if scores else ""


def _number(form: str) -> Callable[[Any], str]:
    return lambda value: "" if value is None else form.format(value)


def means(results: Mapping[str, Any]) -> Grid:
    """A row for each method: size, scores, published scores and costs."""
    metrics = list(get_protocol(results["protocol"]).metrics)
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "guide of the fine stage": ("guide", lambda guide: guide or ""),
        "parameters": ("parameters", _number("{:,}")),
        "GMAC": ("gmac", _number("{:,.1f}")),
    }
    after: dict[str, tuple[str, Callable[[Any], str]]] = {
        "published": ("published", _scores),
        "s per scene": ("seconds_per_scene", _number("{:.2f}")),
        "peak memory, GB": ("peak_memory_gb", _number("{:.2f}")),
        "s per step": ("seconds_per_step", _number("{:.3f}")),
        "steps": ("steps", _number("{:,}")),
        "patches": ("patches", _number("{:,}")),
        "training, 10^15 MAC": ("training_pmac", _number("{:.3g}")),
    }

    def cells(row: Mapping[str, Any]) -> list[str]:
        spread = row["spread"] or {}
        scores = [_score(m, row["mean"][m], spread.get(m)) if row["mean"] else "" for m in metrics]
        before, behind = (
            [show(row[name]) for name, show in part.values()] for part in (columns, after)
        )
        runs = f" ({len(row['runs'])} runs)" if len(row["runs"]) > 1 else ""
        return [row["label"] + runs, *before, *scores, *behind]

    rows = [cells(row) for row in results["rows"]]
    titles = [_TITLES.get(metric, metric) for metric in metrics]
    return Grid(["method", *columns, *titles, *after], rows).without_empty_columns()


def _of_image(row: Mapping[str, Any], image: str) -> dict[str, float]:
    """Means of the scores of an image over the runs of a row."""
    found = [run["images"][image] for run in row["runs"]]
    return {metric: sum(scores[metric] for scores in found) / len(found) for metric in found[0]}


def of_images(results: Mapping[str, Any]) -> Grid:
    """A row for each image, a column for each method, with the means over its runs."""
    rows = [row for row in results["rows"] if row["runs"]]
    images = rows[0]["runs"][0]["images"]
    cells = [[image, *(_scores(_of_image(row, image)) for row in rows)] for image in images]
    mean = ["mean", *(_scores(row["mean"]) for row in rows)]
    return Grid(["image", *(row["label"] for row in rows)], [*cells, mean])


def _write_csv(path: Path, results: Mapping[str, Any]) -> None:
    """Writes a line for each image of each run, and the means of each run with its costs."""
    metrics = list(get_protocol(results["protocol"]).metrics)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "weights", "image", *metrics, *_COSTS])
        for row in results["rows"]:
            for run in row["runs"]:
                for image, scores in {**run["images"], "mean": run["mean"]}.items():
                    costs = [row[name] if image == "mean" else None for name in _COSTS]
                    numbers = [scores[metric] for metric in metrics]
                    writer.writerow([row["label"], run["weights"], image, *numbers, *costs])


def write_tables(folder: Path, results: Mapping[str, Any]) -> str:
    """Writes `results.json`, `results.csv`, `table.md` and `table.tex`; returns the text to print.

    Args:
        folder: exists.
        results: those of `rows.build_results`.
    """
    grids, notes = (means(results), of_images(results)), results["notes"]
    markdown = [
        *(grid.markdown() for grid in grids),
        "\n".join(f"- {_markdown(note)}" for note in notes),
    ]
    latex = [*(grid.latex() for grid in grids), "\n".join(f"% {note}" for note in notes)]
    text = [*(grid.text() for grid in grids), "\n".join(notes)]
    with replacing(folder / "table.md") as new:
        new.write_text("\n\n".join(markdown) + "\n")
    with replacing(folder / "table.tex") as new:
        new.write_text("\n\n".join(latex) + "\n")
    with replacing(folder / "results.csv") as new:
        _write_csv(new, results)
    with replacing(folder / RESULTS) as new:
        new.write_text(json.dumps(results, indent=2) + "\n")
    return "\n\n".join(text)
