"""Comparison of trained networks on the test images of a config.

Contract: `compare` restores all networks, checks that their scores can stand in one table, scores
them and bicubic interpolation on the same images, with and without the fine stage, and writes one
table in several forms. Images, degradation, protocol and settings of the fine stage come from the
config, the networks from their weights.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dualsr_jax.comparison.entries import open_runs
from dualsr_jax.comparison.measure import (
    Cube,
    Measured,
    Scene,
    measure,
    seconds_per_step,
    step_settings,
)
from dualsr_jax.comparison.rows import build_results, dots, fine_label
from dualsr_jax.comparison.tables import write_tables
from dualsr_jax.data.parts import open_parts
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.disk import make_writable
from dualsr_jax.evaluation.cubes import file_name
from dualsr_jax.evaluation.results import BICUBIC
from dualsr_jax.evaluation.run import figure_bands, select_bands
from dualsr_jax.figures import band_figure, cost_figure
from dualsr_jax.messages import bar, say
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import get_protocol


def _scenes(config: ConfigDict) -> list[Scene]:
    degradation, scale = Degradation(**config.degradation), config.model.scale
    scenes = []
    for scene in bar(open_parts(config)["test"], unit="image", desc="reading"):
        hr, lr = reference_and_lr(
            scene.cube, scale, degradation=degradation, name=scene.name, seed=config.seed
        )
        scenes.append(Scene(scene.name, hr, lr))
    return scenes


def _draw(
    output: Path,
    scenes: Sequence[Scene],
    bicubic: dict[str, Cube],
    everything: Sequence[Measured],
    bands: Sequence[int],
    *,
    suffix: str,
) -> None:
    """Draws the bands of all methods, the first run of each, one file per scene."""
    for scene in scenes:
        coarse: dict[str, Cube] = {}
        fine: dict[str, Cube] = {}
        for measured in everything:
            label = measured.run.label
            shown = measured.shown[scene.name]
            coarse.setdefault(label, shown[0])
            fine.setdefault(fine_label(label), shown[1])
        made = {BICUBIC: select_bands(bicubic[scene.name], bands), **coarse, **fine}
        file = output / f"{file_name(scene.name)}_bands.{suffix}"
        title = f"{scene.name}, {len(made)} methods"
        band_figure(file, select_bands(scene.hr, bands), made, bands, title)


def compare(
    config: ConfigDict,
    weights: Sequence[str | os.PathLike[str]],
    half_weights: Sequence[str | os.PathLike[str]] = (),
    *,
    output: str | Path,
    which: str = "latest",
    figures: str = "png",
    time_steps: bool = False,
) -> dict[str, Any]:
    """Compares trained networks, prints the table and writes all files.

    Args:
        config: one of `configs/`.
        weights: networks, `label=weights` or weights; several with the same label are trainings of
            one network, of which the table has mean and standard deviation.
        half_weights: networks of half the scale, which guide the fine stage: `label=weights` or,
            for all networks that have no other guide, weights.
        output: folder to write to.
        which: "latest" or "best" checkpoint of folders.
        figures: format of the figures, "png", "pdf" or "svg".
        time_steps: whether training steps are timed too.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: for bad settings or data, or networks that cannot be compared.
        FileNotFoundError: if there are no weights or no data.
    """
    protocol, scale = get_protocol(config.protocol), config.model.scale
    degradation = Degradation(**config.degradation)
    scenes = _scenes(config)
    num_bands = scenes[0].hr.shape[-1]
    runs = open_runs(config, weights, half_weights, which=which, bands=num_bands)
    output = Path(output)
    make_writable(output, "output")
    bands = figure_bands(config.evaluate.bands, num_bands)
    bicubic = {scene.name: imresize(scene.lr, scale) for scene in scenes}
    scores = {
        scene.name: protocol.score_image(bicubic[scene.name], scene.hr, scale=scale)
        for scene in scenes
    }
    everything: list[Measured] = []
    for run in runs:
        measured = measure(run, scenes, protocol, bands)
        if time_steps and run.label not in {other.run.label for other in everything}:
            settings = step_settings(config, run.training.settings)
            measured.step_seconds = seconds_per_step(run.model, settings, degradation, num_bands)
        everything.append(measured)
    results = build_results(config, scores, everything, num_bands)
    print(write_tables(output, results))
    title = f"{config.data.name} x{scale}, {len(scenes)} images"
    bicubic_db = next(iter(results["rows"][0]["mean"].values()))
    cost_figure(output / f"psnr_gmac.{figures}", dots(results), bicubic_db, title)
    _draw(output, scenes, bicubic, everything, bands, suffix=figures)
    say(f"tables and figures: {output}")
    return results
