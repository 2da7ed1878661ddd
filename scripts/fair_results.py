"""Writes the table of `scripts/fair_table.py` into a page of the documentation.

    python scripts/fair_results.py runs/fair docs/results.md

Replaces what stands between the lines `<!-- fair table -->` and `<!-- end of fair table -->` of the
page. All figures come from `fair.json` and `comparison/results.json` in the folder.
"""

import argparse
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualsr_jax.comparison.rows import fine_label
from dualsr_jax.comparison.tables import Grid
from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.self_check import DIGITS

BEGIN, END = "<!-- fair table -->", "<!-- end of fair table -->"
Row = Mapping[str, Any]


def scores(row: Row | None, of: str = "mean") -> str:
    """PSNR / SSIM / SAM of a row, with the spread over its trainings; empty without scores."""
    if row is None or row[of] is None:
        return ""
    spread = row["spread"] if of == "mean" and row["spread"] else {}
    shown = [
        f"{value:.{DIGITS[m]}f}" + (f" ± {spread[m]:.{DIGITS[m]}f}" if m in spread else "")
        for m, value in row[of].items()
    ]
    return " / ".join(shown)


def main_table(rows: Mapping[str, Row], networks: Mapping[str, Row]) -> Grid:
    """A line for bicubic and for each network: what it cost, and its scores."""
    headings = ["method", "parameters", "GMAC", "rate", "steps", "training, s", "PSNR / SSIM / SAM"]
    headings += ["with the fine stage", "published", "s per scene", "peak memory, GB"]
    lines = []
    for label, row in rows.items():
        if row["fine_stage"] or not row["runs"]:
            continue
        costs = [""] * 5
        if label in networks:
            network, seconds = networks[label], networks[label]["training_seconds"]
            costs = [f"{row['parameters']:,}", f"{row['gmac']:.1f}"]
            costs += [f"{network['learning_rate']:g}", f"{network['steps']:,}"]
            costs += [f"{sum(seconds) / len(seconds):.0f}"]
        per_scene, memory = row["seconds_per_scene"], row["peak_memory_gb"]
        measured = ["" if per_scene is None else f"{per_scene:.1f}"]
        measured += ["" if memory is None else f"{memory:.1f}"]
        fine = scores(rows.get(fine_label(label)))
        lines.append([label, *costs, scores(row), fine, scores(row, "published"), *measured])
    return Grid(headings, lines).without_empty_columns()


def scene_table(rows: Mapping[str, Row]) -> Grid:
    """PSNR of each test scene, as the mean over the trainings, without the fine stage."""
    chosen = {k: row["runs"] for k, row in rows.items() if row["runs"] and not row["fine_stage"]}
    scenes = list(next(iter(chosen.values()))[0]["images"])
    lines = []
    for label, runs in chosen.items():
        psnr = [[run["images"][scene]["psnr_db"] for run in runs] for scene in scenes]
        lines.append([label, *(f"{sum(values) / len(values):.3f}" for values in psnr)])
    return Grid(["PSNR (dB)", *scenes], lines)


def text(folder: Path) -> str:
    """What stands between the two lines."""
    fair = json.loads((folder / "fair.json").read_text())
    results = json.loads((folder / "comparison" / "results.json").read_text())
    networks = {network["label"]: network for network in fair["networks"].values()}
    rows = {row["label"]: row for row in results["rows"]}
    minutes, tera = fair["budget"]["minutes"], fair["budget"]["tera_macs"]
    budget = f"{minutes:g} minutes" if minutes is not None else f"{tera:g} x 10^12 multiply-adds"
    counts = sorted({len(network["training_seconds"]) for network in networks.values()})
    tried = {rate for network in networks.values() for rate in network["validation_psnr_db"]}
    hardware, versions = fair["hardware"], results["versions"]
    facts = (
        f"x{results['scale']}, split `{results['split']}`. Budget of a training: {budget}; rates "
        f"tried for each network: {', '.join(sorted(tried, key=float)) or 'none'}; trainings of "
        f"each network, by seed: {'/'.join(map(str, counts))}. {hardware['machine']}, "
        f"{hardware['cores']} core(s), jax {versions['jax']}. Seconds of training are those of "
        "the steps, without reading and compiling."
    )
    tables = main_table(rows, networks), scene_table(rows)
    return "\n\n".join([textwrap.fill(facts, 118), *(table.markdown() for table in tables)])


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="--output of fair_table.py")
    parser.add_argument("page", type=Path, help="Markdown with the two lines")
    options = parser.parse_args()
    page = options.page.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        parser.error(f"{options.page} must have one line {BEGIN} and, after it, one line {END}")
    before, _, rest = page.partition(BEGIN)
    with replacing(options.page) as new:
        new.write_text(f"{before}{BEGIN}\n{text(options.folder)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
