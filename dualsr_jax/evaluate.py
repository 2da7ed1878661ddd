r"""Scores bicubic, CoarSR and DualSR on the test scenes of a config, with tables and figures.

    python -m dualsr_jax.evaluate --config configs/cave.py:4 --workdir runs/cave_x4 \
        --half_scale_workdir runs/cave_x2
    python -m dualsr_jax.evaluate --config configs/cave_plus.py:4-small --weights cave_x4_small

Prints the table and writes `results.json`, `results.csv`, figures and the cubes to
`<workdir>/evaluation`, or to `runs/<name of the weights>/evaluation`; `python -m dualsr_jax.report`
makes interactive pages of them.
Normalisation, crop, clipping and metrics are those of the config's protocol (`protocols.py`).

    python -m dualsr_jax.evaluate --config configs/cave.py:8 --check

needs no trained network: it scores bicubic alone and compares it with its published row.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from dualsr_jax.commands import run
from dualsr_jax.data.parts import open_parts
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.disk import check_disk_space, make_writable, replacing
from dualsr_jax.dualsr import DualSR
from dualsr_jax.evaluation.results import METHODS, RESULTS, bytes_of_cubes, file_name, write_cubes
from dualsr_jax.evaluation.self_check import check, compare, image_scores
from dualsr_jax.figures import band_figure, spectra_figure
from dualsr_jax.models.network import make_model
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import get_protocol
from dualsr_jax.training.checkpoint import check_model
from dualsr_jax.training.restore import restore_dualsr
from dualsr_jax.weights.safetensors_file import find_weights

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, file.py:argument.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the trained network.")
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "In place of folders: file of both networks, *.safetensors, or shipped name."
)
_CHECK = flags.DEFINE_bool("check", False, "Only compare bicubic with its published row.")
_HALF = flags.DEFINE_string(
    "half_scale_workdir",
    None,
    "Folder of the network of half the scale, for the fine stage at scales 4 and 8.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of results; default: evaluation, in the workdir."
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "latest",
    ["latest", "best"],
    "Which checkpoint; the best needs scenes held out in training, data.validation.",
)
_SAVE_CUBES = flags.DEFINE_bool(
    "save_cubes", True, "Write the cubes as <scene>.npz, which the report needs."
)
_FIGURES = flags.DEFINE_enum("figures", "png", ["png", "pdf", "svg"], "Form of the figures.")


def figure_bands(bands: Sequence[int], num_bands: int) -> Sequence[int]:
    """The bands that figures show, counted from 1: these, or others if one of them is not there."""
    if all(1 <= band <= num_bands for band in bands):
        return bands
    others = round((num_bands + 1) / 3), round(2 * (num_bands + 1) / 3)
    print(
        f"config.evaluate.bands is {tuple(bands)}, but the scenes have bands 1 to {num_bands}: "
        f"figures show {others}"
    )
    return others


def check_pixels(settings: ConfigDict) -> None:
    """Raises ValueError if a pixel that figures should show does not exist."""
    if not all(0 <= place <= 1 for pixel in settings.pixels for place in pixel):
        raise ValueError(f"config.evaluate.pixels must lie in [0, 1], got {settings.pixels}")


def evaluate_scene(
    dualsr: DualSR, hr: np.ndarray, lr: np.ndarray, protocol: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Super-resolves one image and scores it.

    Args:
        dualsr: both stages.
        hr: the reference.
        lr: its LR image.
        protocol: a key of `PROTOCOLS`.

    Returns:
        The cubes by method, and the record for `results.json`.
    """
    scale, clip = dualsr.scale, get_protocol(protocol).clip
    started = time.perf_counter()
    result = dualsr(lr)
    seconds = time.perf_counter() - started
    cubes = {
        "Bicubic": imresize(lr, scale),
        "CoarSR": clip(result.coarse),
        "DualSR": clip(result.fine),
    }
    scores = {method: image_scores(cube, hr, scale, protocol) for method, cube in cubes.items()}
    record = {"scores": scores, "gains": result.gains.tolist(), "seconds": round(seconds, 2)}
    return cubes, record


def mean_scores(records: Mapping[str, Any], protocol: str) -> dict[str, dict[str, float]]:
    """Means over the images, by method and metric."""
    return {
        method: {
            metric: float(np.mean([r["scores"][method][metric] for r in records.values()]))
            for metric in get_protocol(protocol).metrics
        }
        for method in METHODS
    }


def table(records: Mapping[str, Any], protocol: str) -> str:
    """The scores as text, the means last."""
    metrics = list(get_protocol(protocol).metrics)
    rows = [
        (image, method, r["scores"][method]) for image, r in records.items() for method in METHODS
    ]
    rows += [("mean", method, scores) for method, scores in mean_scores(records, protocol).items()]
    width = max(len(image) for image, _, _ in rows)
    lines = [f"{'image':{width}}  {'method':8}" + "".join(f"{m:>10}" for m in metrics)]
    for image, method, scores in rows:
        if method == METHODS[0]:
            lines.append("-" * len(lines[0]))
        values = "".join(f"{scores[m]:10.4f}" for m in metrics)
        lines.append(f"{image if method == METHODS[0] else '':{width}}  {method:8}{values}")
    return "\n".join(lines)


def _draw(
    stem: Path,
    form: str,
    hr: np.ndarray,
    cubes: Mapping[str, np.ndarray],
    bands: Sequence[int],
    places: Sequence[tuple[float, float]],
    title: str,
) -> None:
    """Draws bands of an image, counted from 1, and spectra at places, as fractions of its sides."""
    height, width, _ = hr.shape
    pixels = [(round(y * (height - 1)), round(x * (width - 1))) for y, x in places]
    band_figure(stem.with_name(f"{stem.name}_bands.{form}"), hr, cubes, bands, title)
    spectra_figure(stem.with_name(f"{stem.name}_spectra.{form}"), hr, cubes, pixels, title)


def _write(output: Path, results: Mapping[str, Any]) -> None:
    """Writes `results.json` and `results.csv`."""
    with replacing(output / RESULTS) as beside:
        beside.write_text(json.dumps(results, indent=2) + "\n")
    with replacing(output / "results.csv") as beside, beside.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "method", *get_protocol(results["protocol"]).metrics])
        for image, record in results["images"].items():
            for method in METHODS:
                writer.writerow([image, method, *record["scores"][method].values()])


def evaluate(
    config: ConfigDict,
    weights: str | os.PathLike[str],
    half_weights: str | os.PathLike[str] | None = None,
    *,
    output: Path | None = None,
    which: str = "latest",
    save_cubes: bool = True,
    figures: str = "png",
) -> dict[str, Any]:
    """Evaluates a trained network; the content of `results.json`.

    Args:
        config: as of `configs/`, the one that the network was trained with.
        weights: workdir of training, file or name, see `restore_dualsr`.
        half_weights: the same of half the scale.
        output: folder to write to; None: `evaluation` in the workdir, in `runs/<name>` for others.
        which: "latest" or "best" checkpoint.
        save_cubes: whether to write the cubes, which the report needs.
        figures: their form, "png", "pdf" or "svg".

    Raises:
        ValueError: for bad settings or data, a checkpoint of another network, or too little room
            for the cubes; nothing is computed before that is known.
        FileNotFoundError: if there is no checkpoint or no data.
    """
    settings, protocol = config.evaluate, config.protocol
    degradation = Degradation(**config.degradation)
    parts = open_parts(config)
    if output is None:
        file = find_weights(weights)
        workdir = Path("runs", file.stem) if file else Path(weights).expanduser()
        output = workdir / "evaluation"
    dualsr = restore_dualsr(
        weights,
        half_weights,
        which=which,
        iterations=settings.iterations,
        ensemble=settings.ensemble,
        band_chunk=settings.band_chunk,
        precision=config.model.precision,
    )
    check_model(dualsr.coarse.model, make_model(config.model), str(weights))
    make_writable(output, "output")
    scenes = list(parts["test"])
    check_pixels(settings)
    bands = figure_bands(settings.bands, scenes[0].cube.shape[-1])
    if save_cubes:
        needed = bytes_of_cubes([scene.cube.shape for scene in scenes], dualsr.scale)
        what = f"an evaluation of {len(scenes)} images with their cubes (--nosave_cubes: without)"
        check_disk_space(output, needed, what)

    records: dict[str, Any] = {}
    for scene in tqdm(scenes, unit="image", desc=f"x{dualsr.scale}"):
        hr, lr = reference_and_lr(
            scene.cube,
            dualsr.scale,
            degradation=degradation,
            name=scene.name,
            seed=config.seed,
        )
        cubes, records[scene.name] = evaluate_scene(dualsr, hr, lr, protocol)
        stem, title = file_name(scene.name), f"{scene.name}, x{dualsr.scale}"
        _draw(output / stem, figures, hr, cubes, bands, settings.pixels, title)
        if save_cubes:
            write_cubes(output, scene.name, reference=hr, lr=lr, results=cubes)
    results = {
        "scale": dualsr.scale,
        "protocol": protocol,
        "mean": mean_scores(records, protocol),
        "images": records,
    }
    _write(output, results)
    print(table(records, protocol))
    verdict = compare(config, {image: r["scores"]["Bicubic"] for image, r in records.items()})
    if verdict.agrees is not None:
        print(verdict.text)
    print(f"results, tables, figures{' and cubes' if save_cubes else ''}: {output}")
    return results


def main() -> None:
    """Evaluates the network in the workdir, or checks the protocol."""
    if _CHECK.value:
        verdict = check(_CONFIG.value)
        print(verdict.text)
        sys.exit(not verdict.agrees)
    if _WORKDIR.value and _WEIGHTS.value:
        raise ValueError("--workdir and --weights name a trained network each: give one of them")
    weights = _WORKDIR.value or _WEIGHTS.value
    if not weights:
        raise ValueError(
            "--workdir is needed, the folder of the trained network; or --weights, a file or name; "
            "or --check"
        )
    evaluate(
        _CONFIG.value,
        weights,
        _HALF.value,
        output=Path(_OUTPUT.value).expanduser() if _OUTPUT.value else None,
        which=_CHECKPOINT.value,
        save_cubes=_SAVE_CUBES.value,
        figures=_FIGURES.value,
    )


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
